//! A process on a host: a manager, and between it and the world what can go wrong.

use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{
    AccessToken, Clock, Fingerprint, OAuthToken, Operation, Outcome, StoreError, StoreErrorKind,
    Timestamp, TokenId,
};
use tokenkeep_manager::{Spool, SpoolListing, Spooled, TokenHandle, TokenManager};
use tokenkeep_testkit::{Chaos, Fate, When};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    ledger::{Ledger, Who},
    plan::{Mishap, Place, Plan},
    world::World,
};

/// A clock that goes by tokio's, and that can be set.
#[derive(Debug)]
pub(crate) struct HostClock {
    start: Instant,
    set_by: AtomicI64,
}

impl HostClock {
    const BEGIN: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    pub(crate) fn new(start: Instant) -> Self {
        Self { start, set_by: AtomicI64::new(0) }
    }

    pub(crate) fn set_by(&self, millis: i64) {
        self.set_by.store(millis, Ordering::SeqCst);
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let now = Self::BEGIN.plus(self.start.elapsed());
        Timestamp::from_millis(now.as_millis() + self.set_by.load(Ordering::SeqCst))
    }
}

/// A process that lives, stands still for a while, or has died: then nothing it asks for is ever
/// answered, which from outside is the same.
#[derive(Debug)]
pub(crate) struct Life {
    alive: AtomicBool,
    died: Notify,
    frozen_until: Mutex<Instant>,
}

impl Life {
    fn new() -> Self {
        let frozen_until = Mutex::new(Instant::now());
        Self { alive: AtomicBool::new(true), died: Notify::new(), frozen_until }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    /// Waits until it dies.
    pub(crate) async fn end(&self) {
        let died = self.died.notified();
        if self.is_alive() {
            died.await;
        }
    }

    fn freeze(&self) {
        *self.frozen_until.lock().unwrap() = Instant::now() + Plan::LONG;
    }

    async fn stall(&self) {
        loop {
            let until = *self.frozen_until.lock().unwrap();
            if until <= Instant::now() {
                break;
            }
            sleep_until(until).await;
        }
        if !self.is_alive() {
            pending::<()>().await;
        }
    }
}

/// What all that a process asks for goes through.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) who: Who,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) life: Arc<Life>,
    world: Weak<World>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Agent").field(&self.who).finish()
    }
}

impl Agent {
    pub(crate) fn new(who: Who, ledger: Arc<Ledger>, world: Weak<World>) -> Self {
        Self { who, ledger, life: Arc::new(Life::new()), world }
    }

    /// The next step: what befalls it. Does not return if the process is dead, or dies before it.
    pub(crate) async fn step(&self, place: Place, what: &str) -> Option<Mishap> {
        self.life.stall().await;
        let mishap = self.ledger.step(self.who, place, what);
        match mishap {
            Some(Mishap::CrashBefore) => {
                self.die();
                pending().await
            }
            Some(Mishap::FreezeBefore) => {
                self.life.freeze();
                self.life.stall().await;
                None
            }
            Some(Mishap::CrashAfter) => {
                self.die();
                mishap
            }
            Some(Mishap::FreezeAfter) => {
                self.life.freeze();
                mishap
            }
            _ => mishap,
        }
    }

    /// Goes on, if the process still can.
    pub(crate) async fn stall(&self) {
        self.life.stall().await;
    }

    pub(crate) fn die(&self) {
        if self.life.alive.swap(false, Ordering::SeqCst) {
            self.ledger.died(self.who);
            self.life.died.notify_waiters();
            if let Some(world) = self.world.upgrade() {
                world.restart_later(self.who.0);
            }
        }
    }
}

#[async_trait]
impl Chaos for Agent {
    async fn fate(&self, operation: Operation) -> Fate {
        let what = format!("{operation:?}");
        let Some(mishap) = self.step(Place::Store, &what).await else { return Fate::Spared };
        match mishap {
            Mishap::FailBefore | Mishap::DropBefore => {
                Fate::Fails(When::Before, StoreErrorKind::Unavailable)
            }
            Mishap::FailAfter | Mishap::DropAfter => {
                Fate::Fails(When::After, StoreErrorKind::Unavailable)
            }
            Mishap::Refuse => Fate::Fails(When::Before, StoreErrorKind::PermissionDenied),
            Mishap::Garbage => Fate::Fails(When::Before, StoreErrorKind::Full),
            Mishap::ShortBefore => Fate::Waits(When::Before, Plan::SHORT),
            Mishap::ShortAfter => Fate::Waits(When::After, Plan::SHORT),
            Mishap::LongBefore => Fate::Waits(When::Before, Plan::LONG),
            Mishap::LongAfter => Fate::Waits(When::After, Plan::LONG),
            Mishap::HangBefore => Fate::Hangs(When::Before),
            Mishap::HangAfter | Mishap::CrashAfter => Fate::Hangs(When::After),
            Mishap::Late => Fate::Late(Plan::LATE),
            Mishap::FreezeAfter => Fate::Waits(When::After, Duration::ZERO),
            Mishap::FreezeBefore | Mishap::CrashBefore => Fate::Spared,
        }
    }

