//! [`Catalog`]: which secret holds which token, for stores that keep each token as a secret of its
//! own in a vault or a keyring.
//!
//! Such a store can change one secret at a time, and a save may have to change several. So a secret
//! with a token is written once and never changed: a change writes new secrets beside the old ones,
//! then the catalog, which is the moment it is made, then it removes what the catalog names no
//! more. A crash in between leaves a secret that nobody reads, and never half a change.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Entry, Field, Fingerprint, Lease, LeaseAttempt, MAX_ID, OAuthToken, Replaced, Sidecar,
    SidecarEntry, StateReplaced, StoreError, StoreErrorKind, Timestamp, TokenId, TokenQuery,
    TokenState, TokenTable, matching, shared::lease::LeaseRecord,
};

/// The tokens of a store: in which secret each stands, fingerprints of what it is found by, its
/// state and its lease. It holds no secret.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    change: String,
    sidecar: Sidecar,
    rows: BTreeMap<TokenId, Row>,
    /// States that cannot be read, which stay as they are until they are written anew.
    unreadable: BTreeMap<TokenId, Value>,
}

#[derive(Clone, Debug)]
struct Row {
    secret: String,
    keys: Vec<Fingerprint>,
}

/// What is to be done so that a [`Draft`] holds: write the secrets, then the catalog, then remove.
#[derive(Debug)]
#[non_exhaustive]
pub struct Changes {
    /// The new catalog.
    pub catalog: Catalog,
    /// Secrets to write first, by name; none of these names was used before.
    pub writes: Vec<(String, OAuthToken)>,
    /// Secrets to remove afterwards.
    pub removes: Vec<String>,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Names the change that this came of.
    change: String,
    last_id: u64,
    tokens: BTreeMap<TokenId, StoredRow>,
}

#[derive(Serialize, Deserialize)]
struct StoredRow {
    secret: String,
    keys: Vec<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseRecord>,
}

const VERSION: u32 = 1;

impl Catalog {
    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// Corrupt if it is not one, Unsupported if a newer version wrote it.
    pub fn from_json(json: Value) -> Result<Self, StoreError> {
        if json.get("version").and_then(Value::as_u64).is_some_and(|v| v > u64::from(VERSION)) {
            let message = "a newer version of tokenkeep wrote this store";
            return Err(StoreError::new(StoreErrorKind::Unsupported, message)
                .with_hint("update this program"));
        }
        // The reason is not told: it may repeat what stands there.
        let stored: Stored = serde_json::from_value(json).map_err(|_may_repeat| {
            StoreError::new(StoreErrorKind::Corrupt, "the store's index cannot be read")
        })?;
        let mut catalog = Self { change: stored.change, ..Self::default() };
        catalog.sidecar.last_id = stored.last_id;
        for (id, stored) in stored.tokens {
            let StoredRow { secret, keys, user_name, client_id, state, lease } = stored;
            let mut entry = SidecarEntry { user_name, client_id, state: None, lease };
            if let Some(value) = state {
                match serde_json::from_value(value.clone()) {
                    Ok(state) => entry.state = Some(state),
                    Err(_may_repeat) => {
                        catalog.unreadable.insert(id.clone(), value);
                    }
                }
            }
            if entry != SidecarEntry::default() {
                catalog.sidecar.tokens.insert(id.clone(), entry);
            }
            catalog.rows.insert(id, Row { secret, keys });
        }
        Ok(catalog)
    }

    /// The stored form.
    ///
    /// # Errors
    ///
    /// Invalid if a state cannot be JSON.
    pub fn to_json(&self) -> Result<Value, StoreError> {
        let mut tokens = BTreeMap::new();
        let cannot = |_error| {
            StoreError::new(StoreErrorKind::Invalid, "a token's state cannot be written as JSON")
        };
        for (id, row) in &self.rows {
            let entry = self.sidecar.tokens.get(id).cloned().unwrap_or_default();
            let state = entry.state.map(serde_json::to_value).transpose().map_err(cannot)?;
            tokens.insert(
                id.clone(),
                StoredRow {
                    secret: row.secret.clone(),
                    keys: row.keys.clone(),
                    user_name: entry.user_name,
                    client_id: entry.client_id,
                    state: state.or_else(|| self.unreadable.get(id).cloned()),
                    lease: entry.lease,
                },
            );
        }
        let (change, last_id) = (self.change.clone(), self.sidecar.last_id);
        serde_json::to_value(Stored { version: VERSION, change, last_id, tokens }).map_err(cannot)
    }

