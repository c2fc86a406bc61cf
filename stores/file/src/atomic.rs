//! Replacing a file as a whole: whoever opens it, and whatever crashes, sees the old or the new.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;
use tokenkeep_core::{Outcome, StoreError, StoreErrorKind};

use crate::{
    error::io_error,
    stamp::{Stamp, Version},
};

const SUFFIX: &str = ".tokenkeep-tmp";

/// Writes the files of one store: temporary file beside it, 0600 from the first byte, flushed to
/// the disk, renamed, and the rename flushed too.
#[derive(Debug)]
pub(crate) struct AtomicWriter {
    directory: PathBuf,
    /// How the names of our temporary files begin.
    prefix: OsString,
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

/// What became of a replacement.
#[derive(Debug)]
pub(crate) enum Written {
    Done(Version),
    /// Somebody changed the file in the meantime; nothing was done.
    Changed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Write,
    Sync,
    Rename,
    SyncDirectory,
}

impl AtomicWriter {
    /// A writer for the files that stand beside `path`.
    pub(crate) fn beside(path: &Path) -> Self {
        let mut prefix = OsString::from(".");
        prefix.push(path.file_name().unwrap_or_default());
        prefix.push(".");
        Self {
            directory: directory_of(path).to_owned(),
            prefix,
            #[cfg(test)]
            faults: faults::Faults::default(),
        }
    }

    /// Replaces the file at `path` by one with this content, if `is_current` still says so at the
    /// last moment. A new file is given to the owner of `like`.
    ///
    /// # Errors
    ///
    /// What the file system refused. The old file is whole then, unless the outcome is unknown:
    /// the new one is in its place, but may not survive a loss of power.
    pub(crate) fn replace(
        &self,
        path: &Path,
        content: &[u8],
        like: &Path,
        is_current: impl FnOnce() -> bool,
    ) -> Result<Written, StoreError> {
        let failed = |error| io_error("write", path, error);
        let file = self.temporary(content, like).map_err(|error| match error {
            NotWritten::Io(error) => failed(error),
            NotWritten::Owner(error) => another_owner(like, error),
        })?;
        if !is_current() {
            return Ok(Written::Changed);
        }
        self.at(Step::Rename).map_err(failed)?;
        let file = file.persist(path).map_err(|error| failed(error.error))?;
        let version = file.metadata().map(|metadata| Some(Stamp::of(&metadata)));
        self.sync_directory()
            .map_err(|error| failed(error).with_outcome(Outcome::Unknown))
            .and_then(|()| {
                version.map(Written::Done).map_err(|error| {
                    io_error("look at", path, error).with_outcome(Outcome::Unknown)
                })
            })
    }

    /// Moves `path` to the first free name of `path.damaged-1`, `path.damaged-2` …
    pub(crate) fn set_aside(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let failed = |error| io_error("set aside", path, error);
        let mut number = 1_u32;
        loop {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".damaged-{number}"));
            let aside = PathBuf::from(name);
            if fs::symlink_metadata(&aside).is_err() {
                fs::rename(path, &aside).map_err(failed)?;
                self.sync_directory().map_err(failed)?;
                return Ok(aside);
            }
            number += 1;
        }
    }

    /// Removes the temporary files that crashed processes left. Only for who has the lock.
    pub(crate) fn clean(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            if self.is_ours(&entry.file_name()) {
                match fs::remove_file(entry.path()) {
                    Ok(()) => tracing::debug!("removed the temporary file of a crashed process"),
                    Err(error) => tracing::debug!(%error, "cannot remove a temporary file"),
                }
            }
        }
    }

    /// Whether a file of this name is a temporary one of this store.
    pub(crate) fn is_ours(&self, name: &OsStr) -> bool {
        name.as_encoded_bytes()
            .strip_prefix(self.prefix.as_encoded_bytes())
            .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()))
            .is_some_and(|random| random.len() == 6 && random.iter().all(u8::is_ascii_alphanumeric))
    }

    fn temporary(&self, content: &[u8], like: &Path) -> Result<NamedTempFile, NotWritten> {
        self.at(Step::Create)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(&self.prefix).suffix(SUFFIX).rand_bytes(6);
        #[cfg(unix)]
        let private: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        #[cfg(unix)]
        builder.permissions(private.clone());
        let mut file = builder.tempfile_in(&self.directory)?;
        // The umask can have taken away more than it should.
        #[cfg(unix)]
        file.as_file().set_permissions(private)?;
        give_to_owner_of(file.as_file(), like).map_err(NotWritten::Owner)?;
        self.write(file.as_file_mut(), content)?;
        self.at(Step::Sync)?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    fn write(&self, file: &mut impl Write, content: &[u8]) -> io::Result<()> {
        let (first, second) = content.split_at(content.len() / 2);
        file.write_all(first)?;
        self.at(Step::Write)?;
        file.write_all(second)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.at(Step::SyncDirectory)?;
        if cfg!(unix) { File::open(&self.directory)?.sync_all() } else { Ok(()) }
    }

    #[cfg(test)]
    fn at(&self, step: Step) -> io::Result<()> {
        self.faults.at(step)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "where tests put faults")]
    fn at(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }
}

enum NotWritten {
    Io(io::Error),
    Owner(io::Error),
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The directory that `path` stands in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Gives `file` to whoever owns the file at `like`, so that what an administrator changes stays
/// readable for the service it belongs to.
#[cfg(unix)]
pub(crate) fn give_to_owner_of(file: &File, like: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let Ok(like) = fs::metadata(like) else { return Ok(()) };
    let ours = file.metadata()?;
    if ours.uid() != like.uid() {
        fchown(file, Some(like.uid()), Some(like.gid()))?;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn give_to_owner_of(_file: &File, _like: &Path) -> io::Result<()> {
    Ok(())
}

fn another_owner(like: &Path, error: io::Error) -> StoreError {
    StoreError::new(
        StoreErrorKind::PermissionDenied,
        format!("{} belongs to another user, who could not read it any more", like.display()),
    )
    .with_hint("work as the user who owns the file")
    .with_source(error)
}

#[cfg(test)]
pub(crate) mod faults {
    use std::{
        io,
        sync::{Mutex, PoisonError},
    };

    use super::Step;

    /// What the next pass of a step fails with.
    #[derive(Debug, Default)]
    pub(crate) struct Faults(Mutex<Option<(Step, io::ErrorKind)>>);

    impl Faults {
        pub(crate) fn fail_once(&self, step: Step, kind: io::ErrorKind) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((step, kind));
        }

        pub(super) fn at(&self, step: Step) -> io::Result<()> {
            let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match next.take_if(|(planned, _)| *planned == step) {
                Some((_, kind)) => Err(kind.into()),
                None => Ok(()),
            }
        }
    }
}
