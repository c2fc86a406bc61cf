//! The machine's clock, moved ahead.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokenkeep_core::{Clock, SystemClock, Timestamp};

/// Costs what the machine's clock costs, and need not be waited for.
#[derive(Debug, Default)]
pub(crate) struct Ahead(AtomicI64);

impl Ahead {
    pub(crate) fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        // One thread moves it: a load and a store cost less than an addition.
        self.0.store(self.0.load(Ordering::Relaxed) + millis, Ordering::Relaxed);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_millis();
        Timestamp::from_millis(now + self.0.load(Ordering::Relaxed))
    }
}
