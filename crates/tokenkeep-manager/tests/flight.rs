//! The flight on tokio: what a runtime does to it. `flight_shuttle.rs` has the orders in which
//! things can happen.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../src/flight.rs"]
mod flight;
#[path = "../src/sync.rs"]
mod sync;

use std::{
    future::pending,
    panic::resume_unwind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use futures_util::FutureExt;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use self::flight::{Ended, Flight, Waiting};

type Answer = Result<&'static str, Ended>;

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Is held by work, and notes whether it was let go before there was an answer.
#[derive(Default)]
struct Held {
    waiting: Arc<Mutex<Option<Waiting<Answer>>>>,
    in_time: Arc<AtomicBool>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let answer = self.waiting.lock().unwrap().take().and_then(FutureExt::now_or_never);
        self.in_time.store(answer.is_none(), SeqCst);
    }
}

/// Joins with work that never ends, and what tells whether it was let go before the answer.
fn endless(flight: &Flight<Answer>) -> (Waiting<Answer>, Arc<AtomicBool>) {
    let held = Held::default();
    let (shown, in_time) = (Arc::clone(&held.waiting), Arc::clone(&held.in_time));
    let work = async move {
        pending::<()>().await;
        drop(held);
        Ok("never")
    };
    let waiting = flight.join(|| work, Err);
    *shown.lock().unwrap() = Some(waiting.clone());
    (waiting, in_time)
}

/// Waits, and looks whether the work had been let go when the answer came.
async fn told(waiting: Waiting<Answer>, in_time: Arc<AtomicBool>) -> (Answer, bool) {
    let answer = waiting.await;
    (answer, in_time.load(SeqCst))
}

#[tokio::test]
async fn ten_thousand_who_wait_get_the_answer_of_one_piece_of_work() {
    let (flight, works) = (Flight::new(), Arc::new(AtomicUsize::new(0)));
    let (go, gone) = oneshot::channel();
    let mut gone = Some(gone);
    let waiting: Vec<_> = (0..10_000)
        .map(|_| {
            let (gone, works) = (gone.take(), Arc::clone(&works));
            let work = async move {
                works.fetch_add(1, SeqCst);
                gone.expect("only the first one starts").await.unwrap();
                Ok("done")
            };
            tokio::spawn(flight.join(|| work, Err))
        })
        .collect();
    assert!(flight.is_under_way());
    go.send(()).unwrap();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Ok("done"));
    }
    assert_eq!(works.load(SeqCst), 1);
    assert!(!flight.is_under_way());
}

#[tokio::test]
async fn who_joins_after_the_end_starts_anew_though_others_have_not_looked_yet() {
    let flight = Flight::new();
    let first = flight.join(|| async { Ok("first") }, Err);
    let joined = flight.join(|| async { Ok("never") }, Err);
    assert_eq!(first.clone().await, Ok("first"));
    assert_eq!(flight.join(|| async { Ok("second") }, Err).await, Ok("second"));
    assert_eq!(joined.await, Ok("first"));
    assert_eq!(first.await, Ok("first"));
}

#[tokio::test]
async fn a_panic_is_told_and_the_next_one_starts_anew() {
    let flight = Flight::new();
    let work = || async { resume_unwind(Box::new("a panic of the test")) };
    assert_eq!(flight.join(work, Err).await, Err(Ended::Panicked));
    assert!(!flight.is_under_way());
    assert_eq!(flight.join(|| async { Ok("done") }, Err).await, Ok("done"));
}

#[test]
fn work_whose_runtime_has_ended_is_begun_again_in_another() {
    let (flight, lasting) = (Flight::new(), runtime());
    for polled in [false, true] {
        let ending = runtime();
        let (waiting, in_time) = ending.block_on(async {
            let flown = endless(&flight);
            if polled {
                tokio::task::yield_now().await;
            }
            flown
        });
        assert!(waiting.clone().now_or_never().is_none());
        assert!(flight.is_under_way());
        drop(ending);
        assert_eq!(told(waiting, in_time).now_or_never(), Some((Err(Ended::RuntimeGone), true)));
        let again = async { flight.join(|| async { Ok("done") }, Err).await };
        assert_eq!(lasting.block_on(again), Ok("done"), "{polled}");
    }
}

#[test]
fn all_who_wait_elsewhere_are_told_that_the_runtime_has_ended() {
    let (flight, lasting, ending) = (Flight::new(), Runtime::new().unwrap(), runtime());
    let (waiting, in_time) = ending.block_on(async { endless(&flight) });
    let tasks: Vec<_> =
        (0..8).map(|_| lasting.spawn(told(waiting.clone(), Arc::clone(&in_time)))).collect();
    drop(ending);
    for task in tasks {
        assert_eq!(lasting.block_on(task).unwrap(), (Err(Ended::RuntimeGone), true));
    }
}

#[test]
fn a_runtime_that_takes_no_more_tasks_is_no_trap() {
    let (flight, ended) = (Flight::new(), runtime());
    let handle = ended.handle().clone();
    drop(ended);
    {
        let _entered = handle.enter();
        let (waiting, in_time) = endless(&flight);
        assert_eq!(told(waiting, in_time).now_or_never(), Some((Err(Ended::RuntimeGone), true)));
    }
    let again = async { flight.join(|| async { Ok("done") }, Err).await };
    assert_eq!(runtime().block_on(again), Ok("done"));
}