    /// The name of the change that this came of.
    #[must_use]
    pub fn change(&self) -> &str {
        &self.change
    }

    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The largest number given as an id.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.sidecar.last_id
    }

    /// The secret in which a token stands.
    #[must_use]
    pub fn secret(&self, id: &TokenId) -> Option<&str> {
        self.rows.get(id).map(|row| row.secret.as_str())
    }

    /// The secrets of all tokens.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.rows.values().map(|row| row.secret.as_str())
    }

    /// The ids of all tokens, in order.
    pub fn ids(&self) -> impl Iterator<Item = &TokenId> {
        self.rows.keys()
    }

    /// The next at most `limit` ids after `after`, and where the next page begins.
    #[must_use]
    pub fn page(&self, after: Option<&TokenId>, limit: usize) -> (Vec<TokenId>, Option<TokenId>) {
        let mut rest = self.rows.keys().filter(|id| after.is_none_or(|after| *id > after));
        let ids: Vec<TokenId> = rest.by_ref().take(limit).cloned().collect();
        let next = rest.next().and(ids.last().cloned());
        (ids, next)
    }

    /// The tokens that may be meant by `query`; those that are not are passed over by
    /// [`matching::find_one`].
    #[must_use]
    pub fn matching(&self, query: &TokenQuery) -> Vec<TokenId> {
        let key = Fingerprint::of_field(query.key().field(), query.key().expose_value());
        let found = self.rows.iter().filter(|(_id, row)| row.keys.contains(&key));
        found.map(|(id, _row)| id.clone()).collect()
    }

    /// The tokens that have to be at hand to save `token`.
    #[must_use]
    pub fn candidates(&self, token: &OAuthToken) -> BTreeSet<TokenId> {
        let keys = keys(token);
        let meant = |id: &TokenId, row: &Row| {
            token.id() == Some(id) || keys.iter().any(|key| row.keys.contains(key))
        };
        let found = self.rows.iter().filter(|(id, row)| meant(id, row));
        found.map(|(id, _row)| id.clone()).collect()
    }

    /// What stands in a token's secret: its fields by the names of the SDKs' columns, **secrets
    /// included**; absent ones are left out.
    #[must_use]
    pub fn expose_fields(token: &OAuthToken) -> Value {
        let fields = Field::ALL.into_iter().zip(token.expose_columns());
        let present = fields.filter_map(|(field, value)| Some((field, value?)));
        let map = present.map(|(field, value)| (field.name().to_owned(), Value::from(&*value)));
        Value::Object(map.collect())
    }

    /// The token `id` of what stands in its secret.
    ///
    /// # Errors
    ///
    /// Corrupt if there is none, or it is not that token.
    pub fn read_fields(id: &TokenId, fields: Option<Value>) -> Result<OAuthToken, StoreError> {
        let read = |mut fields: Value| {
            let mut columns: [Option<String>; 10] = Default::default();
            for field in Field::ALL {
                columns[field as usize] = match fields.get_mut(field.name()).map(Value::take) {
                    None | Some(Value::Null) => None,
                    Some(Value::String(text)) => Some(text),
                    Some(_) => return None,
                };
            }
            OAuthToken::from_columns(columns).ok()
        };
        fields.and_then(read).filter(|token| token.id() == Some(id)).ok_or_else(|| {
            let message = format!("the secret of token {id} is gone or cannot be read");
            StoreError::new(StoreErrorKind::Corrupt, message)
                .with_hint("delete the token and log in again")
        })
    }

    /// What is known of a stored token.
    ///
    /// # Errors
    ///
    /// Corrupt if it cannot be read.
    pub fn state(&self, token: &OAuthToken) -> Result<Option<TokenState>, StoreError> {
        if let Some(id) = token.id().filter(|id| self.unreadable.contains_key(id)) {
            let message = format!("what is known of token {id} cannot be read");
            return Err(StoreError::new(StoreErrorKind::Corrupt, message));
        }
        Ok(self.sidecar.state(token).cloned())
    }

    /// Begins a change of the tokens that are `loaded`.
    ///
    /// # Errors
    ///
    /// Corrupt if one of them has no id.
    pub fn draft(&self, loaded: impl IntoIterator<Item = OAuthToken>) -> Result<Draft, StoreError> {
        let mut table = TokenTable::new();
        for token in loaded {
            table.load(token)?;
        }
        table.reserve_ids(self.sidecar.last_id);
        Ok(Draft {
            catalog: self.clone(),
            table,
            written: BTreeSet::new(),
            removes: Vec::new(),
            is_changed: false,
        })
    }
}

