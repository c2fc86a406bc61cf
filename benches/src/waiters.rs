//! Many tasks that wait for one refresh.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokenkeep_core::{ListStore, Operation};
use tokenkeep_manager::TokenHandle;
use tokenkeep_testkit::{FaultyStore, When};
use tokio::sync::{Mutex, Notify, Semaphore, watch};

use crate::{
    ahead::Ahead,
    allocations::Scales,
    provider::Provider,
    report::{Report, Unit},
    timer::{Medians, Timer, median, nanos, now},
};

const PEER: &str = "a tokio Mutex that each waiter takes to look again, written here";

/// The figures of one flight, for each of the waiters.
#[derive(Clone, Copy, Debug)]
struct Served {
    bytes: f64,
    /// From the flight's end until the last was served.
    after: f64,
    /// From before the first came.
    total: f64,
}

/// Ours: callers of one handle while its token is refreshed. The limit: tasks that wait at a watch
/// and clone what it shows. Neither the limit nor the peer have a deadline; ours do.
pub(crate) async fn measure(timer: &Timer, waiters: usize, report: &mut Report) -> Result<()> {
    let ours = Ours::new().await?;
    let mut served = HashMap::<_, Vec<Served>>::new();
    for _ in 0..timer.rounds() {
        served.entry("ours").or_default().push(ours.serve(waiters).await?);
        served.entry("limit").or_default().push(watch(waiters).await);
        served.entry("peer").or_default().push(mutex(waiters).await);
    }
    let mut add = |name, unit, figure: fn(&Served) -> f64| {
        let middle = |who| median(served[who].iter().map(figure).collect());
        let medians = Medians { ours: middle("ours"), limit: middle("limit") };
        report.add_in(unit, name, "memory", waiters, medians);
        report.add_peer(name, "memory", waiters, PEER, middle("peer"));
    };
    add("waiter_served", Unit::Time, |it| it.after);
    add("waiter_total", Unit::Time, |it| it.total);
    add("waiter_memory", Unit::Bytes, |it| it.bytes);
    Ok(())
}

/// A handle whose flights stop where they begin and where they end.
struct Ours {
    clock: Arc<Ahead>,
    provider: Provider,
    store: FaultyStore<ListStore>,
    handle: TokenHandle,
}

impl Ours {
    async fn new() -> Result<Self> {
        let clock = Arc::new(Ahead::default());
        let provider = Provider::new(&clock);
        let store = FaultyStore::new(ListStore::with_clock(Arc::<Ahead>::clone(&clock)));
        let manager = provider.manager(Arc::new(store.clone()))?;
        let handle = provider.log_in(&manager).await?;
        handle.access_token().await?;
        Ok(Self { clock, provider, store, handle })
    }

    async fn serve(&self, waiters: usize) -> Result<Served> {
        let before = self.provider.refreshes();
        self.clock.advance(Duration::from_secs(2 * 3_600));
        let begin = self.store.stop_next(Operation::FindTokenById, When::Before);
        // The last thing that a flight does.
        let end = self.store.stop_next(Operation::ReleaseLease, When::After);
        let crowd = Crowd::gather(waiters, || {
            let handle = self.handle.clone();
            async move { drop(handle.access_token().await.expect("the token is refreshed")) }
        })
        .await;
        begin.open();
        end.reached().await;
        let served = crowd.serve(|| end.open()).await;
        let refreshes = self.provider.refreshes() - before;
        ensure!(refreshes == 1, "{waiters} waiters were served by {refreshes} refreshes");
        Ok(served)
    }
}

async fn watch(waiters: usize) -> Served {
    let (sender, receiver) = watch::channel(None);
    let crowd = Crowd::gather(waiters, || {
        let mut receiver = receiver.clone();
        async move {
            let token = receiver.wait_for(Option::is_some).await.expect("there is a sender");
            drop(Option::<Arc<str>>::clone(&token));
        }
    })
    .await;
    crowd.serve(|| drop(sender.send_replace(Some("test-access-token".into())))).await
}

async fn mutex(waiters: usize) -> Served {
    let token = Arc::new(Mutex::new(None::<Arc<str>>));
    let answer = Arc::new(Semaphore::new(0));
    let crowd = Crowd::gather(waiters, || {
        let (token, answer) = (Arc::clone(&token), Arc::clone(&answer));
        async move {
            let mut token = token.lock().await;
            if token.is_none() {
                answer.acquire().await.expect("it is not closed").forget();
                *token = Some("test-access-token".into());
            }
            drop(token.clone());
        }
    })
    .await;
    crowd.serve(|| answer.add_permits(1)).await
}

/// Tasks of this thread that wait for the same thing.
struct Crowd {
    scales: Scales,
    begun: Instant,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    served: Arc<Count>,
    bytes: i64,
}

#[derive(Default)]
struct Count {
    came: AtomicUsize,
    went: AtomicUsize,
    last: OnceLock<Instant>,
    all: Notify,
}

impl Crowd {
    /// Starts `waiters` tasks and lets each come to where it waits.
    async fn gather<W>(waiters: usize, wait: impl Fn() -> W) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = Vec::with_capacity(waiters);
        let count = Arc::new(Count::default());
        let scales = Scales::new();
        let begun = now();
        for _ in 0..waiters {
            let (count, wait) = (Arc::clone(&count), wait());
            tasks.push(tokio::spawn(async move {
                count.came.fetch_add(1, Ordering::Relaxed);
                wait.await;
                if count.went.fetch_add(1, Ordering::Relaxed) + 1 == waiters {
                    count.last.get_or_init(now);
                    count.all.notify_one();
                }
            }));
        }
        // Who has come is waiting: there is one thread, and nothing else to stop at.
        while count.came.load(Ordering::Relaxed) < waiters {
            tokio::task::yield_now().await;
        }
        let bytes = scales.bytes();
        Self { scales, begun, tasks, served: count, bytes }
    }

    /// Ends what they wait for, and sees them all served.
    async fn serve(self, end: impl FnOnce()) -> Served {
        drop(self.scales);
        let ended = now();
        end();
        self.served.all.notified().await;
        let last = *self.served.last.get().expect("the last one said so");
        let waiters = self.tasks.len() as f64;
        for task in self.tasks {
            task.await.expect("nobody panics");
        }
        Served {
            bytes: self.bytes as f64 / waiters,
            after: nanos(last - ended) / waiters,
            total: nanos(last - self.begun) / waiters,
        }
    }
}
