//! How SQLite's result codes become [`StoreError`]s.

use std::fmt;

use rusqlite::{ErrorCode, ffi};
use tokenkeep_core::{Outcome, StoreError, StoreErrorKind};

/// Why work on a connection did not get done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// For good.
    Store(StoreError),
    /// Somebody else has the lock: the same may work after waiting.
    Busy(SqliteError),
    /// The file has been removed, replaced or emptied, or the tables are gone: the same may work
    /// after opening again.
    Stale,
}

impl Fault {
    /// What is told when neither waiting nor opening again has helped.
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Busy(code) => {
                StoreError::new(StoreErrorKind::Busy, "another process is using the database")
                    .with_hint("try again, or open with a longer busy timeout")
                    .with_source(code)
            }
            Self::Stale => StoreError::new(
                StoreErrorKind::Unavailable,
                "the database keeps being removed or replaced",
            )
            .with_hint("see which other program changes the file"),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Fault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "most kinds mean nothing to a store")]
    fn from(error: rusqlite::Error) -> Self {
        let (code, message) = match &error {
            rusqlite::Error::SqliteFailure(code, message) => (*code, message.as_deref()),
            rusqlite::Error::SqlInputError { error: code, msg, .. } => (*code, Some(msg.as_str())),
            other => {
                // The rest are conversions, which `rows` makes itself, and misuse of the driver.
                let kind = match other {
                    rusqlite::Error::InvalidPath(_) | rusqlite::Error::NulError(_) => {
                        StoreErrorKind::Invalid
                    }
                    _ => StoreErrorKind::Other,
                };
                return Self::Store(StoreError::new(kind, "SQLite could not be used as expected"));
            }
        };
        let message = message.unwrap_or_default();
        let gone = ["no such table", "no such column"].iter().any(|m| message.starts_with(m));
        if code.extended_code == ffi::SQLITE_READONLY_DBMOVED || gone {
            return Self::Stale;
        }
        let source = SqliteError::new(code, message);
        let (kind, message, hint) = match code.code {
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed => return Self::Busy(source),
            ErrorCode::DiskFull => (
                StoreErrorKind::Full,
                "the disk or the quota is full",
                "make room; nothing was changed",
            ),
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied => (
                StoreErrorKind::PermissionDenied,
                "the database may not be written",
                "give this user write permission for the file and its directory, or open the store read-only",
            ),
            ErrorCode::CannotOpen => (
                StoreErrorKind::PermissionDenied,
                "the database or what SQLite keeps beside it may not be opened",
                "give this user permission for the file and write permission for its directory",
            ),
            ErrorCode::NotADatabase => (
                StoreErrorKind::Corrupt,
                "the file is not a SQLite database",
                "check the path, or restore a backup",
            ),
            ErrorCode::DatabaseCorrupt => (
                StoreErrorKind::Corrupt,
                "the database is damaged",
                "restore a backup; `sqlite3 FILE .recover` may save what is left",
            ),
            ErrorCode::SystemIoFailure => (
                StoreErrorKind::Unavailable,
                "the disk could not be read or written",
                "see the system's log for errors of the disk",
            ),
            ErrorCode::TooBig => {
                (StoreErrorKind::Invalid, "a value is too large for SQLite", "shorten it")
            }
            ErrorCode::ConstraintViolation => (
                StoreErrorKind::Invalid,
                "a constraint of the table forbids it",
                "see what the table's definition asks for beyond the official layout",
            ),
            _ => (StoreErrorKind::Other, "SQLite reported an error", "see the source"),
        };
        Self::Store(StoreError::new(kind, message).with_hint(hint).with_source(source))
    }
}

/// A failed commit: where the device failed, nobody knows what holds.
pub(crate) fn failed_commit(error: rusqlite::Error) -> Fault {
    let unknown = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
    match Fault::from(error) {
        Fault::Store(error) if unknown => Fault::Store(error.with_outcome(Outcome::Unknown)),
        fault @ (Fault::Store(_) | Fault::Busy(_) | Fault::Stale) => fault,
    }
}

/// A result code of SQLite in words. It holds nothing of a statement or its values.
pub(crate) struct SqliteError {
    extended_code: i32,
    /// Only of code 1, which is about statements as they are written, and says nothing otherwise.
    message: Option<String>,
}

impl SqliteError {
    fn new(code: ffi::Error, message: &str) -> Self {
        Self {
            extended_code: code.extended_code,
            message: (code.extended_code == ffi::SQLITE_ERROR).then(|| message.to_owned()),
        }
    }
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = ffi::code_to_str(self.extended_code);
        match &self.message {
            Some(message) => write!(f, "{message} (SQLite code {})", self.extended_code),
            None => write!(f, "{words} (SQLite code {})", self.extended_code),
        }
    }
}

impl fmt::Debug for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for SqliteError {}

/// What is stored cannot be read; `what` names the place, not the content.
pub(crate) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("test-value".to_owned()))
    }

    #[test]
    fn a_commit_that_the_device_fails_is_unknown() {
        let error = failed_commit(failed(ffi::SQLITE_IOERR_FSYNC)).into_error();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert_eq!(error.outcome(), Outcome::Unknown);
        let error = failed_commit(failed(ffi::SQLITE_FULL)).into_error();
        assert_eq!(error.outcome(), Outcome::NotApplied);
        let error = Fault::from(failed(ffi::SQLITE_IOERR_READ)).into_error();
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }

    #[test]
    fn what_sqlite_says_of_values_is_not_repeated() {
        let error = Fault::from(failed(ffi::SQLITE_CONSTRAINT_CHECK)).into_error();
        assert!(!format!("{error:?}").contains("test-value"));
        assert_eq!(
            std::error::Error::source(&error).map(ToString::to_string).as_deref(),
            Some("constraint failed (SQLite code 275)")
        );
    }

    #[test]
    fn every_kind_that_a_caller_can_act_on_is_told_apart() {
        for (code, kind) in [
            (ffi::SQLITE_BUSY, StoreErrorKind::Busy),
            (ffi::SQLITE_LOCKED, StoreErrorKind::Busy),
            (ffi::SQLITE_FULL, StoreErrorKind::Full),
            (ffi::SQLITE_READONLY_DIRECTORY, StoreErrorKind::PermissionDenied),
            (ffi::SQLITE_CANTOPEN, StoreErrorKind::PermissionDenied),
            (ffi::SQLITE_PERM, StoreErrorKind::PermissionDenied),
            (ffi::SQLITE_CORRUPT_INDEX, StoreErrorKind::Corrupt),
            (ffi::SQLITE_NOTADB, StoreErrorKind::Corrupt),
            (ffi::SQLITE_IOERR, StoreErrorKind::Unavailable),
            (ffi::SQLITE_TOOBIG, StoreErrorKind::Invalid),
            (ffi::SQLITE_NOMEM, StoreErrorKind::Other),
        ] {
            let error = Fault::from(failed(code)).into_error();
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.hint().is_some(), "{code}");
        }
    }
}