/// A change of a [`Catalog`] that is being made in memory.
#[derive(Debug)]
pub struct Draft {
    catalog: Catalog,
    /// The tokens that were loaded or saved.
    table: TokenTable,
    written: BTreeSet<TokenId>,
    removes: Vec<String>,
    is_changed: bool,
}

impl Draft {
    /// Saves `token`, whose [candidates](Catalog::candidates) are loaded.
    ///
    /// # Errors
    ///
    /// Those of [`TokenTable::save`]. Nothing is changed then.
    pub fn save(&mut self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.save_entry(&Entry::new(token.clone()))
    }

    /// Saves one of the entries of a [`BulkStore::save_entries`](crate::BulkStore::save_entries).
    ///
    /// # Errors
    ///
    /// Those of [`TokenTable::save`]. Nothing is changed then.
    pub fn save_entry(&mut self, entry: &Entry) -> Result<OAuthToken, StoreError> {
        let saved = self.table.plan(&entry.token, self.catalog.sidecar.last_id)?;
        let Some(id) = saved.token.id().cloned() else {
            return Err(StoreError::stored_without_id());
        };
        let before = self.table.find_by_id(&id)?.cloned();
        if let Some(before) = &before {
            self.catalog.follow(before, &saved.token);
        }
        if let Some(absorbed) = &saved.absorbed {
            if let Some(state) = self.catalog.unreadable.remove(absorbed)
                && self.catalog.sidecar.state(&saved.token).is_none()
            {
                self.catalog.unreadable.entry(id.clone()).or_insert(state);
            }
            self.forget(absorbed);
        }
        let state = self.catalog.sidecar.state(&saved.token).cloned();
        let state = state.filter(|_| !self.catalog.unreadable.contains_key(&id));
        self.catalog.sidecar.apply_entry(&mut self.table, entry, &saved);
        self.is_changed |= self.catalog.sidecar.state(&saved.token) != state.as_ref();
        if before.as_ref() != Some(&saved.token) {
            self.put(id, &saved.token);
        }
        Ok(saved.token)
    }

    /// Removes a token; `false` if there is none.
    pub fn delete(&mut self, id: &TokenId) -> bool {
        let was_there = self.forget(id);
        self.table.remove(id);
        self.catalog.sidecar.remove(id);
        self.catalog.unreadable.remove(id);
        was_there
    }

    /// Removes all tokens; says how many there were.
    pub fn delete_all(&mut self) -> u64 {
        let ids: Vec<TokenId> = self.catalog.rows.keys().cloned().collect();
        for id in &ids {
            self.delete(id);
        }
        ids.len() as u64
    }

    /// Saves `token` in the place of `expected`, whose id is loaded; see
    /// [`SharedStore::replace_token`](crate::SharedStore::replace_token).
    ///
    /// # Errors
    ///
    /// Invalid if `expected` has no id.
    pub fn replace(
        &mut self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let replaced = self.catalog.sidecar.replace(&mut self.table, expected, token, fence)?;
        if let Replaced::Saved(merged) = &replaced
            && let Some(id) = merged.id()
            && merged != expected
        {
            self.catalog.follow(expected, merged);
            self.put(id.clone(), merged);
        }
        Ok(replaced)
    }

