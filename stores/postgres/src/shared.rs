//! Coordination across processes: compare-and-swap, leases, state, pages.

use std::{mem, time::Duration};

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Page, Replaced, SharedStore,
    StateReplaced, StoreError, TokenId, TokenState, plan_replace,
};
use tokio_postgres::Row;

use crate::{
    beside::Entry,
    config::invalid,
    layout::{Layout, Query},
    pool::Plan,
    rows::{self, Hidden, value},
    store::{PostgresStore, cannot_be_there, the_one},
    transaction::{Look, Seen},
    writes::Writes,
};

#[async_trait]
impl SharedStore for PostgresStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let operation = Operation::ReplaceToken;
        let Some(id) = expected.id().filter(|id| !cannot_be_there(id.as_str())) else {
            let nothing = plan_replace(None, None, expected, token, fence);
            return nothing.map_err(|error| error.during(operation));
        };
        let plan = |layout: &Layout, seen: &Seen| {
            let stored = the_one(&seen.tokens, id)?;
            let entry = seen.beside.get(id);
            let known = entry.map(|entry| &entry.known);
            let replaced = plan_replace(stored.cloned(), known, expected, token, fence)?;
            let mut writes = Writes::default();
            if let (Replaced::Saved(merged), Some(stored)) = (&replaced, stored) {
                writes.change(layout, stored, merged, token)?;
                writes.follow(stored, merged, entry)?;
            }
            Ok((replaced, writes))
        };
        self.pool.change(operation, self.pool.limit(), Look::One(id), plan).await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let operation = Operation::Lease;
        if cannot_be_there(holder) {
            return Err(invalid("the holder of a lease must not have a NUL character in its name")
                .during(operation));
        }
        let taken = self.beside(operation, id, |entry| {
            let now = self.pool.config().clock.now();
            let attempt = entry.known.try_lease(id, holder, ttl, now);
            let written = matches!(attempt, LeaseAttempt::Granted(_));
            Ok((attempt, written))
        });
        Ok(taken.await?.unwrap_or(LeaseAttempt::NoToken))
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let renewed = self.beside(Operation::RenewLease, &lease.token_id, |entry| {
            let now = self.pool.config().clock.now();
            let renewed = entry.known.renew_lease(lease, ttl, now);
            let written = renewed.is_some();
            Ok((renewed, written))
        });
        Ok(renewed.await?.flatten())
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let released = self.beside(Operation::ReleaseLease, &lease.token_id, |entry| {
            let released = entry.known.release_lease(lease);
            Ok((released, released))
        });
        Ok(released.await?.unwrap_or(false))
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        if cannot_be_there(id.as_str()) {
            return Ok(None);
        }
        let decode = |found: Vec<Row>| {
            let tokens = found.iter().map(rows::token).collect::<Result<Vec<_>, _>>()?;
            let Some(token) = the_one(&tokens, id)? else { return Ok(None) };
            let beside = found.iter().zip(&tokens).find(|(_, of)| of.id() == token.id());
            let entry = beside.map(|(row, _)| entry(row, 10)).transpose()?.flatten();
            Entry::beside(token, entry.as_ref()).state(id)
        };
        let asked = Hidden(id.as_str());
        self.pool.read(Operation::State, Query::WithBeside, &[&asked], decode).await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let replaced = self.beside(Operation::ReplaceState, id, |entry| {
            let before = entry.clone();
            let replaced = entry.known.replace_state(expected, state);
            let written = replaced == StateReplaced::Written;
            *entry = Entry::now(Some(&before), mem::take(&mut entry.known))?;
            Ok((replaced, written))
        });
        Ok(replaced.await?.unwrap_or(StateReplaced::NoToken))
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        self.marker.mark(&self.pool).await
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        self.list(after, limit).await
    }
}

impl PostgresStore {
    /// Changes what is beside the token `id`, if `change` says so; `None` if there is no token.
    async fn beside<T>(
        &self,
        operation: Operation,
        id: &TokenId,
        change: impl Fn(&mut Entry) -> Result<(T, bool), StoreError> + Send + Sync,
    ) -> Result<Option<T>, StoreError> {
        if cannot_be_there(id.as_str()) {
            return Ok(None);
        }
        let plan = |_layout: &Layout, seen: &Seen| -> Result<Plan<Option<T>>, StoreError> {
            let mut writes = Writes::default();
            let Some(token) = the_one(&seen.tokens, id)? else { return Ok((None, writes)) };
            let mut entry = Entry::beside(token, seen.beside.get(id));
            let (answer, is_written) = change(&mut entry)?;
            if is_written {
                writes.beside.insert(id.clone(), entry);
            }
            Ok((Some(answer), writes))
        };
        self.pool.change(operation, self.pool.limit(), Look::One(id), plan).await
    }
}

/// What is beside a token in a row that says at `at` whether there is anything, and then what.
pub(crate) fn entry(row: &Row, at: usize) -> Result<Option<Entry>, StoreError> {
    if value::<bool>(row, at)? { Entry::read(row, at + 1).map(Some) } else { Ok(None) }
}
