//! Tokens as their ten columns, by which both sides are compared.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::{Map, Value};
use tokenkeep_core::{Field, OAuthToken, TokenId};

/// The ten columns of a token; what is absent is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns([Option<String>; 10]);

impl Columns {
    /// A token of `user` in which everything is there but the id; `mark` tells it from others.
    pub(crate) fn of(user: &str, mark: impl std::fmt::Display) -> Self {
        Self::default()
            .with(Field::UserName, user)
            .with(Field::ClientId, "1000.TESTCLIENT")
            .with(Field::ClientSecret, "test-client-secret")
            .with(Field::RefreshToken, format!("1000.test-refresh-token-{mark}"))
            .with(Field::AccessToken, format!("1000.test-access-token-{mark}"))
            .with(Field::GrantToken, format!("1000.test-grant-token-{mark}"))
            .with(Field::ExpiryTime, "4102444800000")
            .with(Field::RedirectUrl, "https://example.com/callback?a=1&b=%2F+c")
            .with(Field::ApiDomain, "https://www.zohoapis.eu")
    }

    /// What a caller gives who has a new access token for `user`.
    pub(crate) fn update(user: &str, mark: impl std::fmt::Display) -> Self {
        Self::default()
            .with(Field::UserName, user)
            .with(Field::AccessToken, format!("1000.test-access-token-{mark}"))
            .with(Field::ExpiryTime, "4102444801000")
    }

    pub(crate) fn with(mut self, field: Field, value: impl Into<String>) -> Self {
        self.0[field as usize] = Some(value.into());
        self
    }

    pub(crate) fn without(mut self, field: Field) -> Self {
        self.0[field as usize] = None;
        self
    }

    /// Only these fields.
    pub(crate) fn only(&self, fields: &[Field]) -> Self {
        fields.iter().fold(Self::default(), |only, field| only.with(*field, self.get(*field)))
    }

    /// This token after `given` has been saved over it.
    pub(crate) fn merged(&self, given: &Self) -> Self {
        let both = self.0.iter().zip(&given.0);
        let merged: Vec<_> = both.map(|(old, new)| new.clone().or_else(|| old.clone())).collect();
        Self(merged.try_into().unwrap())
    }

    /// The value of a field that is there.
    pub(crate) fn get(&self, field: Field) -> &str {
        self.0[field as usize].as_deref().unwrap()
    }

    pub(crate) fn id(&self) -> TokenId {
        TokenId::new(self.get(Field::Id)).unwrap()
    }

    pub(crate) fn user(&self) -> &str {
        self.get(Field::UserName)
    }

    pub(crate) fn token(&self) -> OAuthToken {
        OAuthToken::from_columns(self.0.clone()).unwrap()
    }

    pub(crate) fn to_json(&self) -> Value {
        let fields = Field::ALL.into_iter().zip(&self.0);
        fields
            .map(|(field, value)| (field.name().to_owned(), Value::from(value.as_deref())))
            .collect::<Map<_, _>>()
            .into()
    }

    pub(crate) fn from_json(token: &Value) -> Self {
        Self(Field::ALL.map(|field| token[field.name()].as_str().map(str::to_owned)))
    }

    fn by_id(&self, other: &Self) -> Ordering {
        self.id().cmp(&other.id())
    }
}

impl From<&OAuthToken> for Columns {
    fn from(token: &OAuthToken) -> Self {
        Self(token.expose_columns().map(|column| column.map(Cow::into_owned)))
    }
}

/// Tokens in the order of their ids.
pub(crate) fn in_order(mut tokens: Vec<Columns>) -> Vec<Columns> {
    tokens.sort_by(Columns::by_id);
    tokens
}
