//! The flight in all orders: the very file of the crate, with shuttle's lock and tasks in the
//! place of tokio's, run in tens of thousands of schedules.
//!
//! The scenarios are shown to find something too: each runs on a flight with a fault that they
//! have to find.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../src/flight.rs"]
mod flight;
#[path = "support/soak.rs"]
mod soak;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use shuttle::{
    Config, FailurePersistence, Runner,
    future::{AbortHandle, block_on, yield_now},
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
    sync::mpsc,
};

use self::flight::{Ended, Flight};

/// What the crate's `sync` is, of shuttle.
mod sync {
    pub(crate) use shuttle::sync::Mutex;

    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        let task = shuttle::future::spawn(task);
        super::LAST_TASK.with_borrow_mut(|last| *last = Some(task.abort_handle()));
    }
}

thread_local! {
    /// Shuttle runs all its tasks on one thread of the machine.
    static LAST_TASK: RefCell<Option<AbortHandle>> = const { RefCell::new(None) };
}

/// The how many-th piece of work it was, or why there is no answer.
type Answer = Result<usize, Ended>;

/// A flight, or what takes itself for one.
trait Joined: Send + Sync + 'static {
    fn new() -> Self;
    fn join(&self, work: BoxFuture<'static, Answer>) -> BoxFuture<'static, Answer>;
    fn is_under_way(&self) -> bool;
}

impl Joined for Flight<Answer> {
    fn new() -> Self {
        Self::new()
    }

    fn join(&self, work: BoxFuture<'static, Answer>) -> BoxFuture<'static, Answer> {
        self.join(|| work, Err).boxed()
    }

    fn is_under_way(&self) -> bool {
        self.is_under_way()
    }
}

/// A flight with a fault.
struct Faulty<const FAULT: u8>(Arc<Slot>);

type Slot = shuttle::sync::Mutex<Option<Shared<BoxFuture<'static, Answer>>>>;

/// Whether there is one under way is asked under one lock, and answered under another.
const CHECKS_THEN_ACTS: u8 = 0;
/// Answers before it makes way for the next one.
const ANSWERS_THEN_CLEARS: u8 = 1;
/// Makes way for the next one if there is an answer only.
const FORGETS_TO_CLEAR: u8 = 2;
/// Is done by those who wait.
const HAS_NO_TASK: u8 = 3;

impl<const FAULT: u8> Joined for Faulty<FAULT> {
    fn new() -> Self {
        Self(Arc::new(Slot::new(None)))
    }

