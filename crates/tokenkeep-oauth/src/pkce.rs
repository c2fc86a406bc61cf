//! [`State`] and [`PkceVerifier`]: what proves that an answer belongs to the login that was begun.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{OAuthError, OAuthErrorKind};

/// 256 random bits as 43 characters that need no escaping in a URL.
fn random_text() -> Result<SecretString, OAuthError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_unspecified| {
        OAuthError::new(OAuthErrorKind::Setup, "this machine gives no random numbers")
    })?;
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// The `state` of a login: whoever brings the code back must bring this too.
///
/// Without it, somebody could have a user finish a login that he himself began. It is 256 random
/// bits, masked in `Debug` and compared in constant time. Keep it where the login was begun, for
/// example in the user's session.
#[derive(Clone)]
pub struct State(SecretString);

impl State {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`Setup`](OAuthErrorKind::Setup) if the machine gives no random numbers.
    pub fn random() -> Result<Self, OAuthError> {
        random_text().map(Self)
    }

    /// One that was kept as text.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](OAuthErrorKind::InvalidInput) if it is empty: that would match a redirect
    /// that nobody asked for.
    pub fn from_text(text: impl Into<String>) -> Result<Self, OAuthError> {
        let text = SecretString::from(text.into());
        if text.expose_secret().is_empty() {
            return Err(OAuthError::new(
                OAuthErrorKind::InvalidInput,
                "the state of a login must not be empty",
            ));
        }
        Ok(Self(text))
    }

    /// The text itself, to keep until the redirect comes.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `text` is this state. Takes the same time wherever the two differ.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.expose_secret().as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State([redacted])")
    }
}

/// The PKCE code verifier of a login (RFC 7636): proves at the exchange that the client is the one
/// that began the login.
///
/// Zoho documents PKCE for mobile and desktop clients, with `S256` and 43 to 128 characters, and
/// not for server-based ones: it is optional here.
#[derive(Clone)]
pub struct PkceVerifier(SecretString);

impl PkceVerifier {
    /// A new one of 43 characters.
    ///
    /// # Errors
    ///
    /// [`Setup`](OAuthErrorKind::Setup) if the machine gives no random numbers.
    pub fn random() -> Result<Self, OAuthError> {
        random_text().map(Self)
    }

    /// One that was kept as text.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](OAuthErrorKind::InvalidInput) unless it is 43 to 128 letters, digits,
    /// hyphens, full stops, underscores and tildes.
    pub fn from_text(text: impl Into<String>) -> Result<Self, OAuthError> {
        let text = SecretString::from(text.into());
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let bytes = text.expose_secret().as_bytes();
        if !(43..=128).contains(&bytes.len()) || !bytes.iter().copied().all(unreserved) {
            return Err(OAuthError::new(
                OAuthErrorKind::InvalidInput,
                "a PKCE verifier must be 43 to 128 of the characters A-Z a-z 0-9 - . _ ~",
            ));
        }
        Ok(Self(text))
    }

    /// The text itself, to keep until the code is exchanged.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }

    /// The `code_challenge` of method `S256`, which is public.
    #[must_use]
    pub fn challenge(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.expose_secret().as_bytes());
        URL_SAFE_NO_PAD.encode(hash)
    }
}

impl fmt::Debug for PkceVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PkceVerifier([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let verifier =
            PkceVerifier::from_text("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        assert_eq!(verifier.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn random_ones_are_valid_and_differ() {
        let one = PkceVerifier::random().unwrap();
        assert!(PkceVerifier::from_text(one.expose_secret()).is_ok());
        assert_ne!(one.expose_secret(), PkceVerifier::random().unwrap().expose_secret());
        assert_eq!(State::random().unwrap().expose_secret().len(), 43);
    }

    #[test]
    fn a_verifier_that_is_none_is_refused_and_not_shown() {
        for text in [
            String::new(),
            "test-secret".to_owned(),
            format!("test-secret {}", "x".repeat(43)),
            "x".repeat(129),
        ] {
            let error = PkceVerifier::from_text(text).unwrap_err();
            assert_eq!(error.kind(), OAuthErrorKind::InvalidInput);
            assert!(!format!("{error:?}").contains("test-secret"));
        }
    }

    #[test]
    fn debug_shows_a_mask() {
        let state = State::from_text("test-state").unwrap();
        assert!(state.matches("test-state") && !state.matches("test-statE"));
        assert!(!state.matches("") && !state.matches("test-state-"));
        assert!(State::from_text("").is_err());
        let verifier = PkceVerifier::random().unwrap();
        let shown = format!("{state:?} {verifier:?}");
        assert_eq!(shown, "State([redacted]) PkceVerifier([redacted])");
    }
}
