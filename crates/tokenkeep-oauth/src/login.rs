//! [`AuthorizationRequest`] and [`Callback`]: how a user logs in.

use std::fmt;

use tokenkeep_core::GrantToken;
use url::{Url, form_urlencoded};

use crate::{
    AccountsServer, AllowedServers, OAuthError, OAuthErrorKind, PkceVerifier, State,
    reply::{self, Grant},
};

/// The longest redirect that is read.
const MAX_CALLBACK: usize = 16 * 1024;

/// A login to begin: which client asks for which scopes, and where the user is sent back to.
///
/// The accounts server is that of the data centre where the *client* is registered; Zoho sends the
/// user on to his own and says so in the redirect ([`Callback::accounts_server`]).
///
/// ```
/// use tokenkeep_oauth::{AllowedServers, AuthorizationRequest, Callback, DataCenter};
///
/// let login = AuthorizationRequest::new(
///     &DataCenter::by_code("us")?.accounts_server(),
///     "test-client-id",
///     "http://127.0.0.1:8000/callback",
///     ["ZohoCRM.modules.ALL", "ZohoCRM.users.READ"],
/// )
/// .offline()
/// .build()?;
/// assert!(login.url.as_str().starts_with("https://accounts.zoho.com/oauth/v2/auth?"));
///
/// // The user logs in, and the browser comes back with:
/// let redirect = format!(
///     "/callback?code=test-code&location=eu&accounts-server=https%3A%2F%2Faccounts.zoho.eu&state={}",
///     login.state.expose_secret(),
/// );
/// let callback = Callback::parse(&redirect, &login.state, &AllowedServers::zoho())?;
/// assert_eq!(callback.accounts_server.unwrap().as_str(), "https://accounts.zoho.eu");
/// # Ok::<(), tokenkeep_oauth::OAuthError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    server: AccountsServer,
    client_id: String,
    redirect_url: String,
    scopes: Vec<String>,
    offline: bool,
    prompt_consent: bool,
    pkce: bool,
}

impl AuthorizationRequest {
    /// A login at `server` for the client `client_id`.
    ///
    /// `redirect_url` is exactly the registered one. Without further words the login gives an
    /// access token only.
    #[must_use]
    pub fn new<S: AsRef<str>>(
        server: &AccountsServer,
        client_id: impl Into<String>,
        redirect_url: impl Into<String>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            server: server.clone(),
            client_id: client_id.into(),
            redirect_url: redirect_url.into(),
            scopes: scopes.into_iter().map(|scope| scope.as_ref().to_owned()).collect(),
            offline: false,
            prompt_consent: false,
            pkce: false,
        }
    }

    /// Asks for a refresh token too (`access_type=offline`).
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    /// Asks the user again (`prompt=consent`).
    ///
    /// Without it only the first consent of a user gives a refresh token. With it each does, and
    /// the twenty-first of a user and client silently ends the oldest.
    #[must_use]
    pub fn prompt_consent(mut self) -> Self {
        self.prompt_consent = true;
        self
    }

    /// With or without PKCE (`S256`); without, unless said otherwise. See [`PkceVerifier`].
    #[must_use]
    pub fn pkce(mut self, pkce: bool) -> Self {
        self.pkce = pkce;
        self
    }

    /// The URL to send the user to, and what to keep until the redirect comes.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](OAuthErrorKind::InvalidInput) if there is no client id, no scope, a scope
    /// with a blank or comma in it, or a redirect URL that is not http or https;
    /// [`Setup`](OAuthErrorKind::Setup) if the machine gives no random numbers.
    pub fn build(&self) -> Result<Authorization, OAuthError> {
        let invalid = |message: &str, hint: &str| {
            OAuthError::new(OAuthErrorKind::InvalidInput, message).with_hint(hint)
        };
        if self.client_id.trim().is_empty() {
            return Err(invalid("a login needs a client id", "the API console shows it"));
        }
        let well_formed = |scope: &String| {
            !scope.is_empty() && scope.chars().all(|c| c.is_ascii_graphic() && c != ',')
        };
        if self.scopes.is_empty() || !self.scopes.iter().all(well_formed) {
            return Err(invalid(
                "a login needs scopes, each without blanks and commas",
                "for example ZohoCRM.modules.ALL and ZohoCRM.users.READ",
            ));
        }
        let redirect = Url::parse(&self.redirect_url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none()
        });
        if redirect.is_none() {
            return Err(invalid(
                "the redirect URL must be an http or https URL without a fragment",
                "it must be exactly the one registered in the API console",
            ));
        }
        let state = State::random()?;
        let pkce = self.pkce.then(PkceVerifier::random).transpose()?;
        let mut url = Url::parse(&format!("{}/oauth/v2/auth", self.server)).map_err(
            |_never_for_a_server| {
                invalid("the accounts server has no authorisation page", "check its URL")
            },
        )?;
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &self.client_id)
                .append_pair("scope", &self.scopes.join(","))
                .append_pair("redirect_uri", &self.redirect_url)
                .append_pair("access_type", if self.offline { "offline" } else { "online" })
                .append_pair("state", state.expose_secret());
            if self.prompt_consent {
                query.append_pair("prompt", "consent");
            }
            if let Some(verifier) = &pkce {
                query
                    .append_pair("code_challenge", &verifier.challenge())
                    .append_pair("code_challenge_method", "S256");
            }
        }
        Ok(Authorization { url, state, pkce })
    }
}

