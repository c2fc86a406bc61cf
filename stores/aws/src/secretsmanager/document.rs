//! What stands in a token's secret: the token, what is known of it, its lease.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenkeep_core::{
    Field, OAuthToken, SidecarEntry, StoreError, StoreErrorKind, TokenId, TokenState,
    shared::lease::LeaseRecord,
};

use crate::error::corrupt;

/// The most that a secret holds.
pub(crate) const MAX_BYTES: usize = 65_536;
/// The format's version.
const VERSION: u32 = 1;

/// The stored form. The id is not in it: the index says which token it is.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    versions: u32,
    /// By the names of the fields.
    token: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaving: Option<String>,
    /// What a newer version has added.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// A token, and what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// With its id.
    pub(crate) token: OAuthToken,
    state: Option<Value>,
    lease: Option<LeaseRecord>,
    /// How many versions its secret has.
    pub(crate) versions: u32,
    /// The version of the index over which another secret is to be named for it.
    pub(crate) leaving: Option<String>,
    unknown: Map<String, Value>,
}

impl Document {
    pub(crate) fn new(token: OAuthToken) -> Self {
        let unknown = Map::new();
        Self { token, state: None, lease: None, versions: 1, leaving: None, unknown }
    }

    pub(crate) fn parse(id: &TokenId, text: &str) -> Result<Self, StoreError> {
        let place = format!("the secret of token {id}");
        let unreadable = || {
            corrupt(format!("the secret of token {id} cannot be read"))
                .with_hint("restore an earlier version of it, or delete the token and log in again")
        };
        let json = check_version(text, VERSION, &place)?;
        let Ok(mut stored) = serde_json::from_value::<Stored>(json) else {
            return Err(unreadable());
        };
        let columns = Field::ALL.map(|field| stored.token.remove(field.name()));
        let token = OAuthToken::from_columns(columns).map_err(|_may_repeat| unreadable())?;
        Ok(Self {
            token: token.with_id(id.clone()),
            state: stored.state,
            lease: stored.lease,
            versions: stored.versions,
            leaving: stored.leaving,
            unknown: stored.unknown,
        })
    }

    pub(crate) fn to_text(&self) -> Result<String, StoreError> {
        let columns = Field::ALL.into_iter().zip(self.token.expose_columns()).skip(1);
        let fields = columns
            .filter_map(|(field, value)| Some((field.name().to_owned(), value?.into_owned())));
        let stored = Stored {
            version: VERSION,
            versions: self.versions,
            token: fields.collect(),
            state: self.state.clone(),
            lease: self.lease.clone(),
            leaving: self.leaving.clone(),
            unknown: self.unknown.clone(),
        };
        let text = serde_json::to_string(&stored).map_err(|_error| unwritable("the token"))?;
        if text.len() > MAX_BYTES {
            let message = "the token and what is known of it are more than 64 KiB";
            return Err(StoreError::new(StoreErrorKind::Full, message)
                .with_hint("Secrets Manager holds no more in one secret"));
        }
        Ok(text)
    }

    pub(crate) fn with_token(self, token: OAuthToken) -> Self {
        Self { token, ..self }
    }

    /// What is known of the token.
    pub(crate) fn state(&self) -> Result<Option<TokenState>, StoreError> {
        let Some(state) = &self.state else { return Ok(None) };
        serde_json::from_value(state.clone()).map(Some).map_err(|_may_repeat| {
            let id = self.token.id().map_or("?", TokenId::as_str);
            corrupt(format!("what is known of token {id} cannot be read"))
        })
    }

    pub(crate) fn with_state(self, state: &TokenState) -> Result<Self, StoreError> {
        let state = serde_json::to_value(state).map_err(|_error| unwritable("the state"))?;
        Ok(Self { state: Some(state), ..self })
    }

    /// With what is known of a token that has become this one, where nothing is known of this.
    pub(crate) fn with_state_of(self, other: Self) -> Self {
        Self { state: self.state.or(other.state), ..self }
    }

    /// What is beside the token, for the rules of leases.
    pub(crate) fn entry(&self) -> SidecarEntry {
        let mut entry = SidecarEntry::beside(&self.token, None);
        entry.lease.clone_from(&self.lease);
        entry
    }

    pub(crate) fn with_lease(self, lease: Option<LeaseRecord>) -> Self {
        Self { lease, ..self }
    }
}

/// Reads JSON of this version or an older one. The parser's own error may repeat what it read.
pub(crate) fn check_version(text: &str, known: u32, place: &str) -> Result<Value, StoreError> {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    match json.get("version").and_then(Value::as_u64) {
        None => Err(corrupt(format!("{place} does not hold what tokenkeep writes"))
            .with_hint("name another prefix, or restore an earlier version of the secret")),
        Some(version) if version > u64::from(known) => {
            let message = format!("{place} was written by a newer version");
            Err(StoreError::new(StoreErrorKind::Unsupported, message).with_hint("use that version"))
        }
        Some(_) => Ok(json),
    }
}

pub(crate) fn unwritable(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, format!("{what} cannot be written as JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TokenId {
        TokenId::from_number(7)
    }

    #[test]
    fn the_stored_form_is_this_and_keeps_what_a_newer_version_added() {
        let text = r#"{"version":1,"versions":3,"token":{"access_token":"test-a"},"state":{"colour":"blue","org_id":"1"},"lease":{"holder":"me","generation":2,"until":5,"ttl_ms":1},"leaving":"a b","size":4}"#;
        let document = Document::parse(&id(), text).unwrap();
        assert_eq!(document.to_text().unwrap(), text);
        assert_eq!(document.token.id(), Some(&id()));
        assert_eq!(document.state().unwrap().unwrap().org_id.as_deref(), Some("1"));
    }

    #[test]
    fn what_is_no_token_is_not_repeated() {
        for text in ["test-secret-text", r#"{"version":1,"token":["test-secret-text"]}"#] {
            let error = Document::parse(&id(), text).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
            assert!(!format!("{error:?}").contains("test-secret-text"));
        }
    }

    #[test]
    fn more_than_a_secret_holds_is_refused() {
        let token = OAuthToken::builder().access_token("x".repeat(MAX_BYTES)).build().unwrap();
        let error = Document::new(token.with_id(id())).to_text().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Full);
    }
}
