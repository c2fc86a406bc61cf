//! [`OneByOne`]: a store of six methods, as one that can be moved.

use std::{
    collections::{HashMap, HashSet, hash_map},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tokenkeep_core::{
    BulkStore, Entries, Entry, OAuthToken, SharedStore, StateReplaced, StoreError, StoreErrorKind,
    TokenId, TokenQuery, TokenState, TokenStore,
};

use super::survey::Keys;

/// How many saves are under way at a time.
const AT_ONCE: usize = 16;
/// Of how many tokens it is asked at once what is known.
const STATES: usize = 500;

/// A store that has the six operations and no more, as one end of a [`Migration`](super::Migration).
///
/// Its tokens are read all at once when the first page is asked for, and saved each by itself, some
/// at a time where they have nothing in common: of a page that fails in the middle, some are saved.
/// State moves if it has [`shared`](TokenStore::shared).
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

    /// What is known of the tokens after `after`, up to `last`; nothing of rows that have one id.
    async fn states(
        &self,
        after: Option<&TokenId>,
        last: &TokenId,
    ) -> Result<HashMap<TokenId, Option<TokenState>>, StoreError> {
        let mut states = HashMap::new();
        let Some(shared) = self.store.shared() else { return Ok(states) };
        let mut after = after.cloned();
        loop {
            let page = shared.page(after.as_ref(), STATES).await?;
            for meta in page.tokens {
                if meta.id > *last {
                    return Ok(states);
                }
                match states.entry(meta.id) {
                    hash_map::Entry::Vacant(place) => drop(place.insert(meta.state)),
                    hash_map::Entry::Occupied(mut several) => drop(several.insert(None)),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(states);
            }
        }
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

/// Whether each of the entries has an id, and no two of them have one of the values in common by
/// which a save knows what is stored.
fn have_nothing_in_common(entries: &[Entry]) -> bool {
    let (keys, mut seen) = (Keys::default(), HashSet::new());
    entries.iter().all(|entry| {
        let mut hashes = keys.of(&entry.token).into_iter().flatten();
        entry.token.id().is_some() && hashes.all(|hash| seen.insert(hash))
    })
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
        let mut states = match tokens.last().and_then(OAuthToken::id) {
            Some(last) => self.states(after, last).await?,
            None => HashMap::new(),
        };
        let entry = |token: OAuthToken| {
            let state = token.id().and_then(|id| states.remove(id)).flatten();
            Entry::new(token).with_state(state)
        };
        Ok(Entries::new(tokens.into_iter().map(entry).collect(), next))
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        // In whatever order they are saved then, the same comes of it.
        let at_once = if have_nothing_in_common(entries) { AT_ONCE } else { 1 };
        let saves: Vec<_> = entries.iter().map(|entry| self.save(entry)).collect();
        let mut saving = stream::iter(saves).buffered(at_once);
        let mut answers = Vec::with_capacity(entries.len());
        while let Some(answer) = saving.next().await {
            answers.push(match answer {
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
