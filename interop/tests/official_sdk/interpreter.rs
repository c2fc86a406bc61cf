//! Which Python has the official SDK, and what becomes of the tests where none has.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A Python that has the official SDK, if this machine has one.
pub(crate) struct Interpreter {
    path: Option<PathBuf>,
    required: bool,
}

impl Interpreter {
    /// The one that `TOKENKEEP_SDK_PYTHON` names, or the one that `cargo xtask test` made.
    pub(crate) fn find() -> Self {
        let made = workspace().join("target/interop/venv/bin/python");
        let named = variable("TOKENKEEP_SDK_PYTHON").map(PathBuf::from);
        Self {
            path: named.or_else(|| made.exists().then_some(made)),
            required: variable("TOKENKEEP_REQUIRE").is_some_and(|value| value == "all"),
        }
    }

    /// Where it is; without one a test that runs all the same has failed.
    pub(crate) fn path(&self) -> Result<&Path, &'static str> {
        let path = self.path.as_deref();
        path.ok_or("TOKENKEEP_SDK_PYTHON is not set, and TOKENKEEP_REQUIRE is `all`")
    }

    /// Whether tests show as ignored.
    pub(crate) fn is_skipped(&self) -> bool {
        self.path.is_none() && !self.required
    }

    /// What a skipped test says after its name.
    pub(crate) fn why_skipped(&self) -> &'static str {
        if self.is_skipped() { " (skipped: TOKENKEEP_SDK_PYTHON is not set)" } else { "" }
    }
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how these tests are configured")]
    env::var(name).ok().filter(|value| !value.is_empty())
}
