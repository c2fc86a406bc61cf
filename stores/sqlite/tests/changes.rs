//! Whether a change mark tells of what others write into a database, in each way it can be open.
//! What every store's mark tells is in the conformance suite.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use rusqlite::Connection;
use tokenkeep_core::{
    BulkStore, ChangeMark, Entry, LeaseAttempt, OAuthToken, Replaced, SharedStore, StateReplaced,
    TokenId, TokenQuery, TokenState, TokenStore,
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

/// Whether `store` has been changed since it was asked last.
async fn is_changed(store: &SqliteStore, last: &mut ChangeMark) -> bool {
    let before = std::mem::replace(last, store.change_mark().await.unwrap());
    before != *last
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

#[tokio::test]
async fn what_an_sdk_writes_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let mut mark = store.change_mark().await.unwrap();
    let sdk = Connection::open(&path).unwrap();
    for sql in [
        "insert into oauthtoken (id, user_name, refresh_token) values ('1', 'alice', 'test-r')",
        "update oauthtoken set access_token = 'test-access' where id = '1'",
        "delete from oauthtoken",
        "drop table oauthtoken",
    ] {
        sdk.execute_batch(sql).unwrap();
        assert!(is_changed(&store, &mut mark).await, "{sql}");
        read_all(&store).await;
        is_changed(&store, &mut mark).await;
    }
    assert!(!is_changed(&store, &mut mark).await);
    sdk.execute_batch("begin immediate; update tokenkeep_meta set last_id = 9; rollback").unwrap();
    assert!(!is_changed(&store, &mut mark).await, "what was rolled back is no change");
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

    let mut mark = store.change_mark().await.unwrap();
    let sql = "insert into oauthtoken (id, user_name, refresh_token) values ('1', 'alice', 't')";
    sdk.execute_batch(sql).unwrap();
    assert!(is_changed(&store, &mut mark).await);
    assert!(!is_changed(&store, &mut mark).await);
    store.save_token(&token("bob", "1")).await.unwrap();
    assert!(is_changed(&store, &mut mark).await);
    read_all(&store).await;
    assert!(!is_changed(&store, &mut mark).await);
}

#[tokio::test]
async fn a_store_that_only_reads_sees_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let writer = SqliteStore::open(&path).unwrap();
    let store = SqliteConfig::new(&path).read_only(true).open().unwrap();
    let mut mark = store.change_mark().await.unwrap();
    let alice = writer.save_token(&token("alice", "1")).await.unwrap();
    assert!(is_changed(&store, &mut mark).await, "a token added");
    let id = alice.id().unwrap();
    let alice = writer.save_token(&token("alice", "2")).await.unwrap();
    assert!(is_changed(&store, &mut mark).await, "a token updated");
    let replaced = writer.replace_token(&alice, &token("alice", "3"), None).await.unwrap();
    assert!(matches!(replaced, Replaced::Saved(_)), "{replaced:?}");
    assert!(is_changed(&store, &mut mark).await, "a token replaced");
    let written = writer.replace_state(id, None, &TokenState::default()).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert!(is_changed(&store, &mut mark).await, "a state written");
    let attempt = writer.try_lease(id, "test-holder", TTL).await.unwrap();
    let LeaseAttempt::Granted(lease) = attempt else { panic!("nobody has the lease") };
    assert!(is_changed(&store, &mut mark).await, "a lease taken");
    let lease = writer.renew_lease(&lease, TTL * 2).await.unwrap().unwrap();
    assert!(is_changed(&store, &mut mark).await, "a lease renewed");
    assert!(writer.release_lease(&lease).await.unwrap());
    assert!(is_changed(&store, &mut mark).await, "a lease released");
    assert!(writer.delete_token(id).await.unwrap());
    assert!(is_changed(&store, &mut mark).await, "a token deleted");
    let entries = [token("bob", "1"), token("carol", "1")].map(Entry::new);
    assert_eq!(writer.save_entries(&entries).await.unwrap().len(), 2);
    assert!(is_changed(&store, &mut mark).await, "tokens added at once");
    assert_eq!(writer.delete_tokens().await.unwrap(), 2);
    assert!(is_changed(&store, &mut mark).await, "all tokens deleted");
    read_all(&store).await;
    assert!(!is_changed(&store, &mut mark).await, "reading is no change");
}
