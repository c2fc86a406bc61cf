//! Whether a change mark tells of what has been changed, and of nothing else.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use rusqlite::Connection;
use tokenkeep_core::{
    ChangeMark, LeaseAttempt, OAuthToken, Replaced, SharedStore, StateReplaced, TokenId,
    TokenQuery, TokenState, TokenStore,
};
use tokenkeep_store_sqlite::{SqliteConfig, SqliteStore};

const TTL: Duration = Duration::from_secs(60);

fn token(name: &str, access: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(name)
        .refresh_token(format!("test-refresh-{name}"))
        .access_token(format!("test-access-{access}"))
        .build()
        .unwrap()
}

/// A store that is asked whether it has been changed since it was asked last.
struct Watched<'a> {
    store: &'a SqliteStore,
    last: ChangeMark,
}

impl<'a> Watched<'a> {
    async fn new(store: &'a SqliteStore) -> Self {
        Self { store, last: store.change_mark().await.unwrap() }
    }

    async fn is_changed(&mut self) -> bool {
        let before = std::mem::replace(&mut self.last, self.store.change_mark().await.unwrap());
        before != self.last
    }
}

async fn read_all(store: &SqliteStore) {
    store.find_token(&TokenQuery::user("alice").unwrap()).await.unwrap();
    store.find_token_by_id(&TokenId::from_number(1)).await.unwrap();
    store.get_tokens().await.unwrap();
    store.state(&TokenId::from_number(1)).await.unwrap();
    for limit in [10, 10_000] {
        store.page(None, limit).await.unwrap();
    }
    store.inspect().await.unwrap();
}

/// Makes every change there is through `writer`; each is seen by `watched`.
async fn each_change_is_seen(writer: &SqliteStore, watched: &mut Watched<'_>) {
    let alice = writer.save_token(&token("alice", "1")).await.unwrap();
    assert!(watched.is_changed().await, "a token added");
    let id = alice.id().unwrap();
    let alice = writer.save_token(&token("alice", "2")).await.unwrap();
    assert!(watched.is_changed().await, "a token updated");
    let replaced = writer.replace_token(&alice, &token("alice", "3"), None).await.unwrap();
    assert!(matches!(replaced, Replaced::Saved(_)), "{replaced:?}");
    assert!(watched.is_changed().await, "a token replaced");
    let written = writer.replace_state(id, None, &TokenState::default()).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert!(watched.is_changed().await, "a state written");
    let attempt = writer.try_lease(id, "test-holder", TTL).await.unwrap();
    let LeaseAttempt::Granted(lease) = attempt else { panic!("nobody has the lease") };
    assert!(watched.is_changed().await, "a lease taken");
    let lease = writer.renew_lease(&lease, TTL * 2).await.unwrap().unwrap();
    assert!(watched.is_changed().await, "a lease renewed");
    assert!(writer.release_lease(&lease).await.unwrap());
    assert!(watched.is_changed().await, "a lease released");
    assert!(writer.delete_token(id).await.unwrap());
    assert!(watched.is_changed().await, "a token deleted");
    writer.save_token(&token("bob", "1")).await.unwrap();
    assert!(watched.is_changed().await, "another token added");
    assert_eq!(writer.delete_tokens().await.unwrap(), 1);
    assert!(watched.is_changed().await, "all tokens deleted");
    read_all(writer).await;
    assert!(!watched.is_changed().await, "reading is no change");
}

#[tokio::test]
async fn each_change_is_seen_whoever_makes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = SqliteStore::open(&path).unwrap();
    let mut watched = Watched::new(&store).await;
    for _ in 0..3 {
        each_change_is_seen(&other, &mut watched).await;
        each_change_is_seen(&store, &mut watched).await;
        each_change_is_seen(&store.clone(), &mut watched).await;
    }
}

#[tokio::test]
async fn each_change_in_memory_is_seen() {
    let store = SqliteStore::in_memory().unwrap();
    let mut watched = Watched::new(&store).await;
    each_change_is_seen(&store, &mut watched).await;
    each_change_is_seen(&store.clone(), &mut watched).await;
}

#[tokio::test]
async fn what_an_sdk_writes_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let mut watched = Watched::new(&store).await;
    let sdk = Connection::open(&path).unwrap();
    for sql in [
        "insert into oauthtoken (id, user_name, refresh_token) values ('1', 'alice', 'test-r')",
        "update oauthtoken set access_token = 'test-access' where id = '1'",
        "delete from oauthtoken",
        "drop table oauthtoken",
    ] {
        sdk.execute_batch(sql).unwrap();
        assert!(watched.is_changed().await, "{sql}");
        read_all(&store).await;
        watched.is_changed().await;
    }
    assert!(!watched.is_changed().await);
    sdk.execute_batch("begin immediate; update tokenkeep_meta set last_id = 9; rollback").unwrap();
    assert!(!watched.is_changed().await, "what was rolled back is no change");
}

#[tokio::test]
async fn a_change_is_seen_without_a_write_ahead_log_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    drop(SqliteStore::open(&path).unwrap());
    let sdk = Connection::open(&path).unwrap();
    sdk.execute_batch("pragma journal_mode = delete; begin; select * from oauthtoken").unwrap();
    let config = SqliteConfig::new(&path).busy_timeout(Duration::from_millis(50));
    let store = config.open().unwrap();
    sdk.execute_batch("commit").unwrap();
    let mode: String = sdk.query_row("pragma journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");

    let mut watched = Watched::new(&store).await;
    let sql = "insert into oauthtoken (id, user_name, refresh_token) values ('1', 'alice', 't')";
    sdk.execute_batch(sql).unwrap();
    assert!(watched.is_changed().await);
    assert!(!watched.is_changed().await);
    store.save_token(&token("bob", "1")).await.unwrap();
    assert!(watched.is_changed().await);
    read_all(&store).await;
    assert!(!watched.is_changed().await);
}

#[tokio::test]
async fn a_store_that_only_reads_sees_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let writer = SqliteStore::open(&path).unwrap();
    let store = SqliteConfig::new(&path).read_only(true).open().unwrap();
    let mut watched = Watched::new(&store).await;
    each_change_is_seen(&writer, &mut watched).await;
    read_all(&store).await;
    assert!(!watched.is_changed().await);
}
