//! How what Redis and the network say becomes [`StoreError`]s.

use std::{fmt, io};

use redis::{RedisError, ServerError};
use tokenkeep_core::{Outcome, StoreError, StoreErrorKind};

/// Why one request did not get done.
#[derive(Debug)]
pub(crate) struct Fault {
    /// What is told if nothing helps. Nothing was changed, unless the request is `lost`.
    pub(crate) error: StoreError,
    pub(crate) remedy: Remedy,
    /// Whether it was sent, and no answer came: it may have been done.
    pub(crate) lost: bool,
}

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing.
    None,
    /// To wait a little.
    Wait,
    /// To look for the primary and to connect again.
    Reconnect,
    /// The same, if the store is opened as one that follows its keys.
    Follow,
    /// To send the script, which the server does not know yet.
    SendScript,
}

impl Remedy {
    /// Whether the connection is of no use any more.
    pub(crate) fn needs_connection(self) -> bool {
        matches!(self, Self::Reconnect | Self::Follow)
    }
}

impl Fault {
    /// Nothing helps.
    pub(crate) fn final_(error: StoreError) -> Self {
        Self { error, remedy: Remedy::None, lost: false }
    }

    /// It may be there in a moment, perhaps on another node.
    pub(crate) fn passing(error: StoreError) -> Self {
        Self { error, remedy: Remedy::Reconnect, lost: false }
    }

    /// A server cannot be connected to.
    pub(crate) fn unreachable(error: &io::Error) -> Self {
        Self::passing(
            unavailable("the server cannot be reached")
                .with_hint("see whether it runs, and check host and port")
                .with_source(Reason::from(error)),
        )
    }

    /// A request that was sent got no answer.
    pub(crate) fn lost(reason: Option<&RedisError>) -> Self {
        let error = unavailable("the connection broke before the answer came");
        let error = match reason {
            Some(reason) => error.with_source(Reason(format!("{:?}", reason.kind()))),
            None => unavailable("the server did not answer in time"),
        };
        Self { lost: true, ..Self::passing(error) }
    }

    /// What a server says in the place of an answer.
    pub(crate) fn of(refusal: &ServerError) -> Self {
        let code = refusal.code();
        let details = refusal.details().unwrap_or_default();
        let (kind, message, hint, remedy) = match code {
            "LOADING" => (
                StoreErrorKind::Unavailable,
                "the server is reading its data",
                "wait until it is done",
                Remedy::Wait,
            ),
            "READONLY" => (
                StoreErrorKind::Unavailable,
                "the server is a replica, or has become one, and cannot be written to",
                "name the primary, or use ?sentinel=true or ?cluster=true, which follow it",
                Remedy::Reconnect,
            ),
            "MASTERDOWN" => (
                StoreErrorKind::Unavailable,
                "the server is a replica that has lost its primary",
                "name the primary",
                Remedy::Reconnect,
            ),
            "MOVED" | "ASK" => (
                StoreErrorKind::Unavailable,
                "the keys are on another node of a cluster",
                "add ?cluster=true to the store's URL",
                Remedy::Follow,
            ),
            "NOSCRIPT" => (
                StoreErrorKind::Other,
                "the server forgets scripts at once",
                "see which program runs SCRIPT FLUSH",
                Remedy::SendScript,
            ),
            "CLUSTERDOWN" => (
                StoreErrorKind::Unavailable,
                "the cluster is down, or no node serves the slot of the keys",
                "see `redis-cli cluster info`",
                Remedy::Reconnect,
            ),
            "TRYAGAIN" => (
                StoreErrorKind::Unavailable,
                "the slot of the keys is being moved to another node",
                "wait until it is done",
                Remedy::Reconnect,
            ),
            "NOREPLICAS" => (
                StoreErrorKind::Unavailable,
                "the server has fewer replicas than min-replicas-to-write asks for",
                "see to its replicas",
                Remedy::Reconnect,
            ),
            "BUSY" => (
                StoreErrorKind::Busy,
                "the server runs a long script",
                "see which program runs it",
                Remedy::Wait,
            ),
            "OOM" => (
                StoreErrorKind::Full,
                "the server has used up its memory (maxmemory)",
                "raise maxmemory, or remove what is not needed",
                Remedy::None,
            ),
            "MISCONF" => (
                StoreErrorKind::Unavailable,
                "the server cannot write to its disk, and so refuses to be written to",
                "see its log, and whether its disk is full",
                Remedy::None,
            ),
            "WRONGPASS" | "NOAUTH" => (
                StoreErrorKind::PermissionDenied,
                "the server does not accept the user and the password",
                "check the user, and ?password-env or ?password-file",
                Remedy::None,
            ),
            "DENIED" => (
                StoreErrorKind::PermissionDenied,
                "the server is in protected mode and takes connections from its own machine only",
                "give it a password, or set its bind addresses",
                Remedy::None,
            ),
            "NOPERM" => return Self::final_(forbidden(details)),
            "WRONGTYPE" => (
                StoreErrorKind::Corrupt,
                "a key of this prefix holds something else than the store keeps in it",
                "use another prefix, or remove the key if no other program needs it",
                Remedy::None,
            ),
            "TOOOLD" => (
                StoreErrorKind::Unsupported,
                "the server is older than Redis 7.0",
                "use a newer one",
                Remedy::None,
            ),
            _ => return Self::other(code, details),
        };
        let error = StoreError::new(kind, message).with_hint(hint);
        Self { error: error.with_source(Reason(code.to_owned())), remedy, lost: false }
    }

