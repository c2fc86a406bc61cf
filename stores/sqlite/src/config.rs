//! [`SqliteConfig`]: what a store is opened with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokenkeep_core::{Clock, Operation, StoreError, StoreErrorKind, SystemClock};

use crate::SqliteStore;

/// What a [`SqliteStore`] is opened with.
///
/// ```
/// use std::time::Duration;
/// use tokenkeep_store_sqlite::SqliteConfig;
///
/// let store = SqliteConfig::memory().busy_timeout(Duration::from_secs(1)).open()?;
/// # Ok::<(), tokenkeep_core::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SqliteConfig {
    pub(crate) location: Location,
    pub(crate) table: String,
    pub(crate) busy_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) read_only: bool,
    pub(crate) max_pages: Option<u32>,
}

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    Memory,
    File(PathBuf),
}

impl SqliteConfig {
    /// A database in the file at `path`, made when it is opened if there is none.
    ///
    /// `:memory:` means the same as [`memory`](Self::memory).
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        if path == Path::new(":memory:") {
            Self::memory()
        } else {
            Self::at(Location::File(path.to_owned()))
        }
    }

    /// A database in memory, gone when the last clone of the store is dropped.
    pub fn memory() -> Self {
        Self::at(Location::Memory)
    }

    /// The name of the token table: letters, digits and `_`. It is `oauthtoken` unless said.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// How long an operation waits for other processes: 5 seconds unless said.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// The clock that leases go by; the machine's unless said.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whether the database is only read. Nothing is made or changed then, also not when it is
    /// opened, and every write is `PermissionDenied`.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The size beyond which the database does not grow, in pages of 4 KiB unless the file says
    /// otherwise; a save that needs more is `Full`.
    pub fn max_pages(mut self, pages: u32) -> Self {
        self.max_pages = Some(pages);
        self
    }

    /// Opens the store.
    ///
    /// Waits on the calling thread, at most the busy timeout if others are writing.
    ///
    /// # Errors
    ///
    /// - Invalid if the path or the table's name cannot be one.
    /// - Unavailable if there is no such directory, or something that is not a file is there.
    /// - PermissionDenied if the file may not be read or, unless opened read-only, written.
    /// - Corrupt if the file is not a database, or the table has another shape.
    /// - Busy if another process did not let go in time.
    pub fn open(mut self) -> Result<SqliteStore, StoreError> {
        self.check().map_err(|error| error.during(Operation::Open))?;
        SqliteStore::with(self).map_err(|error| error.during(Operation::Open))
    }

    fn at(location: Location) -> Self {
        Self {
            location,
            table: "oauthtoken".to_owned(),
            busy_timeout: Duration::from_secs(5),
            clock: Arc::new(SystemClock),
            read_only: false,
            max_pages: None,
        }
    }

    fn check(&mut self) -> Result<(), StoreError> {
        let invalid = |message: &str| StoreError::new(StoreErrorKind::Invalid, message);
        let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if self.table.is_empty() || !self.table.bytes().all(named) {
            return Err(invalid("the table's name must be of letters, digits and _ only"));
        }
        if ["sqlite_", "tokenkeep_"]
            .iter()
            .any(|taken| self.table.to_lowercase().starts_with(taken))
        {
            return Err(invalid("the table's name must not begin with sqlite_ or tokenkeep_"));
        }
        if let Location::File(path) = &mut self.location {
            if path.as_os_str().as_encoded_bytes().contains(&0) {
                return Err(invalid("the path holds a NUL character"));
            }
            *path = std::path::absolute(&path).map_err(|error| {
                invalid("the path cannot be made absolute")
                    .with_hint("name a file")
                    .with_source(error)
            })?;
        }
        Ok(())
    }
}
