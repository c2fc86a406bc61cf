//! What stands in the table: the keys of its items, and a token as an item.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use tokenkeep_core::{
    Field, FieldError, OAuthToken, SidecarEntry, StoreError, Timestamp, TokenId, TokenState,
    shared::lease::LeaseRecord,
};

use crate::error::corrupt;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The partition key of the table.
pub(crate) const PK: &str = "pk";
/// Names one version of a token's item: a new random text at each write.
pub(crate) const REV: &str = "rev";
/// In the item of a key: the ids of the tokens that have it, as a JSON list.
pub(crate) const IDS: &str = "ids";
/// What is known of a token, as JSON.
pub(crate) const STATE: &str = "state";
/// The newest lease of a token, as JSON.
pub(crate) const LEASE: &str = "lease";
/// When DynamoDB may remove a token, in seconds since 1970.
pub(crate) const EXPIRE_AT: &str = "expire_at";
/// The index by which tokens are listed, its partition key and its sort key.
pub(crate) const INDEX: &str = "tokenkeep_order";
pub(crate) const SHELF: &str = "shelf";
pub(crate) const PLACE: &str = "place";
/// Over how many partitions of the index the tokens are spread.
pub(crate) const SHELVES: [&str; 16] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];

/// What an item of the table's own is called: the format, the largest id.
pub(crate) const META: &str = "meta";
pub(crate) const COUNTER: &str = "meta#last_id";

/// What the partition keys of tokens begin with.
pub(crate) const TOKENS: &str = "token#";

/// The largest id in bytes: a sort key of the index has to hold it.
const MAX_ID_BYTES: usize = 1_000;
/// The largest item that DynamoDB takes.
const MAX_ITEM_BYTES: usize = 400 * 1024;

/// The fields by which tokens are found, and what their keys begin with.
const KEYS: [(Field, &str); 4] = [
    (Field::UserName, "user"),
    (Field::AccessToken, "access"),
    (Field::GrantToken, "grant"),
    (Field::RefreshToken, "refresh"),
];

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn token_pk(id: &TokenId) -> String {
    format!("{TOKENS}{id}")
}

pub(crate) fn mark_pk(shard: u32) -> String {
    format!("mark#{shard}")
}

/// The key of the item that says which tokens have `value` in `field`. It holds a hash: neither a
/// secret nor a name stands in a key.
pub(crate) fn key_pk(field: Field, value: &str) -> Option<String> {
    let (_, name) = KEYS.into_iter().find(|(key, _)| *key == field)?;
    Some(format!("{name}#{}", hash(&[name, value])))
}

/// The keys by which `token` is found.
pub(crate) fn keys_of(token: &OAuthToken) -> Vec<String> {
    let columns = token.expose_columns();
    KEYS.into_iter()
        .filter_map(|(field, _)| key_pk(field, columns[field as usize].as_deref()?))
        .collect()
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().fold(String::new(), |mut digits, byte| {
        // Writing to a text does not fail.
        let _infallible = write!(digits, "{byte:02x}");
        digits
    })
}

/// A text that nobody has made before.
pub(crate) fn nonce() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_error| {
        StoreError::new(tokenkeep_core::StoreErrorKind::Other, "the system gives no random numbers")
    })?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Where a token stands in the listing: numbers by number, then texts by their bytes.
pub(crate) fn place_of(id: &TokenId) -> String {
    match id.number() {
        Some(number) => format!("n{number:020}"),
        None => format!("t{id}"),
    }
}

/// The id of what stands there.
pub(crate) fn id_at(place: &str) -> Option<TokenId> {
    match place.split_at_checked(1)? {
        ("n", digits) => Some(TokenId::from_number(digits.parse().ok()?)),
        ("t", text) => TokenId::new(text).ok(),
        _ => None,
    }
}

/// The text of an attribute; `None` if there is none.
pub(crate) fn text_of<'a>(item: &'a Item, name: &str) -> Result<Option<&'a str>, StoreError> {
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::S(text)) => Ok(Some(text)),
        Some(_) => Err(corrupt(format!("the attribute {name} of an item is not text"))),
    }
}

/// A number in an attribute.
pub(crate) fn number_of(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The ids in the item of a key.
pub(crate) fn ids_of(item: &Item) -> Result<Vec<TokenId>, StoreError> {
    let ids = text_of(item, IDS)?.and_then(|text| serde_json::from_str(text).ok());
    ids.ok_or_else(|| corrupt("the item of a key does not list ids"))
}

/// A token as its item has it.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) token: OAuthToken,
    pub(crate) id: TokenId,
    /// The version that was read; a text of its own if it is new.
    pub(crate) rev: String,
    /// With what others may have added.
    item: Item,
}

