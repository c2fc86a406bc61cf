//! The token: one stored grant of one user, in the ten fields of the official SDKs.

mod builder;
mod id;

use std::borrow::Cow;

pub use self::{builder::OAuthTokenBuilder, id::TokenId};
use crate::{
    AccessToken, ClientSecret, Field, FieldError, GrantToken, RefreshToken, Timestamp,
    field::FieldSet,
};

/// One stored grant of one user: the ten fields of the official SDKs' `OAuthToken`.
///
/// A field is absent (`None`) or has a value; an empty string is never a value. When a token is
/// saved, a field that is absent stays in the store as it was; to remove one, say so with
/// [`clear`](Self::clear). `Debug` masks the four secret fields.
///
/// ```
/// use tokenkeep_core::OAuthToken;
///
/// let token = OAuthToken::builder()
///     .user_name("alice@example.com")
///     .client("test-client-id", "test-client-secret")
///     .refresh_token("test-refresh-token")
///     .build()?;
/// assert_eq!(token.user_name(), Some("alice@example.com"));
/// assert!(!format!("{token:?}").contains("test-refresh-token"));
/// # Ok::<(), tokenkeep_core::FieldError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthToken {
    id: Option<TokenId>,
    user_name: Option<String>,
    client_id: Option<String>,
    client_secret: Option<ClientSecret>,
    refresh_token: Option<RefreshToken>,
    access_token: Option<AccessToken>,
    grant_token: Option<GrantToken>,
    expiry_time: Option<Timestamp>,
    redirect_url: Option<String>,
    api_domain: Option<String>,
    cleared: FieldSet,
}

impl OAuthToken {
    const EMPTY: Self = Self {
        id: None,
        user_name: None,
        client_id: None,
        client_secret: None,
        refresh_token: None,
        access_token: None,
        grant_token: None,
        expiry_time: None,
        redirect_url: None,
        api_domain: None,
        cleared: FieldSet::NONE,
    };

    /// Starts a token field by field.
    pub fn builder() -> OAuthTokenBuilder {
        OAuthTokenBuilder::default()
    }

    /// A login that has yet to be exchanged: the code, and the client it was given to.
    #[must_use]
    pub fn from_grant_token(client: ClientCredentials, grant_token: GrantToken) -> Self {
        Self { grant_token: Some(grant_token), ..Self::EMPTY }.with_client(client)
    }

    /// A login that one already has: the refresh token, and the client it was given to.
    #[must_use]
    pub fn from_refresh_token(client: ClientCredentials, refresh_token: RefreshToken) -> Self {
        Self { refresh_token: Some(refresh_token), ..Self::EMPTY }.with_client(client)
    }

    /// An access token alone: usable until it expires, and nothing can renew it.
    #[must_use]
    pub fn from_access_token(access_token: AccessToken) -> Self {
        Self { access_token: Some(access_token), ..Self::EMPTY }
    }

    /// Reads the ten columns of the official layout. Empty text is absence.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if `expiry_time` is not a decimal number of milliseconds, or the id is not
    /// one (see [`TokenId::new`]).
    pub fn from_columns(columns: [Option<String>; 10]) -> Result<Self, FieldError> {
        let [
            id,
            user_name,
            client_id,
            client_secret,
            refresh_token,
            access_token,
            grant_token,
            expiry_time,
            redirect_url,
            api_domain,
        ] = columns.map(|column| column.filter(|text| !text.is_empty()));
        Ok(Self {
            id: id.map(TokenId::new).transpose()?,
            user_name,
            client_id,
            client_secret: client_secret.map(ClientSecret::new).transpose()?,
            refresh_token: refresh_token.map(RefreshToken::new).transpose()?,
            access_token: access_token.map(AccessToken::new).transpose()?,
            grant_token: grant_token.map(GrantToken::new).transpose()?,
            expiry_time: expiry_time.as_deref().map(parse_expiry).transpose()?,
            redirect_url,
            api_domain,
            cleared: FieldSet::NONE,
        })
    }