    /// The answers that have no code of their own are told apart by their words.
    fn other(code: &str, details: &str) -> Self {
        let (kind, message, hint, remedy) = if details.starts_with("max number of clients") {
            (
                StoreErrorKind::Unavailable,
                "the server has as many connections as it may have (maxclients)",
                "see who connects, or raise maxclients",
                Remedy::Reconnect,
            )
        } else if details.contains("without any password configured") {
            (
                StoreErrorKind::PermissionDenied,
                "a password was given, and the server has none",
                "leave the password out, or name a user",
                Remedy::None,
            )
        } else if details.contains("DB index is out of range")
            || details.contains("SELECT is not allowed in cluster mode")
        {
            (
                StoreErrorKind::Unavailable,
                "the server has no database of this number",
                "a cluster has database 0 only; others have those that `databases` says",
                Remedy::None,
            )
        } else if details.starts_with("unknown command") || details.starts_with("Unknown") {
            (
                StoreErrorKind::Unsupported,
                "the server does not know a command that the store needs",
                "use Redis 7.0 or newer, with no command renamed",
                Remedy::None,
            )
        } else {
            (
                StoreErrorKind::Other,
                "the server reported an error",
                "see the source, and the server's log",
                Remedy::None,
            )
        };
        let error = StoreError::new(kind, message).with_hint(hint);
        Self { error: error.with_source(Reason(code.to_owned())), remedy, lost: false }
    }
}

/// The permission of a user lacks a command, which is named, or a key.
fn forbidden(details: &str) -> StoreError {
    // "… no permissions to run the 'hset' command": the name is the first that is quoted.
    let command = details
        .split('\'')
        .nth(1)
        .filter(|name| {
            name.bytes().all(|byte| byte.is_ascii_alphabetic() || b"|_-".contains(&byte))
        })
        .filter(|_name| details.contains("command"));
    let message = match command {
        Some(name) => format!("the user may not run {} on these keys", name.to_uppercase()),
        None => "the user may not read or write these keys".to_owned(),
    };
    StoreError::new(StoreErrorKind::PermissionDenied, message)
        .with_hint("see `ACL GETUSER`; what the store needs stands in its documentation")
        .with_source(Reason("NOPERM".to_owned()))
}

pub(crate) fn unavailable(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message)
}

/// What is stored cannot be read; `what` names the place, not the content.
pub(crate) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what)
}

pub(crate) fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

/// The script answered what it does not say.
pub(crate) fn unexpected() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the server gave an answer that the store does not know")
        .with_hint("see whether it is Redis, and its version")
}

/// A change of which nobody knows whether it was made.
pub(crate) fn unknown(error: StoreError) -> StoreError {
    error.with_outcome(Outcome::Unknown)
}

/// The code of an error, without what else was said: that may hold values.
pub(crate) struct Reason(pub(crate) String);

impl From<&io::Error> for Reason {
    fn from(error: &io::Error) -> Self {
        Self(error.kind().to_string())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Reason {}