    async fn resume(&self, _when: When) {
        self.stall().await;
    }

    fn effect(&self, _operation: Operation, stored: Option<&OAuthToken>) {
        if let Some(stored) = stored {
            self.ledger.stored(Some(self.who), stored);
        }
    }
}

/// The spool of a host, which outlives its processes.
pub(crate) type Shelf = Arc<Mutex<BTreeMap<(TokenId, Fingerprint), Spooled>>>;

/// The spool of a process.
#[derive(Debug)]
pub(crate) struct ChaosSpool {
    pub(crate) shelf: Shelf,
    pub(crate) agent: Agent,
}

impl ChaosSpool {
    async fn run<T>(&self, what: &str, effect: impl FnOnce() -> T) -> Result<T, StoreError> {
        let failed = |kind| StoreError::new(kind, "a fault was injected").with_hint("end it");
        let error = || failed(StoreErrorKind::Unavailable);
        match self.agent.step(Place::Spool, what).await {
            None => Ok(effect()),
            Some(mishap) => match mishap {
                Mishap::FailBefore | Mishap::DropBefore | Mishap::Garbage => Err(error()),
                Mishap::Refuse => Err(failed(StoreErrorKind::PermissionDenied)),
                Mishap::FailAfter | Mishap::DropAfter => {
                    effect();
                    Err(error().with_outcome(Outcome::Unknown))
                }
                Mishap::ShortBefore | Mishap::LongBefore | Mishap::HangBefore | Mishap::Late => {
                    sleep(length(mishap)).await;
                    self.agent.stall().await;
                    Ok(effect())
                }
                Mishap::ShortAfter
                | Mishap::LongAfter
                | Mishap::HangAfter
                | Mishap::CrashAfter
                | Mishap::FreezeAfter => {
                    let done = effect();
                    sleep(length(mishap)).await;
                    self.agent.stall().await;
                    Ok(done)
                }
                Mishap::FreezeBefore | Mishap::CrashBefore => Ok(effect()),
            },
        }
    }
}

/// How long a file may take: nothing ends a write to a disk that has gone away.
fn length(mishap: Mishap) -> Duration {
    match mishap {
        Mishap::ShortBefore | Mishap::ShortAfter => Plan::SHORT,
        Mishap::LongBefore | Mishap::LongAfter => Plan::LONG,
        Mishap::HangBefore | Mishap::HangAfter | Mishap::Late => Plan::LATE,
        _ => Duration::ZERO,
    }
}

#[async_trait]
impl Spool for ChaosSpool {
    async fn put(&self, entry: &Spooled) -> Result<(), StoreError> {
        self.agent.ledger.spools(&entry.token);
        let mut done = false;
        let answer = self
            .run("spool put", || {
                let key = (entry.id.clone(), entry.grant.clone());
                self.shelf.lock().unwrap().insert(key, entry.clone());
                self.agent.ledger.spooled(self.agent.who.0, &entry.token, true);
                done = true;
            })
            .await;
        if !done {
            self.agent.ledger.spooled(self.agent.who.0, &entry.token, false);
        }
        answer
    }

    async fn get(&self, id: &TokenId, grant: &Fingerprint) -> Result<Option<Spooled>, StoreError> {
        let key = (id.clone(), grant.clone());
        self.run("spool get", || self.shelf.lock().unwrap().get(&key).cloned()).await
    }

    async fn remove(&self, id: &TokenId, grant: &Fingerprint) -> Result<bool, StoreError> {
        let key = (id.clone(), grant.clone());
        self.run("spool remove", || self.shelf.lock().unwrap().remove(&key).is_some()).await
    }

    async fn list(&self) -> Result<SpoolListing, StoreError> {
        self.run("spool list", || {
            let entries = self.shelf.lock().unwrap().keys().cloned().collect();
            SpoolListing::new(entries, Vec::new())
        })
        .await
    }
}

/// A manager with what belongs to its process.
pub(crate) struct Process {
    pub(crate) agent: Agent,
    pub(crate) manager: TokenManager,
    pub(crate) handles: Mutex<HashMap<usize, TokenHandle>>,
    /// The last token that its callers got.
    pub(crate) last: Mutex<HashMap<usize, AccessToken>>,
}
