//! [`ListStore`]: tokens in memory, the reference implementation of the store contracts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    BulkStore, ChangeMark, Clock, Entries, Entry, Lease, LeaseAttempt, Look, OAuthToken, Operation,
    Page, Replaced, SharedStore, Sidecar, StateReplaced, StoreError, SystemClock, TokenId,
    TokenQuery, TokenState, TokenStore, TokenTable,
};

/// Tokens in the memory of one process; gone when the last clone is dropped.
///
/// It is the reference for what every store does, and the right store for tests and for programs
/// that log in at each start. Clones share their tokens.
///
/// ```
/// use tokenkeep_core::{ListStore, OAuthToken, TokenQuery, TokenStore};
///
/// # futures_lite(async {
/// let store = ListStore::new();
/// let token = OAuthToken::builder()
///     .user_name("alice@example.com")
///     .refresh_token("test-refresh-token")
///     .build()?;
/// let saved = store.save_token(&token).await?;
/// let found = store.find_token(&TokenQuery::user("alice@example.com")?).await?;
/// assert_eq!(found, Some(saved));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # fn futures_lite<F: Future>(future: F) -> F::Output {
/// #     let mut future = std::pin::pin!(future);
/// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop {
/// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) { return output; }
/// #     }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ListStore {
    clock: Arc<dyn Clock>,
    contents: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    table: TokenTable,
    sidecar: Sidecar,
    /// Grows with each change, and with what turns out to be none.
    changes: u64,
}

impl ListStore {
    /// An empty store that goes by the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store that goes by `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, contents: Arc::default() }
    }

    /// Every operation is a single change under this lock that either returns early or completes,
    /// so what a panic elsewhere left behind is whole.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_change(&self) -> MutexGuard<'_, Contents> {
        let mut contents = self.contents();
        contents.changes += 1;
        contents
    }
}

impl Default for ListStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl TokenStore for ListStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let contents = self.contents();
        let found = contents.table.find(query).map_err(|e| e.during(Operation::FindToken))?;
        Ok(found.cloned())
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let contents = self.contents();
        let found =
            contents.table.find_by_id(id).map_err(|e| e.during(Operation::FindTokenById))?;
        Ok(found.cloned())
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let Contents { table, sidecar, .. } = &mut *self.to_change();
        let saved = table.save(token).map_err(|error| error.during(Operation::SaveToken))?;
        if let Some(absorbed) = &saved.absorbed {
            sidecar.absorb(absorbed, &saved.token);
        }
        Ok(saved.token)
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        Ok(self.contents().table.sorted().into_iter().cloned().collect())
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let Contents { table, sidecar, .. } = &mut *self.to_change();
        sidecar.remove(id);
        Ok(table.remove(id))
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        let Contents { table, sidecar, .. } = &mut *self.to_change();
        sidecar.tokens.clear();
        Ok(table.clear())
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

#[async_trait]
impl SharedStore for ListStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let Contents { table, sidecar, .. } = &mut *self.to_change();
        sidecar
            .replace(table, expected, token, fence)
            .map_err(|error| error.during(Operation::ReplaceToken))
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let now = self.clock.now();
        let Contents { table, sidecar, .. } = &mut *self.to_change();
        let token = table.find_by_id(id).map_err(|error| error.during(Operation::Lease))?;
        Ok(token.map_or(LeaseAttempt::NoToken, |token| sidecar.try_lease(token, holder, ttl, now)))
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let now = self.clock.now();
        Ok(self.to_change().sidecar.renew_lease(lease, ttl, now))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        Ok(self.to_change().sidecar.release_lease(lease))
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let Contents { table, sidecar, .. } = &*self.contents();
        let token = table.find_by_id(id).map_err(|error| error.during(Operation::State))?;
        Ok(token.and_then(|token| sidecar.state(token).cloned()))
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let Contents { table, sidecar, .. } = &mut *self.to_change();
        let token = table.find_by_id(id).map_err(|error| error.during(Operation::ReplaceState))?;
        Ok(token
            .map_or(StateReplaced::NoToken, |token| sidecar.replace_state(token, expected, state)))
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        Ok(ChangeMark::new(self.contents().changes, 0))
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let contents = self.contents();
        Ok(contents.sidecar.page(&contents.table, after, limit))
    }
}

#[async_trait]
impl BulkStore for ListStore {
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let contents = self.contents();
        Ok(contents.sidecar.entries(&contents.table, after, limit))
    }

    async fn scan(&self, mut look: Look) -> Result<Vec<String>, StoreError> {
        let contents = self.contents();
        contents.sidecar.scan(&contents.table, &mut look);
        Ok(Vec::new())
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        let Contents { table, sidecar, .. } = &mut *self.to_change();
        let save = |entry| match sidecar.save_entry(table, entry) {
            Ok(saved) => Ok(saved.token),
            Err(error) => Err(error.during(Operation::SaveToken)),
        };
        Ok(entries.iter().map(save).collect())
    }
}
