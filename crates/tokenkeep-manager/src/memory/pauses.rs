//! When a token may be asked for again: after failures, and when the API refuses what is issued.

use std::time::Duration;

use tokenkeep_core::{AccessToken, Timestamp};

use crate::{ManagerError, ManagerErrorKind};

/// The first pause after a refresh that failed; it doubles with each one that fails after it.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How soon an early refresh that failed is tried again; it doubles.
const EARLY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How often the API may refuse tokens that were just issued before no more are asked for.
const STRIKES: u32 = 3;

/// For how long then, at first; it doubles.
const STRIKE_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_STRIKE_PAUSE: Duration = Duration::from_secs(600);

/// Until when nobody asks for a token, and why.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    pause: Option<Pause>,
    early: Option<PutOff>,
    strikes: Strikes,
}

/// No early refresh is begun before it is over.
#[derive(Clone, Copy, Debug)]
struct PutOff {
    failures: u32,
    from: Timestamp,
    until: Timestamp,
}

/// After a failure: who asks before it is over gets the same answer.
#[derive(Clone, Debug)]
struct Pause {
    error: ManagerError,
    failures: u32,
    from: Timestamp,
    until: Timestamp,
}

/// Tokens that the API refused soon after they were issued.
#[derive(Debug, Default)]
struct Strikes {
    count: u32,
    last: Option<AccessToken>,
    from: Timestamp,
    until: Timestamp,
}

impl Pauses {
    /// Why nobody asks for now, if so.
    pub(crate) fn pause(&self, now: Timestamp) -> Option<ManagerError> {
        let pause = self.pause.as_ref()?;
        // Before it began: the clock was set back, and nothing is known of how long it is.
        (pause.from <= now && now < pause.until).then(|| pause.error.clone())
    }

    /// After a refresh that failed: a pause that gets longer each time.
    pub(crate) fn failed(&mut self, error: &ManagerError, now: Timestamp) {
        if !pauses(error.kind()) {
            return;
        }
        let failures = self.pause.as_ref().map_or(0, |pause| pause.failures) + 1;
        let until = now.plus(doubled(PAUSE, failures));
        let error = error.clone();
        self.pause = Some(Pause { error, failures, from: now, until });
    }

    /// After one that did not.
    pub(crate) fn succeeded(&mut self) {
        self.pause = None;
        self.early = None;
    }

    /// After an early one that failed, while the present token still works.
    pub(crate) fn put_off(&mut self, error: &ManagerError, now: Timestamp) {
        let failures = self.early.map_or(0, |early| early.failures) + 1;
        let soon = now.plus(doubled(EARLY_AGAIN_AFTER, failures));
        let until = if error.kind() == ManagerErrorKind::NeedsLogin {
            now.plus(LONGEST_PAUSE)
        } else {
            error.retry_at().unwrap_or(soon).max(soon)
        };
        self.early = Some(PutOff { failures, from: now, until });
    }

    /// Whether it is too soon for an early refresh.
    pub(crate) fn is_put_off(&self, now: Timestamp) -> bool {
        self.pause(now).is_some()
            || self.early.is_some_and(|early| early.from <= now && now < early.until)
    }

    /// The API has refused `rejected`, which was issued then and would have expired then: an error
    /// if that happens to one token after another, so that no more are asked for.
    pub(crate) fn strike(
        &mut self,
        rejected: &AccessToken,
        life: Option<(Timestamp, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let strikes = &mut self.strikes;
        let known = strikes.last.as_ref() == Some(rejected);
        // Of one that is not in memory any more, nothing is concluded.
        if let Some((issued_at, expires_at)) = life.filter(|_| !known) {
            let young = issued_at <= now && issued_at.until(now) < issued_at.until(expires_at) / 2;
            strikes.last = Some(rejected.clone());
            strikes.count = if young { strikes.count + 1 } else { 0 };
            if strikes.count >= STRIKES {
                let doubled = STRIKE_PAUSE.saturating_mul(1 << (strikes.count - STRIKES).min(8));
                strikes.from = now;
                strikes.until = now.plus(doubled.min(LONGEST_STRIKE_PAUSE));
            }
        }
        let paused = strikes.count >= STRIKES && strikes.from <= now && now < strikes.until;
        if paused { Err(strikes.until) } else { Ok(()) }
    }

    /// Whether it has anything that the next one who asks has to know.
    pub(super) fn is_of_use(&self, now: Timestamp) -> bool {
        self.pause(now).is_some() || self.strikes.count > 0
    }
}

/// The pause after so many failures.
fn doubled(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE)
}

