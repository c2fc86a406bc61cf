//! What was issued and is not stored yet.

use tokenkeep_core::{Fingerprint, OAuthToken, Timestamp};

/// A token that was issued and could not be stored.
#[derive(Clone, Debug)]
pub(crate) struct Unsaved {
    /// What is stored, as far as is known.
    pub(crate) expected: OAuthToken,
    /// What is to take its place.
    pub(crate) token: OAuthToken,
    pub(crate) issued_at: Timestamp,
    /// Whether it is in the spool.
    pub(crate) spooled: bool,
}

impl Unsaved {
    /// Whether it was issued to the grant that is stored.
    pub(crate) fn is_of(&self, stored: &OAuthToken) -> bool {
        same_grant(&self.expected, stored)
    }

    /// Whether the refresh token that is stored was replaced by another one.
    pub(crate) fn rotates(&self) -> bool {
        self.expected.refresh_token() != self.token.refresh_token()
    }

    /// What is to take the place of `stored`, in which others may have changed what is not issued.
    pub(crate) fn over(&self, stored: &OAuthToken) -> OAuthToken {
        let Self { token: ours, expected, .. } = self;
        let (Some(access_token), Some(end)) = (ours.access_token(), ours.expiry_time()) else {
            return ours.clone();
        };
        let mut token = stored.clone().with_access_token(access_token.clone(), end);
        if let Some(refresh_token) = ours.refresh_token() {
            token = token.with_refresh_token(refresh_token.clone());
        }
        match ours.api_domain().filter(|ours| expected.api_domain() != Some(ours)) {
            Some(ours) => token.clone().with_api_domain(ours).unwrap_or(token),
            None => token,
        }
    }

    /// The grant that it was issued to, as far as the store knows.
    pub(crate) fn grant(&self) -> Option<Fingerprint> {
        Fingerprint::of_grant(&self.expected)
    }
}

/// Whether both are renewed with the same secret.
pub(crate) fn same_grant(a: &OAuthToken, b: &OAuthToken) -> bool {
    a.refresh_token() == b.refresh_token()
        && (a.refresh_token().is_some() || a.grant_token() == b.grant_token())
}
