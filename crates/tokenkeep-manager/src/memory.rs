//! What a manager remembers of a token beyond the live one, for as long as it is of use: what
//! could not be saved, and when it may be asked for again.

mod pauses;
mod unsaved;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokenkeep_core::{OAuthToken, Timestamp, TokenState};

use self::pauses::Pauses;
pub(crate) use self::unsaved::{Unsaved, same_grant};
use crate::{flight::Flight, metrics::Share, subject::Subject};

/// For how long requests are remembered where the store does not: longer than Zoho counts them.
const REMEMBERED: Duration = Duration::from_secs(3600);

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
    pub(crate) pauses: Pauses,
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
            || contents.pauses.is_of_use(now)
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

/// Whether what is known of a token keeps anybody from asking for it.
fn counts(state: &TokenState, now: Timestamp) -> bool {
    let lately = |at: &Timestamp| at.until(now) < REMEMBERED && now.until(*at) < REMEMBERED;
    state.refused.is_some()
        || state.in_flight.is_some()
        || state.throttled_until.is_some_and(|until| now < until)
        || state.asked_at.iter().any(lately)
}
