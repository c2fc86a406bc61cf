//! What a SQLite store does beyond what the conformance suite asks of every store.

use tokenkeep_core::{OAuthToken, TokenQuery, TokenStore};
use tokenkeep_store_sqlite::SqliteStore;

fn token(user: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(user)
        .client("test-client", "test-client-secret")
        .refresh_token(format!("test-refresh-{user}"))
        .access_token(format!("test-access-{user}"))
        .build()
        .unwrap()
}

#[tokio::test]
async fn thirteen_users_have_thirteen_ids_also_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    for number in 1..=13 {
        let saved = store.save_token(&token(&format!("user{number}"))).await.unwrap();
        assert_eq!(saved.id().unwrap().number(), Some(number));
    }
    let id = "13".parse().unwrap();
    assert!(store.delete_token(&id).await.unwrap());
    assert!(!store.delete_token(&id).await.unwrap());
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.get_tokens().await.unwrap().len(), 12);
    let found = store.find_token(&TokenQuery::user("user10").unwrap()).await.unwrap();
    assert_eq!(found.unwrap().id().unwrap().number(), Some(10));
    let saved = store.save_token(&token("late")).await.unwrap();
    assert_eq!(saved.id().unwrap().number(), Some(14));
}

#[tokio::test]
async fn a_database_in_memory_is_shared_by_clones() {
    let store = SqliteStore::in_memory().unwrap();
    let saved = store.save_token(&token("alice")).await.unwrap();
    let clone = store.clone();
    let found = tokio::spawn(async move { clone.get_tokens().await.unwrap() }).await.unwrap();
    assert_eq!(found, [saved]);
    assert_eq!(store.delete_tokens().await.unwrap(), 1);
}
