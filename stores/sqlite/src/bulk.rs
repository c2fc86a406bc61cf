//! Many tokens at once: pages with their secrets, and batches in one transaction.

use std::{error::Error as _, sync::Arc};

use async_trait::async_trait;
use rusqlite::{CachedStatement, ErrorCode, Row, ToSql};
use tokenkeep_core::{
    BulkStore, Entries, Entry, Field, Look, OAuthToken, Operation, StoreError, StoreErrorKind,
    TokenId, TokenState, matching::KEYS,
};

use crate::{
    connection::Database,
    error::Fault,
    rows::{self, id_of},
    scan::Scan,
    schema,
    shared::{nameless, positions},
    side::{self, SideRow},
    store::{FEW, SqliteStore, save},
};

#[async_trait]
impl BulkStore for SqliteStore {
    /// So many that the pages of its indices are written once for several tokens.
    fn page_size(&self) -> usize {
        5_000
    }

    async fn scan(&self, look: Look) -> Result<Vec<String>, StoreError> {
        self.pool.read_much(Operation::GetTokens, Scan::new(look), Scan::run).await
    }

    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let args = (after.cloned(), limit.max(1));
        if limit <= FEW {
            self.pool.read(Operation::GetTokens, &args, read).await
        } else {
            self.pool.read_much(Operation::GetTokens, args, read).await
        }
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        self.pool.write_much(Operation::SaveToken, Arc::<[Entry]>::from(entries), save_all).await
    }
}

/// The next tokens: those of numeric ids by number, then the others by their bytes.
fn read(database: &Database, (after, limit): &(Option<TokenId>, usize)) -> Result<Entries, Fault> {
    let mut reading = Reading { page: Entries::default(), limit: *limit };
    if after.is_none() {
        reading.page.damage.extend(nameless(database)?);
    }
    let sql = &database.layout().sql;
    let (number, text) = positions(after.as_ref());
    let full = match number {
        Some(number) => reading.add(database, &sql.entry_numbers, &number)?,
        None => false,
    };
    if !full {
        reading.add(database, &sql.entry_texts, &text)?;
    }
    Ok(reading.page)
}

struct Reading {
    page: Entries,
    limit: usize,
}

