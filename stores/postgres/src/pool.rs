//! [`Pool`]: the connections of a store, and how its operations use them.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokenkeep_core::{Operation, Outcome, StoreError, StoreErrorKind};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Duration, Instant, sleep, timeout_at},
};
use tokio_postgres::Row;

use crate::{
    config::PostgresConfig,
    connection::{Connection, Connector},
    error::{Fault, Remedy},
    layout::{Layout, Query},
    rows::Parameters,
    schema,
    transaction::{Look, Seen, Transaction, Uncommitted},
    writes::Writes,
};

/// The connections of a store: one that all small reads share, and some that each change, or each
/// long read, has for itself.
pub(crate) struct Pool {
    pub(crate) connector: Connector,
    /// What the tables are like; `None` if that is to be looked at again.
    layout: Mutex<Option<Arc<Layout>>>,
    reader: Mutex<Option<Arc<Connection>>>,
    /// Held by who makes the connection that reads.
    making_reader: tokio::sync::Mutex<()>,
    idle: Mutex<Vec<Connection>>,
    free: Semaphore,
}

/// What a change comes to: its answer, and what is written for it.
pub(crate) type Plan<T> = (T, Writes);

impl Pool {
    /// Connects, and prepares the tables.
    pub(crate) async fn open(config: PostgresConfig) -> Result<Self, StoreError> {
        let pool = Self {
            layout: Mutex::new(None),
            reader: Mutex::new(None),
            making_reader: tokio::sync::Mutex::new(()),
            idle: Mutex::new(Vec::new()),
            free: Semaphore::new(config.writers),
            connector: Connector::new(config)?,
        };
        let mut attempts = Attempts::new(pool.limit(), Operation::Open);
        loop {
            match attempts.within(pool.reader()).await {
                Ok(_reader) => return Ok(pool),
                // Who mistypes a place wants to know it now; what may pass is waited for.
                Err(fault) if fault.remedy == Remedy::Reach => {
                    return Err(fault.error.during(Operation::Open));
                }
                Err(fault) => attempts.after(fault).await?,
            }
        }
    }

    pub(crate) fn config(&self) -> &PostgresConfig {
        self.connector.config()
    }

    pub(crate) fn limit(&self) -> Duration {
        self.config().timeout
    }

    /// What `decode` makes of the answer to a statement, on the connection that small reads share.
    pub(crate) async fn read<T>(
        &self,
        operation: Operation,
        query: Query,
        parameters: Parameters<'_>,
        decode: impl Fn(Vec<Row>) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let mut attempts = Attempts::new(self.limit(), operation);
        loop {
            let mut used = None;
            let reading = async {
                let reader = used.insert(self.reader().await?);
                Ok(reader.rows(query, parameters).await?)
            };
            match attempts.within(reading).await {
                Ok(rows) => return decode(rows).map_err(|error| error.during(operation)),
                Err(fault) => {
                    if let Some(reader) = used {
                        self.give_up_reader(&reader);
                        self.look_again(&fault, &reader.layout);
                    }
                    attempts.after(fault).await?;
                }
            }
        }
    }

    /// The same on a connection of its own, so that small reads do not wait for a long answer.
    pub(crate) async fn read_much<T>(
        &self,
        operation: Operation,
        query: Query,
        parameters: Parameters<'_>,
        decode: impl Fn(Vec<Row>) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let mut attempts = Attempts::new(self.limit(), operation);
        loop {
            let reading = async {
                let own = self.own().await?;
                match own.connection.rows(query, parameters).await {
                    Ok(rows) => {
                        own.give_back();
                        Ok(rows)
                    }
                    Err(error) => Err(self.failed(error.into(), &own)),
                }
            };
            match attempts.within(reading).await {
                Ok(rows) => return decode(rows).map_err(|error| error.during(operation)),
                Err(fault) => attempts.after(fault).await?,
            }
        }
    }

