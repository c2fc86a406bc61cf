//! [`Inspection`]: what a person should know of a database.

use std::{fs, path::PathBuf};

use rusqlite::Row;
use tokenkeep_core::{Field, Operation, StoreError, TokenId};

use crate::{
    config::Location,
    connection::Database,
    error::Fault,
    layout::{Beside, Layout},
    rows,
    store::SqliteStore,
};

/// What a person should know of a database: what it is, and what in it may cause trouble.
///
/// It holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Where it is; `None` if in memory.
    pub path: Option<PathBuf>,
    /// The permission bits of its file, where there are such: `0o600` is private.
    pub mode: Option<u32>,
    /// The token table.
    pub table: String,
    /// How SQLite keeps its journal: `wal`, unless the file system cannot.
    pub journal_mode: String,
    /// How many tokens there are.
    pub tokens: u64,
    /// The id that the next token gets; `None` if all have been given.
    pub next_id: Option<TokenId>,
    /// Tokens of one user, client and API domain: a query for them is ambiguous.
    pub duplicates: Vec<Vec<TokenId>>,
    /// Values longer than the official layout says. SQLite keeps them; MySQL would not.
    pub too_long: Vec<(TokenId, Field)>,
    /// Ids that are not numbers. The SDKs in Python and Java cannot add a token while there are
    /// any.
    pub text_ids: Vec<TokenId>,
    /// Tokens whose expiry time cannot be read and counts as absent.
    pub unreadable_expiry: Vec<TokenId>,
    /// Whether an official SDK that adds a token now fails, or overwrites one, because the id it
    /// would choose, by the largest text, is taken.
    pub sdk_cannot_insert: bool,
    /// State and leases of tokens that somebody else has deleted.
    pub orphans: u64,
    /// What SQLite finds wrong with the file; empty if it is sound.
    pub damage: Vec<String>,
}

impl Inspection {
    /// Whether others than the owner can read the file, and so the secrets in it.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o077 != 0)
    }
}

impl SqliteStore {
    /// Looks the whole database over, on a thread of its own.
    ///
    /// # Errors
    ///
    /// What keeps the database from being read. Damage that leaves it readable is part of the
    /// answer.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        self.pool.read_much(Operation::GetTokens, (), inspect).await
    }
}