impl Reading {
    /// Adds the rows that come `after`; whether the page is full and more would come.
    fn add(&mut self, database: &Database, sql: &str, after: &dyn ToSql) -> Result<bool, Fault> {
        let mut statement = database.statement(sql)?;
        let mut rows = statement.query([after])?;
        while let Some(row) = rows.next()? {
            let last = self.page.entries.last().and_then(|entry| entry.token.id());
            if self.page.entries.len() >= self.limit
                && let Some(last) = last
                && !rows::has_id(row, last)?
            {
                self.page.next = Some(last.clone());
                return Ok(true);
            }
            match entry(row, &mut self.page.damage) {
                Ok(entry) => self.page.entries.push(entry),
                Err(Fault::Store(error)) if error.kind() == StoreErrorKind::Corrupt => {
                    self.page.damage.push(error.to_string());
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(false)
    }
}

/// The entry in a row: ten columns, then whose the state is, and the state.
fn entry(row: &Row<'_>, damage: &mut Vec<String>) -> Result<Entry, Fault> {
    let token = rows::identified(row)?;
    let state = match SideRow::in_row(row, 10)?.if_of(&token).state(id_of(&token)?) {
        Ok(state) => state,
        Err(error) => {
            damage.push(error.to_string());
            None
        }
    };
    Ok(Entry::new(token).with_state(state))
}

/// A savepoint for each would cost as much as saving it. So there is one for all; only if one is
/// refused after something of it was written, all is undone, and done again with one for each.
fn save_all(
    database: &Database,
    entries: &Arc<[Entry]>,
) -> Result<Vec<Result<OAuthToken, StoreError>>, Fault> {
    let mut half_written = false;
    let mut batch = Batch::on(database)?;
    let saved = database.attempt(|database| {
        save_each(entries, |entry| {
            let before = database.connection().total_changes();
            let saved = batch.save(entry);
            half_written = saved.is_err() && database.connection().total_changes() != before;
            match saved {
                Err(fault) if half_written => Err(fault),
                saved => Ok(saved),
            }
        })
    });
    match saved {
        Err(_) if half_written => {
            save_each(entries, |entry| Ok(database.attempt(|_| batch.save(entry))))
        }
        saved => saved,
    }
}

/// What became of each entry; ends with what `save` cannot go on after.
fn save_each(
    entries: &[Entry],
    mut save: impl FnMut(&Entry) -> Result<Result<OAuthToken, Fault>, Fault>,
) -> Result<Vec<Result<OAuthToken, StoreError>>, Fault> {
    let mut answers = Vec::with_capacity(entries.len());
    for entry in entries {
        answers.push(match save(entry)? {
            Ok(stored) => Ok(stored),
            Err(Fault::Store(error)) if is_refusal(&error) => {
                Err(error.during(Operation::SaveToken))
            }
            Err(fault) => return Err(fault),
        });
    }
    Ok(answers)
}

/// Whether the error is about the one token, and not about the database: what SQLite reports is,
/// but for a constraint, about the latter.
fn is_refusal(error: &StoreError) -> bool {
    error.kind() == StoreErrorKind::Invalid || error.source().is_none()
}

/// The saves of a transaction, with what does not change in it.
struct Batch<'a> {
    database: &'a Database,
    any_in_common: CachedStatement<'a>,
    insert: CachedStatement<'a>,
    /// Whether what is inserted is what will be read.
    keeps_texts: bool,
    /// Whether nothing was beside any token, so that nothing was left of one that an SDK removed.
    nothing_beside: bool,
}

impl<'a> Batch<'a> {
    fn on(database: &'a Database) -> Result<Self, Fault> {
        let (connection, layout) = (database.connection(), database.layout());
        Ok(Self {
            database,
            any_in_common: database.statement(&layout.sql.any_in_common)?,
            insert: database.statement(&layout.sql.insert)?,
            keeps_texts: schema::keeps_texts(connection, &layout.table)?,
            nothing_beside: !database.statement(&layout.sql.side_any)?.exists([])?,
        })
    }

    fn save(&mut self, entry: &Entry) -> Result<OAuthToken, Fault> {
        if let Some(stored) = self.insert_new(entry)? {
            return Ok(stored);
        }
        let stored = save(self.database, &entry.token)?;
        if let Some(state) = &entry.state
            && SideRow::of(self.database, &stored)?.readable_state().is_none()
        {
            self.write_state(&stored, state)?;
        }
        Ok(stored)
    }

    /// Inserts a token that comes with an id and has nothing in common with any that is stored:
    /// what a save would do with it, without what it would do beside. Otherwise does nothing.
    fn insert_new(&mut self, entry: &Entry) -> Result<Option<OAuthToken>, Fault> {
        let (token, layout) = (&entry.token, self.database.layout());
        let Some(id) = token.id().filter(|_| self.keeps_texts && token.has_token()) else {
            return Ok(None);
        };
        let mut columns = token.expose_columns();
        for (at, field) in KEYS.into_iter().enumerate() {
            let value = columns[field as usize].as_deref();
            self.any_in_common.raw_bind_parameter(at + 1, value)?;
        }
        if self.any_in_common.raw_query().next()?.is_some() {
            return Ok(None);
        }
        for field in Field::ALL {
            let value = columns[field as usize].take();
            rows::bind(&mut self.insert, layout, field, value)?;
        }
        if let Err(error) = self.insert.raw_execute() {
            // The statement is undone. A save says what it is.
            return match error.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation) => Ok(None),
                _ => Err(error.into()),
            };
        }
        self.database.remember_id(id);
        if !self.nothing_beside {
            side::forget(self.database, id)?;
        }
        let stored = OAuthToken::new_row(id.clone(), token);
        if let Some(state) = &entry.state {
            self.write_state(&stored, state)?;
        }
        Ok(Some(stored))
    }

    fn write_state(&self, token: &OAuthToken, state: &TokenState) -> Result<(), Fault> {
        let mut state = state.clone();
        state.in_flight = None;
        side::write_state(self.database, token, &state)
    }
}