impl Row {
    pub(crate) fn parse(item: Item) -> Result<Self, StoreError> {
        let mut columns: [Option<String>; 10] = Default::default();
        for field in Field::ALL {
            columns[field as usize] = text_of(&item, field.name())?.map(str::to_owned);
        }
        // An expiry that cannot be read counts as absent, and stays as it is.
        let expiry = &mut columns[Field::ExpiryTime as usize];
        expiry.take_if(|text| text.trim().parse::<i64>().is_err());
        let token = OAuthToken::from_columns(columns).map_err(StoreError::from)?;
        let id = token.id().cloned().ok_or_else(|| corrupt("a stored token has no id"))?;
        let rev = text_of(&item, REV)?.unwrap_or_default().to_owned();
        Ok(Self { token, id, rev, item })
    }

    /// A new token, as it is to be stored.
    pub(crate) fn new(id: TokenId, token: OAuthToken) -> Self {
        let mut item = Item::from([
            (PK.to_owned(), text(token_pk(&id))),
            (SHELF.to_owned(), text(&hash(&[id.as_str()])[..1])),
            (PLACE.to_owned(), text(place_of(&id))),
        ]);
        for (field, value) in Field::ALL.into_iter().zip(token.expose_columns()) {
            item.extend(value.map(|value| (field.name().to_owned(), text(value))));
        }
        Self { token, id, rev: String::new(), item }
    }

    /// The same with another token, of which `given` was saved.
    pub(crate) fn with_token(mut self, merged: OAuthToken, given: &OAuthToken) -> Self {
        let columns = merged.expose_columns();
        for field in self.token.fields_to_write(&merged, given) {
            match columns[field as usize].as_deref() {
                Some(value) => self.item.insert(field.name().to_owned(), text(value)),
                None => self.item.remove(field.name()),
            };
        }
        drop(columns);
        Self { token: merged, ..self }
    }

    /// What is beside the token. A state that cannot be read counts as nothing.
    pub(crate) fn entry(&self) -> Result<SidecarEntry, StoreError> {
        let mut entry = SidecarEntry::beside(&self.token, None);
        entry.state = self.state().ok().flatten();
        entry.lease = text_of(&self.item, LEASE)?
            .map(serde_json::from_str::<LeaseRecord>)
            .transpose()
            .map_err(|_error| corrupt(format!("the lease of token {} cannot be read", self.id)))?;
        Ok(entry)
    }

    pub(crate) fn state(&self) -> Result<Option<TokenState>, StoreError> {
        text_of(&self.item, STATE)?
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_error| corrupt(format!("the state of token {} cannot be read", self.id)))
    }

    /// Whether anything stands where the state does.
    pub(crate) fn has_state(&self) -> bool {
        self.item.contains_key(STATE)
    }

    pub(crate) fn with_state(mut self, state: &TokenState) -> Result<Self, StoreError> {
        self.item.insert(STATE.to_owned(), text(json(state)?));
        Ok(self)
    }

    pub(crate) fn with_lease(mut self, lease: &LeaseRecord) -> Result<Self, StoreError> {
        self.item.insert(LEASE.to_owned(), text(json(lease)?));
        Ok(self)
    }

    /// The item to write as the version `rev`.
    pub(crate) fn into_item(
        mut self,
        rev: &str,
        now: Timestamp,
        expire_after: Option<Duration>,
    ) -> Result<Item, StoreError> {
        self.item.insert(REV.to_owned(), text(rev));
        match expire_after {
            Some(after) => {
                let seconds = now.plus(after).as_millis().div_euclid(1_000);
                self.item.insert(EXPIRE_AT.to_owned(), number(seconds));
            }
            None => drop(self.item.remove(EXPIRE_AT)),
        }
        let size: usize = self.item.iter().map(|(name, value)| name.len() + size(value)).sum();
        if size > MAX_ITEM_BYTES {
            let columns = self.token.expose_columns();
            let length = |field: &Field| columns[*field as usize].as_deref().map_or(0, str::len);
            let longest = Field::ALL.into_iter().max_by_key(length).unwrap_or(Field::AccessToken);
            return Err(FieldError::new(
                longest,
                "is too long: the token and what is known of it would be more than 400 KB",
                "shorten it",
            )
            .into());
        }
        Ok(self.item)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest is small, or nobody's here")]
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::L(values) => values.iter().map(|value| size(value) + 1).sum::<usize>() + 3,
        AttributeValue::M(values) => {
            values.iter().map(|(name, value)| name.len() + size(value) + 1).sum::<usize>() + 3
        }
        _ => 1,
    }
}

/// Refuses an id that the table cannot hold.
pub(crate) fn check_id(id: &TokenId) -> Result<(), StoreError> {
    if id.as_str().len() <= MAX_ID_BYTES {
        return Ok(());
    }
    Err(FieldError::new(Field::Id, "must not be longer than 1000 bytes", "shorten it").into())
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_error| corrupt("what is known cannot be written"))
}
