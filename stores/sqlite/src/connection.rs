//! [`Database`]: one connection, what is known of its tables, and its transactions.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{CachedStatement, Connection, OpenFlags};
use tokenkeep_core::{ChangeMark, MAX_ID, StoreError, TokenId, next_id};

use crate::{
    config::{Location, SqliteConfig},
    error::{Fault, failed_commit},
    layout::Layout,
    schema,
    site::{self, Site},
};

/// What all connections of a store have in common.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: SqliteConfig,
    /// The largest number seen as an id, also in a database that is gone since.
    last_id: AtomicU64,
    /// How many connections have been opened.
    opened: AtomicU64,
}

impl Settings {
    pub(crate) fn new(config: SqliteConfig) -> Self {
        Self { config, last_id: AtomicU64::new(0), opened: AtomicU64::new(0) }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Reading,
    Writing,
}

/// A connection to the database. It does not wait for locks unless [told to](Self::waiting).
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    layout: Layout,
    site: Option<Site>,
    settings: Arc<Settings>,
    /// Which of all connections of the store it is.
    number: u64,
    /// When the file was last known to be at its path, and how many connections there had been.
    checked: Cell<Option<(Instant, u64)>>,
    /// The largest number given in the transaction that is under way.
    given: Cell<u64>,
}

/// How many times a file may be replaced while it is being opened.
pub(crate) const ATTEMPTS: u32 = 10;

/// How long reads go by what was known of the file.
const MOMENT: Duration = Duration::from_millis(10);

/// SQLite's page cache, in KiB: memory that is used only as far as the database fills it.
const CACHE_KIB: i32 = 65_536;

impl Database {
    /// Opens the database, makes what is missing of it, and waits for others in doing so.
    ///
    /// `before` is what was open at this place until now.
    pub(crate) fn open(
        settings: &Arc<Settings>,
        purpose: Use,
        before: Option<&Site>,
    ) -> Result<Self, StoreError> {
        let path = match &settings.config.location {
            Location::Memory => {
                let connection = Connection::open_in_memory().map_err(fatal)?;
                return Self::prepared(connection, settings, purpose).map_err(Fault::into_error);
            }
            Location::File(path) => path,
        };
        for _ in 0..ATTEMPTS {
            if settings.config.read_only {
                site::check_existing(path)?;
            } else {
                site::prepare(path, before)?;
            }
            let Some(opened) = Site::at(path) else { continue };
            let access = if settings.config.read_only {
                OpenFlags::SQLITE_OPEN_READ_ONLY
            } else {
                OpenFlags::SQLITE_OPEN_READ_WRITE
            };
            let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let prepared = Connection::open_with_flags(path, flags)
                .map_err(Fault::from)
                .and_then(|connection| Self::prepared(connection, settings, purpose));
            let now = Site::at(path);
            match prepared {
                // Whatever happened, it did in a file that is gone.
                _ if now.as_ref().is_none_or(|now| !now.same_file(&opened)) => {}
                Ok(mut database) => {
                    database.site = now;
                    return Ok(database);
                }
                Err(Fault::Stale) => {}
                Err(fault) => return Err(fault.into_error()),
            }
        }
        Err(Fault::Stale.into_error())
    }

    fn prepared(
        connection: Connection,
        settings: &Arc<Settings>,
        purpose: Use,
    ) -> Result<Self, Fault> {
        let config = &settings.config;
        connection.busy_timeout(config.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(64);
        if !config.read_only {
            if connection.is_readonly("main")? {
                return Err(read_only_file().into());
            }
            keep_log(&connection, config.busy_timeout)?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "secure_delete", "on")?;
        }
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        if let Some(pages) = config.max_pages {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        let layout = schema::prepare(&connection, &config.table, config.read_only)?;
        if purpose == Use::Reading || config.read_only {
            connection.pragma_update(None, "query_only", true)?;
        }
        connection.busy_timeout(Duration::ZERO)?;
        Ok(Self {
            connection,
            layout,
            site: None,
            number: settings.opened.fetch_add(1, Ordering::AcqRel),
            settings: Arc::clone(settings),
            checked: Cell::new(None),
            given: Cell::new(0),
        })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn statement(&self, sql: &str) -> Result<CachedStatement<'_>, Fault> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    pub(crate) fn site(&self) -> Option<&Site> {
        self.site.as_ref()
    }

    /// Stale, if the file is not at its path any more, or was not a moment ago: in a row of reads
    /// it is looked up at times, because that costs a quarter of a read. When another connection
    /// has been opened it is looked up at once: the one that was open may have missed its file.
    pub(crate) fn check_site_for_reading(&self) -> Result<(), Fault> {
        #[expect(clippy::disallowed_methods, reason = "a span is measured, nothing is dated")]
        let now = Instant::now();
        let opened = self.settings.opened.load(Ordering::Acquire);
        if self.checked.get().is_some_and(|(checked, so_many)| {
            so_many == opened && now.duration_since(checked) < MOMENT
        }) {
            return Ok(());
        }
        self.check_site()?;
        self.checked.set(Some((now, opened)));
        Ok(())
    }

    /// Stale, if the file is not at its path any more.
    pub(crate) fn check_site(&self) -> Result<(), Fault> {
        if self.site.as_ref().is_none_or(Site::holds) { Ok(()) } else { Err(Fault::Stale) }
    }

    /// A mark of what is in the database. The connection must be one that does not write, unless
    /// it is the only one: SQLite counts what others have committed.
    pub(crate) fn change_mark(&self) -> Result<ChangeMark, Fault> {
        self.check_site()?;
        let changes = match self.settings.config.location {
            Location::Memory => self.connection.total_changes(),
            Location::File(_) => self
                .statement("pragma data_version")?
                .query_row([], |row| row.get::<_, i64>(0))?
                .cast_unsigned(),
        };
        Ok(ChangeMark::new(self.number, changes))
    }

    /// Whatever goes wrong in a file that is gone, it may work in the one that is there.
    pub(crate) fn or_stale(&self, fault: Fault) -> Fault {
        if self.check_site().is_err() { Fault::Stale } else { fault }
    }

    /// Does `work` with locks waited for.
    pub(crate) fn waiting<T>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.connection.busy_timeout(timeout)?;
        let result = work(self);
        self.connection.busy_timeout(Duration::ZERO)?;
        result
    }

