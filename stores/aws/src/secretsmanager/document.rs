//! What stands in the secret: all tokens, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenkeep_core::{Field, OAuthToken, StoreError, StoreErrorKind, TokenTable};

use crate::error::corrupt;

/// The most that a secret holds.
const MAX_BYTES: usize = 65_536;
/// The format's version.
const VERSION: u32 = 1;

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    version: u32,
    last_id: u64,
    /// By the names of the fields.
    tokens: Vec<BTreeMap<String, String>>,
    /// What a newer version has added.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// All tokens.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) table: TokenTable,
    unknown: Map<String, Value>,
}

impl Document {
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        // The parser's own error may repeat what it has read.
        let stored: Stored = serde_json::from_str(text).map_err(|_error| {
            corrupt("the secret does not hold tokens").with_hint("name another, or restore it")
        })?;
        if stored.version != VERSION {
            return Err(StoreError::new(
                StoreErrorKind::Unsupported,
                "the secret was written by a newer version",
            )
            .with_hint("use that version"));
        }
        let mut table = TokenTable::new();
        for mut fields in stored.tokens {
            let columns = Field::ALL.map(|field| fields.remove(field.name()));
            table.load(OAuthToken::from_columns(columns).map_err(StoreError::from)?)?;
        }
        table.reserve_ids(stored.last_id);
        Ok(Self { table, unknown: stored.unknown })
    }

    pub(crate) fn to_text(&self) -> Result<String, StoreError> {
        let fields = |token: &&OAuthToken| {
            let columns = Field::ALL.into_iter().zip(token.expose_columns());
            columns
                .filter_map(|(field, value)| Some((field.name().to_owned(), value?.into_owned())))
                .collect()
        };
        let stored = Stored {
            version: VERSION,
            last_id: self.table.last_id(),
            tokens: self.table.sorted().iter().map(fields).collect(),
            unknown: self.unknown.clone(),
        };
        let text = serde_json::to_string(&stored)
            .map_err(|_error| corrupt("the tokens cannot be written"))?;
        if text.len() > MAX_BYTES {
            return Err(StoreError::new(
                StoreErrorKind::Full,
                format!("{} tokens are more than the 64 KiB that a secret holds", self.table.len()),
            )
            .with_hint("use several secrets, or DynamoDB"));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_this_and_keeps_what_a_newer_version_added() {
        let text = r#"{"version":1,"last_id":7,"tokens":[{"access_token":"test-a","id":"7"}],"colour":"blue"}"#;
        assert_eq!(Document::parse(text).unwrap().to_text().unwrap(), text);
    }

    #[test]
    fn what_is_no_document_is_not_repeated() {
        let error = Document::parse("test-secret-text").unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(!format!("{error:?}").contains("test-secret-text"));
    }

    #[test]
    fn more_than_a_secret_holds_is_refused() {
        let mut document = Document::default();
        let token = OAuthToken::builder().access_token("x".repeat(MAX_BYTES)).build().unwrap();
        document.table.save(&token).unwrap();
        assert_eq!(document.to_text().unwrap_err().kind(), StoreErrorKind::Full);
    }
}
