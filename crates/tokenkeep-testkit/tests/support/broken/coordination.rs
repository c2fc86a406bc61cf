//! The broken store's coordinating side.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Page, Replaced, SharedStore, StateReplaced,
    StoreError, TokenId, TokenMeta, TokenState,
};

use super::{BrokenStore, Contents, Fault};

impl BrokenStore {
    fn replace(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        if self.has(Fault::LetsGo) {
            let replaced = {
                let Contents { table, sidecar, .. } = &*self.contents();
                sidecar.plan_replace(table, expected, token, fence)?
            };
            if let Replaced::Saved(merged) = &replaced {
                self.contents().table.put(merged.id().unwrap(), merged.clone());
            }
            return Ok(replaced);
        }
        let Contents { table, sidecar, changes } = &mut *self.contents();
        changes.tokens += 1;
        let stored = expected.id().and_then(|id| table.find_by_id(id).ok().flatten()).cloned();
        let mut fence = fence.cloned();
        match &mut fence {
            Some(_) if self.has(Fault::IgnoresTheFence) => fence = None,
            Some(lease) if self.has(Fault::FencesByTheClock) => {
                if lease.until <= self.clock.now() {
                    return Ok(Replaced::LeaseLost(stored));
                }
                fence = None;
            }
            Some(lease) if self.has(Fault::ForgetsWhoseLease) => {
                lease.token_id = expected.id().unwrap().clone();
            }
            _ => {}
        }
        let expected = match stored {
            Some(stored)
                if self.has(Fault::ReplacesBlindly)
                    || (self.has(Fault::ComparesOneField)
                        && stored.access_token() == expected.access_token()) =>
            {
                stored
            }
            _ => expected.clone(),
        };
        sidecar.replace(table, &expected, token, fence.as_ref())
    }
}

#[async_trait]
impl SharedStore for BrokenStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        self.replace(expected, token, fence)
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let now = self.clock.now();
        if self.has(Fault::LetsGo) {
            let (token, mut looked_at) = {
                let Contents { table, sidecar, .. } = &*self.contents();
                (table.find_by_id(id)?.cloned(), sidecar.clone())
            };
            let Some(token) = token else { return Ok(LeaseAttempt::NoToken) };
            let attempt = looked_at.try_lease(&token, holder, ttl, now);
            if matches!(attempt, LeaseAttempt::Granted(_)) {
                self.contents().sidecar = looked_at;
            }
            return Ok(attempt);
        }
        let Contents { table, sidecar, changes } = &mut *self.contents();
        changes.leases += 1;
        let Some(token) = table.find_by_id(id)? else { return Ok(LeaseAttempt::NoToken) };
        let newest = sidecar.tokens.get(id).and_then(|entry| entry.lease.as_ref());
        let until = newest.map_or(now, |record| record.until);
        if self.has(Fault::IgnoresTheClockSetBack) && until > now {
            return Ok(LeaseAttempt::Held { until });
        }
        let now = if self.has(Fault::GrantsTwice) { now.max(until) } else { now };
        Ok(sidecar.try_lease(token, holder, ttl, now))
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let Contents { sidecar, changes, .. } = &mut *self.contents();
        changes.leases += 1;
        let newest = sidecar.tokens.get(&lease.token_id).and_then(|entry| entry.lease.clone());
        let mut lease = lease.clone();
        if let Some(newest) = &newest
            && self.has(Fault::RenewsLostLeases)
        {
            lease.holder.clone_from(&newest.holder);
            lease.generation = newest.generation;
        }
        let renewed = sidecar.renew_lease(&lease, ttl, self.clock.now());
        if let Some(entry) = sidecar.tokens.get_mut(&lease.token_id)
            && let Some(record) = &mut entry.lease
            && self.has(Fault::KeepsTheFirstTtl)
        {
            record.ttl_ms = newest.map_or(0, |newest| newest.ttl_ms);
        }
        Ok(renewed)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let Contents { sidecar, changes, .. } = &mut *self.contents();
        changes.leases += 1;
        let released = sidecar.release_lease(lease);
        if self.has(Fault::RestartsGenerations) {
            sidecar.remove(&lease.token_id);
        }
        Ok(released)
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let state = {
            let Contents { table, sidecar, .. } = &*self.contents();
            table.find_by_id(id)?.and_then(|token| sidecar.state(token).cloned())
        };
        // Others get their turn here, as while a store waits for its disk.
        tokio::task::yield_now().await;
        Ok(state)
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        if self.has(Fault::LetsGo) {
            let (token, mut looked_at) = {
                let Contents { table, sidecar, .. } = &*self.contents();
                (table.find_by_id(id)?.cloned(), sidecar.clone())
            };
            let Some(token) = token else { return Ok(StateReplaced::NoToken) };
            let replaced = looked_at.replace_state(&token, expected, state);
            if replaced == StateReplaced::Written {
                self.contents().sidecar = looked_at;
            }
            return Ok(replaced);
        }
        let Contents { table, sidecar, changes } = &mut *self.contents();
        changes.states += 1;
        let Some(token) = table.find_by_id(id)? else { return Ok(StateReplaced::NoToken) };
        let mut state = state.clone();
        if self.has(Fault::DropsTheUnknown) {
            state.unknown.clear();
        }
        let stored = sidecar.state(token).cloned();
        let same_status =
            stored.as_ref().map(|state| state.status) == expected.map(|state| state.status);
        let passes = self.has(Fault::ReplacesStateBlindly)
            || (self.has(Fault::ComparesStatusOnly) && same_status);
        let expected = if passes { stored.as_ref() } else { expected };
        let replaced = sidecar.replace_state(token, expected, &state);
        if let Some(entry) = sidecar.tokens.get_mut(id)
            && self.has(Fault::ForgetsEmptyState)
        {
            entry.state = entry.state.take().filter(|state| *state != TokenState::default());
        }
        Ok(replaced)
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        let Contents { table, changes, .. } = &*self.contents();
        let states = if self.has(Fault::MarkIsBlindToState) { 0 } else { changes.states };
        let leases = if self.has(Fault::MarkIsBlindToLeases) { 0 } else { changes.leases };
        let reads = if self.has(Fault::MarkWanders) { changes.reads } else { 0 };
        Ok(match self.fault {
            Some(Fault::MarkStays) => ChangeMark::new(0, 0),
            Some(Fault::MarkIsOfTheContent) => {
                let mut hash = DefaultHasher::new();
                table.sorted().iter().for_each(|token| token.expose_columns().hash(&mut hash));
                ChangeMark::new(hash.finish(), states + leases)
            }
            _ => ChangeMark::new(changes.tokens + reads, states + leases),
        })
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let Contents { table, sidecar, .. } = &*self.contents();
        if self.has(Fault::ListsByText) {
            let mut tokens: Vec<_> =
                table.iter().filter_map(|token| TokenMeta::of(token, None)).collect();
            tokens.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
            tokens.retain(|meta| after.is_none_or(|after| meta.id.as_str() > after.as_str()));
            let more = tokens.len() > limit;
            tokens.truncate(limit);
            let next = tokens.last().filter(|_| more).map(|meta| meta.id.clone());
            return Ok(Page::new(tokens, next));
        }
        Ok(sidecar.page(table, after, limit))
    }
}
