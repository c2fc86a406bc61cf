//! Errors of the file system in the words of [`StoreError`].

use std::{io, path::Path};

use tokenkeep_core::{StoreError, StoreErrorKind};

/// What the file system refused while we tried to do `action` to `path`.
pub(crate) fn io_error(action: &str, path: &Path, error: io::Error) -> StoreError {
    use io::ErrorKind as Io;
    let shown = path.display();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the list of I/O errors is open")]
    let (kind, hint) = match error.kind() {
        Io::PermissionDenied => (
            StoreErrorKind::PermissionDenied,
            format!("check who owns {shown} and its directory, and their modes"),
        ),
        Io::ReadOnlyFilesystem => (
            StoreErrorKind::PermissionDenied,
            "the file system is read-only: keep the token file elsewhere".to_owned(),
        ),
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => (
            StoreErrorKind::Full,
            "the token file is as it was; free some space and try again".to_owned(),
        ),
        Io::NotFound | Io::NotADirectory => (
            StoreErrorKind::Unavailable,
            format!("create the directory of {shown} first, or correct the path"),
        ),
        Io::IsADirectory => return not_a_file(path),
        _ => (StoreErrorKind::Unavailable, format!("check {shown} and the disk it is on")),
    };
    StoreError::new(kind, format!("cannot {action} {shown}")).with_hint(hint).with_source(error)
}

/// `path` is a directory, a device or the like.
pub(crate) fn not_a_file(path: &Path) -> StoreError {
    let what = if path.is_dir() { "is a directory" } else { "is not a regular file" };
    StoreError::new(StoreErrorKind::Unavailable, format!("{} {what}", path.display()))
        .with_hint("name a file in it, for example tokens.csv")
}

/// Rows of the file cannot be read, and the answer may be among them.
pub(crate) fn damaged(path: &Path, damage: &[String]) -> StoreError {
    const SHOWN: usize = 8;
    let mut list = damage.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    if damage.len() > SHOWN {
        list.push_str(&format!("; and {} more", damage.len() - SHOWN));
    }
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("{} has rows that cannot be read: {list}", path.display()),
    )
    .with_hint("repair or remove these lines; the other tokens can be used meanwhile")
}

/// The file has content, but nothing in it is a token file's.
pub(crate) fn not_a_token_file(path: &Path) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("{} has neither a header nor a readable row: not a token file", path.display()),
    )
    .with_hint("name another file, or move this one away: nothing was written to it")
}

/// A program that does not take our lock writes the file again and again.
pub(crate) fn kept_busy(path: &Path) -> StoreError {
    StoreError::new(
        StoreErrorKind::Busy,
        format!("another program keeps writing {}", path.display()),
    )
    .with_hint("try again; an official SDK that saves to this file does not take our lock")
}
