//! Servers that are killed while they are written to, and come back or are replaced.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokenkeep_core::{SharedStore as _, TokenStore as _};
use tokenkeep_servers::{Address, Kind, Server, Trials};
use tokenkeep_store_postgres::PostgresStore;
use tokio::task::JoinHandle;

use crate::{
    here,
    support::{Database, connect, token, until},
};

pub(crate) fn trials(trials: Trials) -> Trials {
    trials
        .private(Kind::Postgres, "a_killed_server_loses_no_acknowledged_save", |server| async {
            here(killed(server));
        })
        .private(
            Kind::PostgresPair,
            "a_promoted_replica_has_every_acknowledged_save",
            |server| async {
                here(promoted(server));
            },
        )
        .private(
            Kind::PostgresPair,
            "a_primary_that_hangs_is_left_for_the_promoted",
            |server| async {
                here(hanging(server));
            },
        )
}

/// Users saved by some tasks, and the longest that one save took.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<(Vec<String>, Duration)>>,
}

impl Load {
    fn begin(store: &PostgresStore) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let save = |task: usize| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut saved, mut longest) = (Vec::new(), Duration::ZERO);
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let name = format!("user{task}-{number}");
                    #[expect(clippy::disallowed_methods, reason = "a span is measured")]
                    let begun = Instant::now();
                    if store.save_token(&token(&name)).await.is_ok() {
                        saved.push(name);
                    }
                    longest = longest.max(begun.elapsed());
                }
                (saved, longest)
            })
        };
        let tasks = (0..6).map(save).collect();
        Self { stop, tasks }
    }

    #[expect(clippy::print_stderr, reason = "a figure to be read")]
    async fn end(self, what: &str) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let (mut all, mut longest) = (Vec::new(), Duration::ZERO);
        for task in self.tasks {
            let (saved, took) = task.await.unwrap();
            all.extend(saved);
            longest = longest.max(took);
        }
        eprintln!("{what}: {} saves, the longest took {} ms", all.len(), longest.as_millis());
        all
    }
}

async fn count(store: &PostgresStore) -> usize {
    store.get_tokens().await.map(|tokens| tokens.len()).unwrap_or_default()
}

async fn check_all_there(store: &PostgresStore, saved: &[String]) {
    let tokens = store.get_tokens().await.unwrap();
    let mut names: Vec<_> = tokens.iter().filter_map(|token| token.user_name()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "some are there twice");
    for name in saved {
        assert!(names.binary_search(&name.as_str()).is_ok(), "{name} was acknowledged and is gone");
    }
}

async fn killed(mut server: Server) {
    let database = Database::new(&server.nodes()[0]).await;
    let store = database.open().await;
    let load = Load::begin(&store);
    for round in 0..3 {
        let before = count(&store).await;
        until(async || count(&store).await > before + 100).await;
        let mark = store.change_mark().await.unwrap();
        server.kill(0);
        server.restart(0).unwrap();
        assert_ne!(mark, store.change_mark().await.unwrap(), "{round}");
    }
    let before = count(&store).await;
    until(async || count(&store).await > before + 100).await;
    let saved = load.end("killed and started three times").await;
    check_all_there(&store, &saved).await;
}

/// A store on a pair whose primary answers a commit when the replica has it, too.
async fn pair(primary: &Address, replica: &Address) -> (Database, PostgresStore) {
    let database = Database::new(primary).await;
    let admin = connect(&format!("{}/postgres", primary.admin_url())).await;
    admin.batch_execute("alter system set synchronous_standby_names = '*'").await.unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'";
    until(async || admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    let config = database.config().connect_timeout(Duration::from_secs(1));
    let store = config.another_host(&replica.host).port(replica.port).open().await.unwrap();
    assert_eq!(store.inspect().await.unwrap().synchronous_replicas, "*");
    (database, store)
}

async fn promoted(mut server: Server) {
    let (_database, store) = pair(&server.nodes()[0].clone(), &server.nodes()[1].clone()).await;
    let load = Load::begin(&store);
    until(async || count(&store).await > 200).await;
    let mark = store.change_mark().await.unwrap();
    server.kill(0);
    server.promote().unwrap();
    let before = count(&store).await;
    assert_ne!(mark, store.change_mark().await.unwrap());
    until(async || count(&store).await > before + 200).await;
    let saved = load.end("primary killed, replica promoted").await;
    assert!(!store.inspect().await.unwrap().is_replica);
    check_all_there(&store, &saved).await;
}

async fn hanging(mut server: Server) {
    let (database, store) = pair(&server.nodes()[0].clone(), &server.nodes()[1].clone()).await;
    let load = Load::begin(&store);
    until(async || count(&store).await > 200).await;
    server.pause(0);
    server.promote().unwrap();
    let replica = server.nodes()[1].clone();
    let direct = Database::named(&replica, database.name()).open().await;
    let before = count(&direct).await;
    until(async || count(&direct).await > before + 200).await;
    let saved = load.end("primary stopped, replica promoted").await;
    check_all_there(&direct, &saved).await;
    server.kill(0);
}
