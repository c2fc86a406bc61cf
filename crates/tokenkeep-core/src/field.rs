//! The ten fields of a token by the names the official SDKs gave their columns.

use std::fmt;

/// One of the ten fields of a stored token, in the order of the official SDKs' columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "the layout has ten columns, for good")]
pub enum Field {
    /// `id`: the store's name for the token.
    Id,
    /// `user_name`: whose token it is, an e-mail address at Zoho.
    UserName,
    /// `client_id`
    ClientId,
    /// `client_secret`
    ClientSecret,
    /// `refresh_token`
    RefreshToken,
    /// `access_token`
    AccessToken,
    /// `grant_token`
    GrantToken,
    /// `expiry_time`: milliseconds since the Unix epoch, as decimal text.
    ExpiryTime,
    /// `redirect_url`
    RedirectUrl,
    /// `api_domain`: where API calls with this token go.
    ApiDomain,
}

impl Field {
    /// All fields in column order.
    pub const ALL: [Self; 10] = [
        Self::Id,
        Self::UserName,
        Self::ClientId,
        Self::ClientSecret,
        Self::RefreshToken,
        Self::AccessToken,
        Self::GrantToken,
        Self::ExpiryTime,
        Self::RedirectUrl,
        Self::ApiDomain,
    ];

    /// The column's name in the official layout.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::UserName => "user_name",
            Self::ClientId => "client_id",
            Self::ClientSecret => "client_secret",
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
            Self::GrantToken => "grant_token",
            Self::ExpiryTime => "expiry_time",
            Self::RedirectUrl => "redirect_url",
            Self::ApiDomain => "api_domain",
        }
    }

    /// Whether the field's values are secrets.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        matches!(
            self,
            Self::ClientSecret | Self::RefreshToken | Self::AccessToken | Self::GrantToken
        )
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(u16);

impl FieldSet {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn insert(&mut self, field: Field) {
        self.0 |= field.bit();
    }

    pub(crate) fn remove(&mut self, field: Field) {
        self.0 &= !field.bit();
    }

    pub(crate) fn contains(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A value that a field cannot take: names the field, the rule and the way out, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}; {way_out}")]
pub struct FieldError {
    field: Field,
    rule: String,
    way_out: String,
}

impl FieldError {
    /// An error about `field`. Neither `rule` nor `way_out` may contain the value.
    #[must_use]
    pub fn new(field: Field, rule: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { field, rule: rule.into(), way_out: way_out.into() }
    }

    pub(crate) fn empty(field: Field) -> Self {
        Self::new(field, "must not be empty", "leave it out where there is none")
    }

    /// The field in question.
    #[must_use]
    pub fn field(&self) -> Field {
        self.field
    }

    /// What the value would have to be.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// What to do about it.
    #[must_use]
    pub fn way_out(&self) -> &str {
        &self.way_out
    }
}
