//! What a login is; [`work`] is how it becomes a stored token.

mod work;

use tokenkeep_core::{
    ClientCredentials, Environment, FieldError, GrantToken, OAuthToken, RefreshToken, Timestamp,
    TokenQuery,
};
use tokenkeep_oauth::{AccountsServer, DataCenter, PkceVerifier, TokenReply};

pub(crate) use self::work::run;

/// A login to be taken by [`TokenManager::log_in`](crate::TokenManager::log_in).
#[derive(Debug)]
#[must_use]
pub struct Login {
    client: ClientCredentials,
    grant: Grant,
    user_name: Option<String>,
    redirect_url: Option<String>,
    pkce: Option<PkceVerifier>,
    data_center: Option<&'static DataCenter>,
    accounts_server: Option<AccountsServer>,
    environment: Option<Environment>,
}

#[derive(Debug)]
enum Grant {
    Code(GrantToken),
    Refresh(RefreshToken),
    Issued(Box<TokenReply>),
}

impl Login {
    /// A code that the accounts server gave to this client: by a redirect, or from the API
    /// console's self client (then without a redirect URL).
    pub fn grant_token(client: ClientCredentials, code: GrantToken) -> Self {
        Self::new(client, Grant::Code(code))
    }

    /// A refresh token that one already has.
    pub fn refresh_token(client: ClientCredentials, token: RefreshToken) -> Self {
        Self::new(client, Grant::Refresh(token))
    }

    /// Tokens that the accounts server has issued to this client just now, as a device flow does.
    ///
    /// Nothing is exchanged: they are stored before anything else is done. If they cannot be, they
    /// are in the error, see [`unsaved_token`](crate::ManagerError::unsaved_token).
    pub fn issued(client: ClientCredentials, reply: TokenReply) -> Self {
        Self::new(client, Grant::Issued(Box::new(reply)))
    }

    fn new(client: ClientCredentials, grant: Grant) -> Self {
        Self {
            client,
            grant,
            user_name: None,
            redirect_url: None,
            pkce: None,
            data_center: None,
            accounts_server: None,
            environment: None,
        }
    }

    /// The user's name; otherwise the provider is asked.
    pub fn user_name(mut self, name: impl Into<String>) -> Self {
        self.user_name = Some(name.into());
        self
    }

    /// The redirect URL that the code was asked for with.
    pub fn redirect_url(mut self, url: impl Into<String>) -> Self {
        self.redirect_url = Some(url.into());
        self
    }

    /// The verifier that the code was asked for with.
    pub fn pkce(mut self, verifier: PkceVerifier) -> Self {
        self.pkce = Some(verifier);
        self
    }

    /// The user's data centre; wins over the manager's.
    pub fn data_center(mut self, data_center: &'static DataCenter) -> Self {
        self.data_center = Some(data_center);
        self
    }

    /// The accounts server of the user's data centre, as the redirect named it.
    pub fn accounts_server(mut self, server: AccountsServer) -> Self {
        self.accounts_server = Some(server);
        self
    }

    /// The environment of the organisation that the user chose; wins over the manager's.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// What is stored first.
    fn token(&self, now: Timestamp) -> Result<OAuthToken, FieldError> {
        let client = self.client.clone();
        let mut token = match &self.grant {
            Grant::Code(code) => OAuthToken::from_grant_token(client, code.clone()),
            Grant::Refresh(token) => OAuthToken::from_refresh_token(client, token.clone()),
            Grant::Issued(reply) => return Ok(self.issued_token(reply, now)),
        };
        if let Some(url) = &self.redirect_url {
            token = token.with_redirect_url(url)?;
        }
        Ok(token)
    }

    fn issued_token(&self, reply: &TokenReply, now: Timestamp) -> OAuthToken {
        let token = OAuthToken::from_access_token(reply.access_token.clone());
        let token = with_reply(token.with_client(self.client.clone()), reply, now);
        let domain = reply.api_domain.as_ref();
        // What is wrong with a domain must not cost the tokens.
        domain.and_then(|domain| token.clone().with_api_domain(domain).ok()).unwrap_or(token)
    }

    fn query(&self) -> Result<TokenQuery, FieldError> {
        match &self.grant {
            Grant::Code(code) => TokenQuery::grant_token(code.clone()),
            Grant::Refresh(token) => TokenQuery::refresh_token(token.clone()),
            Grant::Issued(reply) => TokenQuery::access_token(reply.access_token.clone()),
        }
        .with_client_id(self.client.id())
    }
}

/// `token` with what was issued.
fn with_reply(token: OAuthToken, reply: &TokenReply, now: Timestamp) -> OAuthToken {
    let token = token.with_access_token(reply.access_token.clone(), now.plus(reply.expires_in));
    match &reply.refresh_token {
        Some(refresh_token) => token.with_refresh_token(refresh_token.clone()),
        None => token,
    }
}
