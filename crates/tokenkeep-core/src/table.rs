//! [`TokenTable`]: tokens in memory, found by any key in constant time.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use crate::{
    Field, OAuthToken, StoreError, StoreErrorKind, TokenId, TokenQuery,
    matching::{self, SavePlan},
};

/// Tokens in memory, matched by the rules of [`matching`] and found in constant time.
///
/// It is what the [`ListStore`](crate::ListStore) and the file store hold behind their locks, and
/// what a store of your own can hold too. Its indices keep keyed hashes, not copies of secrets.
#[derive(Debug, Default)]
pub struct TokenTable {
    /// Rows in the order they came; `None` where one was removed.
    rows: Vec<Option<OAuthToken>>,
    live: usize,
    index: HashMap<u64, Vec<usize>>,
    hasher: RandomState,
    last_id: u64,
}

/// What a [`TokenTable::save`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Saved {
    /// The token as it is now stored.
    pub token: OAuthToken,
    /// A nameless earlier record of the same login that is gone.
    pub absorbed: Option<TokenId>,
}

/// The largest number that is given as an id: what the official SDKs can count to.
pub const MAX_ID: u64 = i32::MAX as u64;

/// The next id after `last`, the largest number at or below [`MAX_ID`] that was ever given.
///
/// # Errors
///
/// Full, when all numbers have been given.
pub fn next_id(last: u64) -> Result<TokenId, StoreError> {
    if last >= MAX_ID {
        return Err(StoreError::new(
            StoreErrorKind::Full,
            format!("all ids up to {MAX_ID} have been given"),
        )
        .with_hint("save the token under an id of your own"));
    }
    Ok(TokenId::from_number(last + 1))
}

