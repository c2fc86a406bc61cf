//! [`MysqlStore`] and the six operations of a store.

use std::{ptr, sync::Arc};

use async_trait::async_trait;
use mysql_async::{Conn, Params, Value, prelude::Queryable};
use tokenkeep_core::{
    Field, MAX_ID, OAuthToken, Operation, SharedStore, StoreError, StoreErrorKind, TokenId,
    TokenQuery, TokenStore,
    matching::{self, KEYS, SavePlan, only},
    next_id,
};

use crate::{
    beside,
    config::MysqlConfig,
    error::Fault,
    glance,
    layout::Layout,
    rows::{self, Inserted, id_of, value},
    server::{Decision, Server, Transaction},
};

/// Tokens in a database of MySQL or MariaDB, in the layout of the official SDKs.
///
/// Clones share their connections. See the crate for what it guarantees.
#[derive(Clone, Debug)]
pub struct MysqlStore {
    pub(crate) server: Arc<Server>,
}

impl MysqlStore {
    /// Opens the store that a [URL](MysqlConfig::from_url) names.
    ///
    /// # Errors
    ///
    /// Those of [`MysqlConfig::from_url`] and [`MysqlConfig::open`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        MysqlConfig::from_url(url)?.open().await
    }

    pub(crate) async fn with(config: MysqlConfig) -> Result<Self, StoreError> {
        Ok(Self { server: Arc::new(Server::open(config).await?) })
    }
}

#[async_trait]
impl TokenStore for MysqlStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let server = &*self.server;
        server.attempt(Operation::FindToken, &Decision::default(), || find(server, query)).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let server = &*self.server;
        server
            .attempt(Operation::FindTokenById, &Decision::default(), || async {
                rows::by_id(&mut server.connection().await?, &server.layout(), id).await
            })
            .await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        server.attempt(Operation::SaveToken, decision, || save(server, decision, token)).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let server = &*self.server;
        server.attempt(Operation::GetTokens, &Decision::default(), || all(server)).await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        server.attempt(Operation::DeleteToken, decision, || delete(server, decision, id)).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        server.attempt(Operation::DeleteTokens, decision, || delete_all(server, decision)).await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

async fn find(server: &Server, query: &TokenQuery) -> Result<Option<OAuthToken>, Fault> {
    let layout = server.layout();
    let key = query.key();
    let Some(sql) = layout.by(key.field()) else {
        return Err(unsupported("this store does not know how to look for that").into());
    };
    let mut conn = server.connection().await?;
    let mut found = rows::select(&mut conn, sql, vec![value(Some(key.expose_value()))]).await?;
    drop(conn);
    let at = match matching::find_one(query, &found)? {
        Some(meant) => found.iter().position(|token| ptr::eq(token, meant)),
        None => None,
    };
    let Some(at) = at else { return Ok(None) };
    let token = found.swap_remove(at);
    id_of(&token)?;
    Ok(Some(token))
}

async fn all(server: &Server) -> Result<Vec<OAuthToken>, Fault> {
    let layout = server.layout();
    let mut conn = server.connection().await?;
    let mut tokens = rows::select(&mut conn, &layout.sql.all, Vec::new()).await?;
    drop(conn);
    for token in &tokens {
        id_of(token)?;
    }
    tokens.sort_by_cached_key(|token| token.id().cloned());
    Ok(tokens)
}

async fn save(
    server: &Server,
    decision: &Decision,
    token: &OAuthToken,
) -> Result<OAuthToken, Fault> {
    let layout = server.layout();
    layout.check(token)?;
    let keys = keys(token);
    // Where others wait for their turns it is quicker to do so, too.
    let saving = server.saves.begin();
    if saving.is_alone
        && let Some(saved) = glance::save(server, &layout, decision, token, &keys).await?
    {
        return Ok(saved);
    }
    let mut transaction = Transaction::begin(server, &layout).await?;
    let last_id = transaction.last_id;
    let conn = transaction.conn();
    let candidates = candidates(conn, &layout, keys).await?;
    transaction.check()?;
    let conn = transaction.conn();
    let mut rest = Vec::new();
    let saved = match matching::plan_save(token, &candidates)? {
        SavePlan::Update { id, merged, absorbs } => {
            let stored = only(&candidates, &id)?;
            if let Some(absorbed) = &absorbs {
                beside::absorb(conn, &layout, only(&candidates, absorbed)?, stored).await?;
                remove(conn, &layout, absorbed).await?;
            }
            rows::update(conn, &layout, stored, &merged, token).await?;
            beside::follow(conn, &layout, stored, &merged).await?;
            *merged
        }
        SavePlan::Insert => {
            let saved = insert(conn, &layout, token, last_id).await?;
            rest.push(forget(&layout, id_of(&saved)?));
            saved
        }
        _ => return Err(unsupported("this store does not know how to save that").into()),
    };
    let given = saved.id().and_then(given_number).unwrap_or_default();
    transaction.end(decision, &layout, &rest, given).await?;
    Ok(saved)
}

/// The keys that `token` has.
fn keys(token: &OAuthToken) -> Vec<(Field, Value)> {
    let given = token.expose_columns();
    let key = |field: Field| Some((field, value(Some(given[field as usize].as_deref()?))));
    KEYS.into_iter().filter_map(key).collect()
}

