//! One change at a time, among the processes of this machine.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokenkeep_core::{StoreError, StoreErrorKind};

/// The file that processes exclude each other by. It is never removed: a process might hold the
/// lock of the removed file and another one that of the new.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    timeout: Duration,
}

/// The right to change the store; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Locked {
    _file: File,
}

impl Lock {
    /// A lock in a directory that nobody else may write to.
    pub(crate) fn new(directory: &Path, name: &str, timeout: Duration) -> Result<Self, StoreError> {
        let failed = |error: io::Error| {
            let message = format!("{} cannot be used for the lock", directory.display());
            StoreError::new(StoreErrorKind::Unavailable, message)
                .with_hint("set XDG_RUNTIME_DIR to a private directory of yours")
                .with_source(error)
        };
        let metadata = fs::metadata(directory).map_err(failed)?;
        if !metadata.is_dir() || !is_private(&metadata) {
            let message = format!("{} is not a private directory", directory.display());
            return Err(StoreError::new(StoreErrorKind::PermissionDenied, message)
                .with_hint("XDG_RUNTIME_DIR must be a directory that only you may write to"));
        }
        let lock = Self { path: directory.join(name), timeout };
        lock.open().map_err(failed)?;
        Ok(lock)
    }

    /// Waits for the lock, no longer than the time limit.
    pub(crate) fn take(&self) -> Result<Locked, StoreError> {
        let failed = |error: io::Error| {
            let message = format!("cannot lock {}", self.path.display());
            StoreError::new(StoreErrorKind::Unavailable, message)
                .with_hint("look at the directory and its permissions")
                .with_source(error)
        };
        let mut waited = Duration::ZERO;
        let mut step = Duration::from_micros(200);
        let file = self.open().map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            if waited >= self.timeout {
                let message =
                    format!("another process changes the store for over {waited:?} already");
                return Err(StoreError::new(StoreErrorKind::Busy, message)
                    .with_hint("see whether it waits for the keyring to be unlocked; try again"));
            }
            pause(step);
            waited += step;
            step = (step * 2).min(Duration::from_millis(5));
        }
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path)
    }
}

#[cfg(unix)]
fn is_private(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o022 == 0
}

#[cfg(not(unix))]
fn is_private(_metadata: &fs::Metadata) -> bool {
    true
}

/// Lets time pass while another process is at work.
fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a lock with a time limit has no event to wait for; only blocking threads come \
                  here, and the wait is bounded"
    )]
    std::thread::sleep(time);
}