    fn join(&self, work: BoxFuture<'static, Answer>) -> BoxFuture<'static, Answer> {
        let mut under_way = self.0.lock().unwrap();
        if let Some(answer) = &*under_way {
            return answer.clone().boxed();
        }
        if FAULT == CHECKS_THEN_ACTS {
            drop(under_way);
            under_way = self.0.lock().unwrap();
        }
        let slot = Arc::clone(&self.0);
        if FAULT == HAS_NO_TASK {
            let answer = async move {
                let answer = work.await;
                slot.lock().unwrap().take();
                answer
            };
            return under_way.insert(answer.boxed().shared()).clone().boxed();
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let answer = receiver.map(|answer| answer.unwrap_or(Err(Ended::RuntimeGone)));
        let answer = under_way.insert(answer.boxed().shared()).clone();
        drop(under_way);
        sync::spawn(async move {
            let answer = work.await;
            let clear = || drop(slot.lock().unwrap().take());
            if FAULT != ANSWERS_THEN_CLEARS {
                clear();
            }
            let _unheard = sender.send(answer);
            if FAULT == ANSWERS_THEN_CLEARS {
                clear();
            }
        });
        answer.boxed()
    }

    fn is_under_way(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}

/// Work that is looked at while it is done.
#[derive(Default)]
struct Works {
    begun: AtomicUsize,
    under_way: AtomicBool,
    /// The newest answer that somebody has seen.
    seen: AtomicUsize,
}

/// Is held by work while it is done.
struct Held(Arc<Works>);

impl Drop for Held {
    fn drop(&mut self) {
        assert!(self.0.under_way.swap(false, SeqCst));
    }
}

impl Works {
    /// One piece of work: it must be the only one.
    fn one(self: &Arc<Self>) -> BoxFuture<'static, Answer> {
        let works = Arc::clone(self);
        async move {
            let number = works.begun.fetch_add(1, SeqCst) + 1;
            assert!(!works.under_way.swap(true, SeqCst), "two pieces of work at a time");
            let _held = Held(works);
            yield_now().await;
            Ok(number)
        }
        .boxed()
    }

    /// Asks, and looks at the answer.
    async fn asked_of<F: Joined>(self: &Arc<Self>, flight: &F) -> Answer {
        let seen = self.seen.load(SeqCst);
        let answer = flight.join(self.one()).await;
        if let Ok(number) = answer {
            assert!(number > seen, "answer {number} is older than the question");
            self.seen.fetch_max(number, SeqCst);
        }
        answer
    }
}

/// As many tasks as there are callers, and what they answer.
async fn all<T: Send + 'static>(
    callers: usize,
    caller: impl Fn(usize) -> BoxFuture<'static, T>,
) -> Vec<T> {
    let tasks: Vec<_> = (0..callers).map(|n| shuttle::future::spawn(caller(n))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

/// Callers who ask twice: one piece of work at a time, one answer each, none of them stale.
fn ask_twice<F: Joined>() {
    let (flight, works) = (Arc::new(F::new()), Arc::new(Works::default()));
    block_on(async {
        let mut answers = all(3, |_| {
            let (flight, works) = (Arc::clone(&flight), Arc::clone(&works));
            async move { [works.asked_of(&*flight).await, works.asked_of(&*flight).await] }.boxed()
        })
        .await
        .concat();
        answers.sort_by_key(|answer| answer.unwrap());
        answers.dedup();
        assert_eq!(answers.len(), works.begun.load(SeqCst), "work that nobody had asked for");
        assert!(!works.under_way.load(SeqCst));
    });
}

/// Callers who leave, before and after they were first told to wait: the work is done all the same.
fn leave<F: Joined>() {
    let flight = Arc::new(F::new());
    let (done, is_done) = mpsc::channel();
    block_on(all(3, |n| {
        let (flight, done) = (Arc::clone(&flight), done.clone());
        async move {
            let work = async move {
                // More often than callers look at it.
                for _ in 0..3 {
                    yield_now().await;
                }
                done.send(()).unwrap();
                Ok(n)
            };
            let waiting = flight.join(work.boxed());
            if n > 0 {
                waiting.now_or_never();
            }
        }
        .boxed()
    }));
    drop(done);
    is_done.recv().unwrap();
    assert_eq!(block_on(flight.join(async { Ok(9) }.boxed())).map(|n| n < 10), Ok(true));
}

/// The task is ended at some moment, as a runtime does that is shut down: all who wait are told,
/// and who asks after that is answered.
fn end<F: Joined>() {
    let (flight, works) = (Arc::new(F::new()), Arc::new(Works::default()));
    block_on(async {
        let ender = shuttle::future::spawn(async {
            yield_now().await;
            if let Some(task) = LAST_TASK.take() {
                task.abort();
            }
        });
        let answers = all(2, |_| {
            let (flight, works) = (Arc::clone(&flight), Arc::clone(&works));
            async move {
                let answer = works.asked_of(&*flight).await;
                if answer == Err(Ended::RuntimeGone) {
                    works.asked_of(&*flight).await
                } else {
                    answer
                }
            }
            .boxed()
        })
        .await;
        ender.await.unwrap();
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert!(!flight.is_under_way());
    });
    LAST_TASK.take();
}

/// The first two pieces of work panic.
fn panicking<F: Joined>() {
    let (flight, works) = (Arc::new(F::new()), Arc::new(Works::default()));
    block_on(async {
        let answers = all(3, |_| {
            let (flight, works) = (Arc::clone(&flight), Arc::clone(&works));
            async move {
                loop {
                    let works = Arc::clone(&works);
                    let work = async move {
                        match works.one().await {
                            Ok(1 | 2) => resume_unwind(Box::new("a panic of the test")),
                            answer => answer,
                        }
                    };
                    match flight.join(work.boxed()).await {
                        Err(Ended::Panicked) => {}
                        answer => return answer,
                    }
                }
            }
            .boxed()
        })
        .await;
        assert!(answers.iter().all(|answer| answer.is_ok_and(|n| n > 2)), "{answers:?}");
    });
}

/// How many of each kind.
fn schedules() -> usize {
    if soak::is_on() { 500_000 } else { 10_000 }
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::Print;
    Runner::new(scheduler, config).run(scenario);
}

/// In 20,000 schedules of two kinds, the same ones each time; a million in `cargo xtask soak`.
fn check(scenario: fn()) {
    run(RandomScheduler::new_from_seed(1, schedules()), scenario);
    run(PctScheduler::new_from_seed(2, 3, schedules()), scenario);
}

fn is_found(scenario: fn()) -> bool {
    catch_unwind(AssertUnwindSafe(|| check(scenario))).is_err()
}

#[test]
fn callers_who_ask_at_the_same_time_get_the_answer_of_one_piece_of_work() {
    check(ask_twice::<Flight<Answer>>);
}

#[test]
fn work_goes_on_when_all_who_wanted_it_leave() {
    check(leave::<Flight<Answer>>);
}

#[test]
fn nobody_waits_for_a_task_that_was_ended() {
    check(end::<Flight<Answer>>);
}

#[test]
fn nobody_waits_for_work_that_panicked() {
    check(panicking::<Flight<Answer>>);
}

#[test]
fn a_gap_between_looking_and_starting_is_found() {
    assert!(is_found(ask_twice::<Faulty<CHECKS_THEN_ACTS>>));
}

#[test]
fn an_answer_that_comes_before_the_end_is_found() {
    assert!(is_found(ask_twice::<Faulty<ANSWERS_THEN_CLEARS>>));
}

#[test]
fn a_task_that_ends_and_is_still_joined_is_found() {
    assert!(is_found(end::<Faulty<FORGETS_TO_CLEAR>>));
}

#[test]
fn work_that_ends_with_its_callers_is_found() {
    assert!(is_found(leave::<Faulty<HAS_NO_TASK>>));
}
