use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokenkeep_core::{Clock, OAuthToken, Timestamp, TokenId, TokenQuery, TokenStore};
use tokenkeep_oauth::{DataCenter, OAuthClient};
use tokio::sync::mpsc;

use crate::{
    Event, EventKind, EventStream, LiveToken, Login, ManagerError, ManagerErrorKind, Recovery,
    Revoked, TokenHandle, TokenManagerBuilder, builder::Settings, event::Events, flight::Ended,
    keeper::Published, known::Slots, login, look::Marks, memory::Memory, refresh, revoke,
    slot::stopped, timed::TimedStore,
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
    /// The store, for as long as a manager waits for it.
    pub(crate) timed: TimedStore,
    pub(crate) marks: Marks,
    /// Held by who compares and then writes, in a store that cannot do both at once.
    pub(crate) writes: tokio::sync::Mutex<()>,
    pub(crate) events: Events,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) oauth: OAuthClient,
    pub(crate) settings: Settings,
    pub(crate) holder: String,
    /// Who wants to know of each token that is published.
    pub(crate) keepers: Mutex<Vec<mpsc::UnboundedSender<Published>>>,
    pub(crate) slots: Mutex<Slots>,
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
        match self.0.timed.find_token(query).await? {
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
        match self.0.timed.find_token_by_id(id).await? {
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

    /// Stores what earlier processes left in the [spool](TokenManagerBuilder::spool) because they
    /// could not store it. Call it when a program starts; what it is not called for is stored when
    /// the token in question is refreshed.
    ///
    /// # Errors
    ///
    /// `Store` if the spool or the store cannot be read. What could be stored until then is.
    pub async fn recover(&self) -> Result<Recovery, ManagerError> {
        finish(tokio::spawn(refresh::recover(self.clone()))).await
    }

    /// What happens to the tokens from now on: refreshed, failed, revoked and the like.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.0.events.subscribe()
    }

    pub(crate) fn handle_of(&self, token: &OAuthToken) -> Result<TokenHandle, ManagerError> {
        let id = token.id().ok_or_else(|| {
            ManagerError::new(ManagerErrorKind::Store, "the store gave a token without an id")
        })?;
        Ok(TokenHandle::new(self.slot(id, token)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The store, each operation of which ends.
    pub(crate) fn timed(&self) -> &dyn TokenStore {
        &self.0.timed
    }

    pub(crate) fn emit(&self, id: &TokenId, kind: EventKind) {
        self.0.events.emit(&Event { token_id: id.clone(), at: self.now(), kind });
    }

    /// What is published from now on.
    pub(crate) fn watch_published(&self) -> mpsc::UnboundedReceiver<Published> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.keepers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    pub(crate) fn tell_keepers(&self, live: &Arc<LiveToken>, memory: &Arc<Memory>) {
        let mut keepers = self.0.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.retain(|keeper| {
            let published = Published { live: Arc::clone(live), memory: Arc::clone(memory) };
            keeper.send(published).is_ok()
        });
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
        Err(error) if error.is_panic() => stopped(Ended::Panicked),
        Err(_) => stopped(Ended::RuntimeGone),
    }
}
