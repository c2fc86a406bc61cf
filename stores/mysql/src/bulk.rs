//! Many tokens at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use mysql_async::{Conn, Params, prelude::Queryable};
use tokenkeep_core::{
    BulkStore, Entries, Entry, Field, OAuthToken, Operation, Sidecar, SidecarEntry, StoreError,
    TokenId, TokenTable, matching::KEYS,
};

use crate::{
    beside,
    error::{Fault, is_duplicate},
    layout::Layout,
    pages,
    rows::{self, Inserted, id_of, value, values_of},
    server::{Decision, Server, Transaction},
    store::{MysqlStore, largest_number, taken},
};

#[async_trait]
impl BulkStore for MysqlStore {
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let server = &*self.server;
        server
            .attempt(Operation::Page, &Decision::default(), || pages::entries(server, after, limit))
            .await
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        server.attempt(Operation::SaveToken, decision, || save(server, decision, entries)).await
    }
}

type Answers = Vec<Result<OAuthToken, StoreError>>;

async fn save(server: &Server, decision: &Decision, entries: &[Entry]) -> Result<Answers, Fault> {
    let layout = server.layout();
    layout.check_writable()?;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = Transaction::begin(server, &layout).await?;
    let last_id = transaction.last_id;
    let conn = transaction.conn();
    let last_id = last_id.max(largest_number(conn, &layout).await?);
    let mut batch = Batch::read(conn, &layout, entries).await?;
    transaction.check()?;
    let conn = transaction.conn();
    let mut answers: Answers = entries
        .iter()
        .map(|entry| {
            let saved = layout.check(&entry.token).and_then(|()| batch.save(entry, last_id));
            saved.map_err(|error| error.during(Operation::SaveToken))
        })
        .collect();
    for id in batch.write(conn, &layout).await? {
        for answer in &mut answers {
            if answer.as_ref().is_ok_and(|token| token.id() == Some(&id)) {
                *answer = Err(taken(&id).during(Operation::SaveToken));
            }
        }
    }
    let last_id = last_id.max(batch.table.last_id());
    transaction.end(decision, &layout, &[], last_id).await?;
    Ok(answers)
}

/// How many rows or values go with one statement.
const MANY: usize = 200;

/// What is stored of the tokens in question, and what becomes of it.
#[derive(Default)]
struct Batch {
    table: TokenTable,
    sidecar: Sidecar,
    /// As it was read.
    before: HashMap<TokenId, OAuthToken>,
    beside_before: HashMap<TokenId, SidecarEntry>,
    /// The fields to write, of those that were there; all others that were saved are new.
    changed: BTreeMap<TokenId, BTreeSet<Field>>,
}

impl Batch {
    /// Reads and locks all rows that share a key with one of `entries`, and what is beside them.
    async fn read(conn: &mut Conn, layout: &Layout, entries: &[Entry]) -> Result<Self, Fault> {
        let mut batch = Self::default();
        let any = format!("select 1 from `{}` limit 1", layout.table);
        if conn.query_first::<u8, _>(any).await?.is_none() {
            return Ok(batch);
        }
        for field in KEYS {
            let of = |entry: &Entry| {
                Some(entry.token.expose_columns()[field as usize].as_deref()?.to_owned())
            };
            let values: BTreeSet<String> = entries.iter().filter_map(of).collect();
            let values: Vec<_> = values.iter().map(|text| value(Some(text))).collect();
            for values in values.chunks(MANY) {
                let sql = layout.among(field, values.len());
                for token in rows::select(conn, &sql, values.to_vec()).await? {
                    let id = id_of(&token)?.clone();
                    if batch.before.insert(id, token.clone()).is_none() {
                        batch.table.load(token)?;
                    }
                }
            }
        }
        let ids: Vec<_> = batch.before.keys().map(|id| value(Some(id.as_str()))).collect();
        for ids in ids.chunks(MANY) {
            for (id, beside) in beside::among(conn, layout, ids).await? {
                batch.beside_before.insert(id, beside.entry());
            }
        }
        batch.sidecar.tokens.extend(batch.beside_before.clone());
        Ok(batch)
    }

