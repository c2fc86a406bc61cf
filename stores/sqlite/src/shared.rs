//! Coordination across processes: compare-and-swap, leases, state, pages.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Row, ToSql, params};
use tokenkeep_core::{
    ChangeMark, Field, Lease, LeaseAttempt, OAuthToken, Operation, Page, Replaced, SharedStore,
    StateReplaced, StoreError, StoreErrorKind, TokenId, TokenMeta, TokenState, plan_replace,
};

use crate::{
    connection::Database,
    error::Fault,
    rows,
    side::{self, SideRow},
    store::{FEW, SqliteStore, by_id},
};

#[async_trait]
impl SharedStore for SqliteStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let args =
            Replacement { expected: expected.clone(), token: token.clone(), fence: fence.cloned() };
        self.pool.write(Operation::ReplaceToken, &args, replace).await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        self.pool.write(Operation::Lease, &(id.clone(), holder.to_owned(), ttl), take).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        self.pool.write(Operation::RenewLease, &(lease.clone(), ttl), renew).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.pool.write(Operation::ReleaseLease, lease, release).await
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        self.pool.read(Operation::State, id, read_state).await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let args = (id.clone(), expected.cloned(), state.clone());
        self.pool.write(Operation::ReplaceState, &args, replace_state).await
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        self.pool.change_mark().await
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let args = (after.cloned(), limit);
        if limit <= FEW {
            self.pool.read(Operation::Page, &args, page).await
        } else {
            self.pool.read_much(Operation::Page, args, page).await
        }
    }
}

#[derive(Clone)]
struct Replacement {
    expected: OAuthToken,
    token: OAuthToken,
    fence: Option<Lease>,
}

fn replace(database: &Database, args: &Replacement) -> Result<Replaced, Fault> {
    let Replacement { expected, token, fence } = args;
    let stored = match expected.id() {
        Some(id) => by_id(database, id)?,
        None => None,
    };
    let beside = match (&stored, fence) {
        (Some(stored), Some(_)) => Some(SideRow::of(database, stored)?.entry),
        _ => None,
    };
    let replaced = plan_replace(stored, beside.as_ref(), expected, token, fence.as_ref())?;
    if let Replaced::Saved(merged) = &replaced {
        // What is stored is what was expected.
        rows::update(database.connection(), database.layout(), expected, merged, token)?;
        side::follow(database, expected, merged)?;
    }
    Ok(replaced)
}

fn take(
    database: &Database,
    (id, holder, ttl): &(TokenId, String, Duration),
) -> Result<LeaseAttempt, Fault> {
    let now = database.settings().config.clock.now();
    let Some(token) = by_id(database, id)? else { return Ok(LeaseAttempt::NoToken) };
    let mut beside = SideRow::of(database, &token)?;
    let attempt = beside.entry.try_lease(id, holder, *ttl, now);
    if matches!(attempt, LeaseAttempt::Granted(_)) {
        side::write_lease(database, &token, &beside)?;
    }
    Ok(attempt)
}

fn renew(database: &Database, (lease, ttl): &(Lease, Duration)) -> Result<Option<Lease>, Fault> {
    let now = database.settings().config.clock.now();
    let Some(token) = by_id(database, &lease.token_id)? else { return Ok(None) };
    let mut beside = SideRow::of(database, &token)?;
    let renewed = beside.entry.renew_lease(lease, *ttl, now);
    if renewed.is_some() {
        side::write_lease(database, &token, &beside)?;
    }
    Ok(renewed)
}

fn release(database: &Database, lease: &Lease) -> Result<bool, Fault> {
    let Some(token) = by_id(database, &lease.token_id)? else { return Ok(false) };
    let mut beside = SideRow::of(database, &token)?;
    let released = beside.entry.release_lease(lease);
    if released {
        side::write_lease(database, &token, &beside)?;
    }
    Ok(released)
}

fn read_state(database: &Database, id: &TokenId) -> Result<Option<TokenState>, Fault> {
    // Two statements, and between them the row may change. A state is then told of a token that
    // was there a moment ago, which is as true as it would be a moment later.
    match by_id(database, id)? {
        Some(token) => Ok(SideRow::of(database, &token)?.state(id)?),
        None => Ok(None),
    }
}

