//! A progress bar on a terminal, and nothing anywhere else.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `length` steps of what `verb` says.
pub(crate) fn bar(verb: &str, length: usize) -> ProgressBar {
    // The bar hides itself where stderr is no terminal.
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.with_message(verb.to_owned())
}
