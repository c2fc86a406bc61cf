//! [`OneByOne`]: a store of six methods, as one that can be moved.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokenkeep_core::{
    BulkStore, Entries, Entry, OAuthToken, SharedStore, StateReplaced, StoreError, StoreErrorKind,
    TokenId, TokenQuery, TokenState, TokenStore,
};

/// A store that has the six operations and no more, as one end of a [`Migration`](super::Migration).
///
/// Its tokens are read all at once when the first page is asked for, and saved one after the other:
/// of a page that fails in the middle, some are saved. State moves if it has
/// [`shared`](TokenStore::shared).
#[derive(Debug)]
pub struct OneByOne<S> {
    store: S,
    listed: Mutex<Vec<OAuthToken>>,
}

impl<S: TokenStore> OneByOne<S> {
    /// This store.
    pub fn new(store: S) -> Self {
        Self { store, listed: Mutex::default() }
    }

    /// The tokens of a page, of those that were listed with the first one.
    fn page(&self, after: Option<&TokenId>, limit: usize) -> (Vec<OAuthToken>, Option<TokenId>) {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let from = listed.partition_point(|token| after.is_some() && token.id() <= after);
        let mut to = from.saturating_add(limit.max(1)).min(listed.len());
        while to < listed.len() && to > from && listed[to].id() == listed[to - 1].id() {
            to += 1;
        }
        let next = if to < listed.len() { listed[to - 1].id().cloned() } else { None };
        (listed[from..to].to_vec(), next)
    }

    async fn save(&self, entry: &Entry) -> Result<OAuthToken, StoreError> {
        let stored = self.store.save_token(&entry.token).await?;
        if let (Some(shared), Some(state), Some(id)) =
            (self.store.shared(), &entry.state, stored.id())
        {
            let mut state = state.clone();
            state.in_flight = None;
            // Where something is known already, that stays.
            let _known: StateReplaced = shared.replace_state(id, None, &state).await?;
        }
        Ok(stored)
    }
}

/// Whether an error is about the one token, and the next one may be saved.
fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Ambiguous | StoreErrorKind::Conflict | StoreErrorKind::Invalid
    )
}

/// What is known of the token `id`; nothing, if that cannot be read.
pub(super) async fn state_of(
    store: &(impl TokenStore + ?Sized),
    id: Option<&TokenId>,
) -> Result<Option<TokenState>, StoreError> {
    let (Some(shared), Some(id)) = (store.shared(), id) else { return Ok(None) };
    match shared.state(id).await {
        Err(error)
            if matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Ambiguous) =>
        {
            Ok(None)
        }
        state => state,
    }
}

#[async_trait]
impl<S: TokenStore> BulkStore for OneByOne<S> {
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        if after.is_none() {
            let mut tokens = self.store.get_tokens().await?;
            tokens.sort_by(|one, other| one.id().cmp(&other.id()));
            *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
        }
        let (tokens, next) = self.page(after, limit);
        let mut entries = Vec::with_capacity(tokens.len());
        for token in tokens {
            let state = state_of(&self.store, token.id()).await?;
            entries.push(Entry::new(token).with_state(state));
        }
        Ok(Entries::new(entries, next))
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            answers.push(match self.save(entry).await {
                Err(error) if !is_refusal(&error) => return Err(error),
                answer => answer,
            });
        }
        Ok(answers)
    }
}

#[async_trait]
impl<S: TokenStore> TokenStore for OneByOne<S> {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        self.store.find_token(query).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        self.store.find_token_by_id(id).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.store.save_token(token).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.store.get_tokens().await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.store.delete_token(id).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.store.delete_tokens().await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        self.store.shared()
    }
}
