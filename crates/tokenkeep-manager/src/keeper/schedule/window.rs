//! [`Window`]: between when and when a renewal is wanted.

use std::time::Duration;

use tokenkeep_core::Timestamp;

/// How a [`Schedule`](super::Schedule) plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// How long before its end a token is to be renewed at the latest.
    pub(crate) margin: Duration,
    /// How long after a renewal the next one comes at the soonest, whatever lifetime the server
    /// gave. Without it a token that is born expired would be renewed without end.
    pub(crate) pause: Duration,
    /// Makes the moments of one host differ from those of another.
    pub(crate) seed: u64,
}

impl Settings {
    /// A margin of a minute, a pause of ten seconds, and this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { margin: Duration::from_secs(60), pause: Duration::from_secs(10), seed }
    }

    /// When to renew a token that was found in a store. When it was issued is not known, so its
    /// first renewal here may come at once: that is what levels tokens that end all together.
    pub(crate) fn found(&self, now: Timestamp, ends: Timestamp) -> Window {
        Window { earliest: now, latest: ends.minus(self.margin) }
    }

    /// When to renew a token that has just been renewed: not before half of its life, and not
    /// after the margin begins unless that is sooner.
    pub(crate) fn renewed(&self, now: Timestamp, ends: Timestamp) -> Window {
        let half = now.until(ends) / 2;
        let soonest = now.plus(self.pause);
        let earliest = now.plus(half).max(soonest);
        Window { earliest, latest: ends.minus(self.margin).max(earliest) }
    }
}

/// Between when and when a renewal is wanted.
///
/// If it ends before it begins, its end counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Before this, a renewal is wasted.
    pub(crate) earliest: Timestamp,
    /// After this, the token may end before its renewal is done.
    pub(crate) latest: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000 + 1000 * seconds)
    }

    fn window(earliest: i64, latest: i64) -> Window {
        Window { earliest: at(earliest), latest: at(latest) }
    }

    #[test]
    fn a_renewed_token_has_the_second_half_of_its_life_but_for_the_margin() {
        let settings = Settings::new(0);
        assert_eq!(settings.renewed(at(0), at(3600)), window(1800, 3540));
        assert_eq!(settings.renewed(at(0), at(80)), window(40, 40));
    }

    #[test]
    fn a_token_that_is_born_expired_is_not_renewed_without_a_pause() {
        let settings = Settings::new(0);
        assert_eq!(settings.renewed(at(0), at(-5)), window(10, 10));
        assert_eq!(settings.renewed(at(0), at(1)), window(10, 10));
    }

    #[test]
    fn a_token_of_unknown_age_may_be_renewed_at_once() {
        let settings = Settings::new(0);
        assert_eq!(settings.found(at(0), at(3600)), window(0, 3540));
        assert_eq!(settings.found(at(0), at(30)), window(0, -30));
    }

    #[test]
    fn an_absurd_lifetime_is_a_far_date() {
        let end = Timestamp::from_millis(i64::MAX);
        let window = Settings::new(0).renewed(at(0), end);
        assert!(at(0) < window.earliest && window.earliest < window.latest, "{window:?}");
    }
}
