//! [`Sum`]: what a set of tokens comes to, in whatever order, under a key of its own.

use aws_lc_rs::hmac;
use tokenkeep_core::{Columns, OAuthToken, TokenState};

use super::MigrationError;

/// A key that is drawn for one run.
#[derive(Clone, Debug)]
pub(super) struct Digester(hmac::Key);

impl Digester {
    pub(super) fn random() -> Result<Self, MigrationError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new());
        key.map(Self).map_err(|_unspecified| MigrationError::NoRandomNumbers)
    }

    /// A number for the ten fields and the state, which nobody can make another token have.
    pub(super) fn of(&self, token: &OAuthToken, state: Option<&TokenState>) -> u128 {
        self.of_columns(&token.expose_columns(), state)
    }

    /// The same for the ten columns of a token.
    pub(super) fn of_columns(&self, columns: &Columns<'_>, state: Option<&TokenState>) -> u128 {
        let mut context = hmac::Context::with_key(&self.0);
        let mut add = |value: Option<&[u8]>| match value {
            // One more than the length, for empty is not absent.
            Some(bytes) => {
                context.update(&(bytes.len() as u64 + 1).to_le_bytes());
                context.update(bytes);
            }
            None => context.update(&0_u64.to_le_bytes()),
        };
        for column in columns {
            add(column.as_deref().map(str::as_bytes));
        }
        // Maps in it are ordered, so one state has one text.
        let state = state.and_then(|state| serde_json::to_vec(state).ok());
        add(state.as_deref());
        let tag = context.sign();
        let half = tag.as_ref().first_chunk().copied().unwrap_or_default();
        u128::from_le_bytes(half)
    }
}

/// How many tokens there are, and the sum of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    sum: u128,
}

impl Sum {
    pub(super) fn add(&mut self, number: u128) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(number);
    }

    pub(super) fn remove(&mut self, number: u128) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: &str, client: &str) -> OAuthToken {
        let token = OAuthToken::builder().id("1").user_name(user).access_token("test-access");
        let token = if client.is_empty() { token } else { token.client_id(client) };
        token.build().unwrap()
    }

    #[test]
    fn the_order_does_not_matter_and_every_field_does() {
        let digester = Digester::random().unwrap();
        let (one, other) = (token("a", "bc"), token("ab", "c"));
        let sum = |numbers: &[u128]| {
            let mut sum = Sum::default();
            numbers.iter().for_each(|number| sum.add(*number));
            sum
        };
        let (first, second) = (digester.of(&one, None), digester.of(&other, None));
        assert_ne!(first, second);
        assert_eq!(sum(&[first, second]), sum(&[second, first]));
        // Two that are alike do not cancel out.
        assert_ne!(sum(&[first, first]), sum(&[second, second]));
        assert_ne!(digester.of(&one, Some(&TokenState::default())), first);
        assert_ne!(Digester::random().unwrap().of(&one, None), first);
        let mut sum = sum(&[first, second]);
        sum.remove(second);
        assert_eq!(sum, {
            let mut only = Sum::default();
            only.add(first);
            only
        });
    }
}
