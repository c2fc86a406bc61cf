//! Servers that take the place of others.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokenkeep_core::{Outcome, StoreError, TokenStore};
use tokenkeep_servers::Server;
use tokenkeep_store_redis::{RedisConfig, RedisStore};

use crate::{
    migration,
    scene::{prefix, shows_no_secret, token, until, user},
};

const LIMIT: Duration = Duration::from_secs(10);

/// What tasks saw that save while servers are killed.
#[derive(Default)]
struct Record {
    saved: Vec<String>,
    /// The number of the last update of each user that was said to be saved.
    updates: [u64; 8],
    not_applied: u64,
    unknown: u64,
    longest: Duration,
}

struct Load {
    record: Arc<Mutex<Record>>,
    done: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<()>,
}

impl Load {
    /// Eight tasks, each of which adds users and updates one.
    fn on(store: &RedisStore) -> Self {
        let (record, done) = (Arc::<Mutex<Record>>::default(), Arc::<AtomicBool>::default());
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let (store, record, done) = (store.clone(), Arc::clone(&record), Arc::clone(&done));
            tasks.spawn(async move {
                for number in 0.. {
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                    let name = format!("new{task}-{number}");
                    if timed(&record, store.save_token(&token(&name, "0"))).await {
                        record.lock().unwrap().saved.push(name);
                    }
                    let update = token(&format!("user{task}"), &format!("{number:09}"));
                    if timed(&record, store.save_token(&update)).await {
                        record.lock().unwrap().updates[task] = number;
                    }
                }
            });
        }
        Self { record, done, tasks }
    }

    fn saved(&self) -> usize {
        self.record.lock().unwrap().saved.len()
    }

    async fn end(self) -> Record {
        self.done.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        Arc::into_inner(self.record).unwrap().into_inner().unwrap()
    }
}

async fn timed<T>(
    record: &Mutex<Record>,
    work: impl Future<Output = Result<T, StoreError>>,
) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a span is measured, nothing is dated")]
    let begun = Instant::now();
    let result = work.await;
    let mut record = record.lock().unwrap();
    record.longest = record.longest.max(begun.elapsed());
    match result {
        Ok(_) => return true,
        Err(error) => {
            shows_no_secret(&error);
            if error.outcome() == Outcome::Unknown {
                record.unknown += 1;
            } else {
                record.not_applied += 1;
            }
        }
    }
    false
}

/// All that was said to be saved is there, once.
async fn check(name: &str, store: &RedisStore, record: Record) {
    for name in &record.saved {
        assert!(store.find_token(&user(name)).await.unwrap().is_some(), "{name} is lost");
    }
    for (task, update) in record.updates.iter().enumerate() {
        let stored = store.find_token(&user(&format!("user{task}"))).await.unwrap().unwrap();
        let access = stored.access_token().unwrap().expose_secret().to_owned();
        assert!(access >= format!("test-access-user{task}-{update:09}"), "an update is lost");
    }
    let inspection = store.inspect().await.unwrap();
    assert_eq!((&inspection.duplicates, &inspection.not_indexed), (&vec![], &vec![]));
    let Record { saved, not_applied, unknown, longest, .. } = &record;
    #[expect(clippy::print_stderr, reason = "figures for who reads the test's output")]
    {
        eprintln!(
            "{name}: {} added and all there, {not_applied} errors not applied, {unknown} unknown, \
             longest call {longest:?}",
            saved.len()
        );
    }
    assert!(*longest < LIMIT + Duration::from_secs(2), "{longest:?}");
}

pub(crate) async fn cluster(mut server: Server) {
    let (nodes, prefix) = (server.nodes().to_vec(), prefix());
    let config = migration::cluster(&nodes, &prefix).timeout(LIMIT);
    let store = config.wait_replicas(1, Duration::from_millis(500)).open().await.unwrap();
    let load = Load::on(&store);
    for _ in 0..2 {
        let enough = load.saved() + 200;
        until("some are saved", || async { load.saved() > enough }).await;
        let primary = store.inspect().await.unwrap().primary;
        let killed =
            nodes.iter().position(|node| primary == format!("{}:{}", node.host, node.port));
        let killed = killed.unwrap();
        server.kill(killed);
        let moved = || async {
            store.inspect().await.is_ok_and(|inspection| inspection.primary != primary)
        };
        until("another is the primary", moved).await;
        // What is saved has to be on two servers: the one that was killed comes back as a replica.
        server.restart(killed).unwrap();
    }
    let enough = load.saved() + 200;
    until("some are saved at the end", || async { load.saved() > enough }).await;
    let record = load.end().await;
    check("cluster", &store, record).await;
}

pub(crate) async fn sentinel(mut server: Server) {
    let (nodes, prefix) = (server.nodes().to_vec(), prefix());
    let (master, sentinels) = (&nodes[0], &nodes[2..]);
    let mut config = RedisConfig::sentinel(&sentinels[0].host, "tokenkeep").port(sentinels[0].port);
    for sentinel in &sentinels[1..] {
        config = config.another_host(&sentinel.host).port(sentinel.port);
    }
    let config =
        config.user(&master.user).password(&master.password).prefix(&prefix).timeout(LIMIT);
    let store = config.clone().wait_replicas(1, Duration::from_millis(500)).open().await.unwrap();
    let load = Load::on(&store);
    until("some are saved", || async { load.saved() > 200 }).await;
    assert_eq!(store.inspect().await.unwrap().primary, format!("127.0.0.1:{}", master.port));
    server.kill(0);
    let new = format!("127.0.0.1:{}", nodes[1].port);
    let followed =
        || async { store.inspect().await.is_ok_and(|inspection| inspection.primary == new) };
    until("the replica is the master", followed).await;
    server.restart(0).unwrap();
    let enough = load.saved() + 200;
    until("some are saved at the end", || async { load.saved() > enough }).await;
    let record = load.end().await;
    check("sentinel", &store, record).await;

    let unknown = RedisConfig::sentinel(&sentinels[0].host, "nobody").port(sentinels[0].port);
    let error = unknown.timeout(Duration::from_millis(500)).open().await.unwrap_err();
    assert!(error.to_string().contains("know no primary of this name"), "{error}");
}