    /// The ten columns of the official layout, **secrets included**: for stores and exports only.
    #[must_use]
    pub fn expose_columns(&self) -> [Option<Cow<'_, str>>; 10] {
        [
            self.id.as_ref().map(|id| Cow::Borrowed(id.as_str())),
            self.user_name.as_deref().map(Cow::Borrowed),
            self.client_id.as_deref().map(Cow::Borrowed),
            self.client_secret.as_ref().map(|secret| Cow::Borrowed(secret.expose_secret())),
            self.refresh_token.as_ref().map(|secret| Cow::Borrowed(secret.expose_secret())),
            self.access_token.as_ref().map(|secret| Cow::Borrowed(secret.expose_secret())),
            self.grant_token.as_ref().map(|secret| Cow::Borrowed(secret.expose_secret())),
            self.expiry_time.map(|time| Cow::Owned(time.as_millis().to_string())),
            self.redirect_url.as_deref().map(Cow::Borrowed),
            self.api_domain.as_deref().map(Cow::Borrowed),
        ]
    }

    /// The store's name for this token; absent until it has been stored.
    #[must_use]
    pub fn id(&self) -> Option<&TokenId> {
        self.id.as_ref()
    }

    /// Whose token it is.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    /// The client that the grant was given to.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The client's secret.
    #[must_use]
    pub fn client_secret(&self) -> Option<&ClientSecret> {
        self.client_secret.as_ref()
    }

    /// The refresh token.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    /// The access token, fresh or expired.
    #[must_use]
    pub fn access_token(&self) -> Option<&AccessToken> {
        self.access_token.as_ref()
    }

    /// The code of the login.
    #[must_use]
    pub fn grant_token(&self) -> Option<&GrantToken> {
        self.grant_token.as_ref()
    }

    /// When the access token expires.
    #[must_use]
    pub fn expiry_time(&self) -> Option<Timestamp> {
        self.expiry_time
    }

    /// The redirect URL that the login was made with.
    #[must_use]
    pub fn redirect_url(&self) -> Option<&str> {
        self.redirect_url.as_deref()
    }

    /// Where API calls with this token go, for example `https://www.zohoapis.eu`.
    #[must_use]
    pub fn api_domain(&self) -> Option<&str> {
        self.api_domain.as_deref()
    }

    /// Client id and secret, where both are known.
    #[must_use]
    pub fn client(&self) -> Option<ClientCredentials> {
        Some(ClientCredentials { id: self.client_id.clone()?, secret: self.client_secret.clone()? })
    }

