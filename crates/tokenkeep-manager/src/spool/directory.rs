//! The directory of a spool: made private, and used only while nobody else can write to it.

use std::{
    fs::{self, DirBuilder, File, Metadata},
    io,
    path::Path,
};

use tokenkeep_core::{StoreError, StoreErrorKind};

/// Makes `directory` if it is not there, parents too, all of them private; then checks it.
pub(super) fn prepare(directory: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(directory) {
        Ok(found) => check(directory, &found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(directory).map_err(|error| refused("make", directory, error))?;
            look_at(directory)
        }
        Err(error) => Err(refused("look at", directory, error)),
    }
}

/// Checks that `directory` is there and may be used.
pub(super) fn look_at(directory: &Path) -> Result<(), StoreError> {
    let found = fs::symlink_metadata(directory);
    check(directory, &found.map_err(|error| refused("look at", directory, error))?)
}

/// Makes sure that the names in `directory` last.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// What the file system refused while we tried to do `action` to `path`.
pub(super) fn refused(action: &str, path: &Path, error: io::Error) -> StoreError {
    use io::ErrorKind as Io;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the list of I/O errors is open")]
    let (kind, hint) = match error.kind() {
        Io::PermissionDenied => (
            StoreErrorKind::PermissionDenied,
            "check who owns the spool's directory and what is in it, and their modes",
        ),
        Io::ReadOnlyFilesystem => (
            StoreErrorKind::PermissionDenied,
            "the file system is read-only: keep the spool elsewhere",
        ),
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => (
            StoreErrorKind::Full,
            "the spool is as it was; free some space, or keep it on another disk",
        ),
        Io::NotFound | Io::NotADirectory => {
            (StoreErrorKind::Unavailable, "the spool's directory is gone: was a disk unmounted?")
        }
        _ => (StoreErrorKind::Unavailable, "check the spool's directory and the disk it is on"),
    };
    StoreError::new(kind, format!("cannot {action} {}", path.display()))
        .with_hint(hint)
        .with_source(error)
}

fn make(directory: &Path) -> io::Result<()> {
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent
        && !parent.try_exists()?
    {
        make(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        Ok(()) => {
            // The umask can have taken away more than it should.
            #[cfg(unix)]
            fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        // Another process was quicker; whether it may be used is checked afterwards.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    parent.map_or(Ok(()), sync)
}

fn check(directory: &Path, found: &Metadata) -> Result<(), StoreError> {
    let unsafe_to_use = |what: &str| {
        StoreError::new(
            StoreErrorKind::PermissionDenied,
            format!("{} {what}: tokens are not kept there", directory.display()),
        )
    };
    if found.is_symlink() {
        return Err(unsafe_to_use("is a symbolic link")
            .with_hint("name the directory that it leads to, if that is yours"));
    }
    if !found.is_dir() {
        return Err(StoreError::new(
            StoreErrorKind::Unavailable,
            format!("{} is not a directory", directory.display()),
        )
        .with_hint("name a directory, or a name that is still free"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(unsafe_to_use("belongs to another user")
                .with_hint("work as its owner, or name a directory of your own"));
        }
        if found.mode() & 0o022 != 0 {
            return Err(unsafe_to_use("can be written to by others")
                .with_hint(format!("chmod go-w {}", directory.display())));
        }
    }
    Ok(())
}
