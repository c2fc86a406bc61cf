//! Coordination across processes: compare-and-swap, leases, state, pages.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Page, Replaced, SharedStore,
    StateReplaced, StoreError, TokenId, TokenMeta, TokenState,
};

use crate::{
    bulk::Listed,
    store::{KeyringStore, one},
};

#[async_trait]
impl SharedStore for KeyringStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let (expected, token, fence) = (expected.clone(), token.clone(), fence.cloned());
        let id = expected.id().cloned();
        self.engine
            .change(
                Operation::ReplaceToken,
                move |catalog| id.as_ref().map(|id| one(catalog, id)).unwrap_or_default(),
                move |draft| draft.replace(&expected, &token, fence.as_ref()),
            )
            .await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let (id, holder) = (id.clone(), holder.to_owned());
        let (token, clock) = (id.clone(), Arc::clone(&self.engine.clock));
        self.engine
            .change(
                Operation::Lease,
                move |catalog| one(catalog, &token),
                move |draft| draft.try_lease(&id, &holder, ttl, clock.now()),
            )
            .await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let (lease, clock) = (lease.clone(), Arc::clone(&self.engine.clock));
        self.engine
            .change(
                Operation::RenewLease,
                |_| Vec::new(),
                move |draft| Ok(draft.renew_lease(&lease, ttl, clock.now())),
            )
            .await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let lease = lease.clone();
        self.engine
            .change(
                Operation::ReleaseLease,
                |_| Vec::new(),
                move |draft| Ok(draft.release_lease(&lease)),
            )
            .await
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let id = id.clone();
        self.engine
            .read(
                Operation::State,
                move |catalog| one(catalog, &id),
                |read| match read.tokens.into_iter().next() {
                    Some(token) => read.catalog.state(&token?),
                    None => Ok(None),
                },
            )
            .await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let (id, expected, state) = (id.clone(), expected.cloned(), state.clone());
        let token = id.clone();
        self.engine
            .change(
                Operation::ReplaceState,
                move |catalog| one(catalog, &token),
                move |draft| draft.replace_state(&id, expected.as_ref(), &state),
            )
            .await
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        self.engine
            .read(
                Operation::ChangeMark,
                |_| Vec::new(),
                // Each change has a name made at random, which is 16 digits long.
                |read| {
                    let number = u64::from_str_radix(read.catalog.change(), 16);
                    Ok(ChangeMark::new(number.unwrap_or_default(), read.catalog.last_id()))
                },
            )
            .await
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let listed = self.list(Operation::Page, after, limit).await?;
        let Listed { catalog, tokens, next, damage } = listed;
        let meta =
            |token: &OAuthToken| TokenMeta::of(token, catalog.state(token).unwrap_or_default());
        Ok(Page::new(tokens.iter().filter_map(meta).collect(), next).with_damage(damage))
    }
}
