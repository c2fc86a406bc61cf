//! [`PostgresStore`] and the six operations of a store.

use std::{fmt, ptr, sync::Arc};

use async_trait::async_trait;
use tokenkeep_core::{
    OAuthToken, Operation, SharedStore, StoreError, StoreErrorKind, TokenId, TokenQuery,
    TokenStore,
    matching::{self, SavePlan, only},
    next_id,
};
use tokio_postgres::Row;

use crate::{
    beside::Entry,
    config::PostgresConfig,
    layout::{Layout, Query},
    marker::Marker,
    pool::{Plan, Pool},
    rows::{self, Hidden, id_of},
    transaction::{Look, Seen},
    writes::Writes,
};

/// Tokens in a PostgreSQL database, in the layout of the official SDKs.
///
/// Clones share their connections. See the crate for what it guarantees.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) pool: Arc<Pool>,
    pub(crate) marker: Arc<Marker>,
}

impl PostgresStore {
    /// Opens the store that a URL names: see [`PostgresConfig::from_url`].
    ///
    /// # Errors
    ///
    /// Those of [`PostgresConfig::from_url`] and [`PostgresConfig::open`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        PostgresConfig::from_url(url)?.open().await
    }

    pub(crate) async fn with(config: PostgresConfig) -> Result<Self, StoreError> {
        Ok(Self { pool: Arc::new(Pool::open(config).await?), marker: Arc::new(Marker::new()) })
    }
}

/// Shows neither user nor password.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStore").field(self.pool.config()).finish()
    }
}

#[async_trait]
impl TokenStore for PostgresStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let operation = Operation::FindToken;
        let statement = Query::by(query.key().field()).ok_or_else(|| {
            unsupported("this store does not know how to look for that").during(operation)
        })?;
        let value = query.key().expose_value();
        if cannot_be_there(value) {
            return Ok(None);
        }
        let decode = |rows| meant(query, rows);
        self.pool.read(operation, statement, &[&Hidden(value)], decode).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        if cannot_be_there(id.as_str()) {
            return Ok(None);
        }
        let decode = |found: Vec<Row>| {
            let found = found.iter().map(rows::token).collect::<Result<Vec<_>, _>>()?;
            Ok(the_one(&found, id)?.cloned())
        };
        let asked = Hidden(id.as_str());
        self.pool.read(Operation::FindTokenById, Query::ById, &[&asked], decode).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let look = Look::Candidates(token);
        let plan = |layout: &Layout, seen: &Seen| save(layout, seen, token);
        self.pool.change(Operation::SaveToken, self.pool.limit(), look, plan).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let decode = |found: Vec<Row>| found.iter().map(rows::identified).collect();
        let all: Vec<_> =
            self.pool.read_much(Operation::GetTokens, Query::All, &[], decode).await?;
        let mut all = all;
        all.sort_by_cached_key(|token| token.id().cloned());
        Ok(all)
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        if cannot_be_there(id.as_str()) {
            return Ok(false);
        }
        let plan = |_layout: &Layout, seen: &Seen| Ok(delete(seen, id));
        let limit = self.pool.limit();
        self.pool.change(Operation::DeleteToken, limit, Look::OneAlone(id), plan).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        let plan = |_layout: &Layout, seen: &Seen| {
            let last_id = Some(seen.last_id);
            Ok((seen.removed, Writes { forget_all: true, last_id, ..Writes::default() }))
        };
        let limit = self.pool.limit();
        self.pool.change(Operation::DeleteTokens, limit, Look::RemoveAll, plan).await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

/// Whether the database cannot hold this text: then nothing has it.
pub(crate) fn cannot_be_there(text: &str) -> bool {
    text.contains('\0')
}

/// The one of these tokens that a query means.
fn meant(query: &TokenQuery, found: Vec<Row>) -> Result<Option<OAuthToken>, StoreError> {
    let mut found = found.iter().map(rows::token).collect::<Result<Vec<_>, _>>()?;
    let Some(meant) = matching::find_one(query, &found)? else { return Ok(None) };
    id_of(meant)?;
    let at = found.iter().position(|token| ptr::eq(token, meant));
    Ok(at.map(|at| found.swap_remove(at)))
}

/// The one of these tokens that has this id.
pub(crate) fn the_one<'a>(
    found: &'a [OAuthToken],
    id: &TokenId,
) -> Result<Option<&'a OAuthToken>, StoreError> {
    let mut with_id = found.iter().filter(|token| token.id() == Some(id));
    match (with_id.next(), with_id.count()) {
        (first, 0) => Ok(first),
        (_, more) => Err(StoreError::ambiguous(vec![id.clone(); more + 1])),
    }
}

fn save(layout: &Layout, seen: &Seen, token: &OAuthToken) -> Result<Plan<OAuthToken>, StoreError> {
    let mut writes = Writes::default();
    match matching::plan_save(token, &seen.tokens)? {
        SavePlan::Update { id, merged, absorbs } => {
            let stored = only(&seen.tokens, &id)?;
            let mut entry = seen.beside.get(&id).cloned();
            if let Some(absorbed) = &absorbs {
                entry = absorb(&mut writes, seen, only(&seen.tokens, absorbed)?, stored)?;
            }
            writes.change(layout, stored, &merged, token)?;
            writes.follow(stored, &merged, entry.as_ref())?;
            Ok((*merged, writes))
        }
        SavePlan::Insert => {
            let id = token.id().cloned().map_or_else(|| next_id(seen.last_id), Ok)?;
            let stored = OAuthToken::new_row(id.clone(), token);
            writes.add(layout, &stored)?;
            writes.has_given(&id);
            Ok((stored, writes))
        }
        _ => Err(unsupported("this store does not know how to save that")),
    }
}

/// Removes `absorbed`; what is beside `stored` then, with the state of the former where nothing
/// was known of the latter.
fn absorb(
    writes: &mut Writes,
    seen: &Seen,
    absorbed: &OAuthToken,
    stored: &OAuthToken,
) -> Result<Option<Entry>, StoreError> {
    let (from, to) = (id_of(absorbed)?, id_of(stored)?);
    writes.delete.push(from.clone());
    writes.forget.push(from.clone());
    writes.has_given(from);
    let theirs = Entry::beside(absorbed, seen.beside.get(from));
    let ours = Entry::beside(stored, seen.beside.get(to));
    match theirs.known.state {
        Some(state) if ours.known.state.is_none() => {
            let entry = ours.with_state(state)?;
            writes.beside.insert(to.clone(), entry.clone());
            Ok(Some(entry))
        }
        Some(_) | None => Ok(seen.beside.get(to).cloned()),
    }
}

fn delete(seen: &Seen, id: &TokenId) -> Plan<bool> {
    let mut writes = Writes::default();
    let is_there = !seen.tokens.is_empty();
    if is_there {
        writes.delete.push(id.clone());
        writes.has_given(id);
    }
    if is_there || seen.beside.contains_key(id) {
        writes.forget.push(id.clone());
    }
    (is_there, writes)
}

fn unsupported(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, message)
}
