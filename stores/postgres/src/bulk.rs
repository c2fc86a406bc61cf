//! Many tokens at once: pages with their secrets, and batches in one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{
    BulkStore, Entries, Entry, Field, OAuthToken, Operation, Sidecar, StoreError, StoreErrorKind,
    TokenId, TokenTable,
};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    beside,
    layout::{Layout, Query},
    listing::After,
    pool::Plan,
    rows::{self, Hidden, id_of},
    shared::entry,
    store::PostgresStore,
    transaction::{Look, Seen},
    writes::{Update, Writes, check},
};

/// How much more time each token of a batch is given.
const EACH: Duration = Duration::from_millis(1);

#[async_trait]
impl BulkStore for PostgresStore {
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let mut reading = Reading { page: Entries::default(), limit: limit.max(1) };
        if after.is_none() {
            reading.page.damage.extend(self.nameless(Operation::GetTokens).await?);
        }
        let from = After::new(after);
        let mut is_full = false;
        if let After::Number(number) = from {
            is_full = reading.add(self, Query::EntriesOfNumbers, &Hidden(number)).await?;
        }
        if !is_full {
            reading.add(self, Query::EntriesOfTexts, &Hidden(from.text())).await?;
        }
        Ok(reading.page)
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let tokens: Vec<_> = entries.iter().map(|entry| &entry.token).collect();
        let plan = |layout: &Layout, seen: &Seen| save_all(layout, seen, entries);
        let limit = self.pool.limit() + EACH * u32::try_from(entries.len()).unwrap_or(u32::MAX);
        self.pool.change(Operation::SaveToken, limit, Look::Many(&tokens), plan).await
    }
}

struct Reading {
    page: Entries,
    limit: usize,
}

impl Reading {
    /// Adds the rows that come `after`; whether the page is full and more would come.
    async fn add(
        &mut self,
        store: &PostgresStore,
        query: Query,
        after: &(dyn ToSql + Sync),
    ) -> Result<bool, StoreError> {
        // Together with all that have the same id as the last.
        let asked = (self.limit - self.page.entries.len()).saturating_add(1);
        let asked = i64::try_from(asked).unwrap_or(i64::MAX);
        let found = store.pool.read_much(Operation::GetTokens, query, &[after, &asked], Ok).await?;
        for row in &found {
            let id = rows::text(row, 0, Field::Id);
            let last = self.page.entries.last().and_then(|entry| entry.token.id());
            if self.page.entries.len() >= self.limit
                && let Some(last) = last
                && !id.as_ref().is_ok_and(|id| id.as_deref() == Some(last.as_str()))
            {
                self.page.next = Some(last.clone());
                return Ok(true);
            }
            match read(row, &mut self.page.damage) {
                Ok(entry) => self.page.entries.push(entry),
                Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                    self.page.damage.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// The entry in a row: ten columns, then what is beside them.
fn read(row: &Row, damage: &mut Vec<String>) -> Result<Entry, StoreError> {
    let token = rows::identified(row)?;
    let beside = beside::Entry::beside(&token, entry(row, 10)?.as_ref());
    let state = match beside.state(id_of(&token)?) {
        Ok(state) => state,
        Err(error) => {
            damage.push(error.to_string());
            None
        }
    };
    Ok(Entry::new(token).with_state(state))
}

type Answers = Vec<Result<OAuthToken, StoreError>>;

/// Saves them in memory, one after the other, and then writes what has become another.
fn save_all(layout: &Layout, seen: &Seen, entries: &[Entry]) -> Result<Plan<Answers>, StoreError> {
    let mut batch = Batch::new(seen)?;
    let mut answers = Vec::with_capacity(entries.len());
    for entry in entries {
        let saved = batch.save(layout, entry);
        answers.push(saved.map_err(|error| error.during(Operation::SaveToken)));
    }
    Ok((answers, batch.into_writes(layout, seen)?))
}

/// What there is while a batch is saved.
struct Batch {
    table: TokenTable,
    sidecar: Sidecar,
    /// The tokens that have become others, and which fields of them.
    touched: BTreeMap<TokenId, BTreeSet<Field>>,
}

impl Batch {
    fn new(seen: &Seen) -> Result<Self, StoreError> {
        let mut table = TokenTable::new();
        for token in &seen.tokens {
            table.load(token.clone())?;
        }
        table.reserve_ids(seen.last_id);
        let mut sidecar = Sidecar::default();
        sidecar.tokens =
            seen.beside.iter().map(|(id, entry)| (id.clone(), entry.known.clone())).collect();
        Ok(Self { table, sidecar, touched: BTreeMap::new() })
    }

    fn save(&mut self, layout: &Layout, entry: &Entry) -> Result<OAuthToken, StoreError> {
        let saved = self.table.plan(&entry.token, self.table.last_id())?;
        let id = id_of(&saved.token)?;
        let before = self.table.find_by_id(id)?;
        let fields = match before {
            Some(before) => before.fields_to_write(&saved.token, &entry.token),
            None => Field::ALL.to_vec(),
        };
        check(layout, &saved.token, &fields)?;
        if let Some(before) = before
            && let Some(beside) = self.sidecar.tokens.get_mut(id)
            && beside.belongs_to(before)
        {
            beside.user_name = saved.token.user_name().map(str::to_owned);
            beside.client_id = saved.token.client_id().map(str::to_owned);
        }
        self.touched.entry(id.clone()).or_default().extend(fields);
        if let Some(absorbed) = &saved.absorbed {
            self.touched.entry(absorbed.clone()).or_default();
        }
        self.sidecar.apply_entry(&mut self.table, entry, &saved);
        Ok(saved.token)
    }

    fn into_writes(self, layout: &Layout, seen: &Seen) -> Result<Writes, StoreError> {
        let mut writes = Writes::default();
        let stored: BTreeMap<_, _> =
            seen.tokens.iter().filter_map(|token| Some((token.id()?, token))).collect();
        for (id, fields) in self.touched {
            match (stored.contains_key(&id), self.table.find_by_id(&id)?) {
                (true, Some(now)) if !fields.is_empty() => {
                    let fields = fields.into_iter().filter(|field| *field != Field::Id).collect();
                    writes.update.push(Update { token: now.clone(), fields });
                }
                (false, Some(now)) => writes.add(layout, now)?,
                (true, None) => writes.delete.push(id.clone()),
                (true, Some(_)) | (false, None) => {}
            }
        }
        writes
            .forget
            .extend(seen.beside.keys().filter(|id| !self.sidecar.tokens.contains_key(id)).cloned());
        for (id, known) in self.sidecar.tokens {
            let before = seen.beside.get(&id);
            if before.is_none_or(|before| before.known != known) {
                writes.beside.insert(id, beside::Entry::now(before, known)?);
            }
        }
        if self.table.last_id() > 0 {
            writes.last_id = Some(self.table.last_id());
        }
        Ok(writes)
    }
}
