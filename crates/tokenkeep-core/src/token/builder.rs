use super::{OAuthToken, TokenId, non_empty};
use crate::{
    AccessToken, ClientSecret, Field, FieldError, GrantToken, RefreshToken, Timestamp,
    field::FieldSet,
};

/// Builds an [`OAuthToken`]; what is wrong is said by [`build`](Self::build).
#[derive(Debug, Default)]
#[must_use]
pub struct OAuthTokenBuilder {
    id: Option<Result<TokenId, FieldError>>,
    user_name: Option<Result<String, FieldError>>,
    client_id: Option<Result<String, FieldError>>,
    client_secret: Option<Result<ClientSecret, FieldError>>,
    refresh_token: Option<Result<RefreshToken, FieldError>>,
    access_token: Option<Result<AccessToken, FieldError>>,
    grant_token: Option<Result<GrantToken, FieldError>>,
    expiry_time: Option<Timestamp>,
    redirect_url: Option<Result<String, FieldError>>,
    api_domain: Option<Result<String, FieldError>>,
}

impl OAuthTokenBuilder {
    /// The store's name for the token.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(TokenId::new(id));
        self
    }

    /// Whose token it is.
    pub fn user_name(mut self, user_name: impl Into<String>) -> Self {
        self.user_name = Some(non_empty(Field::UserName, user_name.into()));
        self
    }

    /// The client's id and secret.
    pub fn client(self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.client_id(id).client_secret(secret)
    }

    /// The client's id.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(non_empty(Field::ClientId, id.into()));
        self
    }

    /// The client's secret.
    pub fn client_secret(mut self, secret: impl Into<String>) -> Self {
        self.client_secret = Some(ClientSecret::new(secret));
        self
    }

    /// The refresh token.
    pub fn refresh_token(mut self, token: impl Into<String>) -> Self {
        self.refresh_token = Some(RefreshToken::new(token));
        self
    }

    /// The access token.
    pub fn access_token(mut self, token: impl Into<String>) -> Self {
        self.access_token = Some(AccessToken::new(token));
        self
    }

    /// The code of the login.
    pub fn grant_token(mut self, token: impl Into<String>) -> Self {
        self.grant_token = Some(GrantToken::new(token));
        self
    }

    /// When the access token expires.
    pub fn expiry_time(mut self, time: Timestamp) -> Self {
        self.expiry_time = Some(time);
        self
    }

    /// The redirect URL of the login.
    pub fn redirect_url(mut self, url: impl Into<String>) -> Self {
        self.redirect_url = Some(non_empty(Field::RedirectUrl, url.into()));
        self
    }

    /// Where API calls with this token go.
    pub fn api_domain(mut self, domain: impl Into<String>) -> Self {
        self.api_domain = Some(non_empty(Field::ApiDomain, domain.into()));
        self
    }

    /// The token.
    ///
    /// # Errors
    ///
    /// [`FieldError`] if a field was given an empty value, or if the token names nothing at all:
    /// it needs an id, a user name, or an access, refresh or grant token.
    pub fn build(self) -> Result<OAuthToken, FieldError> {
        let token = OAuthToken {
            id: self.id.transpose()?,
            user_name: self.user_name.transpose()?,
            client_id: self.client_id.transpose()?,
            client_secret: self.client_secret.transpose()?,
            refresh_token: self.refresh_token.transpose()?,
            access_token: self.access_token.transpose()?,
            grant_token: self.grant_token.transpose()?,
            expiry_time: self.expiry_time,
            redirect_url: self.redirect_url.transpose()?,
            api_domain: self.api_domain.transpose()?,
            cleared: FieldSet::NONE,
        };
        if token.id.is_none() && token.user_name.is_none() && !token.has_token() {
            return Err(FieldError::new(
                Field::RefreshToken,
                "a token must name something",
                "give a refresh, grant or access token, a user name, or an id",
            ));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_names_nothing_is_refused() {
        let error = OAuthToken::builder().client("test-id", "test-secret").build().unwrap_err();
        assert!(error.to_string().contains("give a refresh, grant or access token"), "{error}");
    }

    #[test]
    fn an_empty_field_is_named() {
        let error = OAuthToken::builder().user_name("").access_token("test-a").build().unwrap_err();
        assert_eq!(error.field(), Field::UserName);
    }
}
