//! Coordination across processes: compare-and-swap, leases, state, pages.

use std::time::Duration;

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Page, Replaced, SharedStore,
    SidecarEntry, StateReplaced, StoreError, TokenId, TokenState,
};

use super::{
    items::{Row, token_pk},
    listing,
    save::{change, replace},
    store::DynamoDbStore,
    table::Run,
};

#[async_trait]
impl SharedStore for DynamoDbStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let about = expected.id().map(token_pk).unwrap_or_default();
        let (expected, token, fence) = (expected.clone(), token.clone(), fence.cloned());
        let work = |run| replace(run, expected, token, fence);
        self.table.write(Operation::ReplaceToken, &about, work).await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let (id, holder) = (id.clone(), holder.to_owned());
        let about = token_pk(&id);
        let take = move |run: Run| async move {
            let now = run.table.clock.now();
            let take = |entry: &mut SidecarEntry| {
                let attempt = entry.try_lease(&id, &holder, ttl, now);
                let granted = matches!(attempt, LeaseAttempt::Granted(_));
                (attempt, granted)
            };
            Ok(lease(run, &id, take).await?.unwrap_or(LeaseAttempt::NoToken))
        };
        self.table.write(Operation::Lease, &about, take).await
    }

    async fn renew_lease(&self, held: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let held = held.clone();
        let about = token_pk(&held.token_id);
        let renew = move |run: Run| async move {
            let now = run.table.clock.now();
            let renew = |entry: &mut SidecarEntry| {
                let renewed = entry.renew_lease(&held, ttl, now);
                let write = renewed.is_some();
                (renewed, write)
            };
            Ok(lease(run, &held.token_id, renew).await?.flatten())
        };
        self.table.write(Operation::RenewLease, &about, renew).await
    }

    async fn release_lease(&self, held: &Lease) -> Result<bool, StoreError> {
        let held = held.clone();
        let about = token_pk(&held.token_id);
        let release = |run: Run| async move {
            let release = |entry: &mut SidecarEntry| {
                let released = entry.release_lease(&held);
                (released, released)
            };
            Ok(lease(run, &held.token_id, release).await?.unwrap_or(false))
        };
        self.table.write(Operation::ReleaseLease, &about, release).await
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let read = |mut run: Run| async move {
            match run.row(id).await? {
                Some(row) => row.state(),
                None => Ok(None),
            }
        };
        self.table.read(Operation::State, read).await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let (id, expected, state) = (id.clone(), expected.cloned(), state.clone());
        let about = token_pk(&id);
        let write = |mut run: Run| async move {
            loop {
                let Some(row) = run.row(&id).await? else { return Ok(StateReplaced::NoToken) };
                let stored = row.state().ok().flatten();
                if stored != expected {
                    return Ok(StateReplaced::Changed(stored.map(Box::new)));
                }
                let write = row.clone().with_state(&state)?;
                if change(&mut run, row, write, false).await? {
                    return Ok(StateReplaced::Written);
                }
            }
        };
        self.table.write(Operation::ReplaceState, &about, write).await
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        let read = |mut run: Run| async move { run.change_mark().await };
        self.table.read(Operation::ChangeMark, read).await
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let after = after.cloned();
        self.table.read(Operation::Page, |run| listing::page(run, after, limit)).await
    }
}

/// Applies a rule to what is beside the token `id`, and writes the lease if the rule says so.
/// `None` if there is no such token.
async fn lease<T: Send>(
    mut run: Run,
    id: &TokenId,
    rule: impl Fn(&mut SidecarEntry) -> (T, bool) + Send,
) -> Result<Option<T>, StoreError> {
    loop {
        let Some(row): Option<Row> = run.row(id).await? else { return Ok(None) };
        let mut entry = row.entry()?;
        let (answer, write) = rule(&mut entry);
        let Some(record) = entry.lease.filter(|_| write) else { return Ok(Some(answer)) };
        let write = row.clone().with_lease(&record)?;
        if change(&mut run, row, write, false).await? {
            return Ok(Some(answer));
        }
    }
}
