//! What a manager holds in memory for one token: the live token, the refresh under way, and what
//! could not be saved.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokenkeep_core::{AccessToken, OAuthToken, RefreshToken, TokenId};

use crate::{LiveToken, ManagerError, TokenManager, manager::finish, refresh};

/// A refresh under way, for all who wait for it. It goes on when nobody does.
pub(crate) type Flight = Shared<BoxFuture<'static, Result<Arc<LiveToken>, ManagerError>>>;

pub(crate) struct Slot {
    pub(crate) id: TokenId,
    pub(crate) manager: TokenManager,
    current: ArcSwapOption<LiveToken>,
    flight: Mutex<Option<Flight>>,
    memory: Mutex<Memory>,
}

/// What a refresh leaves for the next one.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Issued and not stored yet: what was stored before, and what is to take its place.
    pub(crate) unsaved: Option<Unsaved>,
    /// Refused by the provider as no longer valid.
    pub(crate) refused: Option<RefreshToken>,
}

/// A token that was issued and could not be stored.
#[derive(Clone, Debug)]
pub(crate) struct Unsaved {
    pub(crate) expected: OAuthToken,
    pub(crate) token: OAuthToken,
}

impl Slot {
    pub(crate) fn new(id: TokenId, manager: TokenManager) -> Self {
        Self {
            id,
            manager,
            current: ArcSwapOption::empty(),
            flight: Mutex::new(None),
            memory: Mutex::default(),
        }
    }

    /// The token in memory, if it need not be renewed yet.
    pub(crate) fn fresh(&self) -> Option<Arc<LiveToken>> {
        let current = self.current.load();
        current.as_ref().filter(|live| live.is_fresh(self.manager.now())).cloned()
    }

    /// The token in memory, if the provider still takes it.
    pub(crate) fn valid(&self) -> Option<Arc<LiveToken>> {
        self.current.load_full().filter(|live| live.is_valid(self.manager.now()))
    }

    /// Makes `live` the token that callers get.
    pub(crate) fn publish(&self, live: Arc<LiveToken>) -> Arc<LiveToken> {
        self.current.store(Some(Arc::clone(&live)));
        live
    }

    /// Forgets the token in memory if it is this very one.
    pub(crate) fn forget(&self, rejected: &AccessToken) {
        let current = self.current.load();
        if current.as_ref().is_some_and(|live| live.access_token == *rejected) {
            self.current.compare_and_swap(&current, None);
        }
    }

    /// Forgets whatever token is in memory.
    pub(crate) fn forget_any(&self) {
        self.current.store(None);
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refresh under way, or a new one: a task of its own that nobody's leaving ends.
    ///
    /// `rejected` is an access token that is of no use, whatever its expiry says.
    pub(crate) fn flight(self: &Arc<Self>, rejected: Option<AccessToken>) -> Flight {
        let mut under_way = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = &*under_way {
            return flight.clone();
        }
        let slot = Arc::clone(self);
        let task = tokio::spawn(async move {
            let landing = Landing(Arc::clone(&slot));
            let result = refresh::run(&slot, rejected.as_ref()).await;
            drop(landing);
            result
        });
        let flight = finish(task).boxed().shared();
        *under_way = Some(flight.clone());
        flight
    }
}

/// Ends a flight, also when its task panics: whoever comes next starts another.
struct Landing(Arc<Slot>);

impl Drop for Landing {
    fn drop(&mut self) {
        *self.0.flight.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