impl TokenTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row as it was read from storage, without matching.
    ///
    /// # Errors
    ///
    /// Corrupt, if it has no id.
    pub fn load(&mut self, token: OAuthToken) -> Result<(), StoreError> {
        if token.id().is_none() {
            return Err(StoreError::stored_without_id());
        }
        self.insert(token);
        Ok(())
    }

    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The tokens in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = &OAuthToken> {
        self.rows.iter().flatten()
    }

    /// The tokens in the order of their ids.
    #[must_use]
    pub fn sorted(&self) -> Vec<&OAuthToken> {
        let mut tokens: Vec<_> = self.iter().collect();
        tokens.sort_by_cached_key(|token| token.id().cloned());
        tokens
    }

    /// The largest number given as an id so far; ids are not given again.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Remembers that the ids up to `last` have been given.
    pub fn reserve_ids(&mut self, last: u64) {
        self.last_id = self.last_id.max(last);
    }

    /// The token that `query` means.
    ///
    /// # Errors
    ///
    /// Ambiguous, if several match.
    pub fn find(&self, query: &TokenQuery) -> Result<Option<&OAuthToken>, StoreError> {
        let key = query.key();
        matching::find_one(query, self.with_value(key.field(), key.expose_value()))
    }

    /// The token with this id.
    ///
    /// # Errors
    ///
    /// Ambiguous, if storage held several rows with this id.
    pub fn find_by_id(&self, id: &TokenId) -> Result<Option<&OAuthToken>, StoreError> {
        let mut found = self.with_value(Field::Id, id.as_str()).filter(|t| t.id() == Some(id));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(StoreError::ambiguous(vec![id.clone(), id.clone()])),
            (first, _) => Ok(first),
        }
    }

    /// Saves `token` over the one it matches or as a new one.
    ///
    /// # Errors
    ///
    /// Those of [`plan`](Self::plan). Nothing is changed then.
    pub fn save(&mut self, token: &OAuthToken) -> Result<Saved, StoreError> {
        let saved = self.plan(token, self.last_id)?;
        self.apply(&saved);
        Ok(saved)
    }

    /// What a save of `token` would do, for stores that write before they [`apply`](Self::apply).
    ///
    /// A new id is above `reserved` and above the [`last_id`](Self::last_id) of the table.
    ///
    /// # Errors
    ///
    /// Those of [`matching::plan_save`]; Ambiguous, if several rows have the id of the token that
    /// is meant; Full, when all ids have been given.
    pub fn plan(&self, token: &OAuthToken, reserved: u64) -> Result<Saved, StoreError> {
        match matching::plan_save(token, &self.candidates(token))? {
            SavePlan::Update { id, merged, absorbs } => {
                self.find_by_id(&id)?;
                Ok(Saved { token: *merged, absorbed: absorbs })
            }
            SavePlan::Insert => {
                let next = || next_id(self.last_id.max(reserved));
                let id = token.id().cloned().map_or_else(next, Ok)?;
                Ok(Saved { token: OAuthToken::new_row(id, token), absorbed: None })
            }
        }
    }

    /// Does what was [planned](Self::plan).
    pub fn apply(&mut self, saved: &Saved) {
        if let Some(absorbed) = &saved.absorbed {
            self.remove(absorbed);
        }
        if let Some(id) = saved.token.id() {
            self.put(id, saved.token.clone());
        }
    }

    /// Puts `token` in the place of the row with this id; adds it where there is none.
    pub fn put(&mut self, id: &TokenId, token: OAuthToken) {
        let token = token.with_id(id.clone());
        match self.position(id) {
            Some(at) => {
                if let Some(old) = self.rows[at].take() {
                    self.unindex(at, &old);
                }
                self.index_row(at, &token);
                self.rows[at] = Some(token);
            }
            None => self.insert(token),
        }
    }

    /// Removes the token with this id; `false` if it was not there.
    pub fn remove(&mut self, id: &TokenId) -> bool {
        let mut removed = false;
        while let Some(at) = self.position(id) {
            if let Some(old) = self.rows[at].take() {
                self.unindex(at, &old);
                self.live -= 1;
                removed = true;
            }
        }
        removed
    }

    /// Removes all tokens; says how many there were. Their ids are not given again.
    pub fn clear(&mut self) -> u64 {
        let removed = self.live as u64;
        self.rows.clear();
        self.index.clear();
        self.live = 0;
        removed
    }

    fn insert(&mut self, token: OAuthToken) {
        let at = self.rows.len();
        self.index_row(at, &token);
        if let Some(number) = token.id().and_then(TokenId::number).filter(|n| *n <= MAX_ID) {
            self.last_id = self.last_id.max(number);
        }
        self.rows.push(Some(token));
        self.live += 1;
    }

    /// All rows that share a key with `token`, each once.
    fn candidates(&self, token: &OAuthToken) -> Vec<&OAuthToken> {
        let columns = token.expose_columns();
        let mut positions: Vec<usize> = matching::KEYS
            .into_iter()
            .filter_map(|field| columns[field as usize].as_deref().map(|value| (field, value)))
            .filter_map(|(field, value)| self.index.get(&self.hash(field, value)))
            .flatten()
            .copied()
            .collect();
        positions.sort_unstable();
        positions.dedup();
        positions.into_iter().filter_map(|at| self.rows[at].as_ref()).collect()
    }

    /// The rows that have this value in this field, and perhaps others whose hash is the same.
    fn with_value(&self, field: Field, value: &str) -> impl Iterator<Item = &OAuthToken> {
        self.index
            .get(&self.hash(field, value))
            .into_iter()
            .flatten()
            .filter_map(|at| self.rows[*at].as_ref())
    }

    fn position(&self, id: &TokenId) -> Option<usize> {
        self.index
            .get(&self.hash(Field::Id, id.as_str()))?
            .iter()
            .copied()
            .find(|at| self.rows[*at].as_ref().is_some_and(|token| token.id() == Some(id)))
    }

    fn hash(&self, field: Field, value: &str) -> u64 {
        self.hasher.hash_one((field, value))
    }

    fn index_row(&mut self, at: usize, token: &OAuthToken) {
        for hash in self.keys(token) {
            self.index.entry(hash).or_default().push(at);
        }
    }

    fn unindex(&mut self, at: usize, token: &OAuthToken) {
        for hash in self.keys(token) {
            if let Some(positions) = self.index.get_mut(&hash) {
                positions.retain(|position| *position != at);
                if positions.is_empty() {
                    self.index.remove(&hash);
                }
            }
        }
    }

    fn keys(&self, token: &OAuthToken) -> Vec<u64> {
        let columns = token.expose_columns();
        matching::KEYS
            .into_iter()
            .filter_map(|field| Some(self.hash(field, columns[field as usize].as_deref()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: &str) -> OAuthToken {
        OAuthToken::builder()
            .user_name(user)
            .refresh_token(format!("test-refresh-{user}"))
            .build()
            .unwrap()
    }

    #[test]
    fn ids_count_by_number_and_are_not_given_again() {
        let mut table = TokenTable::new();
        for number in 1..=11 {
            let saved = table.save(&token(&format!("user{number}"))).unwrap();
            assert_eq!(saved.token.id(), Some(&TokenId::from_number(number)));
        }
        assert!(table.remove(&TokenId::from_number(11)));
        assert_eq!(table.save(&token("next")).unwrap().token.id(), Some(&TokenId::from_number(12)));
    }

    #[test]
    fn an_updated_row_is_found_by_its_new_values_only() {
        let mut table = TokenTable::new();
        table.save(&token("a")).unwrap();
        let changed = OAuthToken::builder().user_name("a").refresh_token("test-new").build();
        table.save(&changed.unwrap()).unwrap();
        let find = |text: &str| {
            let query = TokenQuery::refresh_token(crate::RefreshToken::new(text).unwrap());
            table.find(&query).unwrap().is_some()
        };
        assert!(find("test-new"));
        assert!(!find("test-refresh-a"));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn two_rows_with_one_id_are_ambiguous_and_go_together() {
        let mut table = TokenTable::new();
        let id = TokenId::from_number(1);
        table.load(token("a").with_id(id.clone())).unwrap();
        table.load(token("b").with_id(id.clone())).unwrap();
        assert_eq!(table.find_by_id(&id).unwrap_err().kind(), StoreErrorKind::Ambiguous);
        assert!(table.remove(&id));
        assert!(table.is_empty());
    }

    #[test]
    fn the_last_id_is_an_error_not_an_overflow() {
        assert_eq!(next_id(MAX_ID - 1).unwrap(), TokenId::from_number(MAX_ID));
        assert_eq!(next_id(MAX_ID).unwrap_err().kind(), StoreErrorKind::Full);
    }
}
