//! [`Server`]: connections to the database, how the tables there are laid out, and tries within a
//! time limit.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    ops::{Deref, DerefMut},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use mysql_async::{Conn, OkPacket, Opts, Pool, Row, consts::StatusFlags, prelude::Queryable};
use tokenkeep_core::{Operation, Outcome, StoreError, StoreErrorKind};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    MysqlConfig, connect, error::Fault, glance::Saves, layout::Layout, rows::corrupt, schema,
};

/// A database on a server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: MysqlConfig,
    pool: Connections,
    layout: RwLock<Arc<Layout>>,
    /// Whether it is a node of a Galera cluster.
    is_galera: bool,
    pub(crate) saves: Saves,
    /// How many change marks have been shown.
    pub(crate) marks: AtomicU64,
}

/// The driver's pool, whose own `Debug` shows the password.
struct Connections(Pool);

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connections")
    }
}

/// Whether the statement that decides is under way: what is not known when time is up.
#[derive(Debug, Default)]
pub(crate) struct Decision(AtomicBool);

impl Decision {
    /// Waits for the answer to the statement that decides. If it does not come, whether the change
    /// was made is not known.
    pub(crate) async fn on<T>(
        &self,
        statement: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        self.0.store(true, Ordering::Relaxed);
        let answer = statement.await;
        self.0.store(false, Ordering::Relaxed);
        answer.map_err(Fault::of_decision)
    }

    fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Server {
    /// Connects, and makes what is missing of the tables. A server that is not there is not waited
    /// for.
    pub(crate) async fn open(config: MysqlConfig) -> Result<Self, StoreError> {
        let limit = config.timeout;
        let opened = timeout(limit, async {
            let first = connect::first(&config).await?;
            let mut conn = first.conn;
            let layout = loop {
                match schema::prepare(&mut conn, &config).await {
                    Ok(layout) => break layout,
                    // Another process makes the tables at the same time.
                    Err(Fault::Passing(error)) => tracing::debug!(%error, "preparing again"),
                    Err(fault) => return Err(fault),
                }
            };
            // The pool makes its own. How this one ends is no matter.
            if let Err(error) = conn.disconnect().await {
                tracing::debug!(kind = ?Fault::from(error).kind(), "the first connection ended");
            }
            Ok((first.opts, first.is_galera, layout))
        });
        let (opts, is_galera, layout) = match opened.await {
            Ok(opened) => opened.map_err(Fault::into_error),
            Err(_elapsed) => Err(late(&Decision::default(), None)),
        }
        .map_err(|error| error.during(Operation::Open))?;
        let pool = Connections(Pool::new(Opts::from(opts)));
        let layout = RwLock::new(Arc::new(layout));
        let (saves, marks) = (Saves::default(), AtomicU64::new(0));
        Ok(Self { config, pool, layout, is_galera, saves, marks })
    }

    /// A connection, in no transaction.
    pub(crate) async fn connection(&self) -> Result<Conn, Fault> {
        match timeout(self.config.connect_timeout, self.pool.0.get_conn()).await {
            Ok(conn) => Ok(conn?),
            Err(_elapsed) => Err(Fault::Passing(
                StoreError::new(
                    StoreErrorKind::Unavailable,
                    "no connection to the server could be had in time",
                )
                .with_hint("see whether it can be reached, or raise connect-timeout or pool-max"),
            )),
        }
    }

    /// A connection that a transaction may be begun on.
    pub(crate) async fn session(&self) -> Result<Session, Fault> {
        let conn = Some(self.connection().await?);
        Ok(Session { conn, is_galera: self.is_galera, is_open: false })
    }

    pub(crate) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.layout.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the tables again, and makes what is missing.
    async fn look_again(&self) -> Result<(), Fault> {
        tracing::warn!(table = %self.config.table, "the tables have changed: looking again");
        let mut conn = self.connection().await?;
        let layout = schema::prepare(&mut conn, &self.config).await?;
        *self.layout.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(layout);
        Ok(())
    }

    /// Does `work`, again if it fails for a passing reason and certainly changed nothing, until
    /// time is up.
    pub(crate) async fn attempt<T, F>(
        &self,
        operation: Operation,
        decision: &Decision,
        mut work: impl FnMut() -> F + Send,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let deadline = Instant::now() + self.config.timeout;
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(500))
            .with_jitter()
            .without_max_times()
            .build();
        let mut last = None;
        let ended = loop {
            let mut fault = match timeout_at(deadline, work()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(fault)) => fault,
                Err(_elapsed) => break late(decision, last),
            };
            if matches!(fault, Fault::Stale(_))
                && let Ok(Err(found)) = timeout_at(deadline, self.look_again()).await
            {
                fault = found;
            }
            if !fault.is_passing() {
                break fault.into_error();
            }
            tracing::debug!(%operation, kind = ?fault.kind(), "trying again");
            last = Some(fault.into_error());
            let pause = pauses.next().unwrap_or_default();
            if timeout_at(deadline, tokio::time::sleep(pause)).await.is_err() {
                break late(decision, last);
            }
        };
        Err(ended.during(operation))
    }
}

