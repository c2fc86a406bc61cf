//! [`ProviderRules`]: what a provider allows those who refresh, as data.

use std::time::Duration;

use crate::{THROTTLE_WINDOW, reply::DEFAULT_LIFETIME};

/// What a provider allows a client that refreshes tokens: how often, whether the same refresh token
/// may be sent twice, and how long an access token lives.
///
/// ```
/// use std::time::Duration;
/// use tokenkeep_oauth::{Budget, ProviderRules, Replay};
///
/// let zoho = ProviderRules::zoho();
/// assert_eq!(zoho.budget, Some(Budget::new(10, Duration::from_secs(600))));
/// assert_eq!(zoho.replay, Replay::Always);
///
/// let rotating = ProviderRules::generic().with_replay(Replay::Within(Duration::from_secs(30)));
/// assert!(rotating.replay.allows(Duration::from_secs(29)));
/// assert!(!rotating.replay.allows(Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProviderRules {
    /// How many access tokens one refresh token may mint; `None` if the provider names no limit.
    pub budget: Option<Budget>,
    /// Whether a refresh may be sent again when its answer was lost.
    pub replay: Replay,
    /// How long an access token lives where the answer does not say. RFC 6749, section 5.1, lets a
    /// server leave `expires_in` out if it documents the life elsewhere.
    pub default_lifetime: Duration,
}

/// So many refreshes of one refresh token in any stretch of time of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a rate is a number and a time")]
pub struct Budget {
    /// How many.
    pub refreshes: u32,
    /// In how long.
    pub window: Duration,
}

impl Budget {
    /// `refreshes` in each `window`.
    #[must_use]
    pub const fn new(refreshes: u32, window: Duration) -> Self {
        Self { refreshes, window }
    }
}

/// What happens to a refresh token that is sent a second time.
///
/// This decides what is to be done when the answer to a refresh was lost: with a crash, a
/// broken connection, or an error that [may have been applied](crate::OAuthError::maybe_applied).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "always, for a while, or never")]
pub enum Replay {
    /// The provider does not rotate: the same refresh token may be sent again at any time.
    Always,
    /// The provider rotates, and for this long after its first use a refresh token gets the answer
    /// of that use again.
    ///
    /// RFC 9700 knows no such window; providers that rotate have it for clients whose answers get
    /// lost, and document its length.
    Within(Duration),
    /// The provider rotates, and takes a second use for that of a thief.
    ///
    /// RFC 9700, section 4.14.2: a server that sees a rotated refresh token again cannot tell the
    /// thief from the client, and revokes the one that is active, which ends the grant.
    Never,
}

impl Replay {
    /// Whether a refresh token may be sent again this long after it was first sent.
    #[must_use]
    pub fn allows(self, since_first_use: Duration) -> bool {
        match self {
            Self::Always => true,
            Self::Within(grace) => since_first_use < grace,
            Self::Never => false,
        }
    }

    /// Whether the provider answers a refresh with a new refresh token.
    #[must_use]
    pub const fn rotates(self) -> bool {
        !matches!(self, Self::Always)
    }
}

impl ProviderRules {
    /// Zoho's.
    ///
    /// - Ten access tokens in ten minutes for each refresh token. (CRM v8 documentation, page
    ///   "Token validity"; Kaizen #43.) Whoever asks more often is refused with `Access Denied`,
    ///   and asking again meanwhile prolongs it.
    /// - No rotation: refresh tokens do not expire (the same page), none is documented in the answer
    ///   to a refresh, and all of Zoho's SDKs send the same one each time.
    /// - An access token lives for an hour (the same page). Answers have been seen without
    ///   `expires_in`.
    #[must_use]
    pub const fn zoho() -> Self {
        Self {
            budget: Some(Budget::new(10, THROTTLE_WINDOW)),
            replay: Replay::Always,
            default_lifetime: DEFAULT_LIFETIME,
        }
    }

    /// Those of a provider of which nothing is known: no limit, and what is safe with any.
    ///
    /// RFC 6749, section 6, lets any server answer a refresh with a new refresh token and revoke the
    /// old one, and RFC 9700, section 2.2.2, has public clients' tokens rotate. So a refresh token
    /// is not sent twice. An access token lives for an hour where the answer does not say.
    #[must_use]
    pub const fn generic() -> Self {
        Self { budget: None, replay: Replay::Never, default_lifetime: DEFAULT_LIFETIME }
    }

    /// With this limit; `None` for no limit.
    #[must_use]
    pub const fn with_budget(mut self, budget: Option<Budget>) -> Self {
        self.budget = budget;
        self
    }

    /// With this rule for a second use.
    #[must_use]
    pub const fn with_replay(mut self, replay: Replay) -> Self {
        self.replay = replay;
        self
    }

    /// With this life of an access token, where the answer does not say.
    #[must_use]
    pub const fn with_default_lifetime(mut self, lifetime: Duration) -> Self {
        self.default_lifetime = lifetime;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_zoho_are_those_it_documents() {
        let zoho = ProviderRules::zoho();
        let Budget { refreshes, window } = zoho.budget.unwrap();
        assert_eq!((refreshes, window.as_secs()), (10, 600));
        assert!(!zoho.replay.rotates() && zoho.replay.allows(Duration::MAX));
        assert_eq!(zoho.default_lifetime.as_secs(), 3600);
    }

    #[test]
    fn what_is_not_known_is_not_replayed() {
        let generic = ProviderRules::generic();
        assert_eq!(generic.budget, None);
        assert!(generic.replay.rotates() && !generic.replay.allows(Duration::ZERO));
    }

    #[test]
    fn each_rule_can_be_another() {
        let budget = Some(Budget::new(1, Duration::from_secs(2)));
        let rules = ProviderRules::generic()
            .with_budget(budget)
            .with_replay(Replay::Within(Duration::from_secs(3)))
            .with_default_lifetime(Duration::from_secs(4));
        assert_eq!(rules.budget, budget);
        assert!(rules.replay.rotates() && rules.replay.allows(Duration::from_millis(2999)));
        assert!(!rules.replay.allows(Duration::from_secs(3)), "the grace is over");
        assert_eq!(rules.default_lifetime.as_secs(), 4);
    }
}
