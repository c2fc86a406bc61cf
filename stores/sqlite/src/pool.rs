//! [`Pool`]: which connection does the work, and on which thread.
//!
//! Work is tried on the calling task first, without waiting for any lock of the database. What
//! would have to wait is done again on a thread where waiting is allowed.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokenkeep_core::{ChangeMark, Operation, StoreError, StoreErrorKind};

use crate::{
    config::{Location, SqliteConfig},
    connection::{ATTEMPTS, Database, Settings, Use},
    error::Fault,
};

/// The connections of a store: one that writes, and some that read.
#[derive(Debug)]
pub(crate) struct Pool {
    settings: Arc<Settings>,
    writer: Arc<async_lock::Mutex<Slot>>,
    /// None for a database in memory, which has one connection.
    readers: Box<[Mutex<Slot>]>,
    /// Another that reads, for what takes longer.
    lister: Mutex<Slot>,
    /// Another, which says whether others have written.
    marker: Mutex<Slot>,
}

/// A connection that is opened when it is needed, and again when its file is gone.
#[derive(Debug)]
struct Slot {
    purpose: Use,
    settings: Arc<Settings>,
    database: Option<Database>,
}

/// Work on a connection. What it is given is cloned if it has to move to another thread.
pub(crate) type Work<A, T> = fn(&Database, &A) -> Result<T, Fault>;

impl Pool {
    pub(crate) fn open(config: SqliteConfig) -> Result<Self, StoreError> {
        let readers = match config.location {
            Location::Memory => 0,
            Location::File(_) => thread::available_parallelism().map_or(1, usize::from).min(4),
        };
        let settings = Arc::new(Settings::new(config));
        let mut writer = Slot::new(Use::Writing, &settings);
        writer.database = Some(Database::open(&settings, Use::Writing, None)?);
        let readers: Box<[_]> =
            (0..readers).map(|_| Mutex::new(Slot::new(Use::Reading, &settings))).collect();
        let lister = Mutex::new(Slot::new(Use::Reading, &settings));
        let marker = Mutex::new(Slot::new(Use::Reading, &settings));
        let writer = Arc::new(async_lock::Mutex::new(writer));
        Ok(Self { settings, writer, readers, lister, marker })
    }

