//! The queue of those that have lost: what stands in it, and what is wrong with it, keeps nobody
//! from saving.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{PREFIX, config, open, secrets, token};
use tokenkeep_core::TokenStore;
use tokenkeep_store_vault::VaultStore;
use tokenkeep_testkit::{VaultFault, VaultServer};
use tokio::task::JoinHandle;

/// Another process, as far as the store can tell, that saves until it is stopped.
struct Other {
    stop: Arc<AtomicBool>,
    saves: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Other {
    fn start(store: VaultStore, name: &'static str) -> Self {
        let (stop, saves) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&saves));
        let task = tokio::spawn(async move {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                store.save_token(&token(name, &number.to_string())).await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, saves, task }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.saves.load(Ordering::Relaxed)
    }
}

fn queue(server: &VaultServer) -> Value {
    server.ask("GET", &format!("secret/data/{PREFIX}/queue"), &Value::Null).1["data"]["data"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_request_is_got_over_while_others_write() {
    for fault in [VaultFault::CutBefore, VaultFault::CutAfter, VaultFault::Status(503)] {
        for request in (0..60).step_by(3) {
            let server = VaultServer::start().unwrap();
            let store = open(&server).await;
            store.save_token(&token("alice", "0")).await.unwrap();
            let others = [("bob", open(&server).await), ("carol", open(&server).await)]
                .map(|(name, store)| Other::start(store, name));
            server.fail(request, fault);
            for number in 1..=6 {
                let saved = store.save_token(&token("alice", &number.to_string())).await;
                saved.unwrap_or_else(|error| panic!("{fault:?} {request}: {error:?}"));
            }
            for other in others {
                other.stop().await;
            }
            assert_eq!(server.disarm(), 1, "{fault:?} {request} did not happen");
            let tokens = open(&server).await.get_tokens().await.unwrap();
            let access = tokens[0].access_token().unwrap().expose_secret();
            assert_eq!((access, tokens.len()), ("test-access-alice-6", 3), "{fault:?} {request}");
            assert_eq!(secrets(&server).len(), 3, "{fault:?} {request}");
        }
    }
}

#[tokio::test]
async fn who_died_in_the_queue_is_not_waited_for_twice() {
    let server = VaultServer::start().unwrap();
    let path = format!("secret/data/{PREFIX}/queue");
    server.ask("POST", &path, &json!({"data": {"waiting": ["test-dead"]}}));
    let store = open(&server).await;
    for number in 0..10 {
        store.save_token(&token("alice", &number.to_string())).await.unwrap();
    }
    assert_eq!(queue(&server), json!({ "waiting": [] }));
    let looked = |requests: Vec<String>| requests.iter().any(|request| request.ends_with("queue"));
    assert!(looked(server.requests()), "nobody has looked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_cannot_be_had_keeps_nobody_from_saving() {
    let server = VaultServer::start().unwrap();
    open(&server).await.save_token(&token("alice", "0")).await.unwrap();
    let allowed = ["data", "metadata"]
        .map(|kind| ["index", "tokens"].map(|name| format!("secret/{kind}/{PREFIX}/{name}")));
    let allowed: Vec<&str> = allowed.as_flattened().iter().map(String::as_str).collect();
    server.add_token("test-other-token", None, &allowed);
    let limited = || async {
        let config = config(&server).token("test-other-token").timeout(Duration::from_secs(30));
        config.open().await.unwrap()
    };
    let other = Other::start(limited().await, "bob");
    let store = limited().await;
    for number in 0..20 {
        store.save_token(&token("alice", &number.to_string())).await.unwrap();
    }
    assert!(other.stop().await > 0);
    assert_eq!(queue(&server), Value::Null);

    // Somebody has written over it, or deleted it.
    let path = format!("secret/data/{PREFIX}/queue");
    for damage in [json!({"waiting": 7}), Value::Null] {
        server.ask("POST", &path, &json!({ "data": damage }));
        server.ask("DELETE", &path, &Value::Null);
        let (store, other) = (open(&server).await, Other::start(open(&server).await, "bob"));
        for number in 0..10 {
            store.save_token(&token("alice", &number.to_string())).await.unwrap();
        }
        other.stop().await;
    }
    assert_eq!(open(&server).await.get_tokens().await.unwrap().len(), 2);
}

/// Waiting is not longer than the time that the operation has.
#[tokio::test]
async fn a_queue_of_the_dead_costs_time_and_no_change() {
    let server = VaultServer::start().unwrap();
    let path = format!("secret/data/{PREFIX}/queue");
    let dead: Vec<String> = (0..50).map(|n| format!("test-dead-{n}")).collect();
    server.ask("POST", &path, &json!({ "data": { "waiting": dead } }));
    let config = config(&server).token(VaultServer::ROOT).timeout(Duration::from_secs(5));
    let store = config.open().await.unwrap();
    for number in 0..7 {
        store.save_token(&token("alice", &number.to_string())).await.unwrap();
    }
    let left = queue(&server)["waiting"].as_array().unwrap().len();
    assert!(left < 50, "who is dead stays first: {left}");
}
