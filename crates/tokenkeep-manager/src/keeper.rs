//! Keeps many tokens fresh in the background.

mod plan;
mod schedule;
#[cfg(test)]
mod simulated_fleet;
mod task;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

pub(crate) use self::task::Published;
use crate::{ManagerError, ManagerErrorKind, TokenManager};

/// Keeps a set of users' tokens fresh in the background, so that nobody who asks for one waits.
///
/// It is made by [`TokenManager::keeper`], and works until it is [stopped](Self::stop) or dropped.
///
/// # Guarantees
///
/// - A token is renewed before its end, however many there are and however many of them end at the
///   same moment: their renewals are spread over the second half of their lives.
/// - Several keepers, in one process or in many, share the work: who renewed a token last goes on
///   with it; the others come to it a little later, within its window, and take note, or take it
///   over if that one is gone. What all of them renew is as level as what one would. They need not
///   be told of each other.
/// - Looking through the store holds up no renewal.
/// - It obeys the provider's budget, and leaves a part of it to those who ask.
/// - What it does at a moment costs as much as is due then, not as much as is kept.
///
/// ```no_run
/// use std::time::Duration;
/// use tokenkeep_core::ListStore;
/// use tokenkeep_manager::TokenManager;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = TokenManager::builder(ListStore::new()).build()?;
/// let keeper = manager.keeper().used_within(Duration::from_secs(24 * 3600)).start()?;
/// // … and when the program ends:
/// println!("{} renewed", keeper.stop().await.refreshed);
/// # Ok(())
/// # }
/// ```
#[must_use = "a keeper that is dropped stops"]
pub struct Keeper {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    counters: Arc<Counters>,
}

/// What a [`Keeper`] is to do.
#[derive(Clone)]
#[must_use]
pub struct KeeperBuilder {
    manager: TokenManager,
    keep: Keep,
    margin: Duration,
    concurrency: usize,
    scan_every: Duration,
}

/// Which tokens are kept.
#[derive(Clone, Copy, Debug)]
enum Keep {
    /// All that are in the store.
    All,
    /// Those that this manager was asked for, for so long after it was.
    UsedWithin(Duration),
}

/// What a [`Keeper`] has to do and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeeperStatus {
    /// Tokens that it keeps.
    pub tokens: u64,
    /// Those that are due and wait for their turn.
    pub due: u64,
    /// Renewals so far, those found done by another process included.
    pub refreshed: u64,
    /// Renewals that failed so far; they are tried again.
    pub failed: u64,
    /// Tokens that it came to when less was left of them than the margin.
    pub late: u64,
}

#[derive(Debug, Default)]
struct Counters {
    tokens: AtomicU64,
    due: AtomicU64,
    refreshed: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
}

impl TokenManager {
    /// Starts a keeper of all tokens in the store, unless it is told otherwise.
    pub fn keeper(&self) -> KeeperBuilder {
        KeeperBuilder {
            manager: self.clone(),
            keep: Keep::All,
            margin: Duration::from_secs(300),
            concurrency: 16,
            scan_every: Duration::from_secs(600),
        }
    }
}

impl KeeperBuilder {
    /// Keeps those tokens only that were asked for through this manager, for as long after that.
    pub fn used_within(mut self, time: Duration) -> Self {
        self.keep = Keep::UsedWithin(time);
        self
    }

    /// How long before its end a token is renewed at the latest, so that a provider may be down for
    /// so long without a token's ending; five minutes by default. It is never less than two
    /// [margins](crate::TokenManagerBuilder::margin) of the manager, nor more than half of a
    /// token's life.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// How many tokens are renewed at the same time, at most; 16 by default.
    pub fn concurrency(mut self, tokens: usize) -> Self {
        self.concurrency = tokens;
        self
    }

    /// How often the store is looked through for tokens that others have added, if it was changed
    /// at all; every ten minutes by default. What this manager serves is known at once.
    pub fn scan_every(mut self, time: Duration) -> Self {
        self.scan_every = time;
        self
    }

    /// Starts it, in a task of its own.
    ///
    /// # Errors
    ///
    /// Invalid if it may renew none at a time, or should look through the store without a pause.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Keeper, ManagerError> {
        for (is_wrong, what) in [
            (self.concurrency == 0, "a keeper that may renew no token at a time keeps none"),
            (self.scan_every.is_zero(), "a keeper that looks through the store without a pause"),
        ] {
            if is_wrong {
                return Err(ManagerError::new(ManagerErrorKind::Invalid, what));
            }
        }
        let (stop, stopped) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let work = task::Task::new(self, Arc::clone(&counters));
        Ok(Keeper { stop, task: tokio::spawn(work.run(stopped)), counters })
    }
}

impl fmt::Debug for KeeperBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperBuilder")
            .field("keep", &self.keep)
            .field("concurrency", &self.concurrency)
            .field("scan_every", &self.scan_every)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// What it has to do and has done.
    #[must_use]
    pub fn status(&self) -> KeeperStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KeeperStatus {
            tokens: read(&self.counters.tokens),
            due: read(&self.counters.due),
            refreshed: read(&self.counters.refreshed),
            failed: read(&self.counters.failed),
            late: read(&self.counters.late),
        }
    }

    /// Stops it, and waits until the renewals under way are done; says what it has done. If the
    /// future is dropped, they are done all the same.
    pub async fn stop(mut self) -> KeeperStatus {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "the keeper had stopped before");
        }
        self.status()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("status", &self.status()).finish_non_exhaustive()
    }
}