    /// Takes the lease of the token `id`, which is loaded.
    ///
    /// # Errors
    ///
    /// Those of [`TokenTable::find_by_id`].
    pub fn try_lease(
        &mut self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<LeaseAttempt, StoreError> {
        let Some(token) = self.table.find_by_id(id)? else { return Ok(LeaseAttempt::NoToken) };
        let attempt = self.catalog.sidecar.try_lease(token, holder, ttl, now);
        self.is_changed |= matches!(attempt, LeaseAttempt::Granted(_));
        Ok(attempt)
    }

    /// Moves the end of `lease`; `None` if it has passed to somebody else.
    pub fn renew_lease(&mut self, lease: &Lease, ttl: Duration, now: Timestamp) -> Option<Lease> {
        let renewed = self.catalog.sidecar.renew_lease(lease, ttl, now);
        self.is_changed |= renewed.is_some();
        renewed
    }

    /// Gives `lease` back; `false` if it had passed to somebody else.
    pub fn release_lease(&mut self, lease: &Lease) -> bool {
        let released = self.catalog.sidecar.release_lease(lease);
        self.is_changed |= released;
        released
    }

    /// Writes what is known of the token `id`, which is loaded, if that still is `expected`.
    ///
    /// # Errors
    ///
    /// Those of [`TokenTable::find_by_id`].
    pub fn replace_state(
        &mut self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let Some(token) = self.table.find_by_id(id)? else { return Ok(StateReplaced::NoToken) };
        let replaced = self.catalog.sidecar.replace_state(token, expected, state);
        if replaced == StateReplaced::Written {
            self.catalog.unreadable.remove(id);
            self.is_changed = true;
        }
        Ok(replaced)
    }

    /// What is to be done; `None` if nothing was changed.
    ///
    /// `change` names this change as no other was named, in digits, letters and `.`; new secrets
    /// are called `ID.CHANGE-NUMBER`.
    #[must_use]
    pub fn finish(mut self, change: &str) -> Option<Changes> {
        if !self.is_changed {
            return None;
        }
        let mut writes = Vec::with_capacity(self.written.len());
        for id in &self.written {
            // What was saved and absorbed by a later save is not there any more.
            let Ok(Some(token)) = self.table.find_by_id(id) else { continue };
            let secret = format!("{}.{change}-{}", label(id), writes.len());
            let row = Row { secret, keys: keys(token) };
            writes.push((row.secret.clone(), token.clone()));
            self.catalog.rows.insert(id.clone(), row);
        }
        change.clone_into(&mut self.catalog.change);
        Some(Changes { catalog: self.catalog, writes, removes: self.removes })
    }

    /// The secret of the token is to be written anew.
    fn put(&mut self, id: TokenId, token: &OAuthToken) {
        self.forget(&id);
        let number = id.number().filter(|number| *number <= MAX_ID).unwrap_or_default();
        self.catalog.sidecar.last_id = self.catalog.sidecar.last_id.max(number);
        let row = Row { secret: String::new(), keys: keys(token) };
        self.catalog.rows.insert(id.clone(), row);
        self.written.insert(id);
        self.is_changed = true;
    }

    fn forget(&mut self, id: &TokenId) -> bool {
        self.written.remove(id);
        let Some(row) = self.catalog.rows.remove(id) else { return false };
        if !row.secret.is_empty() {
            self.removes.push(row.secret);
        }
        self.is_changed = true;
        true
    }
}

impl Catalog {
    /// What is beside a token stays with it when its user or client becomes another.
    fn follow(&mut self, before: &OAuthToken, after: &OAuthToken) {
        if let Some(id) = before.id()
            && let Some(entry) = self.sidecar.tokens.get_mut(id)
            && entry.belongs_to(before)
        {
            entry.user_name = after.user_name().map(str::to_owned);
            entry.client_id = after.client_id().map(str::to_owned);
        }
    }
}

/// An id as it can stand in a path and in a name: whole if it is plain, otherwise as much of it as
/// tells a person which it is.
fn label(id: &TokenId) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let id = id.as_str();
    if id.len() <= 64 && id.chars().all(is_plain) {
        return id.to_owned();
    }
    format!("x{}", id.chars().filter(|c| is_plain(*c)).take(40).collect::<String>())
}

