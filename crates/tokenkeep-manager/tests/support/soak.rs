//! Whether tests are to run in their long form: the one place that reads it.

/// Whether this is `cargo xtask soak`, which sets `TOKENKEEP_SOAK=1`.
pub(crate) fn is_on() -> bool {
    std::env::var_os("TOKENKEEP_SOAK").is_some_and(|value| value == "1")
}
