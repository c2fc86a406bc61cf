//! [`Transaction`]: one change, in two round trips: look and lock, then write and commit.

use std::collections::BTreeMap;

use futures_util::{
    FutureExt as _,
    future::{join, join_all, try_join3, try_join4},
};
use tokenkeep_core::{Field, OAuthToken, StoreError, TokenId, matching::KEYS};
use tokio_postgres::Row;

use crate::{
    beside::Entry,
    connection::Connection,
    error::{Fault, leaves_open},
    layout::{Layout, Query},
    rows::{self, Hidden, value},
    writes::{Parameter, Step, Writes},
};

/// What a change has to see before it can be decided on. All that is seen is locked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look<'a> {
    /// The tokens that share a key with this one, and the largest id given; what is beside them
    /// where it may matter.
    Candidates(&'a OAuthToken),
    /// The tokens that share a key with one of these, what is beside them, and the largest id given.
    Many(&'a [&'a OAuthToken]),
    /// The token with this id and what is beside it.
    One(&'a TokenId),
    /// The same; and nobody adds one meanwhile.
    OneAlone(&'a TokenId),
    /// The largest number that is an id, and how many tokens there are, which are removed.
    RemoveAll,
}

/// What was seen.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// The largest id that was given, or is in the table.
    pub(crate) last_id: u64,
    pub(crate) tokens: Vec<OAuthToken>,
    pub(crate) beside: BTreeMap<TokenId, Entry>,
    /// How many tokens there were.
    pub(crate) removed: u64,
}

/// A transaction that was begun and has looked.
pub(crate) struct Transaction<'a> {
    connection: &'a Connection,
    pub(crate) seen: Seen,
}

/// Why a transaction did not commit.
pub(crate) enum Uncommitted {
    /// It was rolled back.
    Certain(Fault),
    /// It may have been committed.
    Unknown(Fault),
}

/// How many statements are sent at a time. What polls more does not begin them in order.
const AT_A_TIME: usize = 20;

/// Each statement sees what was committed before it began, so that what is read after a lock was
/// got is as new as the lock.
const BEGIN: &str = "begin isolation level read committed read write";

impl<'a> Transaction<'a> {
    /// Begins one, and looks.
    ///
    /// Statements are sent without waiting for the answers of those before.
    pub(crate) async fn begin(connection: &'a Connection, look: Look<'_>) -> Result<Self, Fault> {
        let seen = match look {
            Look::Candidates(token) => {
                let mut seen = candidates(connection, &[token]).await?;
                // Mostly there is one, which stays whose it is, and so does what is beside it.
                if seen.tokens.len() > 1 || !seen.tokens.iter().all(|stored| stays(stored, token)) {
                    read_beside(connection, &mut seen).await?;
                }
                seen
            }
            Look::Many(tokens) => {
                let mut seen = candidates(connection, tokens).await?;
                read_beside(connection, &mut seen).await?;
                seen
            }
            Look::One(id) => one(connection, id).await?,
            Look::OneAlone(id) => one_alone(connection, id).await?,
            Look::RemoveAll => remove_all(connection).await?,
        };
        Ok(Self { connection, seen })
    }

    pub(crate) fn layout(&self) -> &'a Layout {
        &self.connection.layout
    }

    /// Ends it without having changed anything. The answer is not waited for: who uses the
    /// connection next comes after it.
    pub(crate) fn roll_back(self) {
        drop(self.connection.client.batch_execute("rollback").now_or_never());
    }

    /// Writes and commits.
    pub(crate) async fn commit(self, writes: &Writes) -> Result<(), Uncommitted> {
        let certain = |error: tokio_postgres::Error| Uncommitted::Certain(error.into());
        let connection = self.connection;
        let steps = writes.steps(&connection.layout);
        for (query, _) in &steps {
            connection.statement(*query).await.map_err(certain)?;
        }
        let together = steps.len().saturating_sub(AT_A_TIME);
        for step in &steps[..together] {
            write(connection, step).await.map_err(certain)?;
        }
        let last = join_all(steps[together..].iter().map(|step| write(connection, step)));
        let (written, committed) = join(last, connection.client.batch_execute("commit")).await;
        // What the server refuses to write, it does not commit.
        let (refused, rest): (Vec<_>, Vec<_>) = written
            .into_iter()
            .filter_map(Result::err)
            .partition(|error| error.as_db_error().is_some());
        if let Some(error) = refused.into_iter().next() {
            return Err(certain(error));
        }
        match committed {
            // A statement that was not even sent would be a mistake of ours.
            Ok(()) => match rest.into_iter().next() {
                Some(error) => Err(Uncommitted::Unknown(error.into())),
                None => Ok(()),
            },
            Err(error) if leaves_open(&error) => Err(Uncommitted::Unknown(error.into())),
            Err(error) => Err(certain(error)),
        }
    }
}

async fn write(
    connection: &Connection,
    (query, parameters): &Step<'_>,
) -> Result<(), tokio_postgres::Error> {
    let parameters = parameters.iter().map(|parameter: &Parameter<'_>| {
        let parameter: &(dyn tokio_postgres::types::ToSql + Sync) = &**parameter;
        parameter
    });
    let parameters: Vec<_> = parameters.collect();
    connection.rows(*query, &parameters).await.map(drop)
}

async fn begin(connection: &Connection) -> Result<(), tokio_postgres::Error> {
    connection.client.batch_execute(BEGIN).await
}

