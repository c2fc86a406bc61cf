//! Coordination across processes: compare-and-swap on the rows, leases and state in the side file,
//! all under the one lock.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Page, Replaced, SharedStore,
    StateReplaced, StoreError, TokenId, TokenState,
};

use crate::{
    FileStore,
    cache::{Purpose, Snapshot},
    side_file::{Condition, SideSnapshot},
    store::{Change, Inner, Rows},
};

#[async_trait]
impl SharedStore for FileStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let (expected, token, fence) = (expected.clone(), token.clone(), fence.cloned());
        self.run(Operation::ReplaceToken, move |inner| {
            inner.change(|snapshot, side| {
                if fence.is_some() {
                    inner.known(side)?;
                }
                let replaced = side.sidecar.plan_replace(
                    &snapshot.table,
                    &expected,
                    &token,
                    fence.as_ref(),
                )?;
                if let Replaced::Saved(merged) = &replaced {
                    let rows = Rows { put: vec![merged.clone()], ..Rows::default() };
                    return Ok(Change { rows: Some(rows), side: None, answer: replaced });
                }
                if matches!(replaced, Replaced::Changed(None) | Replaced::LeaseLost(None)) {
                    snapshot.whole()?;
                }
                Ok(Change::none(replaced))
            })
        })
        .await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let (id, holder) = (id.clone(), holder.to_owned());
        self.run(Operation::Lease, move |inner| {
            inner.change(|snapshot, side| {
                inner.known(side)?;
                let Some(token) = snapshot.find_by_id(&id)? else {
                    return Ok(Change::none(LeaseAttempt::NoToken));
                };
                let mut sidecar = side.sidecar.clone();
                let attempt = sidecar.try_lease(token, &holder, ttl, inner.clock.now());
                let side = matches!(attempt, LeaseAttempt::Granted(_)).then_some(sidecar);
                Ok(Change { rows: None, side, answer: attempt })
            })
        })
        .await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let lease = lease.clone();
        self.run(Operation::RenewLease, move |inner| {
            inner.change(|snapshot, side| {
                inner.known(side)?;
                let Some(token) = snapshot.find_by_id(&lease.token_id)? else {
                    return Ok(Change::none(None));
                };
                let mut sidecar = side.sidecar.clone();
                sidecar.disown(token);
                let renewed = sidecar.renew_lease(&lease, ttl, inner.clock.now());
                let side = renewed.is_some().then_some(sidecar);
                Ok(Change { rows: None, side, answer: renewed })
            })
        })
        .await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let lease = lease.clone();
        self.run(Operation::ReleaseLease, move |inner| {
            inner.change(|snapshot, side| {
                inner.known(side)?;
                let Some(token) = snapshot.find_by_id(&lease.token_id)? else {
                    return Ok(Change::none(false));
                };
                let mut sidecar = side.sidecar.clone();
                sidecar.disown(token);
                let released = sidecar.release_lease(&lease);
                Ok(Change { rows: None, side: released.then_some(sidecar), answer: released })
            })
        })
        .await
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let id = id.clone();
        self.run(Operation::State, move |inner| {
            let (snapshot, side) = inner.both()?;
            let token = snapshot.find_by_id(&id)?;
            inner.known(&side)?;
            Ok(token.and_then(|token| side.sidecar.state(token).cloned()))
        })
        .await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let (id, expected, state) = (id.clone(), expected.cloned(), state.clone());
        self.run(Operation::ReplaceState, move |inner| {
            inner.change(|snapshot, side| {
                inner.known(side)?;
                let Some(token) = snapshot.find_by_id(&id)? else {
                    return Ok(Change::none(StateReplaced::NoToken));
                };
                let mut sidecar = side.sidecar.clone();
                let answer = sidecar.replace_state(token, expected.as_ref(), &state);
                let side = (sidecar != side.sidecar).then_some(sidecar);
                Ok(Change { rows: None, side, answer })
            })
        })
        .await
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        if let Some(mark) = self.inner.mark_if_fresh() {
            return Ok(mark);
        }
        self.run(Operation::ChangeMark, |inner| {
            let (snapshot, side) = inner.both()?;
            Ok(ChangeMark::new(snapshot.number, side.number))
        })
        .await
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let after = after.cloned();
        self.run(Operation::Page, move |inner| {
            let (snapshot, side) = inner.both()?;
            snapshot.ours()?;
            let page = side.sidecar.page(&snapshot.table, after.as_ref(), limit);
            Ok(match after {
                None if snapshot.document.is_damaged() => {
                    page.with_damage(snapshot.document.damage())
                }
                _ => page,
            })
        })
        .await
    }
}

impl Inner {
    pub(crate) fn both(&self) -> Result<(Arc<Snapshot>, Arc<SideSnapshot>), StoreError> {
        Ok((self.cache.load(Purpose::Read)?, self.side.load()?))
    }

    /// The mark, if both files are what was read. Costs two `stat`s.
    fn mark_if_fresh(&self) -> Option<ChangeMark> {
        let rows = self.cache.if_fresh(|snapshot| snapshot.number)?;
        Some(ChangeMark::new(rows, self.side.if_fresh(|snapshot| snapshot.number)?))
    }

    /// An error if what the side file says cannot be known.
    pub(crate) fn known(&self, side: &SideSnapshot) -> Result<(), StoreError> {
        if side.condition == Condition::Newer { Err(self.side.newer()) } else { Ok(()) }
    }
}
