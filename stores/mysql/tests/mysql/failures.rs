//! What goes wrong: each a clear error, nothing lost, no secret told.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use tokenkeep_core::{
    Operation, Outcome, SharedStore, StoreError, StoreErrorKind, TokenState, TokenStore,
};
use tokenkeep_servers::{Kind, Server, Trials};
use tokenkeep_store_mysql::MysqlConfig;

use crate::support::{Database, admin, in_full, token, user};

pub(crate) fn add(trials: Trials) -> Trials {
    trials
        .needs(Kind::MariaDb, "failures::who_is_not_let_in_is_told", |at| async move {
            who_is_not_let_in_is_told(Database::new(&at[0]).await).await;
        })
        .needs(Kind::MariaDb, "failures::a_lock_of_others_is_waited_for", |at| async move {
            a_lock_of_others_is_waited_for(Database::new(&at[0]).await).await;
        })
        .needs(Kind::MariaDb, "failures::connections_that_the_server_ended", |at| async move {
            connections_that_the_server_ended(Database::new(&at[0]).await).await;
        })
        .private(Kind::MariaDb, "failures::a_server_that_becomes_read_only", |server| async move {
            a_server_that_becomes_read_only(server.nodes()[0].clone()).await;
        })
        .private(Kind::MariaDb, "failures::a_killed_server_keeps_each_save", |server| async move {
            a_killed_server_keeps_each_save(server).await;
        })
}

async fn refused(config: MysqlConfig, kind: StoreErrorKind, said: &str) -> StoreError {
    let error = config.timeout(Duration::from_secs(3)).open().await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.operation(), Some(Operation::Open));
    assert!(error.to_string().contains(said), "{error}");
    assert!(error.hint().is_some(), "{error:?}");
    assert!(!in_full(&error).contains("test-"), "{error:?}");
    error
}

async fn who_is_not_let_in_is_told(database: Database) {
    let config = || database.config();
    let wrong = config().password("test-wrong-password");
    refused(wrong, StoreErrorKind::PermissionDenied, "does not let this user in").await;
    let absent = config().database("test_absent");
    let error = refused(absent, StoreErrorKind::Unavailable, "no such database").await;
    assert!(error.hint().unwrap().starts_with("CREATE DATABASE"));
    assert_eq!(error.outcome(), Outcome::Final);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = config().port(closed.port());
    refused(nobody, StoreErrorKind::Unavailable, "nothing listens").await;
    let nowhere = config().host("nowhere.invalid");
    refused(nowhere, StoreErrorKind::Unavailable, "cannot be resolved").await;
    let socket = config().socket("/nowhere/mysqld.sock");
    refused(socket, StoreErrorKind::Unavailable, "no such socket").await;
    // One that takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let silence = config().port(port).connect_timeout(Duration::from_millis(200));
    refused(silence, StoreErrorKind::Unavailable, "in time").await;
    let reader = database.reader("select").await;
    refused(reader, StoreErrorKind::PermissionDenied, "lacks a permission").await;
}

async fn a_lock_of_others_is_waited_for(database: Database) {
    let store = database.config().timeout(Duration::from_secs(2)).open().await.unwrap();
    let alice = store.save_token(&token("alice")).await.unwrap();
    let mut other = database.connect().await;
    other.query_drop("start transaction; update oauthtoken set note = 1").await.unwrap_err();
    other
        .query_drop("rollback; start transaction; update oauthtoken set redirect_url = 'x'")
        .await
        .unwrap();
    for error in [
        store.save_token(&token("alice")).await.unwrap_err(),
        store.delete_token(alice.id().unwrap()).await.unwrap_err(),
    ] {
        assert_ne!(error.outcome(), Outcome::Final, "{error:?}");
        assert!(!in_full(&error).contains("test-"), "{error:?}");
    }
    // Reading waits for nobody, and what stands beside is another row.
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), Some(alice.clone()));
    store.replace_state(alice.id().unwrap(), None, &TokenState::default()).await.unwrap_err();
    other.query_drop("rollback").await.unwrap();
    store.save_token(&token("alice")).await.unwrap();
    store.save_token(&token("bob")).await.unwrap();
}

async fn connections_that_the_server_ended(database: Database) {
    let store = database.open().await;
    let alice = store.save_token(&token("alice")).await.unwrap();
    let mut admin = database.admin().await;
    for round in 0..10 {
        let sql = "select id from information_schema.processlist where db = ?";
        let ids: Vec<u64> = admin.exec(sql, (&database.name,)).await.unwrap();
        assert!(!ids.is_empty());
        for id in ids {
            admin.query_drop(format!("kill {id}")).await.unwrap();
        }
        if round % 2 == 0 {
            assert_eq!(store.find_token(&user("alice")).await.unwrap(), Some(alice.clone()));
        } else {
            store.save_token(&token("alice")).await.unwrap();
        }
    }
}

async fn a_server_that_becomes_read_only(address: tokenkeep_servers::Address) {
    let database = Database::new(&address).await;
    // Makes the tables, for which half a second may not be enough.
    drop(database.open().await);
    let store = database.config().timeout(Duration::from_millis(500)).open().await.unwrap();
    let alice = store.save_token(&token("alice")).await.unwrap();
    let mut root = admin(&address).await;
    root.query_drop("set global read_only = on").await.unwrap();
    for error in [
        store.save_token(&token("bob")).await.unwrap_err(),
        store.replace_token(&alice, &token("other"), None).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
        assert!(error.to_string().contains("read-only"), "{error}");
    }
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
    root.query_drop("set global innodb_flush_log_at_trx_commit = 2").await.unwrap();
    let inspection = store.inspect().await.unwrap();
    assert!(inspection.is_read_only && !inspection.is_durable);
    assert_eq!(inspection.flush_log.as_deref(), Some("2"));
    // It may be opened meanwhile, and writes when it can.
    let other = database.config().open().await.unwrap();
    let save = tokio::spawn(async move { other.save_token(&token("bob")).await });
    root.query_drop("set global read_only = off").await.unwrap();
    save.await.unwrap().unwrap();
    assert_eq!(store.get_tokens().await.unwrap().len(), 2);
}

async fn a_killed_server_keeps_each_save(mut server: Server) {
    let database = Database::new(&server.nodes()[0]).await;
    let mut saved = Vec::new();
    for round in 0..3 {
        let store = database.config().timeout(Duration::from_secs(3)).open().await.unwrap();
        let (done, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let (store, done) = (store.clone(), done.clone());
                tokio::spawn(async move {
                    for number in 0.. {
                        let name = format!("user{round}-{task}-{number}");
                        match store.save_token(&token(&name)).await {
                            Ok(_) => done.send(name).unwrap(),
                            Err(error) => return error,
                        }
                    }
                    unreachable!("it is killed before");
                })
            })
            .collect();
        drop(done);
        while saved.len() < (round + 1) * 50 {
            saved.push(acknowledged.recv().await.unwrap());
        }
        server.kill(0);
        for task in tasks {
            let error = task.await.unwrap();
            assert!(matches!(error.outcome(), Outcome::NotApplied | Outcome::Unknown), "{error:?}");
        }
        while let Some(name) = acknowledged.recv().await {
            saved.push(name);
        }
        server.restart(0).unwrap();
        let store = database.open().await;
        for name in &saved {
            assert!(store.find_token(&user(name)).await.unwrap().is_some(), "{name}");
        }
        assert!(store.inspect().await.unwrap().is_durable);
    }
}
