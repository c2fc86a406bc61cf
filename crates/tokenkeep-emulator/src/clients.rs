//! Clients, users and the grant codes that users give to clients.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    rules::{self, Window},
    scopes::{EVERYTHING, Scopes},
    state::{NewUser, State},
};

/// A registered client.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) secret: String,
    /// Where codes may be sent; anywhere if empty.
    pub(crate) redirect_uris: Vec<String>,
    /// Codes that the authorisation page gave.
    pub(crate) codes: Window,
}

/// A user of the organisation.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) created: i64,
}

/// A code that waits for its exchange.
pub(crate) struct GrantCode {
    pub(crate) client_id: String,
    pub(crate) email: String,
    pub(crate) scopes: Scopes,
    /// Whether the reply says the scopes.
    pub(crate) scopes_asked: bool,
    /// Must come again with the exchange. `None` for a self client.
    pub(crate) redirect_uri: Option<String>,
    pub(crate) challenge: Option<Challenge>,
    /// Whether the exchange gives a refresh token.
    pub(crate) offline: bool,
    pub(crate) expires_at: i64,
}

/// What the verifier of a code has to match (RFC 7636).
pub(crate) enum Challenge {
    Plain(String),
    S256(String),
}

impl Challenge {
    /// Reads the parameters; `Err` if the method is not known.
    pub(crate) fn parse(
        challenge: Option<&str>,
        method: Option<&str>,
    ) -> Result<Option<Self>, String> {
        let Some(challenge) = challenge else { return Ok(None) };
        match method {
            None | Some("plain") => Ok(Some(Self::Plain(challenge.to_owned()))),
            Some("S256") => Ok(Some(Self::S256(challenge.to_owned()))),
            Some(other) => Err(format!("code_challenge_method {other} is not known")),
        }
    }

    pub(crate) fn accepts(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::S256(challenge) => {
                let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
                URL_SAFE_NO_PAD.encode(hash) == challenge.trim_end_matches('=')
            }
        }
    }
}

/// What to register with `POST /emulator/users`.
pub(crate) struct Registration {
    pub(crate) email: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) scope: Option<String>,
    pub(crate) redirect_uris: Vec<String>,
}

impl State {
    /// Registers the client, or gives it a new secret, and the user; gives the user a code and a
    /// refresh token.
    pub(crate) fn register(&mut self, now: i64, registration: Registration) -> NewUser {
        let Registration { email, client_id, client_secret, scope, redirect_uris } = registration;
        let client = self.clients.entry(client_id.clone()).or_default();
        client.secret = client_secret;
        for uri in redirect_uris {
            if !client.redirect_uris.contains(&uri) {
                client.redirect_uris.push(uri);
            }
        }
        let user_id = self.user(now, &email).id;
        let scopes_asked = scope.is_some();
        let scopes = Scopes::parse(scope.as_deref().unwrap_or(EVERYTHING));
        let (_, refresh_token) = self.new_family(&client_id, &email, &scopes);
        let grant_token = self.new_token();
        self.grant_codes.insert(
            grant_token.clone(),
            GrantCode {
                client_id: client_id.clone(),
                email: email.clone(),
                scopes: scopes.clone(),
                scopes_asked,
                redirect_uri: None,
                challenge: None,
                offline: true,
                expires_at: now.saturating_add(rules::GRANT_LIFETIME),
            },
        );
        NewUser {
            email,
            user_id,
            client_id,
            grant_token,
            grant_token_expires_in: rules::GRANT_LIFETIME.unsigned_abs() / 1000,
            refresh_token,
            scope: scopes.text(),
            api_domain: self.settings.api_domain.clone(),
            accounts_server: self.site.url.clone(),
            location: self.site.location.clone(),
        }
    }

    /// The user with this e-mail, who joins the organisation if he was not in it.
    pub(crate) fn user(&mut self, now: i64, email: &str) -> User {
        if let Some(user) = self.users.get(email) {
            return user.clone();
        }
        let user = User { id: self.crm.next_id(), email: email.to_owned(), created: now };
        self.users.insert(email.to_owned(), user.clone());
        user
    }

    /// A code of the authorisation page, or `None` if the client got too many of them.
    pub(crate) fn grant_code(&mut self, now: i64, code: GrantCode) -> Option<String> {
        let limited = self.settings.enforce_limits;
        let client = self.clients.get_mut(&code.client_id)?;
        if limited && !client.codes.admit(now, rules::GRANTS_PER_WINDOW) {
            self.stats.throttled += 1;
            return None;
        }
        self.grant_codes.retain(|_, code| code.expires_at > now);
        let token = self.new_token();
        self.grant_codes.insert(token.clone(), code);
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_of_the_rfc_matches_its_challenge() {
        let challenge = Challenge::S256("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned());
        assert!(challenge.accepts("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(!challenge.accepts("another"));
        assert!(Challenge::Plain("same".to_owned()).accepts("same"));
        assert!(Challenge::parse(Some("x"), Some("S512")).is_err());
        assert!(matches!(Challenge::parse(None, Some("S256")), Ok(None)));
    }
}