fn inspect(database: &Database, (): &()) -> Result<Inspection, Fault> {
    let layout = database.layout();
    let config = &database.settings().config;
    let path = match &config.location {
        Location::Memory => None,
        Location::File(path) => Some(path.clone()),
    };
    let counts = format!(
        "select (select count(*) from \"{table}\"), \
         (select cast(max(\"id\") as integer) + 1 from \"{table}\"), {orphans}",
        table = layout.table,
        orphans = if layout.beside != Beside::Nothing {
            format!(
                "(select count(*) from \"{}\" s where not exists \
                 (select 1 from \"{}\" t where t.\"id\" = s.token_id))",
                layout.side, layout.table
            )
        } else {
            "0".to_owned()
        }
    );
    let (tokens, sdk_id, orphans): (i64, Option<i64>, i64) =
        database
            .connection()
            .query_row(&counts, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let sdk_cannot_insert = match sdk_id {
        Some(id) => database
            .statement(&format!("select 1 from \"{}\" where \"id\" = ?1", layout.table))?
            .exists([id.to_string()])?,
        None => false,
    };
    Ok(Inspection {
        mode: path.as_deref().and_then(|path| mode(&fs::metadata(path).ok()?)),
        path,
        table: layout.table.clone(),
        journal_mode: database
            .connection()
            .pragma_query_value(None, "journal_mode", |row| row.get(0))?,
        tokens: u64::try_from(tokens).unwrap_or_default(),
        next_id: database.next_id().ok(),
        duplicates: duplicates(database)?,
        too_long: too_long(database)?,
        text_ids: ids(database, &textual(layout))?,
        unreadable_expiry: unreadable_expiry(database)?,
        sdk_cannot_insert,
        orphans: u64::try_from(orphans).unwrap_or_default(),
        damage: damage(database)?,
    })
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    Some(metadata.mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_metadata: &fs::Metadata) -> Option<u32> {
    None
}

/// Ids in the table whose row fulfils a condition, in order.
fn ids(database: &Database, condition: &str) -> Result<Vec<TokenId>, Fault> {
    let sql = format!("select \"id\" from \"{}\" where {condition}", database.layout().table);
    let mut statement = database.statement(&sql)?;
    let mut rows = statement.query([])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.extend(id(row)?);
    }
    ids.sort();
    Ok(ids)
}

fn id(row: &Row<'_>) -> Result<Option<TokenId>, Fault> {
    Ok(rows::text(row, 0, Field::Id)?.and_then(|text| TokenId::new(text).ok()))
}

fn textual(layout: &Layout) -> String {
    format!(
        "\"id\" in (select \"id\" from \"{}\" where {})",
        layout.table,
        crate::layout::textual("")
    )
}

fn duplicates(database: &Database) -> Result<Vec<Vec<TokenId>>, Fault> {
    let layout = database.layout();
    let user = layout.column(Field::UserName);
    let domain = layout.column(Field::ApiDomain);
    let sql = format!(
        "select \"id\", dense_rank() over (order by {user} collate binary, \"client_id\" collate \
         binary, lower(rtrim({domain}, '/'))), count(*) over (partition by {user} collate binary, \
         \"client_id\" collate binary, lower(rtrim({domain}, '/'))) as alike \
         from \"{}\" where {user} <> ''",
        layout.table
    );
    let sql = format!("select * from ({sql}) where alike > 1");
    let mut statement = database.statement(&sql)?;
    let mut rows = statement.query([])?;
    let mut groups: Vec<(i64, Vec<TokenId>)> = Vec::new();
    while let Some(row) = rows.next()? {
        let group = row.get(1)?;
        match groups.last_mut() {
            Some((last, ids)) if *last == group => ids.extend(id(row)?),
            _ => groups.push((group, id(row)?.into_iter().collect())),
        }
    }
    Ok(groups
        .into_iter()
        .map(|(_, mut ids)| {
            ids.sort();
            ids
        })
        .collect())
}

fn too_long(database: &Database) -> Result<Vec<(TokenId, Field)>, Fault> {
    let mut found = Vec::new();
    for field in Field::ALL {
        let limit = match field {
            Field::Id => 10,
            Field::ExpiryTime => 20,
            Field::UserName
            | Field::ClientId
            | Field::ClientSecret
            | Field::RefreshToken
            | Field::AccessToken
            | Field::GrantToken
            | Field::RedirectUrl
            | Field::ApiDomain => 255,
        };
        // Characters up to a NUL, or bytes: whichever says more.
        let column = database.layout().column(field);
        let condition = format!(
            "length(cast({column} as blob)) > {limit} and (length({column}) > {limit} \
             or instr({column}, char(0)) > 0)"
        );
        found.extend(ids(database, &condition)?.into_iter().map(|id| (id, field)));
    }
    found.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.cmp(&other.1)));
    Ok(found)
}

fn unreadable_expiry(database: &Database) -> Result<Vec<TokenId>, Fault> {
    let layout = database.layout();
    let column = layout.column(Field::ExpiryTime);
    let sql = format!("select \"id\", {column} from \"{}\" where {column} <> ''", layout.table);
    let mut statement = database.statement(&sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text = rows::text(row, 1, Field::ExpiryTime)?.unwrap_or_default();
        if !rows::is_expiry(&text) {
            found.extend(id(row)?);
        }
    }
    found.sort();
    Ok(found)
}

fn damage(database: &Database) -> Result<Vec<String>, Fault> {
    let mut statement = database.connection().prepare("pragma quick_check(20)")?;
    let found =
        statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}
