//! Many tokens at once: pages with their secrets, and batches in one transaction.

use std::{error::Error as _, sync::Arc};

use async_trait::async_trait;
use rusqlite::{Row, ToSql};
use tokenkeep_core::{
    BulkStore, Entries, Entry, OAuthToken, Operation, StoreError, StoreErrorKind, TokenId,
};

use crate::{
    connection::Database,
    error::Fault,
    rows::{self, id_of},
    shared::{nameless, positions},
    side::{self, SideRow},
    store::{FEW, SqliteStore, save},
};

#[async_trait]
impl BulkStore for SqliteStore {
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
    let saved = database.attempt(|database| {
        save_each(entries, |entry| {
            let before = database.connection().total_changes();
            let saved = save_entry(database, entry);
            half_written = saved.is_err() && database.connection().total_changes() != before;
            match saved {
                Err(fault) if half_written => Err(fault),
                saved => Ok(saved),
            }
        })
    });
    match saved {
        Err(_) if half_written => {
            save_each(entries, |entry| Ok(database.attempt(|database| save_entry(database, entry))))
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

fn save_entry(database: &Database, entry: &Entry) -> Result<OAuthToken, Fault> {
    let stored = save(database, &entry.token)?;
    if let Some(state) = &entry.state
        && SideRow::of(database, &stored)?.readable_state().is_none()
    {
        let mut state = state.clone();
        state.in_flight = None;
        side::write_state(database, &stored, &state)?;
    }
    Ok(stored)
}
