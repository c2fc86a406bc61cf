//! [`Id`]: a token's id, in little memory.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokenkeep_core::TokenId;

use super::load::mix;

/// A token's id. Stores give numbers, which take no memory but this.
#[derive(PartialEq, Eq)]
pub(super) enum Id {
    Number(u64),
    /// In a box of its own, so that a number need not make room for it.
    Text(Box<TokenId>),
}

impl Id {
    pub(super) fn of(id: &TokenId) -> Self {
        id.number().map_or_else(|| Self::Text(Box::new(id.clone())), Self::Number)
    }

    pub(super) fn to_token_id(&self) -> TokenId {
        match self {
            Self::Number(number) => TokenId::from_number(*number),
            Self::Text(id) => TokenId::clone(id),
        }
    }

    /// A number that is as good as random, and differs by seed.
    pub(super) fn hash(&self, seed: u64) -> u64 {
        match self {
            Self::Number(number) => mix(mix(number.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ seed),
            Self::Text(id) => {
                let mut hasher = DefaultHasher::new();
                (seed, id).hash(&mut hasher);
                hasher.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_it_was() {
        let texts = ["0", "7", "007", "18446744073709551615", "18446744073709551616", "+7", "a_b"];
        for text in texts {
            let id = TokenId::new(text).unwrap();
            let short = Id::of(&id);
            assert_eq!(short.to_token_id(), id);
            assert!(short == Id::of(&id) && short.hash(1) == Id::of(&id).hash(1));
            assert_ne!(short.hash(1), short.hash(2));
        }
        assert_eq!(size_of::<Id>(), 16);
    }
}
