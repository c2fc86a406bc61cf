//! When a token is renewed, before its end.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tokenkeep_core::{Timestamp, TokenId};

/// When tokens are renewed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    /// How long before its end a token is renewed.
    pub(crate) margin: Duration,
    /// How much earlier still, between 0 and 1 margin: another share for each token and process.
    pub(crate) share: f64,
}

impl Freshness {
    /// That of the token `id` in the process that calls itself `holder`.
    pub(crate) fn new(margin: Duration, id: &TokenId, holder: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (id.as_str(), holder).hash(&mut hasher);
        // 53 bits are what a float can hold.
        let share = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
        Self { margin, share }
    }

    /// When to renew a token that expires at `expires_at`: a margin earlier, and up to another one
    /// or a tenth of its life, whichever is less, so that many tokens and processes do not come at
    /// the same moment; but not in the first half of its life.
    ///
    /// `issued_at` is when it was issued, where that is known.
    pub(crate) fn renew_at(self, expires_at: Timestamp, issued_at: Option<Timestamp>) -> Timestamp {
        let life = issued_at.map(|issued| issued.until(expires_at)).filter(|life| !life.is_zero());
        let spread = life.map_or(self.margin, |life| self.margin.min(life / 10));
        let early = self.margin + spread.mul_f64(self.share);
        expires_at.minus(life.map_or(early, |life| early.min(life / 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGIN: Duration = Duration::from_secs(60);
    const EXPIRY: Timestamp = Timestamp::from_millis(3_600_000);

    fn renew_at(share: f64, issued_ms: Option<i64>) -> Timestamp {
        let freshness = Freshness { margin: MARGIN, share };
        freshness.renew_at(EXPIRY, issued_ms.map(Timestamp::from_millis))
    }

    #[test]
    fn the_margin_is_kept_and_capped_at_half_the_life() {
        assert_eq!(renew_at(0.0, Some(0)), EXPIRY.minus(MARGIN));
        assert_eq!(renew_at(0.0, None), EXPIRY.minus(MARGIN));
        for share in [0.0, 0.99] {
            let half = EXPIRY.minus(Duration::from_secs(5));
            assert_eq!(renew_at(share, Some(3_590_000)), half);
        }
        // A clock that was set back, or a state that is newer than the token: the plain margin.
        assert_eq!(renew_at(0.0, Some(9_999_999)), EXPIRY.minus(MARGIN));
    }

    #[test]
    fn what_is_spread_stays_within_a_margin_and_a_tenth_of_the_life() {
        assert_eq!(renew_at(0.5, Some(0)), EXPIRY.minus(Duration::from_secs(90)));
        // Five minutes of life: at most half a minute.
        let short = renew_at(1.0, Some(3_300_000));
        assert_eq!(short, EXPIRY.minus(Duration::from_secs(90)));
    }

    #[test]
    fn each_token_and_each_process_has_its_own_share() {
        let share = |id, holder| Freshness::new(MARGIN, &TokenId::from_number(id), holder).share;
        let shares: Vec<_> = (1..=100).map(|id| share(id, "a")).collect();
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        assert!(shares.iter().any(|share| *share < 0.2) && shares.iter().any(|share| *share > 0.8));
        assert_ne!(share(1, "a"), share(1, "b"));
        assert_eq!(share(1, "a"), share(1, "a"));
    }
}