/// Whether asking the provider again at once can only fail again. What needs a login, and what is
/// throttled, is in the token's state; the rest is asked of the store alone.
fn pauses(kind: ManagerErrorKind) -> bool {
    match kind {
        ManagerErrorKind::Network
        | ManagerErrorKind::Provider
        | ManagerErrorKind::Scope
        | ManagerErrorKind::WrongClient => true,
        ManagerErrorKind::Invalid
        | ManagerErrorKind::NeedsLogin
        | ManagerErrorKind::NoToken
        | ManagerErrorKind::Rejected
        | ManagerErrorKind::Stopped
        | ManagerErrorKind::Store
        | ManagerErrorKind::Throttled
        | ManagerErrorKind::Timeout => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn token(n: u32) -> AccessToken {
        AccessToken::new(format!("test-access-{n}")).unwrap()
    }

    #[test]
    fn pauses_get_longer_and_end_with_a_success() {
        let network = ManagerError::new(ManagerErrorKind::Network, "test");
        let mut pauses = Pauses::default();
        let mut now = NOW;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            pauses.failed(&network, now);
            let end = now.plus(Duration::from_secs(seconds));
            let last = end.minus(Duration::from_millis(1));
            assert_eq!(pauses.pause(last).unwrap().kind(), ManagerErrorKind::Network);
            assert!(pauses.pause(end).is_none(), "{seconds}");
            now = end;
        }
        for seconds in [5, 10, 20, 40, 60, 60] {
            pauses.put_off(&network, now);
            let end = now.plus(Duration::from_secs(seconds));
            assert!(pauses.is_put_off(end.minus(Duration::from_millis(1))));
            assert!(!pauses.is_put_off(end), "{seconds}");
            now = end;
        }
        pauses.failed(&network, now);
        assert!(pauses.pause(now.minus(MINUTE)).is_none(), "the clock was set back");
        pauses.succeeded();
        assert!(pauses.pause(now).is_none());
        pauses.failed(&ManagerError::new(ManagerErrorKind::NoToken, "test"), now);
        assert!(pauses.pause(now).is_none());
    }

    #[test]
    fn an_api_that_refuses_all_tokens_is_not_given_one_after_another() {
        let mut pauses = Pauses::default();
        let mut now = NOW;
        let mut strike = |n, now: Timestamp| {
            let life = Some((now.minus(Duration::from_secs(1)), now.plus(60 * MINUTE)));
            pauses.strike(&token(n), life, now)
        };
        assert_eq!(strike(1, now), Ok(()));
        // Many tasks with one token are one strike.
        assert_eq!(strike(1, now), Ok(()));
        assert_eq!(strike(2, now), Ok(()));
        for (n, minutes) in [(3, 1), (4, 2), (5, 4), (6, 8), (7, 10), (8, 10)] {
            let until = now.plus(MINUTE * minutes);
            assert_eq!(strike(n, now), Err(until));
            assert_eq!(strike(n, now), Err(until));
            assert_eq!(strike(n, until), Ok(()));
            now = until;
        }
        // What comes late says nothing.
        let until = now.plus(MINUTE);
        assert_eq!(strike(9, now), Err(now.plus(10 * MINUTE)));
        assert_eq!(pauses.strike(&token(1), None, until), Err(now.plus(10 * MINUTE)));
        let now = now.plus(10 * MINUTE);
        // One that has lived for most of its time was ended for another reason.
        let life = Some((now.minus(40 * MINUTE), now.plus(20 * MINUTE)));
        assert_eq!(pauses.strike(&token(10), life, now), Ok(()));
        assert_eq!(pauses.strike(&token(11), Some((now, now.plus(MINUTE))), now), Ok(()));
    }
}
