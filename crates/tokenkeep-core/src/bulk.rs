//! [`BulkStore`]: many tokens at once, for moving what a store holds.

use async_trait::async_trait;

use crate::{OAuthToken, StoreError, TokenId, TokenState, TokenStore};

/// One token and what is known of it, as it moves from one store to another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The token, with its secrets; with its id, if it comes from a store.
    pub token: OAuthToken,
    /// What is known of it, except for a refresh under way.
    pub state: Option<TokenState>,
}

impl Entry {
    /// A token of which nothing more is known.
    #[must_use]
    pub fn new(token: OAuthToken) -> Self {
        Self { token, state: None }
    }

    /// The same, of which this is known.
    #[must_use]
    pub fn with_state(mut self, state: Option<TokenState>) -> Self {
        self.state = state;
        self
    }
}

/// Some tokens of a store, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Entries {
    /// Those of this page. Rows that have one id stand on one page, even if it gets longer by that.
    pub entries: Vec<Entry>,
    /// Where the next page begins: pass it as `after`. `None` if this is the last one.
    pub next: Option<TokenId>,
    /// What of the store could not be read, in words for a person; no secrets.
    pub damage: Vec<String>,
}

impl Entries {
    /// A page.
    #[must_use]
    pub fn new(entries: Vec<Entry>, next: Option<TokenId>) -> Self {
        Self { entries, next, damage: Vec::new() }
    }

    /// The same, of a store in which this cannot be read.
    #[must_use]
    pub fn with_damage(mut self, damage: Vec<String>) -> Self {
        self.damage = damage;
        self
    }
}

/// A store whose tokens can be read and saved many at a time.
///
/// A store that is not one can be moved as well, one token at a time.
#[async_trait]
pub trait BulkStore: TokenStore {
    /// The next at most `limit` tokens after `after` in the order of ids, with their secrets.
    ///
    /// Each page is read as it is at that moment. Who changes tokens meanwhile may see them on no
    /// page or on two; what is not changed is on one page exactly.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering. A row that cannot be read is not an error, but
    /// [damage](Entries::damage), once a listing.
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError>;

    /// Saves `entries` one after the other as [`save_token`](TokenStore::save_token) would, and
    /// the state of each where nothing is known of the token yet. What each became, in their order:
    /// the token as stored, or why it was refused, which does not keep the others from being saved.
    ///
    /// Either all that are not refused are saved, or none. If the future is dropped, one of the two
    /// holds.
    ///
    /// # Errors
    ///
    /// What keeps the store from saving any of them.
    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError>;
}
