//! The place of a database in the file system: making the file, and noticing that it is not the
//! one that was opened any more.

use std::{
    fs::{self, Metadata, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokenkeep_core::{Outcome, StoreError, StoreErrorKind};

use crate::error::corrupt;

/// Which file it was that a connection opened.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    path: PathBuf,
    file: FileId,
    /// The write-ahead log that belonged to it.
    log: Option<FileId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Elsewhere an open file can be neither removed nor replaced.
    #[cfg(not(unix))]
    fn of(_metadata: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }

    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }
}

impl Site {
    /// What is at `path` now; `None` if there is no file.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let file = FileId::at(path)?;
        let log = FileId::at(&beside(path, "-wal"));
        Some(Self { path: path.to_owned(), file, log })
    }

    /// Whether the file at the path is still the one that was opened, and has something in it.
    pub(crate) fn holds(&self) -> bool {
        fs::metadata(&self.path)
            .is_ok_and(|metadata| metadata.len() > 0 && FileId::of(&metadata) == self.file)
    }

    pub(crate) fn same_file(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

/// Sees to it that there is a file at `path` that SQLite can open; `before` is what a connection
/// had open there until now.
///
/// A file that is made is its owner's alone, before SQLite sees it. When the database has been
/// removed, replaced or emptied under open connections, their log is still beside it, and
/// SQLite would take it for the new file's: it goes first.
pub(crate) fn prepare(path: &Path, before: Option<&Site>) -> Result<(), StoreError> {
    // Closing a file releases the locks that SQLite has on it anywhere in this process. So
    // nothing may open a database between the making of its file and the closing of it.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);

    match fs::metadata(path) {
        Ok(metadata) => {
            check_file(path, &metadata)?;
            let moved = before.is_some_and(|site| !site.holds());
            if moved { recover(path, before) } else { Ok(()) }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            check_parent(path)?;
            recover(path, before)
        }
        Err(error) => Err(unreachable_file(path, error)),
    }
}

/// Checks that `path` can be opened read-only.
pub(crate) fn check_existing(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => check_file(path, &metadata),
        Err(error) => {
            check_parent(path)?;
            Err(unreachable_file(path, error))
        }
    }
}

/// The path of what SQLite keeps beside a database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    // SQLite follows links before it appends the suffix.
    let mut name =
        fs::canonicalize(path).unwrap_or_else(|_missing| path.to_owned()).into_os_string();
    name.push(suffix);
    name.into()
}

/// Removes what belongs to a file that is gone, and makes a new one where there is none. Others
/// that do the same wait meanwhile.
fn recover(path: &Path, before: Option<&Site>) -> Result<(), StoreError> {
    let failed = |error| not_made(path, error);
    let guard = Guard::take(&beside(path, "-tokenkeep-lock"), PATIENCE).map_err(failed)?;
    let now = fs::metadata(path).ok();
    let made_already = now.as_ref().is_some_and(|metadata| {
        metadata.len() > 0 || before.is_none_or(|site| FileId::of(metadata) != site.file)
    });
    let log = beside(path, "-wal");
    let log_is_stale =
        before.is_some_and(|site| site.log.is_some() && site.log == FileId::at(&log));
    if !made_already || log_is_stale {
        for stale in [log, beside(path, "-shm"), beside(path, "-journal")] {
            remove(&stale).map_err(failed)?;
        }
    }
    if !made_already {
        if now.is_some() {
            remove(&beside(path, "")).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(failed)?;
    }
    drop(guard);
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How long the making of a file waits for another process that makes it. That takes moments.
const PATIENCE: Duration = Duration::from_secs(5);

/// A lock across processes that is there only while it is held.
struct Guard {
    path: PathBuf,
    _locked: fs::File,
}

impl Guard {
    fn take(path: &Path, patience: Duration) -> io::Result<Self> {
        const STEP: Duration = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if waited >= patience => {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        format!("another process keeps {} locked", path.display()),
                    ));
                }
                Err(TryLockError::WouldBlock) => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "a lock with a time limit has no event to wait for"
                    )]
                    std::thread::sleep(STEP);
                    waited += STEP;
                    continue;
                }
            }
            // The holder before may have removed it while this one waited.
            if FileId::at(path) == Some(FileId::of(&file.metadata()?)) {
                return Ok(Self { path: path.to_owned(), _locked: file });
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::debug!(%error, "could not remove a lock file");
        }
    }
}

fn check_file(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    let wrong = |what| {
        Err(StoreError::new(StoreErrorKind::Unavailable, format!("{} {what}", path.display()))
            .with_outcome(Outcome::Final)
            .with_hint("name a file, for example zohooauth.db in that place"))
    };
    if metadata.is_dir() {
        wrong("is a directory")
    } else if !metadata.is_file() {
        wrong("is not a regular file")
    } else {
        Ok(())
    }
}

fn check_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(path);
    match fs::metadata(parent) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(unreachable_file(path, error))
        }
        Ok(_) | Err(_) => Err(StoreError::new(
            StoreErrorKind::Unavailable,
            format!("there is no directory {}", parent.display()),
        )
        .with_outcome(Outcome::Final)
        .with_hint(format!("make it: mkdir -p '{}'", parent.display()))),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most kinds mean nothing to a store")]
fn unreachable_file(path: &Path, error: io::Error) -> StoreError {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound => {
            StoreError::new(StoreErrorKind::Unavailable, format!("there is no file {shown}"))
                .with_outcome(Outcome::Final)
                .with_hint("check the path; opened read-only, a database is not made")
        }
        ErrorKind::PermissionDenied => {
            StoreError::new(StoreErrorKind::PermissionDenied, format!("{shown} may not be reached"))
                .with_hint("give this user permission for the file and the directories above it")
        }
        _ => StoreError::new(StoreErrorKind::Unavailable, format!("{shown} cannot be reached")),
    }
    .with_source(error)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most kinds mean nothing to a store")]
fn not_made(path: &Path, error: io::Error) -> StoreError {
    let shown = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::new(StoreErrorKind::PermissionDenied, format!("{shown} may not be made"))
                .with_hint("give this user write permission for its directory")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::new(StoreErrorKind::Full, format!("there is no room to make {shown}"))
        }
        ErrorKind::IsADirectory => corrupt(format!("{shown} is a directory")),
        _ => StoreError::new(StoreErrorKind::Unavailable, format!("{shown} could not be made")),
    }
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_is_gone_after_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        prepare(&path, None).unwrap();
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["a.db"]);
    }

    #[test]
    fn a_lock_that_is_not_let_go_is_not_waited_for_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db-tokenkeep-lock");
        let held = Guard::take(&path, Duration::ZERO).unwrap();
        let error = Guard::take(&path, Duration::from_millis(2)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(held);
        Guard::take(&path, Duration::ZERO).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_stale_log_goes_with_the_file_it_belonged_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let log = directory.path().join("a.db-wal");
        for name in [&path, &log] {
            OpenOptions::new().write(true).create(true).truncate(true).open(name).unwrap();
        }
        let before = Site::at(&path).unwrap();
        fs::remove_file(&path).unwrap();
        prepare(&path, Some(&before)).unwrap();
        assert!(path.exists());
        assert!(!log.exists());
    }
}
