//! [`OAuthClient`]: requests to the accounts servers.

mod device;
mod network;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokenkeep_core::{AccessToken, ClientCredentials, GrantToken, RefreshToken};

use self::network::Network;
use crate::{
    AccountsServer, ApiDomain, CurrentUser, HttpMethod, HttpReply, HttpRequest, OAuthError,
    OAuthErrorKind, PkceVerifier, Revocation, TokenReply, Transport,
    reply::{
        Grant, MAX_ACCOUNTS_REPLY, MAX_USERS_REPLY, parse_current_user, parse_revocation,
        parse_server_info, parse_token_reply,
    },
};

/// The code of a login, and what it is exchanged with.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the parameters of the grant, to be written out")]
pub struct CodeExchange<'a> {
    /// The client that the login was for.
    pub client: &'a ClientCredentials,
    /// The code.
    pub code: &'a GrantToken,
    /// The redirect URL of the login, exactly as it was there; `None` for a self-client code.
    pub redirect_url: Option<&'a str>,
    /// The verifier of a login with PKCE.
    pub pkce: Option<&'a PkceVerifier>,
}

/// Talks to accounts servers.
///
/// Cheap to clone; clones share connections. One serves all users, clients and data centres. It
/// never follows a redirect, never tries again by itself, and reads no environment variable.
/// It needs a Tokio runtime, unless it has [another transport](OAuthClientBuilder::transport).
///
/// # If a future is dropped
///
/// The request may have been sent, and its answer is lost: as with an error that
/// [may have been applied](OAuthError::maybe_applied).
#[derive(Clone)]
pub struct OAuthClient {
    transport: Arc<dyn Transport>,
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClient").field("transport", &self.transport).finish()
    }
}

impl OAuthClient {
    /// Starts a client.
    #[must_use]
    pub fn builder() -> OAuthClientBuilder {
        OAuthClientBuilder::default()
    }

