//! [`Turns`]: who has lost to others goes before them.
//!
//! Whoever has changed the index last knows it already, and so is the quickest to change it again:
//! against a process that writes without a pause, another one would lose each time. So who has
//! lost queues up, in a secret beside the index, and so does who finds somebody there; a process
//! looks once in some changes. The queue is a courtesy and no lock: what is written is decided by
//! check-and-set all the same, and where it cannot be had, tries go on without it.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;
use tokenkeep_core::{StoreError, StoreErrorKind};
use tokio::time::Instant;

use crate::{
    error::Fault,
    kv::{Kv, Written},
    session::Deadline,
};

/// The secret that says who waits.
const QUEUE: &[&str] = &["queue"];

/// So many changes are made without a look at the queue, where nobody was in the way.
const CHANGES_BETWEEN_LOOKS: u32 = 4;

/// Who has been first for so long is taken for dead.
const LONGEST: Duration = Duration::from_secs(2);

/// How often the second in the queue looks whether the first is done; those behind it look as many
/// times less often as they are behind.
const PAUSE: Duration = Duration::from_millis(20);

/// What a process knows of others that wait.
#[derive(Debug)]
pub(crate) struct Turns {
    /// So many changes need no look.
    before_look: AtomicU32,
}

/// The turn for one change.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    /// As which it is in the queue; nobody else has the name.
    name: String,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It did not ask for its turn.
    Outside,
    /// It asked, and it did not come.
    Behind,
    First,
}

/// Who wait, the first of them first.
#[derive(Debug, Default, Deserialize)]
struct Queue {
    /// 0 if there is none yet.
    #[serde(skip)]
    version: u64,
    waiting: Vec<String>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { before_look: AtomicU32::new(CHANGES_BETWEEN_LOOKS) }
    }

    /// For the next change of this process, which makes them one at a time.
    pub(crate) fn next(&self, name: String) -> Turn<'_> {
        Turn { turns: self, name, place: Place::Outside }
    }
}

impl Turn<'_> {
    /// Looks whether somebody waits, if it is time to, and queues up behind them.
    pub(crate) async fn give_way(&mut self, kv: &Kv, deadline: Deadline) {
        let before = self.turns.before_look.load(Ordering::Relaxed);
        if before > 0 {
            self.turns.before_look.store(before - 1, Ordering::Relaxed);
            return;
        }
        self.turns.before_look.store(CHANGES_BETWEEN_LOOKS, Ordering::Relaxed);
        match Queue::read(kv, deadline).await {
            Ok(queue) if queue.waiting.is_empty() => {}
            Ok(others) => self.queue_up(kv, Some(others), deadline).await,
            Err(fault) => {
                tracing::debug!(error = %fault.error, "not known whether another process waits");
            }
        }
    }

    /// Queues up, if it has not before, and waits for at most half of the time that is left.
    pub(crate) async fn take(&mut self, kv: &Kv, deadline: Deadline) {
        if self.place == Place::Outside {
            self.queue_up(kv, None, deadline).await;
        }
    }

    async fn queue_up(&mut self, kv: &Kv, seen: Option<Queue>, deadline: Deadline) {
        // Others are there, so that the next change has to look.
        self.turns.before_look.store(0, Ordering::Relaxed);
        self.place = Place::Behind;
        match enter(kv, &self.name, seen, deadline.half()).await {
            Ok(()) => self.place = Place::First,
            Err(fault) => tracing::debug!(error = %fault.error, "going on without a turn"),
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.place == Place::First
    }

    /// Leaves the queue to those behind.
    pub(crate) async fn end(self, kv: &Kv, deadline: Deadline) {
        if self.place != Place::Outside
            && let Err(fault) = remove(kv, &self.name, deadline).await
        {
            tracing::debug!(error = %fault.error, "others will wait for a turn that is over");
        }
    }
}

/// Queues up and waits.
async fn enter(kv: &Kv, name: &str, seen: Option<Queue>, deadline: Deadline) -> Result<(), Fault> {
    let add = |waiting: &mut Vec<String>| {
        // It is there if an earlier try was made and not answered.
        let is_there = waiting.iter().any(|other| other == name);
        if !is_there {
            waiting.push(name.to_owned());
        }
        !is_there
    };
    change(kv, seen, add, deadline).await?;
    wait(kv, name, deadline).await
}

async fn remove(kv: &Kv, name: &str, deadline: Deadline) -> Result<(), Fault> {
    let remove = |waiting: &mut Vec<String>| {
        let before = waiting.len();
        waiting.retain(|other| other != name);
        waiting.len() < before
    };
    change(kv, None, remove, deadline).await
}

/// Waits until `name` is the first, or is not there any more.
async fn wait(kv: &Kv, name: &str, deadline: Deadline) -> Result<(), Fault> {
    let mut first = (String::new(), Instant::now());
    loop {
        let queue = Queue::read(kv, deadline).await?;
        let place = queue.waiting.iter().position(|other| other == name).unwrap_or(0);
        let (true, Some(now_first)) = (place > 0, queue.waiting.first()) else { return Ok(()) };
        if first.0 != *now_first {
            first = (now_first.clone(), Instant::now());
        } else if first.1.elapsed() >= LONGEST {
            remove(kv, now_first, deadline).await?;
            continue;
        }
        let pause = PAUSE * u32::try_from(place).unwrap_or(u32::MAX);
        if !deadline.wait(pause.min(LONGEST / 4)).await {
            return Err(Fault::final_(busy("another process")));
        }
    }
}

/// Changes who waits, unless `change` says that there is nothing to do.
async fn change(
    kv: &Kv,
    mut seen: Option<Queue>,
    change: impl Fn(&mut Vec<String>) -> bool,
    deadline: Deadline,
) -> Result<(), Fault> {
    let mut pauses = deadline.pauses();
    loop {
        let queue = match seen.take() {
            Some(queue) => queue,
            None => Queue::read(kv, deadline).await?,
        };
        let Queue { version, mut waiting } = queue;
        if !change(&mut waiting) {
            return Ok(());
        }
        match kv.write(QUEUE, &json!({ "waiting": waiting }), version, deadline).await {
            Ok(Written::Version(_)) => return Ok(()),
            Ok(Written::Mismatch) if pauses.next(None).await => {}
            Ok(Written::Mismatch) => return Err(Fault::final_(busy("another process"))),
            Err(fault) => pauses.again(fault).await?,
        }
    }
}

impl Queue {
    async fn read(kv: &Kv, deadline: Deadline) -> Result<Self, Fault> {
        let read = kv.read::<Self>(QUEUE, None, deadline).await?;
        Ok(read.map_or_else(Self::default, |read| Self { version: read.version, ..read.data }))
    }
}

/// The time is over, and others were first each time.
pub(crate) fn busy(who: &str) -> StoreError {
    let message = format!("{who} changes the store again and again");
    StoreError::new(StoreErrorKind::Busy, message).with_hint("try again")
}
