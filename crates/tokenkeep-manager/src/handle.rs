use std::{fmt, sync::Arc};

use tokenkeep_core::{AccessToken, TokenId};

use crate::{
    LiveToken, ManagerError, ManagerErrorKind, RefreshReason, look, metrics,
    slot::{Slot, Want},
};

/// One user's token: asked for before each API call.
///
/// A handle is cheap to clone, and all handles of one token in one manager share what is in
/// memory. While the token is fresh, [`access_token`](Self::access_token) costs an atomic load and
/// a clock read: no allocation, and no lock that others could hold.
#[derive(Clone)]
pub struct TokenHandle(Arc<Slot>);

impl TokenHandle {
    pub(crate) fn new(slot: Arc<Slot>) -> Self {
        Self(slot)
    }

    /// The store's name for the token.
    #[must_use]
    pub fn id(&self) -> &TokenId {
        &self.0.id
    }

    /// The token in memory, if it need not be renewed yet; never waits. Unlike
    /// [`access_token`](Self::access_token), it does not see what another process has stored since.
    #[must_use]
    pub fn cached(&self) -> Option<Arc<LiveToken>> {
        self.0.undue()
    }

    /// A token that can be used now.
    ///
    /// Fresh: it comes from memory. Soon to expire: it is served while one refresh goes on in the
    /// background. Expired: all callers wait for one refresh, which first looks whether another
    /// process has refreshed already. If a refresh that came early fails, the old token is served
    /// while the provider takes it. If the future is dropped, the refresh goes on.
    ///
    /// What another process has stored in the token's place, or revoked, is noticed within
    /// [`coherence`](crate::TokenManagerBuilder::coherence).
    ///
    /// # Errors
    ///
    /// `NeedsLogin`, `Throttled` with the time, `Network`, `WrongClient`, `Store`, `NoToken`, or
    /// `Timeout` if it takes longer than the manager's deadline.
    pub async fn access_token(&self) -> Result<Arc<LiveToken>, ManagerError> {
        match self.0.fresh() {
            Some(live) => Ok(live),
            None => Box::pin(look::ask(&self.0)).await,
        }
    }

    /// A token other than `rejected`, which the API has just refused.
    ///
    /// That very token is forgotten; a newer one in memory or in the store is used, and only where
    /// there is none is the token refreshed. If the future is dropped, the refresh goes on.
    ///
    /// # Errors
    ///
    /// Those of [`access_token`](Self::access_token), and `Rejected` with the time if the API
    /// refuses one token after another soon after they were issued: then no more are asked for
    /// until that time, because no refresh helps and the provider issues only so many.
    pub async fn rejected(&self, rejected: &AccessToken) -> Result<Arc<LiveToken>, ManagerError> {
        self.0.touch();
        metrics::rejected();
        let (fresh, strike) = {
            // Both under one lock: of many who tell of one token, the others find it counted.
            let mut memory = self.0.memory.contents();
            let life = self.0.forget(rejected);
            // Somebody may have read the rejected one from the store again.
            let fresh = self.0.fresh().filter(|live| live.access_token != *rejected);
            let now = self.0.manager.now();
            let strike =
                if fresh.is_none() { memory.pauses.strike(rejected, life, now) } else { Ok(()) };
            (fresh, strike)
        };
        match fresh {
            Some(live) => Ok(live),
            None => {
                strike.map_err(|until| ManagerError::rejected(&self.0.id, until))?;
                let want = Want::other_than(RefreshReason::Rejected, rejected.clone());
                Box::pin(self.other_than(want, rejected)).await
            }
        }
    }

    /// A token newer than the one there is now, fresh or not. Until it is there, and if it cannot
    /// be had, other callers get the one there is.
    ///
    /// # Errors
    ///
    /// Those of [`access_token`](Self::access_token).
    pub async fn refresh(&self) -> Result<Arc<LiveToken>, ManagerError> {
        let current = match self.0.valid() {
            Some(live) => Some(live.access_token.clone()),
            None => {
                let stored = self.0.manager.timed().find_token_by_id(&self.0.id).await?;
                stored.and_then(|token| token.access_token().cloned())
            }
        };
        match current {
            Some(current) => {
                let want = Want::other_than(RefreshReason::Asked, current.clone());
                Box::pin(self.other_than(want, &current)).await
            }
            None => self.0.wait(Want::new(RefreshReason::Asked)).await,
        }
    }

    async fn other_than(
        &self,
        want: Want,
        old: &AccessToken,
    ) -> Result<Arc<LiveToken>, ManagerError> {
        let waiting = async {
            for _ in 0..3 {
                let live = self.0.wait(want.clone()).await?;
                if live.access_token != *old {
                    return Ok(live);
                }
                // A refresh for another reason was under way, and has found the old one.
            }
            Err(ManagerError::new(
                ManagerErrorKind::Provider,
                format!("token {}: the provider keeps issuing the same access token", self.0.id),
            ))
        };
        // The deadline is for all of them together.
        self.0.in_time(self.0.manager.0.settings.deadline, waiting).await
    }
}

impl fmt::Debug for TokenHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenHandle").field("id", &self.0.id).finish_non_exhaustive()
    }
}