/// A login that has begun. `Debug` shows neither the state nor the URL's query, which has it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Authorization {
    /// Where the user logs in.
    pub url: Url,
    /// What the redirect must bring back.
    pub state: State,
    /// What the exchange needs, with PKCE.
    pub pkce: Option<PkceVerifier>,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("server", &self.url.host_str())
            .field("state", &self.state)
            .field("pkce", &self.pkce)
            .finish_non_exhaustive()
    }
}

/// A redirect that came back from a login, checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Callback {
    /// The code, to be exchanged within two minutes, once.
    pub code: GrantToken,
    /// The accounts server of the user's data centre, where the code is to be exchanged. `None`
    /// if the redirect names none: then it is the server the login was begun at.
    pub accounts_server: Option<AccountsServer>,
    /// The user's data centre, as the redirect names it, for example `eu`. For show only.
    pub location: Option<String>,
}

impl Callback {
    /// Reads and checks a redirect: `{redirect_url}?code=…&location=…&accounts-server=…&state=…`,
    /// as a whole URL, a path with a query, or a query.
    ///
    /// The state is checked first; then nothing is believed that does not come with the right one.
    ///
    /// # Errors
    ///
    /// - [`StateMismatch`](OAuthErrorKind::StateMismatch) if the state is missing or another one
    /// - [`AccessDenied`](OAuthErrorKind::AccessDenied) if the user refused; what else the
    ///   provider says as it would at an exchange
    /// - [`UntrustedServer`](OAuthErrorKind::UntrustedServer) if the accounts server is not on the
    ///   list
    /// - [`Malformed`](OAuthErrorKind::Malformed) if there is no code, a parameter twice, or too
    ///   much of it
    pub fn parse(
        url_or_query: &str,
        expected_state: &State,
        allowed: &AllowedServers,
    ) -> Result<Self, OAuthError> {
        let malformed = |what: &str| {
            OAuthError::new(OAuthErrorKind::Malformed, format!("the redirect of the login {what}"))
                .with_hint("begin the login again")
        };
        if url_or_query.len() > MAX_CALLBACK {
            return Err(malformed("is too long"));
        }
        let parameters = Parameters::parse(url_or_query)
            .map_err(|name| malformed(&format!("has the parameter `{name}` twice")))?;

        if !parameters.state.as_deref().is_some_and(|state| expected_state.matches(state)) {
            return Err(OAuthError::new(
                OAuthErrorKind::StateMismatch,
                match parameters.state {
                    Some(_) => "the redirect does not belong to the login that was begun here",
                    None => "the redirect has no `state`, so nothing shows that it was asked for",
                },
            )
            .with_hint("begin the login again; do not use the code of this redirect"));
        }
        if let Some(error) = parameters.error {
            return Err(reply::refusal(Grant::Code, &error, parameters.description.as_deref()));
        }
        let accounts_server =
            parameters.accounts_server.map(|text| allowed.check(&text)).transpose()?;
        let code = parameters
            .code
            .and_then(|code| GrantToken::new(code).ok())
            .ok_or_else(|| malformed("has no code"))?;
        let location = parameters.location.filter(|text| {
            (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        Ok(Self { code, accounts_server, location })
    }
}

/// The parameters of a redirect that mean something.
#[derive(Default)]
struct Parameters {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    description: Option<String>,
    accounts_server: Option<String>,
    location: Option<String>,
}

impl Parameters {
    /// Which one is there twice, if one is. Empty ones are absent.
    fn parse(url_or_query: &str) -> Result<Self, &'static str> {
        let without_fragment = url_or_query.trim().split('#').next().unwrap_or_default();
        let query = without_fragment.split_once('?').map_or(without_fragment, |(_, query)| query);
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let (name, slot) = match &*name {
                "code" => ("code", &mut parameters.code),
                "state" => ("state", &mut parameters.state),
                "error" => ("error", &mut parameters.error),
                "error_description" => ("error_description", &mut parameters.description),
                "accounts-server" => ("accounts-server", &mut parameters.accounts_server),
                "location" => ("location", &mut parameters.location),
                _ => continue,
            };
            if slot.is_some() {
                return Err(name);
            }
            if !value.is_empty() {
                *slot = Some(value.into_owned());
            }
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests;