    /// Whether there is anything to store: an access, refresh or grant token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.access_token.is_some() || self.refresh_token.is_some() || self.grant_token.is_some()
    }

    /// Whether `field` has a value.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        match field {
            Field::Id => self.id.is_some(),
            Field::UserName => self.user_name.is_some(),
            Field::ClientId => self.client_id.is_some(),
            Field::ClientSecret => self.client_secret.is_some(),
            Field::RefreshToken => self.refresh_token.is_some(),
            Field::AccessToken => self.access_token.is_some(),
            Field::GrantToken => self.grant_token.is_some(),
            Field::ExpiryTime => self.expiry_time.is_some(),
            Field::RedirectUrl => self.redirect_url.is_some(),
            Field::ApiDomain => self.api_domain.is_some(),
        }
    }

    /// This token under the id a store gave it.
    #[must_use]
    pub fn with_id(mut self, id: TokenId) -> Self {
        self.id = Some(id);
        self
    }

    /// This token without an id, as if it had never been stored.
    #[must_use]
    pub fn without_id(mut self) -> Self {
        self.id = None;
        self
    }

    /// This token with the name of its user.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the name is empty.
    pub fn with_user_name(mut self, user_name: impl Into<String>) -> Result<Self, FieldError> {
        self.user_name = Some(non_empty(Field::UserName, user_name.into())?);
        self.cleared.remove(Field::UserName);
        Ok(self)
    }

    /// This token with the place its API calls go to.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the domain is empty.
    pub fn with_api_domain(mut self, api_domain: impl Into<String>) -> Result<Self, FieldError> {
        self.api_domain = Some(non_empty(Field::ApiDomain, api_domain.into())?);
        self.cleared.remove(Field::ApiDomain);
        Ok(self)
    }

    /// This token with the redirect URL of its login.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the URL is empty.
    pub fn with_redirect_url(mut self, url: impl Into<String>) -> Result<Self, FieldError> {
        self.redirect_url = Some(non_empty(Field::RedirectUrl, url.into())?);
        self.cleared.remove(Field::RedirectUrl);
        Ok(self)
    }

    /// This token with its client.
    #[must_use]
    pub fn with_client(mut self, client: ClientCredentials) -> Self {
        self.client_id = Some(client.id);
        self.client_secret = Some(client.secret);
        self.cleared.remove(Field::ClientId);
        self.cleared.remove(Field::ClientSecret);
        self
    }

    /// This token with a new access token and the moment it expires.
    #[must_use]
    pub fn with_access_token(mut self, access_token: AccessToken, expiry_time: Timestamp) -> Self {
        self.access_token = Some(access_token);
        self.expiry_time = Some(expiry_time);
        self.cleared.remove(Field::AccessToken);
        self.cleared.remove(Field::ExpiryTime);
        self
    }

    /// This token with the moment its access token expires.
    #[must_use]
    pub fn with_expiry_time(mut self, expiry_time: Timestamp) -> Self {
        self.expiry_time = Some(expiry_time);
        self.cleared.remove(Field::ExpiryTime);
        self
    }

    /// This token with a new refresh token.
    #[must_use]
    pub fn with_refresh_token(mut self, refresh_token: RefreshToken) -> Self {
        self.refresh_token = Some(refresh_token);
        self.cleared.remove(Field::RefreshToken);
        self
    }

    /// Removes `field` here and, when this token is saved, in the store.
    ///
    /// Clearing the id only takes it off this value: a stored token always has one.
    #[must_use]
    pub fn clear(mut self, field: Field) -> Self {
        self.take_from(field, &Self::EMPTY);
        if field != Field::Id {
            self.cleared.insert(field);
        }
        self
    }

    /// Whether saving this token removes `field` from the store.
    #[must_use]
    pub fn clears(&self, field: Field) -> bool {
        self.cleared.contains(field)
    }

    pub(crate) fn clears_anything(&self) -> bool {
        !self.cleared.is_empty()
    }

    /// What a save leaves in the store: `self` is stored, `given` is saved over it.
    ///
    /// A field of `given` wins where it has a value; where it is absent the stored value stays,
    /// unless it was [cleared](Self::clear). The id stays. Nothing is left marked as cleared.
    #[must_use]
    pub fn merged_with(&self, given: &Self) -> Self {
        let mut merged = self.clone();
        for field in Field::ALL.into_iter().skip(1) {
            if given.has(field) || given.cleared.contains(field) {
                merged.take_from(field, given);
            }
        }
        merged.cleared = FieldSet::NONE;
        merged
    }

    /// The fields that a save of `given` over `self` has to write, where `merged` is what it
    /// leaves: those that become others, and those that are cleared.
    ///
    /// What is untouched stays as it is, also where it could not be read.
    #[must_use]
    pub fn fields_to_write(&self, merged: &Self, given: &Self) -> Vec<Field> {
        let (before, after) = (self.expose_columns(), merged.expose_columns());
        let written = |field: &Field| {
            before[*field as usize] != after[*field as usize] || given.clears(*field)
        };
        Field::ALL.into_iter().skip(1).filter(written).collect()
    }

    /// What an insert leaves in the store: `given` under `id`.
    #[must_use]
    pub fn new_row(id: TokenId, given: &Self) -> Self {
        Self::EMPTY.with_id(id).merged_with(given)
    }

    fn take_from(&mut self, field: Field, other: &Self) {
        match field {
            Field::Id => self.id.clone_from(&other.id),
            Field::UserName => self.user_name.clone_from(&other.user_name),
            Field::ClientId => self.client_id.clone_from(&other.client_id),
            Field::ClientSecret => self.client_secret.clone_from(&other.client_secret),
            Field::RefreshToken => self.refresh_token.clone_from(&other.refresh_token),
            Field::AccessToken => self.access_token.clone_from(&other.access_token),
            Field::GrantToken => self.grant_token.clone_from(&other.grant_token),
            Field::ExpiryTime => self.expiry_time = other.expiry_time,
            Field::RedirectUrl => self.redirect_url.clone_from(&other.redirect_url),
            Field::ApiDomain => self.api_domain.clone_from(&other.api_domain),
        }
    }
}

