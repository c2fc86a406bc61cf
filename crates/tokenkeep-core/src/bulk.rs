//! [`BulkStore`]: many tokens at once, for moving what a store holds.

use std::{borrow::Cow, ops::ControlFlow};

use async_trait::async_trait;

use crate::{OAuthToken, Saved, Sidecar, StoreError, TokenId, TokenState, TokenStore, TokenTable};

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

    /// The same, of which this is known. A refresh under way is left out: it stays with the store
    /// in which it was begun.
    #[must_use]
    pub fn with_state(mut self, state: Option<TokenState>) -> Self {
        self.state = state.map(|state| TokenState { in_flight: None, ..state });
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

/// What the tokens of a [scan](BulkStore::scan) are shown to: the ten columns of each, secrets
/// included, and what is known of it. It may break off.
pub type Look = Box<dyn FnMut(&Columns<'_>, Option<&TokenState>) -> ControlFlow<()> + Send>;

/// The ten columns of a token, as [`OAuthToken::expose_columns`] gives them.
pub type Columns<'a> = [Option<Cow<'a, str>>; 10];

/// How many tokens a [scan](BulkStore::scan) reads at once, unless the store knows better.
const SCANNED: usize = 1_000;

/// A store whose tokens can be read and saved many at a time.
///
/// A store that is not one can be moved as well, one token at a time.
#[async_trait]
pub trait BulkStore: TokenStore {
    /// How many tokens are best read or saved at once.
    fn page_size(&self) -> usize {
        1_000
    }

    /// Shows every token to `look`, in no order, with what
    /// [`read_entries`](Self::read_entries) would give of it: for who counts or sums up what there
    /// is, and does not need a token of each. Returns what could not be read.
    ///
    /// What others change meanwhile may be shown as it was, as it is, or twice.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering. Some tokens may have been shown then.
    async fn scan(&self, mut look: Look) -> Result<Vec<String>, StoreError> {
        let (mut after, mut damage) = (None, Vec::new());
        loop {
            let page = self.read_entries(after.as_ref(), SCANNED.max(self.page_size())).await?;
            damage.extend(page.damage);
            for Entry { token, state } in &page.entries {
                if look(&token.expose_columns(), state.as_ref()).is_break() {
                    return Ok(damage);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(damage);
            }
        }
    }

    /// The next at most `limit` tokens after `after` in the order of ids, with their secrets; at
    /// least one, if there is one.
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
    /// What keeps the store from saving any of them: Full if it does not take as many.
    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError>;
}

impl Sidecar {
    /// A page of `table`, as [`BulkStore::read_entries`] gives it.
    #[must_use]
    pub fn entries(&self, table: &TokenTable, after: Option<&TokenId>, limit: usize) -> Entries {
        let by_id = |one: &&OAuthToken, other: &&OAuthToken| one.id().cmp(&other.id());
        let mut rows: Vec<_> = table
            .iter()
            .filter(|token| after.is_none_or(|after| token.id() > Some(after)))
            .collect();
        let mut next = None;
        if rows.len() > limit {
            let (_, last, _) = rows.select_nth_unstable_by(limit.max(1) - 1, by_id);
            let (last, all) = (last.id().cloned(), rows.len());
            rows.retain(|token| token.id() <= last.as_ref());
            next = last.filter(|_| rows.len() < all);
        }
        rows.sort_by(by_id);
        let entry =
            |token: &OAuthToken| Entry::new(token.clone()).with_state(self.state(token).cloned());
        Entries::new(rows.into_iter().map(entry).collect(), next)
    }

    /// Shows all of `table` to `look`, as [`BulkStore::scan`] does.
    pub fn scan(&self, table: &TokenTable, look: &mut Look) {
        for token in table.iter() {
            let state = self.state(token).map(|state| match state.in_flight {
                None => Cow::Borrowed(state),
                Some(_) => Cow::Owned(TokenState { in_flight: None, ..state.clone() }),
            });
            if look(&token.expose_columns(), state.as_deref()).is_break() {
                return;
            }
        }
    }

    /// Saves one of the entries of a [`BulkStore::save_entries`] to `table`.
    ///
    /// # Errors
    ///
    /// Those of [`TokenTable::save`]. Nothing is changed then.
    pub fn save_entry(
        &mut self,
        table: &mut TokenTable,
        entry: &Entry,
    ) -> Result<Saved, StoreError> {
        let saved = table.plan(&entry.token, self.last_id)?;
        self.apply_entry(table, entry, &saved);
        Ok(saved)
    }

    /// Does what was [planned](TokenTable::plan) for one of the entries.
    pub fn apply_entry(&mut self, table: &mut TokenTable, entry: &Entry, saved: &Saved) {
        table.apply(saved);
        if let Some(absorbed) = &saved.absorbed {
            self.absorb(absorbed, &saved.token);
        }
        if let Some(state) = &entry.state
            && self.state(&saved.token).is_none()
        {
            let state = TokenState { in_flight: None, ..state.clone() };
            self.replace_state(&saved.token, None, &state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(ids: &[&str]) -> TokenTable {
        let mut table = TokenTable::new();
        for id in ids {
            let token = OAuthToken::builder().access_token("test-access").id(*id);
            table.load(token.build().unwrap()).unwrap();
        }
        table
    }

    #[test]
    fn rows_of_one_id_stand_on_one_page() {
        let table = table(&["3", "2", "2", "crm", "10", "2"]);
        let page = |after: Option<&TokenId>, limit| {
            let page = Sidecar::default().entries(&table, after, limit);
            let ids = page.entries.iter().filter_map(|entry| entry.token.id());
            (ids.map(ToString::to_string).collect::<Vec<_>>(), page.next)
        };
        let two = TokenId::from_number(2);
        assert_eq!(page(None, 1), (vec!["2".to_owned(); 3], Some(two.clone())));
        assert_eq!(page(None, 0).0.len(), 3);
        assert_eq!(page(Some(&two), 3), (["3", "10", "crm"].map(str::to_owned).to_vec(), None));
        assert_eq!(page(None, 6).1, None);
    }

    #[test]
    fn a_refresh_under_way_does_not_move() {
        let mut state = TokenState { org_id: Some("42".to_owned()), ..TokenState::default() };
        let token = OAuthToken::builder().refresh_token("test-refresh").build().unwrap();
        let grant = crate::Fingerprint::of_grant(&token).unwrap();
        state.in_flight = Some(crate::InFlight::new(grant, crate::Timestamp::default(), 1));
        let entry = Entry::new(token).with_state(Some(state));
        let moved = entry.state.unwrap();
        assert_eq!((moved.in_flight, moved.org_id.as_deref()), (None, Some("42")));
    }
}
