use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Field, FieldError};

/// A store's name for a token.
///
/// Stores give decimal numbers, counted by number (9, 10, 11 …), and never give an id again that
/// they gave before. A caller may name a token by any other text, and files of the older SDKs
/// hold such text (`python_alice_US_PRD_ab12`); such an id is kept as it is.
///
/// Ids are ordered by number first, then text ids by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    /// Takes an id.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if it is empty.
    pub fn new(id: impl Into<String>) -> Result<Self, FieldError> {
        let id = id.into();
        if id.is_empty() { Err(FieldError::empty(Field::Id)) } else { Ok(Self(id)) }
    }

    /// The id with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(number.to_string())
    }

    /// The id as it stands in the store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number, where the id is one: decimal digits only, no sign, no leading zero.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let number = self.0.parse().ok()?;
        (self.0.bytes().all(|byte| byte.is_ascii_digit())
            && (number == 0 || !self.0.starts_with('0')))
        .then_some(number)
    }
}

impl Ord for TokenId {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.number(), other.number()) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for TokenId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::new(text)
    }
}

impl TryFrom<String> for TokenId {
    type Error = FieldError;

    fn try_from(text: String) -> Result<Self, FieldError> {
        Self::new(text)
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_order_by_number_and_before_text() {
        let mut ids = ["10", "crm-a", "9", "100", "01"].map(|id| TokenId::new(id).unwrap());
        ids.sort();
        assert_eq!(ids.map(String::from), ["9", "10", "100", "01", "crm-a"]);
    }

    #[test]
    fn only_plain_decimals_are_numbers() {
        for text in ["+1", "-1", "01", " 1", "1.0", "", "99999999999999999999"] {
            assert_eq!(TokenId(text.to_owned()).number(), None, "{text:?}");
        }
        assert_eq!(TokenId("0".to_owned()).number(), Some(0));
    }
}
