use std::time::Duration;

use tokenkeep_core::{AccessToken, Timestamp, TokenId};

/// An access token that can be used now, and where.
#[derive(Clone, Debug)]
pub struct LiveToken {
    pub(crate) id: TokenId,
    pub(crate) access_token: AccessToken,
    pub(crate) api_domain: String,
    pub(crate) expires_at: Timestamp,
    pub(crate) renew_at: Timestamp,
    pub(crate) saved: bool,
}

impl LiveToken {
    /// The store's name for the token.
    #[must_use]
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What to authorise an API call with.
    #[must_use]
    pub fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    /// Where API calls with it go: an origin such as `https://www.zohoapis.eu`, no trailing slash.
    #[must_use]
    pub fn api_domain(&self) -> &str {
        &self.api_domain
    }

    /// When the provider will refuse it.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whether it is in the store. `false` after a save that failed for good: the token is used,
    /// kept in memory, and saved at the next opportunity.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saved
    }

    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.renew_at
    }

    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

/// When to renew a token that expires at `expires_at`: `margin` earlier, but not in the first half
/// of its life.
///
/// `issued_at` is when it was issued, where that is known.
pub(crate) fn renew_at(
    expires_at: Timestamp,
    issued_at: Option<Timestamp>,
    margin: Duration,
) -> Timestamp {
    let half_life = issued_at
        .map(|issued| issued.until(expires_at) / 2)
        .filter(|half| !half.is_zero())
        .unwrap_or(margin);
    expires_at.minus(margin.min(half_life))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGIN: Duration = Duration::from_secs(60);

    #[test]
    fn the_margin_is_kept_and_capped_at_half_the_life() {
        let expiry = Timestamp::from_millis(3_600_000);
        let issued = |ms| Some(Timestamp::from_millis(ms));
        assert_eq!(renew_at(expiry, issued(0), MARGIN), expiry.minus(MARGIN));
        assert_eq!(renew_at(expiry, None, MARGIN), expiry.minus(MARGIN));
        assert_eq!(
            renew_at(expiry, issued(3_590_000), MARGIN),
            expiry.minus(Duration::from_secs(5))
        );
        // A clock that was set back, or a state that is newer than the token: the plain margin.
        assert_eq!(renew_at(expiry, issued(9_999_999), MARGIN), expiry.minus(MARGIN));
    }
}
