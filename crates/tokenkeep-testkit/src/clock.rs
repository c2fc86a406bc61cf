//! [`ManualClock`]: a clock that stands still until a test moves it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokenkeep_core::{Clock, Timestamp};

/// A clock that stands still until it is moved by hand.
///
/// Share it as `Arc<ManualClock>`: whoever was given it sees it move.
///
/// ```
/// use std::time::Duration;
/// use tokenkeep_core::Clock;
/// use tokenkeep_testkit::ManualClock;
///
/// let clock = ManualClock::default();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(before.until(clock.now()), Duration::from_secs(3600));
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_millis()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.change(|now| now.plus(by));
    }

    /// Moves the clock backward, as somebody who sets the machine's clock does.
    pub fn go_back(&self, by: Duration) {
        self.change(|now| now.minus(by));
    }

    /// Sets the clock.
    pub fn set(&self, now: Timestamp) {
        self.change(|_before| now);
    }

    fn change(&self, to: impl Fn(Timestamp) -> Timestamp) {
        let next = |now| Some(to(Timestamp::from_millis(now)).as_millis());
        // The closure always answers, so the update cannot fail.
        let (Ok(_before) | Err(_before)) =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }
}

/// Shows 2025-11-24 16:00 UTC, the moment most tests begin at.
impl Default for ManualClock {
    fn default() -> Self {
        Self::new(Timestamp::from_millis(1_764_000_000_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
