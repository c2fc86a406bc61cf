//! The table: requests, tried again for as long as an operation may take.

use std::{
    collections::HashMap,
    error::Error,
    hash::{DefaultHasher, Hash, Hasher},
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, KeysAndAttributes, ReturnValue},
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokenkeep_core::{ChangeMark, Clock, MAX_ID, Operation, StoreError, TokenId, next_id};

use super::items::{self, COUNTER, Item, PK, Row, number, number_of, text, token_pk};
use crate::pace::{Attempt, Pace, detached, limited};

/// How many items one request may ask for.
const BATCH: usize = 100;
/// Among how many turns the writes of one process are spread.
const TURNS: usize = 64;

/// A table that is open.
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// How many items count changes; none: a change mark says nothing.
    pub(crate) marks: u32,
    pub(crate) timeout: Duration,
    pub(crate) expire_after: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) asked: AtomicU64,
    turns: [tokio::sync::Mutex<()>; TURNS],
}

impl Table {
    pub(crate) fn new(
        client: Client,
        name: String,
        timeout: Duration,
        expire_after: Option<Duration>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let turns = std::array::from_fn(|_| tokio::sync::Mutex::new(()));
        let asked = AtomicU64::new(0);
        Self { client, name, marks: 0, timeout, expire_after, clock, asked, turns }
    }

    /// Runs what only reads. If its future is dropped, it ends.
    pub(crate) async fn read<T, F: Future<Output = Result<T, StoreError>> + Send>(
        self: &Arc<Self>,
        operation: Operation,
        work: impl FnOnce(Run) -> F,
    ) -> Result<T, StoreError> {
        let run = Run::new(self);
        let progress = Arc::clone(&run.progress);
        limited(self.timeout, &progress, Box::pin(work(run)))
            .await
            .map_err(|error| error.during(operation))
    }

    /// Runs what writes, in a task of its own: it goes on if its caller leaves. Those that are
    /// `about` the same thing take turns in this process, so that they do not get in each other's
    /// way and what a caller left behind is done before the next begins.
    pub(crate) async fn write<T, F>(
        self: &Arc<Self>,
        operation: Operation,
        about: &str,
        work: impl FnOnce(Run) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let mut hasher = DefaultHasher::new();
        about.hash(&mut hasher);
        let turn = (hasher.finish() % TURNS as u64) as usize;
        let table = Arc::clone(self);
        detached(operation, async move {
            let run = Run::new(&table);
            let progress = Arc::clone(&run.progress);
            let work = async {
                let _turn = table.turns[turn].lock().await;
                work(run).await
            };
            limited(table.timeout, &progress, Box::pin(work)).await
        })
        .await
    }
}

/// One operation under way on a table.
pub(crate) struct Run {
    pub(crate) table: Arc<Table>,
    attempt: Attempt,
}

impl Deref for Run {
    type Target = Attempt;

    fn deref(&self) -> &Attempt {
        &self.attempt
    }
}

impl DerefMut for Run {
    fn deref_mut(&mut self) -> &mut Attempt {
        &mut self.attempt
    }
}

impl Run {
    fn new(table: &Arc<Table>) -> Self {
        Self { table: Arc::clone(table), attempt: Attempt::new("table") }
    }

    /// One that goes on beside this one.
    pub(crate) fn another(&self) -> Self {
        let progress = Arc::clone(&self.progress);
        let attempt = Attempt { progress, pace: Pace::new(), what: self.what };
        Self { table: Arc::clone(&self.table), attempt }
    }

    /// An item as it is now.
    pub(crate) async fn item(&mut self, pk: &str) -> Result<Option<Item>, StoreError> {
        let table = Arc::clone(&self.table);
        let request = || {
            let get = table.client.get_item().table_name(&table.name).consistent_read(true);
            get.key(PK, text(pk)).send()
        };
        Ok(self.ask(request).await?.item)
    }

    /// A token as it is now.
    pub(crate) async fn row(&mut self, id: &TokenId) -> Result<Option<Row>, StoreError> {
        self.item(&token_pk(id)).await?.map(Row::parse).transpose()
    }

