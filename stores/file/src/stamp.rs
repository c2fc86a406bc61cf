//! [`Stamp`]: what tells one version of a file from the next without reading it.

use std::{
    fs::Metadata,
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use tokenkeep_core::{Clock as _, SystemClock, Timestamp};

/// For how long after a change of a file its times may not tell of the next one.
///
/// Kernels stamp files by a clock that ticks every 1–10 ms, so two changes within a tick can have
/// the same stamp.
pub(crate) const RACY: Duration = Duration::from_millis(20);

/// Which file it is and when it changed; `None` where there is none.
pub(crate) type Version = Option<Stamp>;

/// Which file it is, its size, and when its content and its inode changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// When the inode was made, where the file system knows: its number alone is soon used again.
    created: Option<SystemTime>,
}

impl Stamp {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            created: metadata.created().ok(),
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let since = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .unwrap_or_default();
        let modified = (since.as_secs() as i64, i64::from(since.subsec_nanos()));
        let created = metadata.created().ok();
        Self { device: 0, inode: 0, size: metadata.len(), modified, changed: modified, created }
    }

    /// Whether it is the same file, changed or not.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode, self.created) == (other.device, other.inode, other.created)
    }

    /// Whether it may have been written into after it was made, as the official SDKs do. What we
    /// write is made, written once, and renamed.
    pub(crate) fn may_be_rewritten(&self) -> bool {
        let (seconds, nanos) = self.modified;
        let modified =
            Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0));
        self.created.is_none_or(|created| created + RACY < SystemTime::UNIX_EPOCH + modified)
    }

    /// Whether a later change would have another stamp, seen from now.
    ///
    /// This compares with the machine's clock, never with an injected one: file times come from
    /// the machine's clock too.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_older_than(RACY)
    }

    /// Whether the last change was longer ago than this.
    pub(crate) fn is_older_than(&self, age: Duration) -> bool {
        let (seconds, nanos) = self.changed;
        let changed = Timestamp::from_millis(seconds.saturating_mul(1000) + nanos / 1_000_000);
        changed.until(SystemClock.now()) > age
    }
}

/// The version of the file at `path` now.
pub(crate) fn version(path: &Path) -> io::Result<Version> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `path` still is `version`. What cannot be told is not.
pub(crate) fn is_version(path: &Path, known: &Version) -> bool {
    version(path).is_ok_and(|now| now == *known)
}
