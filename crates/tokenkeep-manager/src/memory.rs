//! What a manager remembers of a token beyond the live one, for as long as it is of use: what
//! could not be saved, and when it may be asked for again.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokenkeep_core::{AccessToken, Fingerprint, OAuthToken, Timestamp, TokenState};

use crate::{ManagerError, ManagerErrorKind, flight::Flight, metrics::Share, subject::Subject};

/// For how long requests are remembered where the store does not: longer than Zoho counts them.
const REMEMBERED: Duration = Duration::from_secs(3600);

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

/// One token's memory. It outlives the handles: what is not stored yet has no other place.
pub(crate) struct Memory {
    /// Held by who refreshes or saves, so that what one saves is not what another one is
    /// replacing.
    pub(crate) work: tokio::sync::Mutex<()>,
    /// Saves what could not be saved, again and again.
    pub(crate) saver: Flight<()>,
    contents: Mutex<Contents>,
    used_at: AtomicI64,
}

#[derive(Debug, Default)]
pub(crate) struct Contents {
    subject: Subject,
    /// Issued and not stored yet, and counted as such.
    unsaved: Option<Box<(Unsaved, Share)>>,
    /// What is known of the token, where the store does not keep that.
    pub(crate) state: Option<Box<TokenState>>,
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

impl Memory {
    /// That of the token which is stored as `token` now.
    pub(crate) fn of(token: &OAuthToken) -> Self {
        let contents = Contents { subject: Subject::of(token), ..Contents::default() };
        Self {
            work: tokio::sync::Mutex::new(()),
            saver: Flight::new(),
            contents: Mutex::new(contents),
            used_at: AtomicI64::new(i64::MIN),
        }
    }

    /// Whether `token` is the one that this is the memory of, and not one of somebody else under
    /// the same id.
    pub(crate) fn is_of(&self, token: &OAuthToken) -> bool {
        self.contents().subject.claim(token)
    }

    /// Notes that somebody asks for the token.
    pub(crate) fn touch(&self, now: Timestamp) {
        self.used_at.store(now.as_millis(), Ordering::Relaxed);
    }

    /// When somebody last asked for the token, up to the time between two looks; the beginning of
    /// time if nobody has.
    pub(crate) fn used_at(&self) -> Timestamp {
        Timestamp::from_millis(self.used_at.load(Ordering::Relaxed))
    }

    pub(crate) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has anything that nobody else has.
    pub(crate) fn is_of_use(&self, now: Timestamp) -> bool {
        let contents = self.contents();
        contents.unsaved.is_some()
            || contents.state.as_ref().is_some_and(|state| counts(state, now))
            || contents.pause(now).is_some()
            || contents.strikes.count > 0
    }

    pub(crate) fn unsaved(&self) -> Option<Unsaved> {
        self.contents().unsaved.as_ref().map(|it| it.0.clone())
    }

    /// Keeps what is not stored yet, in the place of what it was.
    pub(crate) fn keep(&self, unsaved: Unsaved) {
        self.contents().unsaved = Some(Box::new((unsaved, Share::of_unsaved())));
    }

    /// Forgets it.
    pub(crate) fn forget_unsaved(&self) {
        self.contents().unsaved = None;
    }
}

impl Contents {
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
}

/// Whether what is known of a token keeps anybody from asking for it.
fn counts(state: &TokenState, now: Timestamp) -> bool {
    let lately = |at: &Timestamp| at.until(now) < REMEMBERED && now.until(*at) < REMEMBERED;
    state.refused.is_some()
        || state.in_flight.is_some()
        || state.throttled_until.is_some_and(|until| now < until)
        || state.asked_at.iter().any(lately)
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
        let mut contents = Contents::default();
        let mut now = NOW;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            contents.failed(&network, now);
            let end = now.plus(Duration::from_secs(seconds));
            let last = end.minus(Duration::from_millis(1));
            assert_eq!(contents.pause(last).unwrap().kind(), ManagerErrorKind::Network);
            assert!(contents.pause(end).is_none(), "{seconds}");
            now = end;
        }
        for seconds in [5, 10, 20, 40, 60, 60] {
            contents.put_off(&network, now);
            let end = now.plus(Duration::from_secs(seconds));
            assert!(contents.is_put_off(end.minus(Duration::from_millis(1))));
            assert!(!contents.is_put_off(end), "{seconds}");
            now = end;
        }
        contents.failed(&network, now);
        assert!(contents.pause(now.minus(MINUTE)).is_none(), "the clock was set back");
        contents.succeeded();
        assert!(contents.pause(now).is_none());
        contents.failed(&ManagerError::new(ManagerErrorKind::NoToken, "test"), now);
        assert!(contents.pause(now).is_none());
    }

    #[test]
    fn an_api_that_refuses_all_tokens_is_not_given_one_after_another() {
        let mut contents = Contents::default();
        let mut now = NOW;
        let mut strike = |n, now: Timestamp| {
            let life = Some((now.minus(Duration::from_secs(1)), now.plus(60 * MINUTE)));
            contents.strike(&token(n), life, now)
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
        assert_eq!(contents.strike(&token(1), None, until), Err(now.plus(10 * MINUTE)));
        let now = now.plus(10 * MINUTE);
        // One that has lived for most of its time was ended for another reason.
        let life = Some((now.minus(40 * MINUTE), now.plus(20 * MINUTE)));
        assert_eq!(contents.strike(&token(10), life, now), Ok(()));
        assert_eq!(contents.strike(&token(11), Some((now, now.plus(MINUTE))), now), Ok(()));
    }
}