async fn prepare(connection: &Connection, queries: &[Query]) -> Result<(), tokio_postgres::Error> {
    for query in queries {
        connection.statement(*query).await?;
    }
    Ok(())
}

async fn candidates(connection: &Connection, tokens: &[&OAuthToken]) -> Result<Seen, Fault> {
    let mut values: [Vec<_>; 5] = Default::default();
    for token in tokens {
        let columns = token.expose_columns();
        for (values, field) in values.iter_mut().zip(KEYS) {
            let value = columns[field as usize].clone();
            // What cannot be stored is not there either.
            values.extend(value.filter(|value| !value.contains('\0')));
        }
    }
    let [ids, names, access, grants, refresh] = values.map(Hidden);
    // The order of the keys is that of the statement.
    const { assert!(matches!(KEYS[1], Field::UserName) && matches!(KEYS[4], Field::RefreshToken)) };
    let asked: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&ids, &names, &access, &grants, &refresh];

    prepare(connection, &[Query::Lock, Query::Candidates, Query::LargestNumber]).await?;
    let ((), lock, largest, found) = try_join4(
        begin(connection),
        connection.rows(Query::Lock, &[]),
        connection.rows(Query::LargestNumber, &[]),
        connection.rows(Query::Candidates, &asked),
    )
    .await?;
    let mut seen = Seen { last_id: last_id(&lock, &largest)?, ..Seen::default() };
    for row in &found {
        seen.tokens.push(rows::token(row)?);
    }
    Ok(seen)
}

/// Whether `stored` is of the same user and client after `token` is saved over it.
fn stays(stored: &OAuthToken, token: &OAuthToken) -> bool {
    let same = |now: Option<&str>, then: Option<&str>| now.is_none() || now == then;
    same(token.user_name(), stored.user_name())
        && same(token.client_id(), stored.client_id())
        && !token.clears(Field::UserName)
        && !token.clears(Field::ClientId)
}

async fn read_beside(connection: &Connection, seen: &mut Seen) -> Result<(), Fault> {
    let ids: Vec<_> = seen.tokens.iter().filter_map(OAuthToken::id).map(TokenId::as_str).collect();
    if !ids.is_empty() {
        seen.beside = entries(&connection.rows(Query::Beside, &[&Hidden(ids)]).await?)?;
    }
    Ok(())
}

async fn one(connection: &Connection, id: &TokenId) -> Result<Seen, Fault> {
    prepare(connection, &[Query::LockById, Query::Beside]).await?;
    let (name, names) = (Hidden(id.as_str()), Hidden(vec![id.as_str()]));
    let ((), found, beside) = try_join3(
        begin(connection),
        connection.rows(Query::LockById, &[&name]),
        connection.rows(Query::Beside, &[&names]),
    )
    .await?;
    Ok(Seen { tokens: with_id(id, &found)?, beside: entries(&beside)?, ..Seen::default() })
}

/// Who removes one holds the lock of those who add, too: it is taken before that of the token, as
/// they do, or the two could wait for each other.
async fn one_alone(connection: &Connection, id: &TokenId) -> Result<Seen, Fault> {
    prepare(connection, &[Query::Lock, Query::LockById, Query::Beside]).await?;
    let (name, names) = (Hidden(id.as_str()), Hidden(vec![id.as_str()]));
    let ((), lock, found, beside) = try_join4(
        begin(connection),
        connection.rows(Query::Lock, &[]),
        connection.rows(Query::LockById, &[&name]),
        connection.rows(Query::Beside, &[&names]),
    )
    .await?;
    let last_id = last_id(&lock, &[])?;
    Ok(Seen { last_id, tokens: with_id(id, &found)?, beside: entries(&beside)?, removed: 0 })
}

async fn remove_all(connection: &Connection) -> Result<Seen, Fault> {
    prepare(connection, &[Query::Lock, Query::LargestNumber]).await?;
    let delete = connection.statement(Query::DeleteAll).await?;
    let ((), lock, largest, removed) = try_join4(
        begin(connection),
        connection.rows(Query::Lock, &[]),
        connection.rows(Query::LargestNumber, &[]),
        connection.client.execute(delete, &[]),
    )
    .await?;
    Ok(Seen { last_id: last_id(&lock, &largest)?, removed, ..Seen::default() })
}

/// The tokens of rows that were found by an id; a collation may find more.
fn with_id(id: &TokenId, rows: &[Row]) -> Result<Vec<OAuthToken>, StoreError> {
    let mut tokens = rows.iter().map(rows::token).collect::<Result<Vec<_>, _>>()?;
    tokens.retain(|token| token.id() == Some(id));
    Ok(tokens)
}

fn last_id(lock: &[Row], largest: &[Row]) -> Result<u64, Fault> {
    let Some(recorded) = lock.first() else {
        return Err(Fault::stale("tokenkeep_meta has lost the row of the token table"));
    };
    let recorded: i64 = value(recorded, 0)?;
    let largest: Option<i64> = largest.first().map(|row| value(row, 0)).transpose()?;
    Ok(u64::try_from(recorded.max(largest.unwrap_or_default())).unwrap_or_default())
}

fn entries(rows: &[Row]) -> Result<BTreeMap<TokenId, Entry>, StoreError> {
    let entry = |row| {
        let id: String = value(row, 0)?;
        Ok((TokenId::new(id)?, Entry::read(row, 1)?))
    };
    rows.iter().map(entry).collect()
}
