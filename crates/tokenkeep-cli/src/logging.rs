//! Logs, to stderr.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, Targets, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Starts logging: by `directives` (from `TOKENKEEP_LOG`: `debug`, or
/// `tokenkeep_manager=trace,info`) where given, else by how often `-v` was. Directives that cannot
/// be understood are as if they were not given.
///
/// Of what is not ours only warnings are shown, whatever the directives: an HTTP library's trace
/// is not under our promise to keep secrets out.
pub(crate) fn start(directives: Option<&str>, verbose: u8, quiet: bool) {
    let usual = match (quiet, verbose) {
        // A warning that matters to the user is said by the verb itself.
        (true, _) | (false, 0) => Level::ERROR,
        (false, 1) => Level::INFO,
        (false, 2) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    let filter = directives
        .and_then(|directives| directives.parse::<Targets>().ok())
        .unwrap_or_else(|| Targets::new().with_default(usual));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(true)
        .with_filter(filter.and(filter_fn(is_ours_or_serious)));
    // A second start, in tests, keeps the first.
    drop(tracing_subscriber::registry().with(layer).try_init());
}

fn is_ours_or_serious(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("tokenkeep") || *metadata.level() <= Level::WARN
}