/// Time is up; `last` is why the work had to be tried again.
fn late(decision: &Decision, last: Option<StoreError>) -> StoreError {
    let silent = || {
        StoreError::new(StoreErrorKind::Unavailable, "the server did not answer in time")
            .with_hint("see whether it can be reached and what it is doing, or raise timeout")
    };
    if decision.is_under_way() {
        return silent().with_outcome(Outcome::Unknown);
    }
    last.unwrap_or_else(silent)
}

/// A connection that may be in a transaction. If it is dropped there, nobody else gets the
/// connection before the server has rolled back.
pub(crate) struct Session {
    /// There until this is dropped.
    conn: Option<Conn>,
    is_galera: bool,
    is_open: bool,
}

impl Session {
    /// What follows is part of a transaction.
    pub(crate) fn open(&mut self) {
        self.is_open = true;
        // The pool resets a connection that comes back so, and with it ends its transaction. One
        // that comes back in the middle of a statement is closed.
        let resets = !self.is_galera;
        self.reset_connection(resets);
    }

    /// The transaction has ended.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
        self.reset_connection(false);
    }
}

/// A node of MariaDB does not wait for what other nodes have committed in a session that was
/// reset, whatever `wsrep_sync_wait` it is told then. So there a connection is closed instead.
impl Drop for Session {
    fn drop(&mut self) {
        if !(self.is_open && self.is_galera) {
            return;
        }
        let Some(mut conn) = self.conn.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if let Err(error) = conn.disconnect().await {
                    tracing::debug!(kind = ?Fault::from(error).kind(), "a connection was closed");
                }
            })),
            // It cannot be closed here; a transaction must not stay open.
            Err(_no_runtime) => conn.reset_connection(true),
        }
    }
}

impl Deref for Session {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("it is there until this is dropped")
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("it is there until this is dropped")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

/// A transaction that saves. If it is dropped before it ends, it is rolled back before anybody
/// else gets its connection.
///
/// All who save change one row first, so that no two decide at the same time where a token goes.
#[derive(Debug)]
pub(crate) struct Transaction {
    conn: Session,
    turn: u64,
    /// The largest number that was given as an id.
    pub(crate) last_id: u64,
}

impl Transaction {
    /// Begins, and waits for its turn.
    pub(crate) async fn begin(server: &Server, layout: &Layout) -> Result<Self, Fault> {
        let mut conn = server.session().await?;
        conn.open();
        let turn = RandomState::new().hash_one(());
        let mut answers = conn.query_iter(layout.begin(turn)).await?;
        answers.collect::<Row>().await?;
        answers.collect::<Row>().await?;
        let last: Vec<u64> = answers.collect().await?;
        answers.drop_result().await?;
        match last[..] {
            [last_id] => {
                let begun = Self { conn, turn, last_id };
                begun.check()?;
                Ok(begun)
            }
            _ => Err(Fault::Stale(
                corrupt("tokenkeep_meta does not know the table any more")
                    .with_hint("see which other program changes tokenkeep's tables"),
            )),
        }
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Whether it still is under way. A node of a cluster that takes a transaction back between two
    /// statements that were sent together does not say so, and does the second one without it.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let status = self.conn.last_ok_packet().map(OkPacket::status_flags);
        let is_open =
            status.is_some_and(|status| status.contains(StatusFlags::SERVER_STATUS_IN_TRANS));
        if is_open { Ok(()) } else { Err(taken_back()) }
    }

    /// Does the rest, statements without answers, remembers the largest id and commits.
    ///
    /// If a node has taken the transaction back without saying so, these are done one by one, and
    /// the commit is of nothing. So the last of them looks whether this still is the transaction
    /// that began.
    pub(crate) async fn end(
        mut self,
        decision: &Decision,
        layout: &Layout,
        rest: &[String],
        last_id: u64,
    ) -> Result<(), Fault> {
        let mut sql = rest.join("; ");
        if !sql.is_empty() {
            sql.push_str("; ");
        }
        sql.push_str(&layout.end(self.turn, last_id));
        let conn = &mut self.conn;
        let is_whole = decision.on(async {
            let mut answers = conn.query_iter(sql).await?;
            let mut found = answers.affected_rows();
            for _ in rest {
                answers.collect::<Row>().await?;
                found = answers.affected_rows();
            }
            answers.drop_result().await?;
            Ok(found == 1)
        });
        if !is_whole.await? {
            return Err(taken_back());
        }
        self.conn.close();
        Ok(())
    }
}

fn taken_back() -> Fault {
    Fault::Passing(
        StoreError::new(StoreErrorKind::Busy, "others write the same rows").with_hint("try again"),
    )
}