    /// Does `work` in a transaction that writes, wholly or not at all.
    pub(crate) fn transact<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.check_site()?;
        self.given.set(0);
        self.statement("begin immediate")?.raw_execute()?;
        let rollback = Rollback(&self.connection);
        let result = work(self)?;
        self.write_last_id()?;
        self.statement("commit")?.raw_execute().map_err(failed_commit)?;
        drop(rollback);
        self.settings.last_id.fetch_max(self.given.get(), Ordering::Relaxed);
        // What was written into a file that went away meanwhile is gone with it.
        self.check_site()?;
        Ok(result)
    }

    /// Does a part of the work in a transaction, wholly or not at all.
    pub(crate) fn attempt<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let given = self.given.get();
        self.statement("savepoint attempt")?.raw_execute()?;
        let result = work(self);
        if result.is_err() {
            self.statement("rollback to attempt")?.raw_execute()?;
            self.given.set(given);
        }
        self.statement("release attempt")?.raw_execute()?;
        result
    }

    /// The next number, never given before. Inside a transaction.
    pub(crate) fn next_id(&self) -> Result<TokenId, Fault> {
        let last = self
            .number(&self.layout.sql.meta_read)?
            .max(self.number(&self.layout.sql.largest_number)?)
            .max(self.given.get())
            .max(self.settings.last_id.load(Ordering::Relaxed));
        Ok(next_id(last)?)
    }

    /// Remembers the largest number that is there as an id. Inside a transaction.
    pub(crate) fn remember_largest(&self) -> Result<(), Fault> {
        let largest = self.number(&self.layout.sql.largest_number)?;
        self.remember_id(&TokenId::from_number(largest));
        Ok(())
    }

    fn number(&self, sql: &str) -> Result<u64, Fault> {
        let mut statement = self.statement(sql)?;
        let mut rows = statement.query([])?;
        let number = rows.next()?.map(|row| row.get::<_, i64>(0)).transpose()?;
        Ok(number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
    }

    /// Remembers that `id` was given. Inside a transaction.
    pub(crate) fn remember_id(&self, id: &TokenId) {
        if let Some(number) = id.number().filter(|number| *number <= MAX_ID) {
            self.given.set(self.given.get().max(number));
        }
    }

    /// Writes the largest number that was given in the transaction.
    fn write_last_id(&self) -> Result<(), Fault> {
        if self.given.get() > 0 {
            let number = i64::try_from(self.given.get()).unwrap_or(i64::MAX);
            self.statement(&self.layout.sql.meta_raise)?.execute([number])?;
        }
        Ok(())
    }
}

/// Rolls back what was not committed, also when work panics.
struct Rollback<'a>(&'a Connection);

impl Drop for Rollback<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("rollback")
        {
            let code = error.sqlite_extended_error_code();
            tracing::warn!(?code, "could not roll a transaction back");
        }
    }
}

/// Has the database keep a write-ahead log, in which reading waits for nobody. Who reads without
/// one and does not end may keep it from that: it is not waited for longer than `timeout`.
fn keep_log(connection: &Connection, timeout: Duration) -> Result<(), Fault> {
    #[expect(clippy::disallowed_methods, reason = "a span is measured, nothing is dated")]
    let begun = Instant::now();
    let mode = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0));
    let mut current = mode("pragma journal_mode")?;
    for _ in 0..ATTEMPTS {
        if current == "wal" || current == "memory" {
            return Ok(());
        }
        match mode("pragma journal_mode = wal").map_err(Fault::from) {
            Ok(changed) if changed == current => break,
            Ok(changed) => current = changed,
            // SQLite does not always wait here. It does for a transaction.
            Err(Fault::Busy(_)) if begun.elapsed() >= timeout => break,
            Err(Fault::Busy(_)) => connection.execute_batch("begin immediate; rollback")?,
            Err(fault) => return Err(fault),
        }
    }
    tracing::warn!(
        journal = %current,
        "the database cannot keep a write-ahead log now: reading may have to wait for writing"
    );
    Ok(())
}

fn read_only_file() -> StoreError {
    StoreError::new(
        tokenkeep_core::StoreErrorKind::PermissionDenied,
        "the database file may not be written",
    )
    .with_hint("give this user write permission for it, or open the store read-only")
}

fn fatal(error: rusqlite::Error) -> StoreError {
    Fault::from(error).into_error()
}

#[cfg(test)]
mod tests;
