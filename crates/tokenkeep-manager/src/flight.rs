//! One piece of work for all who want it at the same time.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt, future::Shared};
use tokio::sync::oneshot;

use crate::sync::{Mutex, spawn};

/// Work of which there is one at a time, in a task of its own that goes on when nobody waits for
/// it.
///
/// - Who joins while it is under way gets its answer; who joins after that starts anew. An answer
///   is never older than the call that gets it.
/// - What the work does has happened, and what it held is let go, before anyone sees the answer.
/// - However the task ends, by a panic or with its runtime too, all who wait are told, and the
///   next one starts anew.
pub(crate) struct Flight<T> {
    // The task clears it when it ends, and then it answers.
    under_way: Arc<UnderWay<T>>,
}

type UnderWay<T> = Mutex<Option<Shared<oneshot::Receiver<T>>>>;

/// Why a flight has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ended {
    /// The work panicked.
    Panicked,
    /// The runtime it ran in was shut down.
    RuntimeGone,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(crate) fn new() -> Self {
        Self { under_way: Arc::new(Mutex::new(None)) }
    }

    /// Joins the work under way, or starts `work` as a task of its own. `ended` makes the answer
    /// if the task ends without one.
    ///
    /// The work goes on if the future that is returned is dropped, or is never polled.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, if there is work to start.
    pub(crate) fn join<W>(&self, work: impl FnOnce() -> W, ended: fn(Ended) -> T) -> Waiting<T>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let (landing, waiting) = {
            let mut under_way = locked(&self.under_way);
            if let Some(answer) = &*under_way {
                return Waiting { answer: answer.clone(), ended };
            }
            let (sender, receiver) = oneshot::channel();
            let answer = receiver.shared();
            *under_way = Some(answer.clone());
            let under_way = Arc::clone(&self.under_way);
            (Landing { under_way, sender: Some(sender), ended }, Waiting { answer, ended })
        };
        // Not under the lock: a runtime that is shutting down drops the task at once, which lands.
        let work = AssertUnwindSafe(work()).catch_unwind();
        spawn(async move {
            // The work and what it holds is dropped in this line, before anyone is told.
            let flown = work.await;
            landing.land(flown.unwrap_or_else(|_| ended(Ended::Panicked)));
        });
        waiting
    }

    /// Whether there is work that can be joined.
    pub(crate) fn is_under_way(&self) -> bool {
        locked(&self.under_way).is_some()
    }
}

fn locked<T>(
    under_way: &UnderWay<T>,
) -> impl std::ops::DerefMut<Target = Option<Shared<oneshot::Receiver<T>>>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("under_way", &locked(&self.under_way).is_some()).finish()
    }
}

/// The answer of a [`Flight`], for one of those who wait.
pub(crate) struct Waiting<T: Clone> {
    answer: Shared<oneshot::Receiver<T>>,
    ended: fn(Ended) -> T,
}

impl<T: Clone> Clone for Waiting<T> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone(), ended: self.ended }
    }
}

impl<T: Clone> Future for Waiting<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let answer = ready!(self.answer.poll_unpin(context));
        Poll::Ready(answer.unwrap_or_else(|_| (self.ended)(Ended::RuntimeGone)))
    }
}

/// The end of a flight: it lands when it is dropped, at the latest.
struct Landing<T: Clone> {
    under_way: Arc<UnderWay<T>>,
    sender: Option<oneshot::Sender<T>>,
    ended: fn(Ended) -> T,
}

impl<T: Clone> Landing<T> {
    fn land(mut self, answer: T) {
        self.tell(|| answer);
    }

    fn tell(&mut self, answer: impl FnOnce() -> T) {
        let Some(sender) = self.sender.take() else { return };
        // First this, so that who has got the answer and asks again does not get it again.
        let landed = locked(&self.under_way).take();
        // Nobody may be waiting any more.
        drop(sender.send(answer()));
        drop(landed);
    }
}

impl<T: Clone> Drop for Landing<T> {
    fn drop(&mut self) {
        let ended = self.ended;
        self.tell(|| ended(Ended::RuntimeGone));
    }
}
