//! What the index holds: which secret has which token, and the last id given. No secret is in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokenkeep_core::{MAX_ID, OAuthToken, StoreError, StoreErrorKind, TokenId, next_id};

use super::document::{MAX_BYTES, check_version, unwritable};
use crate::error::corrupt;

/// The format's version.
const VERSION: u32 = 1;

/// Where a token is, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row(
    /// The end of its secret's name.
    pub(crate) String,
    /// The mark of its user; empty where the user is not known.
    pub(crate) String,
);

impl Row {
    pub(crate) fn new(secret: &str, token: &OAuthToken) -> Self {
        Self(secret.to_owned(), token.user_name().map(mark_of).unwrap_or_default())
    }

    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_nameless(&self) -> bool {
        self.1.is_empty()
    }
}

/// Tells users apart. Two that share one cost a read: what their tokens say is what counts.
pub(crate) fn mark_of(user_name: &str) -> String {
    let hash = Sha256::new_with_prefix(b"tokenkeep user\0").chain_update(user_name).finalize();
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// The index.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    /// The largest number given as an id.
    #[serde(default)]
    last_id: u64,
    /// Which of the secrets that have been the index this is.
    #[serde(default)]
    pub(crate) number: u64,
    /// How many versions this secret has.
    #[serde(default)]
    pub(crate) versions: u32,
    /// The end of the name of the secret that is the index now; this one is so no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved: Option<String>,
    #[serde(default)]
    pub(crate) tokens: BTreeMap<TokenId, Row>,
    /// What a newer version has added.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Index {
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let json = check_version(text, VERSION, "the index")?;
        serde_json::from_value(json).map_err(|_may_repeat| {
            corrupt("the index of the store cannot be read")
                .with_hint("restore an earlier version of its secret")
        })
    }

    pub(crate) fn to_text(&self) -> Result<String, StoreError> {
        let text = serde_json::to_string(&Self { version: VERSION, ..self.clone() });
        let text = text.map_err(|_error| unwritable("the index"))?;
        if text.len() > MAX_BYTES {
            let message = format!("an index of {} tokens is more than 64 KiB", self.tokens.len());
            return Err(StoreError::new(StoreErrorKind::Full, message)
                .with_hint("use several stores, each with a prefix of its own, or DynamoDB"));
        }
        Ok(text)
    }

    /// That the index is elsewhere now.
    pub(crate) fn forward(to: &str, from: &Self) -> Self {
        Self { number: from.number, moved: Some(to.to_owned()), ..Self::default() }
    }

    pub(crate) fn next_id(&self) -> Result<TokenId, StoreError> {
        next_id(self.last_id)
    }

    /// Adds a token, or names another secret for it.
    pub(crate) fn put(&mut self, id: TokenId, row: Row) {
        let number = id.number().filter(|number| *number <= MAX_ID).unwrap_or_default();
        self.last_id = self.last_id.max(number);
        self.tokens.insert(id, row);
    }

    /// The tokens of a user, as far as the index can tell.
    pub(crate) fn of_user(&self, user_name: &str) -> Vec<TokenId> {
        let mark = mark_of(user_name);
        let found = self.tokens.iter().filter(|(_id, row)| row.1 == mark);
        found.map(|(id, _row)| id.clone()).collect()
    }

    /// The tokens whose user is not known.
    pub(crate) fn nameless(&self) -> Vec<TokenId> {
        let found = self.tokens.iter().filter(|(_id, row)| row.is_nameless());
        found.map(|(id, _row)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_this_and_keeps_what_a_newer_version_added() {
        let text = r#"{"version":1,"last_id":7,"number":2,"versions":3,"tokens":{"7":["ab12","0123456789ab"]},"colour":"blue"}"#;
        assert_eq!(Index::parse(text).unwrap().to_text().unwrap(), text);
    }

    #[test]
    fn fifteen_hundred_tokens_fit_and_a_user_is_not_shown() {
        let mut index = Index::default();
        for number in 1..=1_500 {
            let token = OAuthToken::builder().user_name(format!("user{number}")).build().unwrap();
            let row = Row::new("abcdefghijkl", &token);
            index.put(TokenId::from_number(number), row);
        }
        let text = index.to_text().unwrap();
        assert!(!text.contains("user"), "{text}");
        assert_eq!(index.of_user("user7"), [TokenId::from_number(7)]);
        for number in 1_501..=2_000 {
            let row = index.tokens[&TokenId::from_number(1)].clone();
            index.put(TokenId::from_number(number), row);
        }
        assert_eq!(index.to_text().unwrap_err().kind(), StoreErrorKind::Full);
    }

    #[test]
    fn what_is_no_index_is_not_repeated() {
        for text in ["test-secret-text", r#"{"version":1,"tokens":"test-secret-text"}"#] {
            let error = Index::parse(text).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
            assert!(!format!("{error:?}").contains("test-secret-text"));
        }
        let error = Index::parse(r#"{"version":2}"#).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    }
}
