//! [`Marker`]: whether anything was changed, by whomever.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokenkeep_core::{ChangeMark, Operation, StoreError};
use tokio_postgres::{Client, Notification, Statement};

use crate::{
    error::Fault,
    notify::{CHANNEL, told_of},
    pool::{Attempts, Pool},
    rows::value,
};

/// Asks one connection, which listens and does nothing else.
///
/// The server tells it of each change in our tables. A change that was complete before a question is
/// sent to it has been told before that is answered: whoever commits has the listeners signalled
/// before it gets its own answer, and a listener sends what it was told of before it says that it is
/// ready for the next question. So one question, whatever its answer, is what tells that nothing is
/// under way; it is asked what else has to hold.
pub(crate) struct Marker {
    listening: tokio::sync::Mutex<Option<Arc<Listening>>>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    observed: Option<Observed>,
    connections: u64,
    mark: u64,
}

/// A connection that listens.
struct Listening {
    client: Client,
    question: Option<Statement>,
    tables: [String; 2],
    /// How many changes it was told of.
    told: Arc<AtomicU64>,
    /// Which of the marker's connections it is.
    number: u64,
}

/// What was observed; as long as it is the same, nothing was changed.
#[derive(PartialEq)]
struct Observed {
    connection: u64,
    told: u64,
    /// Who answers, and what the triggers and the files of the tables are.
    circumstances: String,
    /// Which transactions have ended, on the whole server; only asked where the server cannot be
    /// relied upon to tell of changes. What was changed is in it as well, and much else.
    ended: Option<String>,
}

/// A trigger is only relied upon if it fires always, and on the one table that there is; one that was
/// turned off for a while has another `xmin`. Behind a pooler another process of the server may
/// answer, which does not listen.
const QUESTION: &str = "select s.listens and count(*) = 2 and bool_and(t.tgenabled = 'A' \
     and c.relkind = 'r' and not c.relhassubclass and not c.relispartition), \
     s.process || coalesce(string_agg(' ' || c.oid || ' ' || c.relfilenode || ' ' || t.oid || ' ' \
     || t.xmin || ' ' || t.tgenabled::text, ' ' order by c.oid), ''), \
     s.snapshot from (select pg_backend_pid() as process, pg_current_snapshot()::text as snapshot, \
     'tokenkeep_changed' in (select pg_listening_channels()) as listens) s \
     left join (pg_catalog.pg_class c join pg_catalog.pg_trigger t \
     on t.tgrelid = c.oid and t.tgname = 'tokenkeep_changed') \
     on c.oid in (to_regclass($1::text), to_regclass($2::text)) \
     group by s.process, s.snapshot, s.listens";

impl Marker {
    pub(crate) fn new() -> Self {
        Self { listening: tokio::sync::Mutex::new(None), last: Mutex::default() }
    }

    /// A mark of what is stored now.
    pub(crate) async fn mark(&self, pool: &Pool) -> Result<ChangeMark, StoreError> {
        let mut attempts = Attempts::new(pool.limit(), Operation::ChangeMark);
        loop {
            let mut used = None;
            let looking = async {
                let listening = used.insert(self.listening(pool).await?);
                listening.observe().await
            };
            match attempts.within(looking).await {
                Ok(observed) => return Ok(self.mark_of(observed)),
                Err(fault) => {
                    if let Some(used) = used {
                        self.give_up(&used).await;
                    }
                    attempts.after(fault).await?;
                }
            }
        }
    }

    /// The mark stays while what is observed stays, and never comes again. Of two that ask at the
    /// same time, one may get a mark that is newer than need be.
    fn mark_of(&self, observed: Option<Observed>) -> ChangeMark {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if observed.is_none() || last.observed != observed {
            last.observed = observed;
            last.mark += 1;
        }
        ChangeMark::new(last.mark, 0)
    }

    async fn listening(&self, pool: &Pool) -> Result<Arc<Listening>, Fault> {
        let mut listening = self.listening.lock().await;
        if let Some(listening) = listening.as_ref().filter(|one| !one.client.is_closed()) {
            return Ok(Arc::clone(listening));
        }
        let number = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.connections += 1;
            last.connections
        };
        let new = Arc::new(Box::pin(Listening::begin(pool, number)).await?);
        *listening = Some(Arc::clone(&new));
        Ok(new)
    }

    async fn give_up(&self, used: &Arc<Listening>) {
        let mut listening = self.listening.lock().await;
        if listening.as_ref().is_some_and(|listening| Arc::ptr_eq(listening, used)) {
            *listening = None;
        }
    }
}

impl Listening {
    async fn begin(pool: &Pool, number: u64) -> Result<Self, Fault> {
        // It is known once anything was read, and then a connection was made to find it out.
        let layout = pool.known_layout().await?;
        let names = [layout.table.clone(), layout.side_table()];
        let ours: HashSet<String> = names.iter().map(|name| told_of(&layout, name)).collect();
        let told = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&told);
        let count = move |notification: &Notification| {
            if notification.channel() == CHANNEL && ours.contains(notification.payload()) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        };
        let client = pool.connector.connect(count).await?;
        // What speaks the protocol and is another database may have neither.
        let usable = match client.batch_execute(&format!("listen {CHANNEL}")).await {
            Ok(()) => client.prepare(QUESTION).await,
            Err(error) => Err(error),
        };
        let question = match usable {
            Ok(question) => Some(question),
            Err(error) if error.as_db_error().is_some() => {
                tracing::warn!("this server does not tell of changes: every mark is a new one");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let tables = names.map(|name| layout.named(&name));
        Ok(Self { client, question, tables, told, number })
    }

    /// What holds now; `None` if that cannot be found out.
    async fn observe(&self) -> Result<Option<Observed>, Fault> {
        let Some(question) = &self.question else { return Ok(None) };
        let [table, side] = &self.tables;
        let row = self.client.query_one(question, &[table, side]).await?;
        let tells: Option<bool> = value(&row, 0)?;
        let ended = if tells == Some(true) { None } else { Some(value(&row, 2)?) };
        Ok(Some(Observed {
            connection: self.number,
            // Read after the answer: what came before it has been counted.
            told: self.told.load(Ordering::SeqCst),
            circumstances: value(&row, 1)?,
            ended,
        }))
    }
}