    /// Reads a little: on the calling task, unless something is in the way.
    pub(crate) async fn read<A, T>(
        self: &Arc<Self>,
        operation: Operation,
        args: &A,
        work: Work<A, T>,
    ) -> Result<T, StoreError>
    where
        A: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (tried, result) = if self.readers.is_empty() {
            (0, self.writer.lock().await.try_reading(args, work))
        } else {
            let (number, reader) = self.reader(thread_number());
            (number, reader.try_reading(args, work))
        };
        match result {
            Err(Fault::Busy(_) | Fault::Stale) => {
                // In a box, so that the future of what mostly happens is small. The thread opens
                // the connection that was tried, not one of its own: else it is tried in vain again.
                let of_file = move |pool: &Self, timeout, args: &A| {
                    pool.reader(tried).1.wait(timeout, args, work)
                };
                Box::pin(self.read_on_thread(operation, args.clone(), work, of_file)).await
            }
            result => result.map_err(|fault| fault.into_error().during(operation)),
        }
    }

    /// Reads much: on a thread and, unless in memory, a connection of its own, so that nobody
    /// waits for it.
    pub(crate) async fn read_much<A, T>(
        self: &Arc<Self>,
        operation: Operation,
        args: A,
        work: Work<A, T>,
    ) -> Result<T, StoreError>
    where
        A: Send + 'static,
        T: Send + 'static,
    {
        self.read_on_thread(operation, args, work, move |pool, timeout, args| {
            if let Ok(mut slot) = pool.lister.try_lock() {
                return slot.wait(timeout, args, work);
            }
            // A connection that has seen what was at the path before knows how to recover.
            pool.reader(thread_number()).1.wait(timeout, &(), |_, ()| Ok(()))?;
            Slot::new(Use::Reading, &pool.settings).wait(timeout, args, work)
        })
        .await
    }

    /// Reads on a thread, waits for others and opens the database again if it has to: with the one
    /// connection of a database in memory, else `of_file`.
    async fn read_on_thread<A, T>(
        self: &Arc<Self>,
        operation: Operation,
        args: A,
        work: Work<A, T>,
        of_file: impl FnOnce(&Self, Duration, &A) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError>
    where
        A: Send + 'static,
        T: Send + 'static,
    {
        let pool = Arc::clone(self);
        let result = blocking::unblock(move || {
            let timeout = pool.settings.config.busy_timeout;
            if pool.readers.is_empty() {
                pool.writer.lock_blocking().wait(timeout, &args, work)
            } else {
                of_file(&pool, timeout, &args)
            }
        });
        result.await.map_err(|fault| fault.into_error().during(operation))
    }

    /// A mark of what is in the database: on the calling task, unless something is in the way.
    pub(crate) async fn change_mark(self: &Arc<Self>) -> Result<ChangeMark, StoreError> {
        let work: Work<(), ChangeMark> = |database, ()| database.change_mark();
        let result = if self.readers.is_empty() {
            self.writer.lock().await.try_reading(&(), work)
        } else {
            self.marker().try_reading(&(), work)
        };
        match result {
            Err(Fault::Busy(_) | Fault::Stale) => {
                let of_file =
                    move |pool: &Self, timeout, args: &()| pool.marker().wait(timeout, args, work);
                Box::pin(self.read_on_thread(Operation::ChangeMark, (), work, of_file)).await
            }
            result => result.map_err(|fault| fault.into_error().during(Operation::ChangeMark)),
        }
    }

    /// Writes, in a transaction: on the calling task unless another process writes.
    pub(crate) async fn write<A, T>(
        &self,
        operation: Operation,
        args: &A,
        work: Work<A, T>,
    ) -> Result<T, StoreError>
    where
        A: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.check_writable().map_err(|error| error.during(operation))?;
        let (slot, waited) = self.writer().await;
        let result = match slot.try_writing(args, work) {
            Err(Fault::Busy(_) | Fault::Stale) => {
                self.write_on_thread(slot, waited, args.clone(), work).await
            }
            result => result,
        };
        result.map_err(|fault| fault.into_error().during(operation))
    }

    /// Writes much, in a transaction: on a thread, so that no other task waits for it.
    pub(crate) async fn write_much<A, T>(
        &self,
        operation: Operation,
        args: A,
        work: Work<A, T>,
    ) -> Result<T, StoreError>
    where
        A: Send + 'static,
        T: Send + 'static,
    {
        self.check_writable().map_err(|error| error.during(operation))?;
        let (slot, waited) = self.writer().await;
        let result = self.write_on_thread(slot, waited, args, work).await;
        result.map_err(|fault| fault.into_error().during(operation))
    }

    /// Writes on a thread, and waits there for other processes.
    async fn write_on_thread<A, T>(
        &self,
        mut slot: async_lock::MutexGuardArc<Slot>,
        waited: Duration,
        args: A,
        work: Work<A, T>,
    ) -> Result<T, Fault>
    where
        A: Send + 'static,
        T: Send + 'static,
    {
        let timeout = self.settings.config.busy_timeout.saturating_sub(waited);
        blocking::unblock(move || {
            slot.wait(timeout, &args, |database, args| {
                database.transact(|database| work(database, args))
            })
        })
        .await
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        if !self.settings.config.read_only {
            return Ok(());
        }
        Err(StoreError::new(StoreErrorKind::PermissionDenied, "the store was opened read-only")
            .with_hint("open it for writing"))
    }

    /// The connection that writes, when it is this task's turn, and how long that took.
    async fn writer(&self) -> (async_lock::MutexGuardArc<Slot>, Duration) {
        if let Some(slot) = self.writer.try_lock_arc() {
            return (slot, Duration::ZERO);
        }
        #[expect(clippy::disallowed_methods, reason = "a wait is measured, nothing is dated")]
        let began = Instant::now();
        let slot = self.writer.lock_arc().await;
        (slot, began.elapsed())
    }

    fn marker(&self) -> MutexGuard<'_, Slot> {
        self.marker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that reads and nobody uses, beginning with the `first`, and its number; if all
    /// are in use, that one when it is free, after microseconds.
    fn reader(&self, first: usize) -> (usize, MutexGuard<'_, Slot>) {
        let count = self.readers.len();
        for number in (first..first + count).map(|number| number % count) {
            if let Ok(slot) = self.readers[number].try_lock() {
                return (number, slot);
            }
        }
        let number = first % count;
        // A slot holds a whole connection or none, also after a panic.
        (number, self.readers[number].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells threads apart, so that each goes on with the connection it had last.
fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    THREAD.with(|number| *number)
}

impl Slot {
    fn new(purpose: Use, settings: &Arc<Settings>) -> Self {
        Self { purpose, settings: Arc::clone(settings), database: None }
    }

    /// Reads without waiting.
    fn try_reading<A, T>(&self, args: &A, work: Work<A, T>) -> Result<T, Fault> {
        let database = self.database.as_ref().ok_or(Fault::Stale)?;
        database.check_site_for_reading()?;
        work(database, args).map_err(|fault| database.or_stale(fault))
    }

    /// Writes without waiting.
    fn try_writing<A, T>(&self, args: &A, work: Work<A, T>) -> Result<T, Fault> {
        let database = self.database.as_ref().ok_or(Fault::Stale)?;
        database.transact(|database| work(database, args)).map_err(|fault| database.or_stale(fault))
    }

    /// Works, waits for others in doing so, and opens the database again if it has to.
    fn wait<A, T>(
        &mut self,
        timeout: Duration,
        args: &A,
        work: impl Fn(&Database, &A) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.database.as_ref().is_none_or(|database| database.check_site().is_err()) {
            self.reopen()?;
        }
        for _ in 0..ATTEMPTS {
            let database = self.database.as_ref().ok_or(Fault::Stale)?;
            let result = database.waiting(timeout, |database| work(database, args));
            match result.map_err(|fault| database.or_stale(fault)) {
                Err(Fault::Stale) => self.reopen()?,
                result => return result,
            }
        }
        Err(Fault::Stale)
    }

    /// Opens the database, or opens it again. Until that succeeds the connection before stays: as
    /// long as it is open, no other file is taken for its file.
    fn reopen(&mut self) -> Result<(), Fault> {
        let before = match &self.database {
            None => None,
            Some(database) => {
                tracing::warn!("the database was removed, replaced or emptied; opening it again");
                // What was in memory cannot be opened again.
                Some(database.site().ok_or(Fault::Stale)?)
            }
        };
        self.database = Some(Database::open(&self.settings, self.purpose, before)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_could_not_read_at_once_it_can_the_next_time() {
        let directory = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(directory.path().join("a.db"));
        // Several, so that their numbers are not those of the threads that open connections.
        for _ in 0..8 {
            let config = config.clone();
            let reading = thread::spawn(move || {
                let pool = Arc::new(Pool::open(config).unwrap());
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let reads_on = || {
                    let work: Work<(), thread::ThreadId> = |_, ()| Ok(thread::current().id());
                    runtime.block_on(pool.read(Operation::FindToken, &(), work)).unwrap()
                };
                let here = thread::current().id();
                assert_ne!(reads_on(), here, "a connection is opened where waiting is allowed");
                assert_eq!(reads_on(), here);
                assert_eq!(reads_on(), here);
            });
            reading.join().unwrap();
        }
    }
}
