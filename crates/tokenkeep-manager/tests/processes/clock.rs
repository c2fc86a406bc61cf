//! The machine's clock, some hours ahead.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokenkeep_core::{Clock, SystemClock, Timestamp};

/// The machine's clock, set forward by some time: it runs, and hours pass when it is told so.
#[derive(Debug, Default)]
pub(crate) struct AheadClock(AtomicI64);

impl AheadClock {
    pub(crate) fn new(millis: i64) -> Self {
        Self(AtomicI64::new(millis))
    }

    /// How far it is ahead, in milliseconds.
    pub(crate) fn ahead(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn set_ahead(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for AheadClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.ahead())
    }
}