    /// Exchanges the code of a login for tokens: `POST {server}/oauth/v2/token` with
    /// `grant_type=authorization_code`, everything in the body.
    ///
    /// `server` is that of the *user's* data centre: what the redirect named, see
    /// [`Callback`](crate::Callback).
    ///
    /// # Errors
    ///
    /// See [`OAuthErrorKind`]. After an error that [may have been
    /// applied](OAuthError::maybe_applied) the code is probably used up.
    pub async fn exchange_code(
        &self,
        server: &AccountsServer,
        exchange: &CodeExchange<'_>,
    ) -> Result<TokenReply, OAuthError> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("client_id", exchange.client.id()),
            ("client_secret", exchange.client.secret().expose_secret()),
            ("code", exchange.code.expose_secret()),
        ];
        fields.extend(exchange.redirect_url.map(|url| ("redirect_uri", url)));
        fields.extend(exchange.pkce.map(|pkce| ("code_verifier", pkce.expose_secret())));
        self.token(server, Grant::Code, &fields).await
    }

    /// Gets a new access token: `POST {server}/oauth/v2/token` with `grant_type=refresh_token`.
    ///
    /// Zoho allows ten in ten minutes for each refresh token: make sure that one process asks, and
    /// once.
    ///
    /// # Errors
    ///
    /// See [`OAuthErrorKind`]. [`NeedsLogin`](OAuthErrorKind::NeedsLogin) means that the refresh
    /// token is not good any more, or that `server` is not that of its data centre.
    pub async fn refresh(
        &self,
        server: &AccountsServer,
        client: &ClientCredentials,
        refresh_token: &RefreshToken,
    ) -> Result<TokenReply, OAuthError> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", client.id()),
            ("client_secret", client.secret().expose_secret()),
            ("refresh_token", refresh_token.expose_secret()),
        ];
        self.token(server, Grant::RefreshToken, &fields).await
    }

    /// Revokes a refresh token, and its access tokens with it:
    /// `POST {server}/oauth/v2/token/revoke`, the token in the body.
    ///
    /// # Errors
    ///
    /// See [`OAuthErrorKind`]. A token that the server does not know (any more) is
    /// [`Revocation::AlreadyGone`], not an error; revoking again after an error is harmless.
    pub async fn revoke(
        &self,
        server: &AccountsServer,
        refresh_token: &RefreshToken,
    ) -> Result<Revocation, OAuthError> {
        let fields = [("token", refresh_token.expose_secret())];
        let result = self.post(server, "/oauth/v2/token/revoke", &fields, parse_revocation);
        let result = result
            .await
            .map_err(|error| error.at(server).without_echo(&[refresh_token.expose_secret()]));
        match &result {
            Ok(revocation) => tracing::debug!(%server, ?revocation, "refresh token revoked"),
            Err(error) => tracing::debug!(%server, kind = ?error.kind(), "revocation failed"),
        }
        result
    }

    /// Asks whose token it is: `GET {domain}/crm/v8/users?type=CurrentUser`.
    ///
    /// # Errors
    ///
    /// See [`OAuthErrorKind`]: [`ScopeMismatch`](OAuthErrorKind::ScopeMismatch) without the scope
    /// `ZohoCRM.users.READ`, [`AccessTokenRefused`](OAuthErrorKind::AccessTokenRefused) if the
    /// token is not good (any more).
    pub async fn current_user(
        &self,
        domain: &ApiDomain,
        access_token: &AccessToken,
    ) -> Result<CurrentUser, OAuthError> {
        let result = async {
            let url = format!("{domain}/crm/v8/users?type=CurrentUser");
            let local = domain.is_loopback();
            let request = HttpRequest::new(HttpMethod::Get, url, local, MAX_USERS_REPLY);
            self.send(request.authorized(access_token)?, parse_current_user).await
        };
        result.await.map_err(|error| {
            error.applied(false).at_api(domain).without_echo(&[access_token.expose_secret()])
        })
    }

    /// Asks an accounts server for the others: `GET {server}/oauth/serverinfo`, by location.
    ///
    /// It is information, not a list of servers to trust, and China's is not on it.
    ///
    /// # Errors
    ///
    /// See [`OAuthErrorKind`].
    pub async fn server_info(
        &self,
        server: &AccountsServer,
    ) -> Result<BTreeMap<String, AccountsServer>, OAuthError> {
        let url = format!("{server}/oauth/serverinfo");
        let local = server.is_loopback();
        let request = HttpRequest::new(HttpMethod::Get, url, local, MAX_ACCOUNTS_REPLY);
        let result = self.send(request, parse_server_info);
        result.await.map_err(|error| error.applied(false).at(server))
    }

    async fn token(
        &self,
        server: &AccountsServer,
        grant: Grant,
        fields: &[(&str, &str)],
    ) -> Result<TokenReply, OAuthError> {
        let result = self.post(server, "/oauth/v2/token", fields, |status, content_type, body| {
            parse_token_reply(grant, status, content_type, body)
        });
        let mut result = result.await.map_err(|error| {
            let public = ["grant_type", "client_id", "redirect_uri"];
            let secrets: Vec<_> = fields
                .iter()
                .filter(|(name, _)| !public.contains(name))
                .map(|(_, value)| *value)
                .collect();
            error.at(server).without_echo(&secrets)
        });
        match &mut result {
            Ok(reply) => {
                reply.forget_loopback_unless(server.is_loopback());
                let refresh_token = reply.refresh_token.is_some();
                let expires_in = reply.expires_in.as_secs();
                tracing::debug!(%server, ?grant, expires_in, refresh_token, "tokens received");
            }
            Err(error) => {
                tracing::debug!(%server, ?grant, kind = ?error.kind(), "no tokens received");
            }
        }
        result
    }

    async fn post<T>(
        &self,
        server: &AccountsServer,
        path: &str,
        fields: &[(&str, &str)],
        read: impl FnOnce(u16, Option<&str>, &[u8]) -> Result<T, OAuthError> + Send,
    ) -> Result<T, OAuthError> {
        let url = format!("{server}{path}");
        let local = server.is_loopback();
        let request = HttpRequest::new(HttpMethod::Post, url, local, MAX_ACCOUNTS_REPLY);
        self.send(request.with_form(fields), read).await
    }

    /// Sends a request and reads its reply.
    async fn send<T>(
        &self,
        request: HttpRequest,
        read: impl FnOnce(u16, Option<&str>, &[u8]) -> Result<T, OAuthError> + Send,
    ) -> Result<T, OAuthError> {
        let max_reply = request.max_reply();
        let sent = self.transport.send(request).await;
        let reply = sent.map_err(|error| error.into_oauth_error(max_reply))?;
        let HttpReply { status, content_type, retry_after, body } = reply;
        read(status, content_type.as_deref(), &body)
            .map_err(|error| error.told_to_wait(retry_after.as_deref()))
    }
}

