//! A database that is removed, replaced, emptied or moved away from under a store.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fs, path::Path, time::Duration};

use tokenkeep_core::{OAuthToken, SharedStore, TokenQuery, TokenStore};
use tokenkeep_store_sqlite::SqliteStore;

fn token(name: &str) -> OAuthToken {
    let token = OAuthToken::builder().user_name(name).client("test-client", "test-client-secret");
    token.refresh_token(format!("test-refresh-{name}")).build().unwrap()
}

async fn names(store: &SqliteStore) -> Vec<String> {
    let tokens = store.get_tokens().await.unwrap();
    tokens.iter().filter_map(|token| token.user_name().map(str::to_owned)).collect()
}

/// Reads notice within 10 ms; polled, so that a slow machine does not matter.
async fn names_become(store: &SqliteStore, wanted: &[&str]) {
    for _ in 0..500 {
        if names(store).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(names(store).await, wanted);
}

fn integrity(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let said: String =
        connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
}

#[tokio::test]
async fn a_removed_file_is_made_again_and_saves_go_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = SqliteStore::open(&path).unwrap();
    for name in ["alice", "bob"] {
        store.save_token(&token(name)).await.unwrap();
    }
    assert_eq!(names(&other).await.len(), 2);
    fs::remove_file(&path).unwrap();
    let saved = store.save_token(&token("carol")).await.unwrap();
    assert_eq!(saved.id().unwrap().as_str(), "3", "ids are not given again");
    assert!(path.exists());
    let saved = other.save_token(&token("dave")).await.unwrap();
    assert_eq!(saved.id().unwrap().as_str(), "4");
    names_become(&store, &["carol", "dave"]).await;
    names_become(&other, &["carol", "dave"]).await;
    drop((store, other));
    integrity(&path);
    assert_eq!(names(&SqliteStore::open(&path).unwrap()).await, ["carol", "dave"]);
}

#[tokio::test]
async fn reading_notices_a_removed_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save_token(&token("alice")).await.unwrap();
    fs::remove_file(&path).unwrap();
    names_become(&store, &[]).await;
    let query = TokenQuery::user("alice").unwrap();
    assert_eq!(store.find_token(&query).await.unwrap(), None);
}

#[tokio::test]
async fn a_file_put_in_its_place_is_read_and_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let backup = directory.path().join("backup.db");
    SqliteStore::open(&backup).unwrap().save_token(&token("bob")).await.unwrap();

    let store = SqliteStore::open(&path).unwrap();
    let other = SqliteStore::open(&path).unwrap();
    store.save_token(&token("alice")).await.unwrap();
    assert_eq!(names(&other).await, ["alice"]);
    fs::rename(&backup, &path).unwrap();
    // What is in the old file's log must not come into the new file.
    store.save_token(&token("carol")).await.unwrap();
    names_become(&store, &["bob", "carol"]).await;
    names_become(&other, &["bob", "carol"]).await;
    other.save_token(&token("dave")).await.unwrap();
    drop((store, other));
    integrity(&path);
    assert_eq!(names(&SqliteStore::open(&path).unwrap()).await, ["bob", "carol", "dave"]);
}

#[tokio::test]
async fn an_emptied_file_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = SqliteStore::open(&path).unwrap();
    for number in 0..50 {
        store.save_token(&token(&format!("user{number}"))).await.unwrap();
    }
    assert_eq!(names(&other).await.len(), 50);
    fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    store.save_token(&token("alice")).await.unwrap();
    other.save_token(&token("bob")).await.unwrap();
    names_become(&store, &["alice", "bob"]).await;
    names_become(&other, &["alice", "bob"]).await;
    drop((store, other));
    integrity(&path);
}

/// Another file at the path is a change, and who was told of it reads the other file: nothing
/// waits for the 10 ms.
#[tokio::test]
async fn a_mark_tells_of_another_file_and_reads_follow_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save_token(&token("alice")).await.unwrap();
    for round in 0..20 {
        let name = format!("user{round}");
        let backup = directory.path().join("backup.db");
        SqliteStore::open(&backup).unwrap().save_token(&token(&name)).await.unwrap();
        names(&store).await;
        let before = store.change_mark().await.unwrap();
        assert_eq!(store.change_mark().await.unwrap(), before);
        fs::rename(&backup, &path).unwrap();
        let after = store.change_mark().await.unwrap();
        assert_ne!(after, before, "replaced");
        assert_eq!(names(&store).await, [name.as_str()]);
        assert_eq!(store.change_mark().await.unwrap(), after);

        fs::remove_file(&path).unwrap();
        let removed = store.change_mark().await.unwrap();
        assert_ne!(removed, after, "removed");
        assert_eq!(names(&store).await, [""; 0]);
        let saved = store.save_token(&token("alice")).await.unwrap();
        let saved = store.find_token_by_id(saved.id().unwrap()).await.unwrap();
        assert!(saved.is_some());
        assert_ne!(store.change_mark().await.unwrap(), removed, "saved");
    }
}

#[tokio::test]
async fn a_removed_directory_is_an_error_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("place");
    fs::create_dir(&place).unwrap();
    let store = SqliteStore::open(place.join("zohooauth.db")).unwrap();
    store.save_token(&token("alice")).await.unwrap();
    fs::rename(&place, directory.path().join("away")).unwrap();
    let error = store.save_token(&token("bob")).await.unwrap_err();
    assert_eq!(error.kind(), tokenkeep_core::StoreErrorKind::Unavailable);
    fs::rename(directory.path().join("away"), &place).unwrap();
    store.save_token(&token("bob")).await.unwrap();
    assert_eq!(names(&store).await, ["alice", "bob"]);
}

#[tokio::test]
async fn a_link_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real.db");
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let store = SqliteStore::open(&link).unwrap();
    store.save_token(&token("alice")).await.unwrap();
    assert!(link.is_symlink());
    assert_eq!(names(&SqliteStore::open(&real).unwrap()).await, ["alice"]);
    fs::remove_file(&real).unwrap();
    store.save_token(&token("bob")).await.unwrap();
    assert!(link.is_symlink() && real.exists());
}