/// A client as an accounts server knows it: its public id and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCredentials {
    id: String,
    secret: ClientSecret,
}

impl ClientCredentials {
    /// A client's id and secret, as the API console shows them.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the id is empty.
    pub fn new(id: impl Into<String>, secret: ClientSecret) -> Result<Self, FieldError> {
        Ok(Self { id: non_empty(Field::ClientId, id.into())?, secret })
    }

    /// The public id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret.
    #[must_use]
    pub fn secret(&self) -> &ClientSecret {
        &self.secret
    }
}

fn non_empty(field: Field, value: String) -> Result<String, FieldError> {
    if value.is_empty() { Err(FieldError::empty(field)) } else { Ok(value) }
}

fn parse_expiry(text: &str) -> Result<Timestamp, FieldError> {
    text.trim().parse().map(Timestamp::from_millis).map_err(|_not_a_number| {
        FieldError::new(
            Field::ExpiryTime,
            "must be a whole number of milliseconds since 1970-01-01 UTC",
            "write it as decimal digits or leave it empty",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> OAuthToken {
        OAuthToken::from_columns(
            [
                "7",
                "alice@example.com",
                "test-client",
                "test-secret",
                "test-refresh",
                "test-access",
                "test-grant",
                "1764000000000",
                "https://example.com/cb",
                "https://www.zohoapis.eu",
            ]
            .map(|text| Some(text.to_owned())),
        )
        .unwrap()
    }

    #[test]
    fn columns_round_trip() {
        let token = full();
        let columns = token.expose_columns().map(|column| column.map(Cow::into_owned));
        assert_eq!(OAuthToken::from_columns(columns).unwrap(), token);
    }

    #[test]
    fn empty_columns_are_absent() {
        let token = OAuthToken::from_columns(std::array::from_fn(|_| Some(String::new()))).unwrap();
        assert!(Field::ALL.into_iter().all(|field| !token.has(field)));
    }

    #[test]
    fn an_unreadable_expiry_is_an_error_that_names_the_field() {
        let mut columns: [Option<String>; 10] = Default::default();
        columns[7] = Some("tomorrow".to_owned());
        let error = OAuthToken::from_columns(columns).unwrap_err();
        assert_eq!(error.field(), Field::ExpiryTime);
        assert!(!error.to_string().contains("tomorrow"));
    }

    #[test]
    fn merging_keeps_what_is_absent_and_removes_what_is_cleared() {
        let stored = full();
        let given = OAuthToken::builder()
            .user_name("alice@example.com")
            .access_token("test-access-2")
            .build()
            .unwrap()
            .clear(Field::GrantToken);
        let merged = stored.merged_with(&given);
        assert_eq!(merged.access_token(), Some(&AccessToken::new("test-access-2").unwrap()));
        assert_eq!(merged.refresh_token(), stored.refresh_token());
        assert_eq!(merged.grant_token(), None);
        assert_eq!(merged.id(), stored.id());
        assert!(!merged.clears_anything());
    }

    #[test]
    fn setting_a_cleared_field_takes_the_clearing_back() {
        let token = full().clear(Field::UserName).with_user_name("bob@example.com").unwrap();
        assert!(!token.clears(Field::UserName));
    }
}