impl TokenReply {
    /// A server elsewhere has no business to send access tokens to this machine.
    fn forget_loopback_unless(&mut self, allowed: bool) {
        let loopback = |domain: &String| ApiDomain::parse(domain).is_ok_and(|d| d.is_loopback());
        if !allowed && self.api_domain.as_ref().is_some_and(loopback) {
            tracing::warn!("the API domain of a token reply is on loopback: left out");
            self.api_domain = None;
        }
    }
}

/// Sets up an [`OAuthClient`].
///
/// ```
/// use std::time::Duration;
/// use tokenkeep_oauth::OAuthClient;
///
/// let client = OAuthClient::builder()
///     .timeout(Duration::from_secs(10))
///     .proxy("http://user:test-password@proxy.example.com:3128")?
///     .user_agent("my-program/1.0")
///     .build()?;
/// assert!(!format!("{client:?}").contains("test-password"));
/// # Ok::<(), tokenkeep_oauth::OAuthError>(())
/// ```
#[derive(Clone)]
pub struct OAuthClientBuilder {
    timeout: Duration,
    connect_timeout: Duration,
    proxy: Option<reqwest::Proxy>,
    user_agent: String,
    transport: Option<Arc<dyn Transport>>,
}

impl Default for OAuthClientBuilder {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            proxy: None,
            user_agent: concat!("tokenkeep/", env!("CARGO_PKG_VERSION")).to_owned(),
            transport: None,
        }
    }
}

impl fmt::Debug for OAuthClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClientBuilder")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("proxy", &self.proxy.is_some())
            .field("user_agent", &self.user_agent)
            .field("transport", &self.transport)
            .finish()
    }
}

impl OAuthClientBuilder {
    /// How long a request may take until its answer is complete; 30 s unless said otherwise.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long connecting may take, TLS included; 10 s unless said otherwise.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sends requests through this proxy (http or https, with user and password where it needs
    /// them), except those to this machine. The environment's proxies are not used.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](OAuthErrorKind::InvalidInput) if it is not the URL of a proxy; the URL is
    /// not shown.
    pub fn proxy(mut self, url: &str) -> Result<Self, OAuthError> {
        self.proxy = Some(network::proxy(url)?);
        Ok(self)
    }

    /// What the client calls itself; `tokenkeep/` and the version unless said otherwise.
    #[must_use]
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sends requests with this transport and not with the built-in one.
    ///
    /// Timeouts, proxy and user agent are the built-in one's: with another they have no effect, and
    /// the other must see to its own. All else stays: what is sent, how answers are read, and what
    /// refusals mean.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](OAuthErrorKind::InvalidInput) if a timeout is zero or the user agent has a
    /// line break or the like. TLS is set up at the first https request; where the system has no
    /// root certificates, that one is a [`Setup`](OAuthErrorKind::Setup) error.
    pub fn build(self) -> Result<OAuthClient, OAuthError> {
        if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(OAuthError::new(
                OAuthErrorKind::InvalidInput,
                "a timeout of zero lets no request succeed",
            ));
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => Arc::new(Network::new(self)?),
        };
        Ok(OAuthClient { transport })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_cannot_send_tokens_to_this_machine() {
        let reply = |domain: &str| {
            let body = format!(r#"{{"access_token":"test-access","api_domain":"{domain}"}}"#);
            parse_token_reply(Grant::Code, 200, None, body.as_bytes()).unwrap()
        };
        for domain in ["http://127.0.0.1:9", "https://localhost"] {
            let mut given = reply(domain);
            given.forget_loopback_unless(true);
            assert_eq!(given.api_domain.as_deref(), Some(domain));
            given.forget_loopback_unless(false);
            assert_eq!(given.api_domain, None);
        }
        let mut given = reply("https://www.zohoapis.eu");
        given.forget_loopback_unless(false);
        assert!(given.api_domain.is_some());
    }
}
