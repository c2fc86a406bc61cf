//! The scripts that Redis runs, and how they are called.

use std::{fmt, sync::LazyLock};

use redis::Cmd;

use crate::keys::Keys;

/// A script and its hash.
pub(crate) struct Script {
    code: &'static str,
    hash: String,
}

macro_rules! script {
    ($(#[$doc:meta])* $name:ident = $flags:literal, $($part:literal),*) => {
        $(#[$doc])*
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            let code = concat!($flags, "\n", $(include_str!(concat!("lua/", $part, ".lua"))),*);
            Script { code, hash: redis::Script::new(code).get_hash().to_owned() }
        });
    };
}

script!(OPEN = "#!lua flags=no-writes", "head", "places", "writing", "open");
script!(LOOK = "#!lua flags=no-writes", "head", "look");
script!(FIND = "#!lua flags=no-writes", "head", "find");
script!(LIST = "#!lua flags=no-writes", "head", "places", "list");
script!(MARK = "#!lua flags=no-writes", "head", "places", "mark");
script!(COMMIT = "#!lua", "head", "places", "writing", "commit");
script!(
    /// Allowed where memory is used up: it makes room.
    REMOVE = "#!lua flags=allow-oom", "head", "places", "writing", "remove"
);

/// A script with its arguments.
pub(crate) struct Call {
    script: &'static Script,
    arguments: Vec<String>,
}

impl Call {
    pub(crate) fn new(script: &'static LazyLock<Script>, arguments: Vec<String>) -> Self {
        Self { script: LazyLock::force(script), arguments }
    }

    /// The command by which a server that knows the script runs it.
    pub(crate) fn by_hash(&self, keys: &Keys) -> Cmd {
        self.command("EVALSHA", &self.script.hash, keys)
    }

    /// The command by which any server runs it, and knows it afterwards.
    pub(crate) fn by_code(&self, keys: &Keys) -> Cmd {
        self.command("EVAL", self.script.code, keys)
    }

    fn command(&self, name: &str, script: &str, keys: &Keys) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(2).arg(&keys.store).arg(&keys.never).arg(&self.arguments);
        command
    }
}

/// Without the arguments, which may be secrets.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("script", &self.script.hash).finish_non_exhaustive()
    }
}
