//! [`SqliteStore`] and the six operations of a store.

use std::{path::Path, ptr, sync::Arc};

use async_trait::async_trait;
use tokenkeep_core::{
    OAuthToken, Operation, SharedStore, StoreError, StoreErrorKind, TokenId, TokenQuery,
    TokenStore,
    matching::{self, KEYS, SavePlan, only},
};

use crate::{
    config::SqliteConfig,
    connection::Database,
    error::Fault,
    pool::Pool,
    rows::{self, id_of},
    side,
};

/// Tokens in a SQLite database, in the layout of the official SDKs.
///
/// Clones share their connections. See the crate for what it guarantees.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pub(crate) pool: Arc<Pool>,
}

/// How many tokens are read on the calling task; more are read on a thread.
pub(crate) const FEW: usize = 200;

impl SqliteStore {
    /// Opens the database at `path`, and makes it if there is none; its directory must exist.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteConfig::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteConfig::new(path).open()
    }

    /// An empty database in memory, gone when the last clone is dropped.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteConfig::open`].
    pub fn in_memory() -> Result<Self, StoreError> {
        SqliteConfig::memory().open()
    }

    pub(crate) fn with(config: SqliteConfig) -> Result<Self, StoreError> {
        Ok(Self { pool: Arc::new(Pool::open(config)?) })
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        self.pool.read(Operation::FindToken, query, find).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        self.pool.read(Operation::FindTokenById, id, by_id).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.pool.write(Operation::SaveToken, token, save).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let mut tokens = match self.pool.read(Operation::GetTokens, &FEW, few).await? {
            Some(tokens) => tokens,
            None => self.pool.read_much(Operation::GetTokens, (), all).await?,
        };
        // They nearly come in this order.
        tokens.sort_by(|one, other| one.id().cmp(&other.id()));
        Ok(tokens)
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.pool.write(Operation::DeleteToken, id, delete).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.pool.write(Operation::DeleteTokens, &(), delete_all).await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

fn find(database: &Database, query: &TokenQuery) -> Result<Option<OAuthToken>, Fault> {
    let Some(sql) = database.layout().sql.by(query.key().field()) else {
        return Err(unsupported("this store does not know how to look for that").into());
    };
    let mut statement = database.statement(sql)?;
    let mut rows = statement.query([query.key().expose_value()])?;
    let Some(first) = rows.next()?.map(rows::token).transpose()? else { return Ok(None) };
    let meant = match rows.next()? {
        None => Some(first).filter(|token| matching::matches(query, token)),
        Some(second) => {
            let mut found = vec![first, rows::token(second)?];
            while let Some(row) = rows.next()? {
                found.push(rows::token(row)?);
            }
            let at = match matching::find_one(query, &found)? {
                Some(meant) => found.iter().position(|token| ptr::eq(token, meant)),
                None => None,
            };
            at.map(|at| found.swap_remove(at))
        }
    };
    if let Some(token) = &meant {
        id_of(token)?;
    }
    Ok(meant)
}

/// The token with this id.
pub(crate) fn by_id(database: &Database, id: &TokenId) -> Result<Option<OAuthToken>, Fault> {
    let mut statement = database.statement(&database.layout().sql.by_id)?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(token) = rows.next()?.map(rows::token).transpose()? else { return Ok(None) };
    let mut more = 0;
    while rows.next()?.is_some() {
        more += 1;
    }
    if more > 0 {
        return Err(StoreError::ambiguous(vec![id.clone(); more + 1]).into());
    }
    Ok(Some(token))
}

/// All tokens in no order, unless there are more than `limit`.
fn few(database: &Database, limit: &usize) -> Result<Option<Vec<OAuthToken>>, Fault> {
    let mut statement = database.statement(&database.layout().sql.all)?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        if tokens.len() == *limit {
            return Ok(None);
        }
        tokens.push(rows::identified(row)?);
    }
    Ok(Some(tokens))
}

fn all(database: &Database, (): &()) -> Result<Vec<OAuthToken>, Fault> {
    Ok(few(database, &usize::MAX)?.unwrap_or_default())
}

pub(crate) fn save(database: &Database, token: &OAuthToken) -> Result<OAuthToken, Fault> {
    let candidates = candidates(database, token)?;
    match matching::plan_save(token, &candidates)? {
        SavePlan::Update { id, merged, absorbs } => {
            let stored = only(&candidates, &id)?;
            if let Some(absorbed) = &absorbs {
                side::absorb(database, only(&candidates, absorbed)?, stored)?;
                remove(database, absorbed)?;
            }
            rows::update(database.connection(), database.layout(), stored, &merged, token)?;
            side::follow(database, stored, &merged)?;
            Ok(*merged)
        }
        SavePlan::Insert => {
            let id = token.id().cloned().map_or_else(|| database.next_id(), Ok)?;
            let stored = OAuthToken::new_row(id.clone(), token);
            rows::insert(database.connection(), database.layout(), &stored)?;
            database.remember_id(&id);
            // An SDK may have deleted a token of this id and left what belonged to it.
            side::forget(database, &id)?;
            Ok(stored)
        }
        _ => Err(unsupported("this store does not know how to save that").into()),
    }
}

fn unsupported(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, message)
}

/// All stored tokens that share a key with `token`.
fn candidates(database: &Database, token: &OAuthToken) -> Result<Vec<OAuthToken>, Fault> {
    let given = token.expose_columns();
    let mut found = Vec::new();
    for (at, field) in KEYS.into_iter().enumerate() {
        let Some(value) = given[field as usize].as_deref() else { continue };
        let Some(sql) = database.layout().sql.by(field) else { continue };
        let mut statement = database.statement(sql)?;
        let mut rows = statement.query([value])?;
        while let Some(row) = rows.next()? {
            let mut known = false;
            for earlier in &KEYS[..at] {
                known = known || rows::has(row, *earlier, given[*earlier as usize].as_deref())?;
            }
            if !known {
                found.push(rows::token(row)?);
            }
        }
    }
    Ok(found)
}

fn delete(database: &Database, id: &TokenId) -> Result<bool, Fault> {
    let removed = remove(database, id)?;
    if removed {
        database.remember_id(id);
    }
    side::forget(database, id)?;
    Ok(removed)
}

fn remove(database: &Database, id: &TokenId) -> Result<bool, Fault> {
    Ok(database.statement(&database.layout().sql.delete)?.execute([id.as_str()])? > 0)
}

fn delete_all(database: &Database, (): &()) -> Result<u64, Fault> {
    database.remember_largest()?;
    let removed = database.statement(&database.layout().sql.delete_all)?.execute([])?;
    database.statement(&database.layout().sql.side_delete_all)?.execute([])?;
    Ok(removed as u64)
}
