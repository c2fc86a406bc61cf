//! A slot of a cluster that is moved while it is used.

use std::time::Duration;

use tokenkeep_core::{Outcome, StoreErrorKind, TokenStore};
use tokenkeep_servers::{Address, Server};
use tokenkeep_store_redis::RedisConfig;

use crate::scene::{Admin, prefix, shows_no_secret, token, user};

pub(crate) fn cluster(nodes: &[Address], prefix: &str) -> RedisConfig {
    let mut config = RedisConfig::cluster(&nodes[0].host).port(nodes[0].port);
    for node in &nodes[1..] {
        config = config.another_host(&node.host).port(node.port);
    }
    config.user(&nodes[0].user).password(&nodes[0].password).prefix(prefix)
}

/// Where a slot is moved from and to.
struct Move {
    slot: String,
    source: (Admin, String),
    target: (Admin, String, Address),
}

impl Move {
    async fn of(nodes: &[Address], prefix: &str) -> Self {
        let key = format!("{{{prefix}}}:store");
        let (mut source, mut target) = (None, None);
        let mut slot = String::new();
        for node in &nodes[..3] {
            let admin = Admin::of(node).await;
            slot = admin.ask::<u64>(&["CLUSTER", "KEYSLOT", &key]).await.to_string();
            let id: String = admin.ask(&["CLUSTER", "MYID"]).await;
            // Who has the key does not say where it is.
            match admin.try_ask::<u64>(&["EXISTS", &key]).await {
                Ok(_) => source = Some((admin, id)),
                Err(_) => target = Some((admin, id, node.clone())),
            }
        }
        Self { slot, source: source.unwrap(), target: target.unwrap() }
    }

    async fn begin(&self) {
        let (source, source_id) = &self.source;
        let (target, target_id, _) = &self.target;
        let _done: String =
            target.ask(&["CLUSTER", "SETSLOT", &self.slot, "IMPORTING", source_id]).await;
        let _done: String =
            source.ask(&["CLUSTER", "SETSLOT", &self.slot, "MIGRATING", target_id]).await;
    }

    /// Moves some keys; whether there are more.
    async fn some(&self, count: &str) -> bool {
        let (source, _) = &self.source;
        let keys: Vec<String> = source.ask(&["CLUSTER", "GETKEYSINSLOT", &self.slot, count]).await;
        let Address { host, admin_password, .. } = &self.target.2;
        let port = self.target.2.port.to_string();
        let mut words =
            vec!["MIGRATE", host, &port, "", "0", "5000", "AUTH", admin_password, "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        if !keys.is_empty() {
            let _done: String = source.ask(&words).await;
        }
        !keys.is_empty()
    }

    async fn end(&self) {
        let (source, _) = &self.source;
        let (target, target_id, _) = &self.target;
        for admin in [target, source] {
            let _done: String =
                admin.ask(&["CLUSTER", "SETSLOT", &self.slot, "NODE", target_id]).await;
        }
    }
}

pub(crate) async fn moving_slot(server: Server) {
    let (nodes, prefix) = (server.nodes(), prefix());
    let store = cluster(nodes, &prefix).open().await.unwrap();
    let mut saved = Vec::new();
    for number in 0..20 {
        saved.push(store.save_token(&token(&format!("user{number}"), "0")).await.unwrap());
    }
    let impatient =
        cluster(nodes, &prefix).timeout(Duration::from_millis(700)).open().await.unwrap();
    let moving = Move::of(nodes, &prefix).await;
    moving.begin().await;
    // Whatever has been moved already, nothing is done by halves and nothing seems not to be there.
    for _ in 0..8 {
        moving.some("7").await;
        for error in [
            impatient.save_token(&token("user3", "1")).await.unwrap_err(),
            impatient.save_token(&token("nobody", "0")).await.unwrap_err(),
            impatient.find_token(&user("user3")).await.unwrap_err(),
            impatient.delete_tokens().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
            assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
            shows_no_secret(&error);
        }
    }
    // Who waits for longer than it takes notices nothing.
    let waiting = store.clone();
    let saving = tokio::spawn(async move { waiting.save_token(&token("late", "0")).await });
    while moving.some("50").await {}
    moving.end().await;
    let late = saving.await.unwrap().unwrap();
    assert_eq!(late.id().unwrap().number(), Some(21));
    saved.push(late);
    assert_eq!(store.get_tokens().await.unwrap(), saved);
    let inspection = store.inspect().await.unwrap();
    assert_eq!((inspection.vanished, inspection.not_indexed), (0, vec![]));
    assert_eq!(inspection.primary, format!("127.0.0.1:{}", moving.target.2.port));
}
