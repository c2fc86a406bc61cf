//! What the rounds add up to.

use std::time::Duration;

use tokio::time::Instant;

/// What the rounds add up to.
pub(crate) struct Figures {
    began: Instant,
    seed: u64,
    /// Refreshes that minted a token.
    pub(crate) granted: u64,
    /// Refreshes that got the reply of an earlier one again.
    pub(crate) replayed: u64,
    /// Rounds that cost two refreshes, because the answer to one was lost with its process.
    pub(crate) twice: u64,
    /// Kills of a process whose request had been sent, and whose callers had no answer yet.
    pub(crate) killed_while_asking: u64,
    /// Kills of a process whose callers had no answer yet.
    pub(crate) killed_before_the_end: u64,
    pub(crate) slowest_ms: u64,
}

impl Figures {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            began: Instant::now(),
            seed,
            granted: 0,
            replayed: 0,
            twice: 0,
            killed_while_asking: 0,
            killed_before_the_end: 0,
            slowest_ms: 0,
        }
    }

    /// One line: `cargo xtask soak` puts it into its table.
    pub(crate) fn show(&self, what: &str, rounds: u64) {
        let Self { seed, granted, replayed, twice, slowest_ms, .. } = self;
        let (while_asking, before_the_end) = (self.killed_while_asking, self.killed_before_the_end);
        let slowest = Duration::from_millis(*slowest_ms).as_secs_f64();
        let took = self.began.elapsed().as_secs_f64();
        println!(
            "figures: {what}: {rounds} rounds, {granted} granted ({twice} rounds with two), \
             {replayed} replayed, killed before the end {before_the_end}, while asking \
             {while_asking}, longest wait {slowest:.1} s, {took:.0} s, seed {seed:#018x}"
        );
    }
}