    /// Items as they are now, by their keys; those that are not there are left out.
    pub(crate) async fn items(
        &mut self,
        pks: impl IntoIterator<Item = String>,
    ) -> Result<HashMap<String, Item>, StoreError> {
        let mut wanted: Vec<String> = pks.into_iter().collect();
        wanted.sort();
        wanted.dedup();
        let mut found = HashMap::new();
        while !wanted.is_empty() {
            let batch = wanted.split_off(wanted.len().saturating_sub(BATCH));
            let table = Arc::clone(&self.table);
            let request = || {
                let keys = batch.iter().map(|pk| HashMap::from([(PK.to_owned(), text(pk))]));
                let keys = KeysAndAttributes::builder()
                    .set_keys(Some(keys.collect()))
                    .consistent_read(true)
                    .build();
                let get = table.client.batch_get_item();
                async {
                    let keys = keys.map_err(SdkError::construction_failure)?;
                    get.request_items(&table.name, keys).send().await
                }
            };
            let answer = self.ask(request).await?;
            for item in answer.responses.into_iter().flatten().flat_map(|(_table, items)| items) {
                if let Some(AttributeValue::S(pk)) = item.get(PK) {
                    found.insert(pk.clone(), item);
                }
            }
            // What was too much for one answer, or for the table at this moment.
            let rest =
                answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys);
            let before = wanted.len();
            wanted.extend(rest.filter_map(|mut key| match key.remove(PK) {
                Some(AttributeValue::S(pk)) => Some(pk),
                _ => None,
            }));
            if wanted.len() == before + batch.len() {
                self.pace.pause().await;
            }
        }
        Ok(found)
    }

    /// Gives a new id. One that is not used is not given again.
    pub(crate) async fn next_id(&mut self) -> Result<TokenId, StoreError> {
        let table = Arc::clone(&self.table);
        let request = || {
            let update = table.client.update_item().table_name(&table.name);
            update
                .key(PK, text(COUNTER))
                .update_expression("ADD last_id :one")
                .condition_expression("attribute_not_exists(last_id) OR last_id < :max")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":max", number(MAX_ID))
                .return_values(ReturnValue::UpdatedNew)
                .send()
        };
        match self.unless_condition(request).await? {
            Some(answer) => {
                let last = answer.attributes.as_ref().and_then(|item| number_of(item, "last_id"));
                last.map(TokenId::from_number)
                    .ok_or_else(|| crate::error::corrupt("the largest id given is not a number"))
            }
            // It says that all have been given.
            None => next_id(MAX_ID),
        }
    }

    /// Remembers that an id was given by somebody else.
    pub(crate) async fn remember_id(&mut self, id: &TokenId) -> Result<(), StoreError> {
        let Some(given) = id.number().filter(|number| *number <= MAX_ID) else { return Ok(()) };
        let table = Arc::clone(&self.table);
        let request = || {
            let update = table.client.update_item().table_name(&table.name);
            update
                .key(PK, text(COUNTER))
                .update_expression("SET last_id = :given")
                .condition_expression("attribute_not_exists(last_id) OR last_id < :given")
                .expression_attribute_values(":given", number(given))
                .send()
        };
        self.unless_condition(request).await.map(drop)
    }

    /// Makes a request; `None` if its condition does not hold.
    pub(crate) async fn unless_condition<T, E, F>(
        &mut self,
        request: impl Fn() -> F + Send + Sync,
    ) -> Result<Option<T>, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        self.ask(|| async {
            match request().await {
                Err(SdkError::ServiceError(context))
                    if context.err().code() == Some("ConditionalCheckFailedException") =>
                {
                    Ok(None)
                }
                answer => answer.map(Some),
            }
        })
        .await
    }

    /// The mark of what is stored now.
    ///
    /// The counters only grow, each read is of a moment after this was called, and a change counts
    /// in the transaction that makes it: so a change that was complete makes the sum larger.
    pub(crate) async fn change_mark(&mut self) -> Result<ChangeMark, StoreError> {
        if self.table.marks == 0 {
            return Ok(ChangeMark::new(1, self.table.asked.fetch_add(1, Ordering::SeqCst)));
        }
        let items = self.items((0..self.table.marks).map(items::mark_pk)).await?;
        let sum = items.values().filter_map(|item| number_of(item, "changes")).sum();
        Ok(ChangeMark::new(0, sum))
    }
}
