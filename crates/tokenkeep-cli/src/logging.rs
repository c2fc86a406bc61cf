//! Logs, to stderr.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Starts logging: by `directives` (from `TOKENKEEP_LOG`) where given, else by how often `-v` was.
///
/// Of what is not ours only warnings are shown, whatever the directives: an HTTP library's trace
/// is not under our promise to keep secrets out.
pub(crate) fn start(directives: Option<&str>, verbose: u8, quiet: bool) {
    let usual = match (quiet, verbose) {
        // A warning that matters to the user is said by the verb itself.
        (true, _) | (false, 0) => "error",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::builder().parse_lossy(directives.unwrap_or(usual));
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