/// What a token is found by, except for its id.
fn keys(token: &OAuthToken) -> Vec<Fingerprint> {
    let columns = token.expose_columns();
    let found = matching::KEYS.into_iter().filter(|field| *field != Field::Id);
    found
        .filter_map(|field| Some(Fingerprint::of_field(field, columns[field as usize].as_deref()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: &str) -> OAuthToken {
        let token = OAuthToken::builder().user_name(user).access_token(format!("test-{user}"));
        token.build().unwrap()
    }

    fn saved(catalog: &Catalog, loaded: &[OAuthToken], token: &OAuthToken) -> Changes {
        let mut draft = catalog.draft(loaded.to_vec()).unwrap();
        draft.save(token).unwrap();
        draft.finish(&catalog.len().to_string()).unwrap()
    }

    #[test]
    fn a_save_writes_a_new_secret_and_removes_the_old_one() {
        let first = saved(&Catalog::default(), &[], &token("alice"));
        assert_eq!((first.writes.len(), first.removes.len()), (1, 0));
        assert_eq!(first.catalog.secret(&TokenId::from_number(1)), Some("1.0-0"));
        let stored = first.writes[0].1.clone();
        let changed = OAuthToken::builder().user_name("alice").refresh_token("test-r");
        let second = saved(&first.catalog, &[stored], &changed.build().unwrap());
        assert_eq!(
            (second.writes[0].0.as_str(), second.removes),
            ("1.1-0", vec!["1.0-0".to_owned()])
        );
        // What is stored already is not written again.
        let stored = second.writes[0].1.clone();
        let mut draft = second.catalog.draft([stored]).unwrap();
        draft.save(&token("alice")).unwrap();
        assert!(draft.finish("c").is_none());
    }

    #[test]
    fn the_stored_form_holds_no_secret_and_is_read_as_it_was_written() {
        let first = saved(&Catalog::default(), &[], &token("alice"));
        let stored = first.writes[0].1.clone();
        let mut draft = first.catalog.draft([stored.clone()]).unwrap();
        let id = TokenId::from_number(1);
        draft.replace_state(&id, None, &TokenState::default()).unwrap();
        draft.try_lease(&id, "me", Duration::from_secs(1), Timestamp::default()).unwrap();
        let catalog = draft.finish("c").unwrap().catalog;
        let json = catalog.to_json().unwrap();
        assert!(!json.to_string().contains("test-alice"));
        let read = Catalog::from_json(json.clone()).unwrap();
        assert_eq!(read.to_json().unwrap(), json);
        assert_eq!(read.candidates(&token("alice")).len(), 1);
        assert_eq!(read.state(&stored).unwrap(), Some(TokenState::default()));
    }

    #[test]
    fn a_token_is_read_as_it_was_written_and_named_for_its_id() {
        for (id, name) in [("17", "17"), ("../a/b é", "xab"), (".", "x"), ("a_b", "a_b")] {
            let token = OAuthToken::builder().id(id).access_token("test-\u{0}\"é").build().unwrap();
            let id = TokenId::new(id).unwrap();
            assert_eq!(label(&id), name);
            let fields = Catalog::expose_fields(&token);
            assert_eq!(Catalog::read_fields(&id, Some(fields.clone())).unwrap(), token);
            let other = Catalog::read_fields(&TokenId::from_number(1), Some(fields));
            assert_eq!(other.unwrap_err().kind(), StoreErrorKind::Corrupt);
        }
    }

    #[test]
    fn an_unreadable_state_stays_until_it_is_written() {
        let first = saved(&Catalog::default(), &[], &token("alice"));
        let stored = first.writes[0].1.clone();
        let mut json = first.catalog.to_json().unwrap();
        json["tokens"]["1"]["state"] = Value::from("test damage");
        let catalog = Catalog::from_json(json).unwrap();
        assert_eq!(catalog.state(&stored).unwrap_err().kind(), StoreErrorKind::Corrupt);
        let id = TokenId::from_number(1);
        let mut draft = catalog.draft([stored.clone()]).unwrap();
        draft.try_lease(&id, "me", Duration::from_secs(1), Timestamp::default()).unwrap();
        let leased = draft.finish("c").unwrap().catalog;
        assert_eq!(leased.to_json().unwrap()["tokens"]["1"]["state"], "test damage");
        let mut draft = leased.draft([stored.clone()]).unwrap();
        let written = draft.replace_state(&id, None, &TokenState::default()).unwrap();
        assert_eq!(written, StateReplaced::Written);
        let catalog = draft.finish("c").unwrap().catalog;
        assert_eq!(catalog.state(&stored).unwrap(), Some(TokenState::default()));
    }
}
