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
        let latest = ends.minus(self.margin);
        Window { earliest: now, latest, renewed: Renewed::Unknown }
    }

    /// When to renew a token that has just been renewed here: not before half of its life, and not
    /// after the margin begins unless that is sooner.
    pub(crate) fn renewed(&self, now: Timestamp, ends: Timestamp) -> Window {
        let half = now.until(ends) / 2;
        let soonest = now.plus(self.pause);
        let earliest = now.plus(half).max(soonest);
        let latest = ends.minus(self.margin).max(earliest);
        Window { earliest, latest, renewed: Renewed::Here(now) }
    }

    /// When to renew a token that another host renewed at `issued`, if that one does not.
    pub(crate) fn renewed_elsewhere(
        &self,
        issued: Timestamp,
        ends: Timestamp,
        now: Timestamp,
    ) -> Window {
        let Window { earliest, latest, .. } = self.renewed(issued, ends);
        Window { earliest: earliest.max(now), latest, renewed: Renewed::Elsewhere(issued) }
    }

    /// For how many seconds, at the end of a window, a token is left to other hosts than the one
    /// that renewed it last: a quarter of the margin.
    pub(super) fn stand_back(&self) -> u32 {
        u32::try_from(self.margin.as_secs() / 4).unwrap_or(u32::MAX)
    }

    /// How many of these seconds nobody comes in: the first, so that a renewal that has begun is
    /// done, and the last, so that none is begun too late.
    pub(super) fn gap(&self) -> u32 {
        self.stand_back() / 8
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
    pub(crate) renewed: Renewed,
}

/// Who renewed a token last, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// Nobody knows: an SDK has left it, or a login.
    Unknown,
    Here(Timestamp),
    Elsewhere(Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000 + 1000 * seconds)
    }

    fn window(earliest: i64, latest: i64, renewed: Renewed) -> Window {
        Window { earliest: at(earliest), latest: at(latest), renewed }
    }

    #[test]
    fn a_renewed_token_has_the_second_half_of_its_life_but_for_the_margin() {
        let (settings, here) = (Settings::new(0), Renewed::Here(at(0)));
        assert_eq!(settings.renewed(at(0), at(3600)), window(1800, 3540, here));
        assert_eq!(settings.renewed(at(0), at(80)), window(40, 40, here));
    }

    #[test]
    fn a_token_that_is_born_expired_is_not_renewed_without_a_pause() {
        let (settings, here) = (Settings::new(0), Renewed::Here(at(0)));
        assert_eq!(settings.renewed(at(0), at(-5)), window(10, 10, here));
        assert_eq!(settings.renewed(at(0), at(1)), window(10, 10, here));
    }

    #[test]
    fn a_token_of_unknown_age_may_be_renewed_at_once() {
        let settings = Settings::new(0);
        assert_eq!(settings.found(at(0), at(3600)), window(0, 3540, Renewed::Unknown));
        assert_eq!(settings.found(at(0), at(30)), window(0, -30, Renewed::Unknown));
    }

    #[test]
    fn a_token_of_another_host_has_the_same_window_from_now_on() {
        let (settings, elsewhere) = (Settings::new(0), Renewed::Elsewhere(at(0)));
        for (now, earliest) in [(100, 1800), (2000, 2000)] {
            let found = settings.renewed_elsewhere(at(0), at(3600), at(now));
            assert_eq!(found, window(earliest, 3540, elsewhere));
        }
    }

    #[test]
    fn an_absurd_lifetime_is_a_far_date() {
        let end = Timestamp::from_millis(i64::MAX);
        let window = Settings::new(0).renewed(at(0), end);
        assert!(at(0) < window.earliest && window.earliest < window.latest, "{window:?}");
    }
}
