use std::{fmt, sync::Arc};

use tokenkeep_core::{AccessToken, TokenId};

use crate::{LiveToken, ManagerError, ManagerErrorKind, slot::Slot};

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

    /// The token in memory, if it is fresh; never waits.
    #[must_use]
    pub fn cached(&self) -> Option<Arc<LiveToken>> {
        self.0.fresh()
    }

    /// A token that can be used now.
    ///
    /// Fresh: it comes from memory. Otherwise all callers wait for one refresh, which first looks
    /// whether another process has refreshed already. If a refresh that came early fails, the old
    /// token is served while the provider takes it. If the future is dropped, the refresh goes on.
    ///
    /// # Errors
    ///
    /// `NeedsLogin`, `Throttled` with the time, `Network`, `WrongClient`, `Store`, `NoToken`, or
    /// `Timeout` if it takes longer than the manager's deadline.
    pub async fn access_token(&self) -> Result<Arc<LiveToken>, ManagerError> {
        match self.0.fresh() {
            Some(live) => Ok(live),
            None => Box::pin(self.renewed()).await,
        }
    }

    /// A token other than `rejected`, which the API has just refused.
    ///
    /// That very token is forgotten; a newer one in memory or in the store is used, and only where
    /// there is none is the token refreshed. If the future is dropped, the refresh goes on.
    ///
    /// # Errors
    ///
    /// Those of [`access_token`](Self::access_token).
    pub async fn rejected(&self, rejected: &AccessToken) -> Result<Arc<LiveToken>, ManagerError> {
        self.0.forget(rejected);
        match self.0.fresh() {
            Some(live) => Ok(live),
            None => Box::pin(self.other_than(rejected)).await,
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
                let stored = self.0.manager.store().find_token_by_id(&self.0.id).await?;
                stored.and_then(|token| token.access_token().cloned())
            }
        };
        match current {
            Some(current) => Box::pin(self.other_than(&current)).await,
            None => self.access_token().await,
        }
    }

    async fn other_than(&self, old: &AccessToken) -> Result<Arc<LiveToken>, ManagerError> {
        for _ in 0..3 {
            let live = self.fly(Some(old.clone())).await?;
            if live.access_token != *old {
                return Ok(live);
            }
            // That was a refresh for another reason, already under way, which found the old one.
        }
        Err(ManagerError::new(
            ManagerErrorKind::Provider,
            format!("token {}: the provider keeps issuing the same access token", self.0.id),
        ))
    }

    async fn renewed(&self) -> Result<Arc<LiveToken>, ManagerError> {
        match self.fly(None).await {
            Ok(live) => Ok(live),
            // Too early to matter: what is in memory still works.
            Err(error) if error.is_transient() => self.0.valid().ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn fly(&self, rejected: Option<AccessToken>) -> Result<Arc<LiveToken>, ManagerError> {
        let deadline = self.0.manager.0.settings.deadline;
        match tokio::time::timeout(deadline, self.0.flight(rejected)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ManagerError::new(
                ManagerErrorKind::Timeout,
                format!(
                    "token {}: refreshing takes longer than {} s; it goes on",
                    self.0.id,
                    deadline.as_secs_f32()
                ),
            )),
        }
    }
}

impl fmt::Debug for TokenHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenHandle").field("id", &self.0.id).finish_non_exhaustive()
    }
}