    /// Makes a change: looks, lets `plan` decide, and writes what that says, in one transaction.
    ///
    /// If the answer to the commit is lost, it looks again under the same locks, which the lost
    /// transaction held until it ended, and finds out what has become of it.
    pub(crate) async fn change<T>(
        &self,
        operation: Operation,
        limit: Duration,
        look: Look<'_>,
        plan: impl Fn(&Layout, &Seen) -> Result<Plan<T>, StoreError> + Send + Sync,
    ) -> Result<T, StoreError> {
        let mut attempts = Attempts::new(limit, operation);
        let mut doubt = None;
        loop {
            let changing = self.try_change(look, &plan, &mut doubt);
            match attempts.within(changing).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => match attempts.after(fault).await {
                    Ok(()) => {}
                    Err(error) if doubt.is_some() => return Err(unknown(error, operation)),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    async fn try_change<T>(
        &self,
        look: Look<'_>,
        plan: &(impl Fn(&Layout, &Seen) -> Result<Plan<T>, StoreError> + Sync),
        doubt: &mut Option<Doubt<T>>,
    ) -> Result<T, Fault> {
        let own = self.own().await?;
        let mut transaction = match Transaction::begin(&own.connection, look).await {
            Ok(transaction) => transaction,
            Err(fault) => return Err(self.failed(fault, &own)),
        };
        if let Some(before) = doubt.take()
            && let Some(resolved) = before.resolve(&transaction.seen)
        {
            transaction.roll_back();
            own.give_back();
            return Ok(resolved?);
        }
        let (answer, writes) = match plan(transaction.layout(), &transaction.seen) {
            Ok(planned) if !planned.1.is_empty() => planned,
            planned => {
                transaction.roll_back();
                own.give_back();
                return Ok(planned?.0);
            }
        };
        // From here on it may have been made, unless that is known better.
        let seen = mem::take(&mut transaction.seen);
        let sent = doubt.insert(Doubt { seen, writes, answer });
        match transaction.commit(&sent.writes).await {
            Ok(()) => {
                own.give_back();
                Ok(doubt.take().expect("it was put there before it was committed").answer)
            }
            Err(Uncommitted::Certain(fault)) => {
                *doubt = None;
                Err(self.failed(fault, &own))
            }
            Err(Uncommitted::Unknown(fault)) => Err(fault),
        }
    }

    /// The connection that small reads share.
    pub(crate) async fn reader(&self) -> Result<Arc<Connection>, Fault> {
        if let Some(reader) = self.current_reader() {
            return Ok(reader);
        }
        let making = self.making_reader.lock().await;
        if let Some(reader) = self.current_reader() {
            return Ok(reader);
        }
        let reader = Arc::new(self.connect().await?);
        *lock(&self.reader) = Some(Arc::clone(&reader));
        drop(making);
        Ok(reader)
    }

    fn current_reader(&self) -> Option<Arc<Connection>> {
        lock(&self.reader).as_ref().filter(|reader| !reader.is_lost()).map(Arc::clone)
    }

    fn give_up_reader(&self, used: &Arc<Connection>) {
        let mut reader = lock(&self.reader);
        if reader.as_ref().is_some_and(|reader| Arc::ptr_eq(reader, used)) {
            *reader = None;
        }
    }

    /// A connection for one operation alone. Unless it is given back it is closed, and what was
    /// under way on it is rolled back: so it is when a future is dropped.
    async fn own(&self) -> Result<Own<'_>, Fault> {
        let permit = self.free.acquire().await.map_err(|_never_closed| Fault::too_slow())?;
        let idle = {
            let mut idle = lock(&self.idle);
            std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_lost())
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Own { pool: self, connection, _permit: permit })
    }

    /// In a box, so that the futures of what mostly happens are small.
    async fn connect(&self) -> Result<Connection, Fault> {
        Box::pin(self.connect_now()).await
    }

    async fn connect_now(&self) -> Result<Connection, Fault> {
        let client = self.connector.connect(|_notification| ()).await?;
        let known = lock(&self.layout).clone();
        let layout = match known {
            Some(layout) => layout,
            None => {
                let layout = Arc::new(schema::prepare(&client, self.config()).await?);
                *lock(&self.layout) = Some(Arc::clone(&layout));
                layout
            }
        };
        Ok(Connection::new(client, layout))
    }

    /// What the tables are like, where that is known.
    pub(crate) fn layout(&self) -> Option<Arc<Layout>> {
        lock(&self.layout).clone()
    }

    /// What the tables are like, looked at first if that is not known.
    pub(crate) async fn known_layout(&self) -> Result<Arc<Layout>, Fault> {
        match self.layout() {
            Some(layout) => Ok(layout),
            None => Ok(Arc::clone(&self.connect().await?.layout)),
        }
    }

    fn failed(&self, fault: Fault, own: &Own<'_>) -> Fault {
        self.look_again(&fault, &own.connection.layout);
        fault
    }

    /// Forgets what the tables were like if that seems to be so no more.
    fn look_again(&self, fault: &Fault, used: &Arc<Layout>) {
        let mut layout = lock(&self.layout);
        if fault.remedy == Remedy::Prepare
            && layout.as_ref().is_some_and(|layout| Arc::ptr_eq(layout, used))
        {
            tracing::warn!(table = used.table, "the tables were removed or changed: looking again");
            *layout = None;
            // Those that are open know statements for what was there.
            lock(&self.idle).clear();
        }
    }
}

/// A change that was sent and not answered.
struct Doubt<T> {
    seen: Seen,
    writes: Writes,
    answer: T,
}

impl<T> Doubt<T> {
    /// What has become of it, by what is seen now; `None` if it was not made.
    fn resolve(self, now: &Seen) -> Option<Result<T, StoreError>> {
        if *now == self.seen {
            None
        } else if self.writes.are_made(now) {
            Some(Ok(self.answer))
        } else {
            Some(Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "the answer to a commit was lost, and others have written since",
            )
            .with_outcome(Outcome::Unknown)
            .with_hint("read what is stored before writing again")))
        }
    }
}

