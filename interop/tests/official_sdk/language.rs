//! The languages whose official SDK is driven, where it is here, and what becomes of the tests
//! where it is not.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// A language that the official SDK is driven in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// Version 7.0.0.
    Python,
    /// Version 2.0.0.
    Node,
}

impl Language {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// The variable that says where it is: an interpreter that has the SDK, or a directory with
    /// its `node_modules`.
    const fn variable(self) -> &'static str {
        match self {
            Self::Python => "TOKENKEEP_SDK_PYTHON",
            Self::Node => "TOKENKEEP_SDK_NODE",
        }
    }

    /// Where `cargo xtask test` puts it.
    const fn made(self) -> &'static str {
        match self {
            Self::Python => "target/interop/venv/bin/python",
            Self::Node => "target/interop/node",
        }
    }

    fn place(self) -> Option<PathBuf> {
        let made = workspace().join(self.made());
        let named = variable(self.variable()).map(PathBuf::from);
        named.or_else(|| made.exists().then_some(made))
    }

    /// Why its tests cannot run, if they cannot.
    pub(crate) fn missing(self) -> Option<String> {
        self.place().is_none().then(|| format!("{} is not set", self.variable()))
    }

    /// What runs a program that uses the SDK.
    pub(crate) fn command(self) -> Command {
        let place = self.place().expect("who is missing is not driven");
        let mut command;
        match self {
            Self::Python => {
                command = Command::new(place);
                command.env("PYTHONUTF8", "1").env("PYTHONDONTWRITEBYTECODE", "1");
            }
            Self::Node => {
                command = Command::new("node");
                command.env("TOKENKEEP_SDK_NODE", place);
            }
        }
        command
    }

    /// The driver.
    pub(crate) fn driver(self) -> Command {
        let mut command = self.command();
        command.arg(workspace().join(match self {
            Self::Python => "interop/sdk_driver.py",
            Self::Node => "interop/sdk_driver.mjs",
        }));
        command
    }
}

/// Whether a test that cannot run is a failure.
pub(crate) fn is_required() -> bool {
    variable("TOKENKEEP_REQUIRE").is_some_and(|value| value == "all")
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how these tests are configured")]
    env::var(name).ok().filter(|value| !value.is_empty())
}
