//! What a find is matched by.

use crate::{AccessToken, Field, FieldError, GrantToken, OAuthToken, RefreshToken};

/// What a find is matched by: exactly one of user name, access, grant or refresh token, narrowed
/// by client and API domain where one user has several tokens.
///
/// A query that names nothing cannot be built.
///
/// ```
/// use tokenkeep_core::TokenQuery;
///
/// let query = TokenQuery::user("alice@example.com")?.with_client_id("test-client-id")?;
/// assert!(TokenQuery::user("").is_err());
/// # Ok::<(), tokenkeep_core::FieldError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenQuery {
    key: QueryKey,
    client_id: Option<String>,
    api_domain: Option<String>,
}

/// The one thing that a query looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryKey {
    /// The user's name, byte for byte.
    User(String),
    /// The access token.
    AccessToken(AccessToken),
    /// The code of the login.
    GrantToken(GrantToken),
    /// The refresh token.
    RefreshToken(RefreshToken),
}

impl TokenQuery {
    /// The token of this user: matched byte for byte, without regard to case folding, accents or
    /// trailing blanks.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the name is empty.
    pub fn user(name: impl Into<String>) -> Result<Self, FieldError> {
        let name = name.into();
        if name.is_empty() {
            return Err(FieldError::new(
                Field::UserName,
                "a query must name a user, an access, grant or refresh token",
                "name one of them, or find by id",
            ));
        }
        Ok(Self::by(QueryKey::User(name)))
    }

    /// The token with this access token.
    #[must_use]
    pub fn access_token(token: AccessToken) -> Self {
        Self::by(QueryKey::AccessToken(token))
    }

    /// The token that came of this login.
    #[must_use]
    pub fn grant_token(token: GrantToken) -> Self {
        Self::by(QueryKey::GrantToken(token))
    }

    /// The token with this refresh token.
    #[must_use]
    pub fn refresh_token(token: RefreshToken) -> Self {
        Self::by(QueryKey::RefreshToken(token))
    }

    /// Only tokens of this client, and those that name no client.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the id is empty, or if the query is for an access token: that is looked
    /// up without a client, as the official SDKs do.
    pub fn with_client_id(mut self, client_id: impl Into<String>) -> Result<Self, FieldError> {
        let client_id = client_id.into();
        if client_id.is_empty() {
            return Err(FieldError::empty(Field::ClientId));
        }
        if matches!(self.key, QueryKey::AccessToken(_)) {
            return Err(FieldError::new(
                Field::ClientId,
                "an access token is looked up without a client",
                "leave the client out",
            ));
        }
        self.client_id = Some(client_id);
        Ok(self)
    }

    /// Only tokens of this API domain (data centre and environment), and those that name none.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if the domain is empty.
    pub fn with_api_domain(mut self, api_domain: impl Into<String>) -> Result<Self, FieldError> {
        let api_domain = api_domain.into();
        if api_domain.is_empty() {
            return Err(FieldError::empty(Field::ApiDomain));
        }
        self.api_domain = Some(api_domain);
        Ok(self)
    }

    /// What it looks for.
    #[must_use]
    pub fn key(&self) -> &QueryKey {
        &self.key
    }

    /// The client it is narrowed to.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The API domain it is narrowed to.
    #[must_use]
    pub fn api_domain(&self) -> Option<&str> {
        self.api_domain.as_deref()
    }

    fn by(key: QueryKey) -> Self {
        Self { key, client_id: None, api_domain: None }
    }
}

impl QueryKey {
    /// The field it is compared with.
    #[must_use]
    pub fn field(&self) -> Field {
        match self {
            Self::User(_) => Field::UserName,
            Self::AccessToken(_) => Field::AccessToken,
            Self::GrantToken(_) => Field::GrantToken,
            Self::RefreshToken(_) => Field::RefreshToken,
        }
    }

    /// The value it is compared with; a secret unless the key is a user.
    #[must_use]
    pub fn expose_value(&self) -> &str {
        match self {
            Self::User(name) => name,
            Self::AccessToken(token) => token.expose_secret(),
            Self::GrantToken(token) => token.expose_secret(),
            Self::RefreshToken(token) => token.expose_secret(),
        }
    }

    /// Whether `token` has this very value.
    #[must_use]
    pub fn matches(&self, token: &OAuthToken) -> bool {
        match self {
            Self::User(name) => token.user_name() == Some(name),
            Self::AccessToken(wanted) => token.access_token() == Some(wanted),
            Self::GrantToken(wanted) => token.grant_token() == Some(wanted),
            Self::RefreshToken(wanted) => token.refresh_token() == Some(wanted),
        }
    }
}