fn replace_state(
    database: &Database,
    (id, expected, state): &(TokenId, Option<TokenState>, TokenState),
) -> Result<StateReplaced, Fault> {
    let Some(token) = by_id(database, id)? else { return Ok(StateReplaced::NoToken) };
    let stored = SideRow::of(database, &token)?.readable_state();
    if stored != *expected {
        return Ok(StateReplaced::Changed(stored.map(Box::new)));
    }
    side::write_state(database, &token, state)?;
    Ok(StateReplaced::Written)
}

/// The next tokens: those of numeric ids by number, then the others by their bytes.
fn page(database: &Database, (after, limit): &(Option<TokenId>, usize)) -> Result<Page, Fault> {
    let sql = &database.layout().sql;
    let mut listing = Listing { page: Page::default(), limit: *limit, more: false };
    let (from_number, from_text) = positions(after.as_ref());
    if let Some(number) = from_number {
        listing.add(database, &sql.page_numbers, &number)?;
    }
    if !listing.more {
        listing.add(database, &sql.page_texts, &from_text)?;
    }
    let Listing { mut page, more, .. } = listing;
    if after.is_none() {
        page.damage.extend(nameless(database)?);
    }
    if more {
        page.next = page.tokens.last().map(|last| last.id.clone());
    }
    Ok(page)
}

/// After which number and after which text a page begins; no number, if it has texts only.
pub(crate) fn positions(after: Option<&TokenId>) -> (Option<i64>, &str) {
    // Numbers that SQLite cannot count to are text to it.
    let number = |id: &TokenId| id.number().and_then(|number| i64::try_from(number).ok());
    match after {
        None => (Some(-1), ""),
        Some(id) => match number(id) {
            Some(number) => (Some(number), ""),
            None => (None, id.as_str()),
        },
    }
}

/// Rows without an id stand on no page.
pub(crate) fn nameless(database: &Database) -> Result<Option<String>, Fault> {
    let mut statement = database.statement(&database.layout().sql.nameless)?;
    let rows: i64 = statement.query_row([], |row| row.get(0))?;
    Ok((rows > 0).then(|| format!("rows without an id: {rows}")))
}

struct Listing {
    page: Page,
    limit: usize,
    /// Whether there is another token after the last one.
    more: bool,
}

impl Listing {
    fn add(&mut self, database: &Database, sql: &str, after: &dyn ToSql) -> Result<(), Fault> {
        let room = self.limit - self.page.tokens.len();
        let asked = i64::try_from(room).unwrap_or(i64::MAX).saturating_add(1);
        let mut statement = database.statement(sql)?;
        let mut rows = statement.query(params![after, asked])?;
        while let Some(row) = rows.next()? {
            if self.page.tokens.len() == self.limit {
                self.more = true;
                break;
            }
            let (meta, damage) = meta(row)?;
            self.page.tokens.push(meta);
            self.page.damage.extend(damage);
        }
        Ok(())
    }
}

/// The metadata in a row of a page, and what of it cannot be read.
fn meta(row: &Row<'_>) -> Result<(TokenMeta, Option<String>), Fault> {
    let [id, user_name, client_id, api_domain, expiry] = [
        (0, Field::Id),
        (1, Field::UserName),
        (2, Field::ClientId),
        (3, Field::ApiDomain),
        (4, Field::ExpiryTime),
    ]
    .map(|(at, field)| rows::text(row, at, field));
    let id = TokenId::new(id?.unwrap_or_default()).map_err(StoreError::from)?;
    let bare = OAuthToken::from_columns([
        Some(id.to_string()),
        user_name?,
        client_id?,
        None,
        None,
        None,
        None,
        expiry?.filter(|text| rows::is_expiry(text)),
        None,
        api_domain?,
    ])
    .map_err(StoreError::from)?;

    let (state, damage) = match SideRow::in_row(row, 9)?.if_of(&bare).state(&id) {
        Ok(state) => (state, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut meta = TokenMeta::of(&bare, state)
        .ok_or_else(|| StoreError::new(StoreErrorKind::Corrupt, "a stored token has no id"))?;
    meta.has_access_token = row.get::<_, Option<bool>>(5)?.unwrap_or(false);
    meta.has_refresh_token = row.get::<_, Option<bool>>(6)?.unwrap_or(false);
    meta.has_grant_token = row.get::<_, Option<bool>>(7)?.unwrap_or(false);
    meta.has_client_secret = row.get::<_, Option<bool>>(8)?.unwrap_or(false);
    Ok((meta, damage))
}
