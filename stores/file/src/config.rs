//! [`FileConfig`]: where the token file is and how it is used.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokenkeep_core::{Clock, Operation, StoreError, SystemClock};

use crate::{
    FileStore,
    atomic::directory_of,
    dialect::Dialect,
    error::{io_error, not_a_file},
};

/// Where the token file is and how it is used.
///
/// ```no_run
/// use std::time::Duration;
/// use tokenkeep_store_file::{Dialect, FileConfig};
///
/// let store = FileConfig::new("tokens.csv")
///     .dialect(Dialect::Quoted)
///     .lock_timeout(Duration::from_secs(2))
///     .open()?;
/// # Ok::<(), tokenkeep_core::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct FileConfig {
    pub(crate) path: PathBuf,
    pub(crate) dialect: Dialect,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lock_timeout: Duration,
}

impl FileConfig {
    /// The file at `path`, in the shared dialect, by the machine's clock, with 10 s to wait for
    /// another process.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            dialect: Dialect::default(),
            clock: Arc::new(SystemClock),
            lock_timeout: Duration::from_secs(10),
        }
    }

    /// How values are written.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// What leases go by.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How long a change waits for the process or task that is changing the file, before it fails
    /// with [`Busy`](tokenkeep_core::StoreErrorKind::Busy).
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Opens the store. The file need not exist: the first save makes it. A symbolic link is
    /// followed now, and what it points at is what is used from then on; so is the working
    /// directory, if the path is relative.
    ///
    /// # Errors
    ///
    /// Unavailable if the path is a directory or the like, or stands in a directory that does not
    /// exist; permission denied if the file is there and cannot be read.
    pub fn open(self) -> Result<FileStore, StoreError> {
        self.resolved().map(FileStore::with_config).map_err(|error| error.during(Operation::Open))
    }

    fn resolved(mut self) -> Result<Self, StoreError> {
        let failed = |error| io_error("open", &self.path, error);
        let path = resolve(&self.path).map_err(failed)?;
        if path.file_name().is_none() {
            return Err(not_a_file(&path));
        }
        match std::fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => return Err(not_a_file(&path)),
            Ok(_) => drop(std::fs::File::open(&path).map_err(failed)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = std::fs::metadata(directory_of(&path)).map_err(failed)?;
                if !directory.is_dir() {
                    return Err(failed(io::ErrorKind::NotADirectory.into()));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        self.path = path;
        Ok(self)
    }
}

/// The absolute path of the file itself, links of its last component followed.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    const MOST_LINKS: usize = 40;
    let mut path = std::path::absolute(path)?;
    for _ in 0..MOST_LINKS {
        match std::fs::read_link(&path) {
            Ok(target) => path = std::path::absolute(directory_of(&path).join(target))?,
            Err(_not_a_link) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}