    /// Saves one in memory.
    fn save(&mut self, entry: &Entry, last_id: u64) -> Result<OAuthToken, StoreError> {
        let saved = self.table.plan(&entry.token, last_id)?;
        let id = id_of(&saved.token)?.clone();
        if let Some(stored) = self.table.find_by_id(&id)? {
            let changed = stored.fields_to_write(&saved.token, &entry.token);
            if let Some(beside) = self.sidecar.tokens.get_mut(&id)
                && beside.belongs_to(stored)
            {
                beside.user_name = saved.token.user_name().map(str::to_owned);
                beside.client_id = saved.token.client_id().map(str::to_owned);
            }
            self.changed.entry(id).or_default().extend(changed);
        } else {
            // Nobody inherits what an SDK has left.
            self.sidecar.remove(&id);
            self.changed.entry(id).or_default();
        }
        self.sidecar.apply_entry(&mut self.table, entry, &saved);
        Ok(saved.token)
    }

    /// Writes what has become of it; the ids of rows that the table did not take.
    async fn write(&self, conn: &mut Conn, layout: &Layout) -> Result<Vec<TokenId>, Fault> {
        let mut gone = Vec::new();
        for id in self.before.keys() {
            if self.table.find_by_id(id)?.is_none() {
                gone.push(value(Some(id.as_str())));
            }
        }
        for ids in gone.chunks(MANY) {
            let listed = places(ids.len());
            for sql in [
                format!("delete from `{}` where `id` in ({listed})", layout.table),
                format!("delete from `{}` where token_id in ({listed})", layout.side),
            ] {
                conn.exec_drop(sql, Params::Positional(ids.to_vec())).await?;
            }
        }
        let mut new = Vec::new();
        for (id, changed) in &self.changed {
            let Some(token) = self.table.find_by_id(id)? else { continue };
            if !self.before.contains_key(id) {
                new.push(token);
            } else if !changed.is_empty() {
                let fields: Vec<_> = changed.iter().copied().collect();
                rows::write(conn, layout, token, &fields).await?;
            }
        }
        let mut refused = Vec::new();
        for tokens in new.chunks(MANY) {
            refused.extend(insert(conn, layout, tokens).await?);
        }
        let is_written = |id: &TokenId| self.changed.contains_key(id) && !refused.contains(id);
        let beside: Vec<_> = self
            .sidecar
            .tokens
            .iter()
            .filter(|(id, entry)| is_written(id) && self.beside_before.get(*id) != Some(*entry))
            .collect();
        for entries in beside.chunks(MANY) {
            beside::put(conn, layout, entries).await?;
        }
        Ok(refused)
    }
}

/// Inserts rows with one statement; the ids of those that the table did not take.
async fn insert(
    conn: &mut Conn,
    layout: &Layout,
    tokens: &[&OAuthToken],
) -> Result<Vec<TokenId>, Fault> {
    let ids: Vec<_> =
        tokens.iter().filter_map(|token| Some(value(Some(token.id()?.as_str())))).collect();
    let forget = format!("delete from `{}` where token_id in ({})", layout.side, places(ids.len()));
    conn.exec_drop(forget, Params::Positional(ids)).await?;
    if !layout.reads_back {
        let row = format!("({})", places(Field::ALL.len()));
        let more = format!(", {row}").repeat(tokens.len() - 1);
        let values = tokens.iter().flat_map(|token| values_of(layout, token, &Field::ALL));
        let sql = format!("{}{more}", layout.sql.insert);
        match conn.exec_drop(sql, Params::Positional(values.collect())).await {
            Ok(()) => return Ok(Vec::new()),
            // One of them is refused, and the others are not.
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut refused = Vec::new();
    for token in tokens {
        if rows::insert(conn, layout, token).await? == Inserted::IdTaken {
            refused.push(id_of(token)?.clone());
        }
    }
    Ok(refused)
}

fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}
