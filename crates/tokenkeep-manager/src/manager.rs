use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokenkeep_core::{Clock, OAuthToken, Timestamp, TokenId, TokenQuery, TokenStore};
use tokenkeep_oauth::{DataCenter, OAuthClient};

use crate::{
    Login, ManagerError, ManagerErrorKind, Revoked, TokenHandle, TokenManagerBuilder,
    builder::Settings,
    login, revoke,
    slot::{Memory, Slot},
};

/// Decides when a token is refreshed, who does it, and what is saved before anyone uses it.
///
/// A manager is cheap to clone and has no global state: several of them, for several data centres
/// and stores, work side by side in one process. It must be used within a tokio runtime.
///
/// # Guarantees
///
/// - However many callers wait for one token, one request refreshes it; across processes too,
///   where the store is a [shared](TokenStore::shared) one.
/// - A new token is saved before anyone gets it. If it cannot be saved, it is kept, used, and
///   saved at the next opportunity; [`LiveToken::is_saved`](crate::LiveToken::is_saved) tells.
/// - A refresh whose callers have gone away goes on to its end.
#[derive(Clone)]
pub struct TokenManager(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn TokenStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) oauth: OAuthClient,
    pub(crate) settings: Settings,
    pub(crate) holder: String,
    pub(crate) slots: Mutex<HashMap<TokenId, Known>>,
}

/// What a manager knows of a token.
pub(crate) struct Known {
    /// While there is a handle.
    slot: Weak<Slot>,
    /// Outlives the handles: what is not stored yet has no other place.
    memory: Arc<Mutex<Memory>>,
}

impl Known {
    fn is_of_use(&self) -> bool {
        self.slot.strong_count() > 0
            || !self.memory.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl TokenManager {
    /// Starts a manager over `store`.
    ///
    /// # Panics
    ///
    /// Never: the data centre `us` is in the table.
    pub fn builder(store: impl TokenStore) -> TokenManagerBuilder {
        let us = DataCenter::by_code("us").expect("the table of data centres has `us`");
        TokenManagerBuilder::new(Arc::new(store), us)
    }

    /// The store it works on.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn TokenStore> {
        &self.0.store
    }

    /// The clock it goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// A handle for the token of this user.
    ///
    /// # Errors
    ///
    /// `NoToken` if the store has none; `Store` if it fails or several match.
    pub async fn user(&self, name: &str) -> Result<TokenHandle, ManagerError> {
        self.handle(&TokenQuery::user(name)?).await
    }

    /// A handle for the token that `query` means.
    ///
    /// # Errors
    ///
    /// `NoToken` if the store has none; `Store` if it fails or several match.
    pub async fn handle(&self, query: &TokenQuery) -> Result<TokenHandle, ManagerError> {
        match self.0.store.find_token(query).await? {
            Some(token) => self.handle_of(&token),
            None => Err(ManagerError::no_token(format_args!(
                "whose {} is the given one",
                query.key().field()
            ))),
        }
    }

    /// A handle for the token with this id.
    ///
    /// # Errors
    ///
    /// `NoToken` if the store has none; `Store` if it fails.
    pub async fn handle_by_id(&self, id: &TokenId) -> Result<TokenHandle, ManagerError> {
        match self.0.store.find_token_by_id(id).await? {
            Some(token) => self.handle_of(&token),
            None => Err(ManagerError::no_token(format_args!("with id {id}"))),
        }
    }

    /// Takes a login: stores it, turns it into tokens, finds out whose it is, stores them.
    ///
    /// The login is written to the store before the provider is asked, so a store that cannot be
    /// written to costs no grant. A grant that was taken before is not exchanged again. If the
    /// future is dropped, the work goes on to its end.
    ///
    /// # Errors
    ///
    /// `NeedsLogin` if the code has expired or been used; `WrongClient` with the data centres to
    /// try; `Store` with [`unsaved_token`](ManagerError::unsaved_token) if the tokens were issued
    /// and could not be stored.
    pub async fn log_in(&self, login: Login) -> Result<LoggedIn, ManagerError> {
        finish(tokio::spawn(login::run(self.clone(), login))).await
    }

    /// Ends a token: revokes it at the provider, then here.
    ///
    /// Here, its access, refresh and grant token are removed and it is marked as revoked; the
    /// user's next login takes its place. What is stored in its place while it is being revoked is
    /// revoked too. If the provider cannot be reached, nothing is changed.
    /// If the future is dropped, the work goes on to its end.
    ///
    /// # Errors
    ///
    /// `NoToken` if there is no such token; otherwise what the provider or the store said.
    pub async fn revoke(&self, id: &TokenId) -> Result<Revoked, ManagerError> {
        finish(tokio::spawn(revoke::run(self.clone(), id.clone()))).await
    }

    pub(crate) fn handle_of(&self, token: &OAuthToken) -> Result<TokenHandle, ManagerError> {
        let id = token.id().ok_or_else(|| {
            ManagerError::new(ManagerErrorKind::Store, "the store gave a token without an id")
        })?;
        Ok(TokenHandle::new(self.slot(id)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The one slot of this token in this manager.
    pub(crate) fn slot(&self, id: &TokenId) -> Arc<Slot> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(id).and_then(|known| known.slot.upgrade()) {
            return slot;
        }
        if slots.len() >= 64 && slots.len() == slots.capacity() {
            slots.retain(|_, known| known.is_of_use());
        }
        let memory = slots.get(id).map_or_else(Default::default, |known| Arc::clone(&known.memory));
        let slot = Arc::new(Slot::new(id.clone(), self.clone(), Arc::clone(&memory)));
        slots.insert(id.clone(), Known { slot: Arc::downgrade(&slot), memory });
        slot
    }
}

impl fmt::Debug for TokenManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManager")
            .field("store", &self.0.store)
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

/// A login that was taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoggedIn {
    /// The token as it is stored.
    pub token: OAuthToken,
    /// Its handle.
    pub handle: TokenHandle,
    /// What did not work and was not needed, for a person.
    pub warning: Option<String>,
}

/// Waits for a task that goes on if nobody waits.
pub(crate) async fn finish<T>(
    task: tokio::task::JoinHandle<Result<T, ManagerError>>,
) -> Result<T, ManagerError> {
    match task.await {
        Ok(result) => result,
        Err(error) => Err(ManagerError::new(
            ManagerErrorKind::Timeout,
            if error.is_panic() {
                "the work stopped in a panic"
            } else {
                "the runtime shut down before the work was done"
            },
        )),
    }
}
