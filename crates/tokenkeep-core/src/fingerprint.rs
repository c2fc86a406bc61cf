//! [`Fingerprint`]: tells one grant from another without showing it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Field, OAuthToken};

/// Names the grant of a token, its refresh token or else its grant token, without showing it.
///
/// It is the first 64 bits of a SHA-256 over the secret, in hexadecimal digits. State and file
/// names may have it: it cannot be turned back into a secret that was made at random, and two
/// grants of one token do not share one but by a chance of 2⁻⁶⁴.
///
/// ```
/// use tokenkeep_core::{Fingerprint, OAuthToken};
///
/// let token = OAuthToken::builder().refresh_token("test-refresh-token").build()?;
/// let same = token.clone().with_user_name("alice@example.com")?;
/// assert_eq!(Fingerprint::of_grant(&token), Fingerprint::of_grant(&same));
/// # Ok::<(), tokenkeep_core::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// That of what renews `token`; `None` if it has neither refresh token nor grant token.
    #[must_use]
    pub fn of_grant(token: &OAuthToken) -> Option<Self> {
        match (token.refresh_token(), token.grant_token()) {
            (Some(refresh_token), _) => Some(Self::of("refresh", refresh_token.expose_secret())),
            (None, Some(code)) => Some(Self::of("grant", code.expose_secret())),
            (None, None) => None,
        }
    }

    /// That of a field's value.
    pub(crate) fn of_field(field: Field, value: &str) -> Self {
        Self::of(field.name(), value)
    }

    fn of(kind: &str, secret: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"tokenkeep fingerprint\0");
        hash.update(kind);
        hash.update([0]);
        hash.update(secret);
        let digits = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self(digits)
    }

    /// The 16 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> crate::OAuthTokenBuilder {
        OAuthToken::builder().access_token("test-access")
    }

    #[test]
    fn grants_that_differ_have_different_fingerprints() {
        let of = |token: crate::OAuthTokenBuilder| Fingerprint::of_grant(&token.build().unwrap());
        let refresh = of(token().refresh_token("test-one"));
        assert_eq!(refresh, of(token().refresh_token("test-one").grant_token("test-code")));
        assert_ne!(refresh, of(token().refresh_token("test-two")));
        assert_ne!(refresh, of(token().grant_token("test-one")));
        assert_eq!(of(token()), None);
        // What is stored by one version is compared by the next.
        assert_eq!(refresh.unwrap().as_str(), "96f89aa34a27b129");
    }
}