/// All stored tokens that have one of these keys, locked.
async fn candidates(
    conn: &mut Conn,
    layout: &Layout,
    keys: Vec<(Field, Value)>,
) -> Result<Vec<OAuthToken>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (present, values): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
    let found = rows::select(conn, &layout.candidates(&present), values).await?;
    Ok(without_repeats(found, present.len() > 1))
}

/// A row that has several of the keys was found several times.
fn without_repeats(found: Vec<OAuthToken>, may_repeat: bool) -> Vec<OAuthToken> {
    let mut distinct: Vec<OAuthToken> = Vec::with_capacity(found.len());
    for token in found {
        if !(may_repeat && distinct.contains(&token)) {
            distinct.push(token);
        }
    }
    distinct
}

/// Inserts `token` under its own id or the next number.
async fn insert(
    conn: &mut Conn,
    layout: &Layout,
    token: &OAuthToken,
    last_id: u64,
) -> Result<OAuthToken, Fault> {
    if let Some(id) = token.id() {
        let row = OAuthToken::new_row(id.clone(), token);
        return match rows::insert(conn, layout, &row).await? {
            Inserted::Done => Ok(row),
            Inserted::IdTaken => Err(taken_by(conn, layout, id).await?),
        };
    }
    let row = OAuthToken::new_row(next_id(last_id)?, token);
    if rows::insert(conn, layout, &row).await? == Inserted::Done {
        return Ok(row);
    }
    // Somebody who does not know of our table has given that number, and perhaps larger ones.
    let row = OAuthToken::new_row(next_id(largest_number(conn, layout).await?)?, token);
    match rows::insert(conn, layout, &row).await? {
        Inserted::Done => Ok(row),
        Inserted::IdTaken => Err(taken_by(conn, layout, id_of(&row)?).await?),
    }
}

/// Why an id is taken that was free a moment ago: somebody has inserted it since, who does not
/// take turns or is on another node. Or a row has another id, which counts as the same.
async fn taken_by(conn: &mut Conn, layout: &Layout, id: &TokenId) -> Result<Fault, Fault> {
    Ok(match rows::by_id(conn, layout, id).await? {
        Some(_) => Fault::Passing(
            StoreError::new(StoreErrorKind::Busy, "others insert tokens under the same ids")
                .with_hint("try again"),
        ),
        None => Fault::Store(taken(id)),
    })
}

pub(crate) fn taken(id: &TokenId) -> StoreError {
    StoreError::new(
        StoreErrorKind::Invalid,
        format!("id: the table counts another row's id as equal to {id}, or has a unique key"),
    )
    .with_hint("save the token under another id, and see the table's keys and collation")
}

pub(crate) async fn largest_number(conn: &mut Conn, layout: &Layout) -> Result<u64, Fault> {
    let largest: Option<Option<u64>> = conn.query_first(&*layout.sql.largest_number).await?;
    Ok(largest.flatten().unwrap_or_default())
}

/// The number of an id, if it is one of those that are given.
pub(crate) fn given_number(id: &TokenId) -> Option<u64> {
    id.number().filter(|number| *number <= MAX_ID)
}

/// Forgets what an SDK has left that deleted a token of this id. The statement has no other value,
/// and that one in hexadecimal digits.
fn forget(layout: &Layout, id: &TokenId) -> String {
    let digits: Vec<_> = id.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("delete from `{}` where token_id = _utf8mb4 0x{}", layout.side, digits.concat())
}

async fn remove(conn: &mut Conn, layout: &Layout, id: &TokenId) -> Result<bool, Fault> {
    let id = value(Some(id.as_str()));
    let parameters = Params::Positional(vec![id.clone(), id.clone(), id]);
    conn.exec_drop(&*layout.sql.delete, parameters).await?;
    Ok(conn.affected_rows() > 0)
}

/// The number is remembered first, which changes nothing as long as the token is there; then the
/// token goes with what is beside it.
async fn delete(server: &Server, decision: &Decision, id: &TokenId) -> Result<bool, Fault> {
    let layout = server.layout();
    layout.check_writable()?;
    let mut conn = server.connection().await?;
    if let Some(number) = given_number(id) {
        let id = value(Some(id.as_str()));
        let number = Value::UInt(number);
        let parameters = Params::Positional(vec![number.clone(), number, id.clone(), id]);
        conn.exec_drop(&*layout.sql.raise_for, parameters).await?;
    }
    decision.on(remove(&mut conn, &layout, id)).await
}

async fn delete_all(server: &Server, decision: &Decision) -> Result<u64, Fault> {
    let layout = server.layout();
    layout.check_writable()?;
    let mut transaction = Transaction::begin(server, &layout).await?;
    let conn = transaction.conn();
    let largest = largest_number(conn, &layout).await?;
    conn.query_drop(format!("delete from `{}`", layout.table)).await?;
    let removed = conn.affected_rows();
    let rest = [format!("delete from `{}`", layout.side)];
    transaction.end(decision, &layout, &rest, largest).await?;
    Ok(removed)
}

fn unsupported(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, message)
}
