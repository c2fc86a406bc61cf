//! A fresh token on two threads at once.

use std::{
    collections::HashMap,
    hint::{self, black_box},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Result;
use arc_swap::ArcSwapOption;
use tokenkeep_core::{Clock, ListStore, OAuthToken, SystemClock, Timestamp, TokenStore};
use tokenkeep_manager::TokenManager;
use tokio::sync::RwLock;

use crate::{
    report::Report,
    timer::{Medians, Timer, now, per_call},
    tokens,
};

/// How often each of the threads asks in one sample.
const CALLS: usize = 20_000;

/// How much of the time both threads must have been at work.
const TOGETHER: f64 = 0.95;

/// How often that is tried again for one sample.
const ATTEMPTS: usize = 20;

const PEER: &str = "a tokio RwLock around a HashMap of tokens by user, written here";

/// A token and its end.
type Bare = Arc<(OAuthToken, Timestamp)>;

/// Both threads ask for the same user's token, then each for another user's. The limit: two
/// threads that load an atomic pointer and look at the clock, shared the same way.
pub(crate) async fn measure(timer: &Timer, report: &mut Report) -> Result<()> {
    let store = ListStore::new();
    let mut bare = Vec::new();
    for number in [1, 2] {
        let token = tokens::token(number, 0)?;
        store.save_token(&token).await?;
        let end = token.expiry_time().unwrap_or_default();
        bare.push((tokens::user(number), Arc::new((token, end))));
    }
    let manager = TokenManager::builder(store).build()?;
    let handles = [manager.user(&bare[0].0).await?, manager.user(&bare[1].0).await?];
    for handle in &handles {
        handle.access_token().await?;
    }
    let pointers =
        [&bare[0], &bare[1]].map(|(_, token)| ArcSwapOption::from(Some(Arc::clone(token))));
    let users = [bare[0].0.clone(), bare[1].0.clone()];
    let cache: RwLock<HashMap<String, Bare>> = RwLock::new(bare.into_iter().collect());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    for (name, second) in [("fresh_same", 0), ("fresh_other", 1)] {
        let [ours, limit, peer] = timer.for_writes().in_turn([
            &mut || {
                on_two_threads([&handles[0], &handles[second]], async |handle| {
                    black_box(handle.access_token().await.expect("the token is fresh"));
                })
            },
            &mut || {
                on_two_threads([&pointers[0], &pointers[second]], async |pointer| {
                    let now = clock.now();
                    black_box(pointer.load_full().filter(|token| now < token.1));
                })
            },
            &mut || {
                on_two_threads([&users[0], &users[second]], async |user| {
                    let cache = cache.read().await;
                    let now = clock.now();
                    black_box(cache.get(user).filter(|token| now < token.1).cloned());
                })
            },
        ]);
        report.add(name, "memory", 2, Medians { ours, limit });
        report.add_peer(name, "memory", 2, PEER, peer);
    }
    Ok(())
}

/// Nanoseconds a call in each of two threads that do `work` at the same time.
///
/// On a machine that does something else one of them waits for a processor, and then there is
/// nothing to contend for: that is done again, a few times, and the best is taken.
fn on_two_threads<T: Sync>(subjects: [&T; 2], work: impl AsyncFn(&T) + Sync) -> f64 {
    let mut best = run(subjects, &work);
    for _ in 0..ATTEMPTS {
        if best.together > TOGETHER {
            break;
        }
        let took = run(subjects, &work);
        if took.together > best.together {
            best = took;
        }
    }
    best.per_call
}

struct Took {
    per_call: f64,
    /// The part of the time in which both threads were at work.
    together: f64,
}

fn run<T: Sync>(subjects: [&T; 2], work: &(impl AsyncFn(&T) + Sync)) -> Took {
    let ready = AtomicUsize::new(0);
    let ready = &ready;
    let [one, other] = thread::scope(|scope| {
        let threads = subjects.map(|subject| {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime without I/O needs nothing");
                runtime.block_on(async {
                    ready.fetch_add(1, Ordering::SeqCst);
                    while ready.load(Ordering::SeqCst) < 2 {
                        hint::spin_loop();
                    }
                    let begun = now();
                    for _ in 0..CALLS {
                        work(subject).await;
                    }
                    (begun, now())
                })
            })
        });
        threads.map(|thread| thread.join().expect("the work does not panic"))
    });
    let both = one.1.min(other.1).saturating_duration_since(one.0.max(other.0));
    let either = one.1.max(other.1) - one.0.min(other.0);
    Took {
        per_call: f64::midpoint(per_call(one.1 - one.0, CALLS), per_call(other.1 - other.0, CALLS)),
        together: both.as_secs_f64() / either.as_secs_f64(),
    }
}
