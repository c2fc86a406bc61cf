//! How cases race: many spawned tasks at once, and threads that crowd before the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Barrier, task::JoinSet, time::Instant};

use super::Failure;

/// Runs `racer` in this many spawned tasks that wait for each other; answers in their order.
pub(super) async fn race<T, F>(count: usize, racer: impl Fn(usize) -> F) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let barrier = Arc::clone(&barrier);
        let run = racer(number);
        tasks.spawn(async move {
            barrier.wait().await;
            (number, run.await)
        });
    }
    let mut answers = Vec::with_capacity(count);
    while let Some(joined) = tasks.join_next().await {
        let (number, answer) = joined?;
        answers.push((number, answer?));
    }
    answers.sort_by_key(|(number, _answer)| *number);
    Ok(answers.into_iter().map(|(_number, answer)| answer).collect())
}

/// How long contention lasts.
const CONTENTION: Duration = Duration::from_millis(400);
/// How many turns a thread takes at least, however slow the store, and at most.
const TURNS: [usize; 2] = [10, 8_000];

/// Threads that do the same again and again, without ever waiting for each other.
const THREADS: usize = 8;

/// Lets as many threads as there are [`THREADS`] take turns as fast as they can: what each
/// answered, turn by turn. `turn` is given the thread's number and that of its turn.
///
/// Tasks that wait for each other at a barrier are woken one after the other, often on one thread,
/// and an operation that takes a microsecond is over before the next begins. Threads that crowd
/// before a lock are interrupted wherever somebody lets go of it: that catches even a store that
/// looks, lets go, and writes at once. The turns must be such that two that overlap leave a trace
/// for a later one to find.
pub(super) async fn contend<T, F>(
    turn: impl Fn(usize, usize) -> F + Send + Sync + 'static,
) -> Result<Vec<Vec<T>>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>>,
{
    let runtime = Handle::current();
    let turn = Arc::new(turn);
    let failed = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let mut threads = JoinSet::new();
    for thread in 0..THREADS {
        let (runtime, turn, failed) = (runtime.clone(), Arc::clone(&turn), Arc::clone(&failed));
        threads.spawn_blocking(move || {
            let answers = (0..TURNS[1])
                .take_while(|number| {
                    !failed.load(Ordering::Relaxed)
                        && (*number < TURNS[0] || start.elapsed() < CONTENTION)
                })
                .map(|number| runtime.block_on(turn(thread, number)))
                .collect::<Result<Vec<_>, _>>();
            failed.fetch_or(answers.is_err(), Ordering::Relaxed);
            answers
        });
    }
    threads.join_all().await.into_iter().collect()
}
