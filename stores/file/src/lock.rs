//! One change at a time: among the tasks of this process, then among processes.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokenkeep_core::{StoreError, StoreErrorKind};

use crate::{
    atomic,
    error::io_error,
    stamp::{Stamp, version},
};

/// Lets one change at a time pass.
///
/// The lock file beside the token file is what processes exclude each other by. It is never
/// removed: a process might hold the lock of the removed file and another one that of the new.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    timeout: Duration,
    taken: Mutex<bool>,
    freed: Condvar,
}

/// The right to change the store; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    lock: &'a Lock,
    /// Closing it gives the lock of the processes back.
    _file: Option<File>,
}

impl Lock {
    pub(crate) fn new(path: PathBuf, timeout: Duration) -> Self {
        Self { path, timeout, taken: Mutex::new(false), freed: Condvar::new() }
    }

    /// Waits for the lock, no longer than the store's time limit.
    ///
    /// A lock file that is made is given to the owner of `like`.
    pub(crate) fn take(&self, like: &Path) -> Result<Locked<'_>, StoreError> {
        let (mut taken, waiting) = self
            .freed
            .wait_timeout_while(self.taken(), self.timeout, |taken| *taken)
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.timed_out() && *taken {
            return Err(self.busy("another task of this process"));
        }
        *taken = true;
        drop(taken);
        let mut locked = Locked { lock: self, _file: None };
        locked._file = Some(self.take_file(like)?);
        Ok(locked)
    }

    /// Whether any process has ever changed the store.
    pub(crate) fn has_been_used(&self) -> bool {
        self.path.exists()
    }

    /// Takes the lock if nobody has it.
    pub(crate) fn try_take(&self, like: &Path) -> Option<Locked<'_>> {
        let mut taken = self.taken();
        if *taken {
            return None;
        }
        *taken = true;
        drop(taken);
        let mut locked = Locked { lock: self, _file: None };
        let file = self.open(like).ok()?;
        file.try_lock().ok()?;
        locked._file = Some(file);
        Some(locked)
    }

    fn taken(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_file(&self, like: &Path) -> Result<File, StoreError> {
        let mut waited = Duration::ZERO;
        let mut step = Duration::from_micros(200);
        loop {
            let mut file = self.open(like).map_err(|error| io_error("lock", &self.path, error))?;
            match file.try_lock() {
                Ok(()) if self.is_current(&file) => {
                    if let Err(error) = sign(&mut file) {
                        tracing::debug!(%error, "cannot write our process id to the lock file");
                    }
                    return Ok(file);
                }
                // Somebody removed the lock file: what we hold is no lock.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(io_error("lock", &self.path, error));
                }
            }
            if waited >= self.timeout {
                return Err(self.busy(&holder(&mut file)));
            }
            pause(step);
            waited += step;
            step = (step * 2).min(Duration::from_millis(5));
        }
    }

    fn open(&self, like: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let is_new = !self.path.exists();
        let file = options.open(&self.path)?;
        if is_new {
            atomic::give_to_owner_of(&file, like)?;
        }
        Ok(file)
    }

    fn is_current(&self, file: &File) -> bool {
        let ours = file.metadata().map(|metadata| Stamp::of(&metadata));
        match (ours, version(&self.path)) {
            (Ok(ours), Ok(Some(there))) => ours.same_file(&there),
            _ => false,
        }
    }

    fn busy(&self, who: &str) -> StoreError {
        StoreError::new(
            StoreErrorKind::Busy,
            format!(
                "{who} has held {} for over {} ms",
                self.path.display(),
                self.timeout.as_millis()
            ),
        )
        .with_hint("try again, or end that process if it hangs; do not remove the lock file")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // First the processes' lock, then the tasks'.
        self._file = None;
        *self.lock.taken() = false;
        self.lock.freed.notify_one();
    }
}

/// Lets time pass while another program is at work on a file.
pub(crate) fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "neither a lock with a time limit nor another program's writes have an event to \
                  wait for; only blocking threads come here, and all waits are bounded"
    )]
    std::thread::sleep(time);
}

/// Writes who has the lock into the lock file, for the message of those who wait in vain.
fn sign(file: &mut File) -> io::Result<()> {
    // Always as wide, so that nothing of a longer one stays behind.
    file.write_all(format!("{:10}\n", std::process::id()).as_bytes())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let process = match file.rewind().and_then(|()| file.take(32).read_to_string(&mut text)) {
        Ok(_) => text.trim().parse::<u32>().ok(),
        Err(_) => None,
    };
    process.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"))
}