fn unknown(error: StoreError, operation: Operation) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "the connection to the server was lost before it answered the commit",
    )
    .with_outcome(Outcome::Unknown)
    .with_hint("read what is stored before writing again")
    .with_source(error)
    .during(operation)
}

/// A connection for one operation alone.
struct Own<'a> {
    pool: &'a Pool,
    connection: Connection,
    _permit: SemaphorePermit<'a>,
}

impl Own<'_> {
    fn give_back(self) {
        // One whose statements are for tables that were looked at again since is closed.
        if let Some(layout) = self.pool.layout()
            && Arc::ptr_eq(&layout, &self.connection.layout)
        {
            lock(&self.pool.idle).push(self.connection);
        }
    }
}

/// No code that holds one of these locks can panic in between.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The attempts of one operation, which have one limit in time together.
pub(crate) struct Attempts {
    operation: Operation,
    until: Instant,
    pauses: ExponentialBackoff,
    /// What the last attempt failed by.
    failed: Option<StoreError>,
}

impl Attempts {
    pub(crate) fn new(limit: Duration, operation: Operation) -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(250))
            .without_max_times()
            .with_jitter()
            .build();
        Self { operation, until: Instant::now() + limit, pauses, failed: None }
    }

    /// An attempt, as far as there is time for it.
    pub(crate) async fn within<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        match timeout_at(self.until, attempt).await {
            Ok(result) => result,
            Err(_elapsed) => Err(match self.failed.take() {
                Some(error) => Fault::from(error),
                None => Fault::too_slow(),
            }),
        }
    }

    /// Waits for the next attempt, unless there is nothing to wait for, or no time.
    ///
    /// # Errors
    ///
    /// What the last attempt failed by.
    pub(crate) async fn after(&mut self, fault: Fault) -> Result<(), StoreError> {
        let pause = self.pauses.next().unwrap_or_default();
        if fault.remedy == Remedy::Nothing || Instant::now() + pause >= self.until {
            return Err(fault.error.during(self.operation));
        }
        tracing::debug!(operation = %self.operation, reason = %fault.error, "trying again");
        self.failed = Some(fault.error);
        sleep(pause).await;
        Ok(())
    }
}
