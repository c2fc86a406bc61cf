use std::{error::Error, fmt};

/// Why there is no server.
#[derive(Clone, Debug)]
pub struct Missing {
    reason: String,
    is_fault: bool,
}

impl Missing {
    /// This machine does not have it: a test that needs it is skipped.
    pub(crate) fn absent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_fault: false }
    }

    /// It is here and does not work: a test that needs it fails.
    pub(crate) fn fault(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_fault: true }
    }

    pub(crate) fn program(name: &str, package: &str) -> Self {
        Self::absent(format!(
            "no {name} here (package {package}; `cargo xtask servers fetch` gets it without root)"
        ))
    }

    /// Whether there is a server that does not work, rather than none. Skipping would hide that.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        self.is_fault
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Missing {}

impl From<std::io::Error> for Missing {
    fn from(error: std::io::Error) -> Self {
        Self::fault(error.to_string())
    }
}
