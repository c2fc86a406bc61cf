//! What a manager holds in memory for one token: the live token, the refresh under way, and what
//! could not be saved.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokenkeep_core::{AccessToken, OAuthToken, TokenId};
use tokenkeep_oauth::AccountsServer;
use tokio::task::AbortHandle;

use crate::{LiveToken, ManagerError, TokenManager, manager::finish, refresh};

/// A refresh under way, for all who wait for it. It goes on when nobody does.
pub(crate) type Flight = Shared<BoxFuture<'static, Result<Arc<LiveToken>, ManagerError>>>;

pub(crate) struct Slot {
    pub(crate) id: TokenId,
    pub(crate) manager: TokenManager,
    current: ArcSwapOption<LiveToken>,
    flight: Mutex<Option<(Flight, AbortHandle)>>,
    memory: Arc<Mutex<Memory>>,
}

/// What a refresh leaves for the next one. The manager keeps it when all handles are gone.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Issued and not stored yet: what was stored before, and what is to take its place.
    pub(crate) unsaved: Option<Unsaved>,
    /// Refused by the provider as no longer valid.
    pub(crate) refused: Option<Refused>,
}

impl Memory {
    pub(crate) fn is_empty(&self) -> bool {
        self.unsaved.is_none() && self.refused.is_none()
    }
}

/// A token that was issued and could not be stored.
#[derive(Clone, Debug)]
pub(crate) struct Unsaved {
    pub(crate) expected: OAuthToken,
    pub(crate) token: OAuthToken,
}

impl Unsaved {
    /// Whether it was issued to the grant that is stored.
    pub(crate) fn is_of(&self, stored: &OAuthToken) -> bool {
        self.expected.refresh_token() == stored.refresh_token()
    }

    /// Whether the refresh token that is stored was replaced by another one.
    pub(crate) fn rotates(&self) -> bool {
        self.expected.refresh_token() != self.token.refresh_token()
    }
}

/// A grant that an accounts server refused.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) by: AccountsServer,
    pub(crate) token: OAuthToken,
}

impl Refused {
    /// Whether asking `server` to renew `token` would be the same question again.
    pub(crate) fn answers(&self, server: &AccountsServer, token: &OAuthToken) -> bool {
        self.by == *server && same_grant(&self.token, token)
    }
}

/// Whether both are renewed with the same secret.
pub(crate) fn same_grant(a: &OAuthToken, b: &OAuthToken) -> bool {
    a.refresh_token() == b.refresh_token()
        && (a.refresh_token().is_some() || a.grant_token() == b.grant_token())
}

impl Slot {
    pub(crate) fn new(id: TokenId, manager: TokenManager, memory: Arc<Mutex<Memory>>) -> Self {
        Self { id, manager, current: ArcSwapOption::empty(), flight: Mutex::new(None), memory }
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
        // However a task has ended, by a panic or its runtime's end too: the next caller starts
        // another.
        if let Some((flight, task)) = &*under_way
            && !task.is_finished()
        {
            return flight.clone();
        }
        let slot = Arc::clone(self);
        let task = tokio::spawn(async move { refresh::run(&slot, rejected.as_ref()).await });
        let handle = task.abort_handle();
        let flight = finish(task).boxed().shared();
        *under_way = Some((flight.clone(), handle));
        flight
    }
}
