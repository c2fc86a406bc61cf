//! How keys are named.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use tokenkeep_core::{Field, OAuthToken, TokenId, matching::KEYS};

/// The keys of one prefix. They all have the prefix as their hash tag, and so one slot.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The hash of what belongs to no token: the mark, the last id, the format.
    pub(crate) store: String,
    /// How the keys of tokens begin; the id follows.
    tokens: String,
    /// A key that never exists.
    pub(crate) never: String,
    /// The slot of a cluster that all keys are in.
    pub(crate) slot: u16,
}

impl Keys {
    /// `prefix` has no braces and is not empty.
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            store: format!("{{{prefix}}}:store"),
            tokens: format!("{{{prefix}}}:token:"),
            never: format!("{{{prefix}}}:never"),
            slot: crc16(prefix.as_bytes()) % 16_384,
        }
    }

    /// The hash of the token with this id.
    pub(crate) fn token(&self, id: &TokenId) -> String {
        format!("{}{id}", self.tokens)
    }
}

/// The name in the index of a value in this field, without the prefix. It holds a digest and not the
/// value, which may be a secret: names of keys are shown where values are not.
pub(crate) fn index_name(field: Field, value: &str) -> Option<String> {
    let kind = match field {
        Field::UserName => "user",
        Field::AccessToken => "access",
        Field::GrantToken => "grant",
        Field::RefreshToken => "refresh",
        Field::Id
        | Field::ClientId
        | Field::ClientSecret
        | Field::ExpiryTime
        | Field::RedirectUrl
        | Field::ApiDomain => return None,
    };
    let mut name = format!("{kind}:");
    for byte in &Sha256::digest(value.as_bytes())[..16] {
        // Writing to a String cannot fail.
        let (Ok(()) | Err(_)) = write!(name, "{byte:02x}");
    }
    Some(name)
}

/// All names that `token` has in the index.
pub(crate) fn index_names(token: &OAuthToken) -> Vec<String> {
    let columns = token.expose_columns();
    KEYS.into_iter()
        .filter_map(|field| index_name(field, columns[field as usize].as_deref()?))
        .collect()
}

/// Where an id stands among all: text that sorts by its bytes as ids do.
pub(crate) fn place_of(id: &TokenId) -> String {
    match id.number() {
        Some(number) => format!("n{number:020}"),
        None => format!("t{}", id.as_str()),
    }
}

/// The id at a place; `None` if it is no place.
pub(crate) fn id_at(place: &str) -> Option<TokenId> {
    match place.split_at_checked(1)? {
        ("n", digits) => digits.parse().ok().map(TokenId::from_number),
        ("t", text) => TokenId::new(text).ok(),
        _ => None,
    }
}

/// CRC-16/XMODEM, by which Redis Cluster gives keys to slots.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _bit| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // CLUSTER KEYSLOT foo
        assert_eq!(Keys::new("foo").slot, 12_182);
    }

    #[test]
    fn places_sort_as_ids_do() {
        let texts =
            ["0", "2", "10", "18446744073709551615", "-5", "007", "18446744073709551616", "crm-a"];
        let mut ids = texts.map(|text| TokenId::new(text).unwrap());
        ids.sort();
        let mut places = ids.clone().map(|id| place_of(&id));
        places.sort();
        assert_eq!(places.clone().map(|place| id_at(&place).unwrap()), ids);
        assert_eq!(id_at("n"), None);
        assert_eq!(id_at("x1"), None);
        assert_eq!(id_at(""), None);
    }

    #[test]
    fn names_in_the_index_show_no_value() {
        let token = OAuthToken::builder()
            .user_name("alice@example.com")
            .refresh_token("test-refresh-token")
            .build()
            .unwrap();
        let names = index_names(&token);
        assert_eq!(names.len(), 2);
        assert!(names[0].starts_with("user:") && names[1].starts_with("refresh:"));
        assert!(!names.concat().contains("alice") && !names.concat().contains("test-refresh"));
    }
}
