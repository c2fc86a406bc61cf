//! Whether a change mark tells of what only files have: their times, and others who write and damage
//! them. What every store's mark tells is in the conformance suite.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use support::{HEADER, Space, find, id, token, write};
use tokenkeep_core::{ChangeMark, SharedStore as _, StateReplaced, TokenState, TokenStore as _};
use tokenkeep_store_file::FileStore;

/// Whether `store` has been changed since it was asked last.
async fn is_changed(store: &FileStore, last: &mut ChangeMark) -> bool {
    let before = std::mem::replace(last, store.change_mark().await.unwrap());
    before != *last
}

async fn read_all(store: &FileStore) {
    find(store, "alice").await;
    store.find_token_by_id(&id("1")).await.unwrap();
    store.get_tokens().await.unwrap();
    store.state(&id("1")).await.unwrap();
    store.page(None, 10).await.unwrap();
    store.inspect().await.unwrap();
}

/// At first the times of the files do not tell yet of the next change, later they do.
#[tokio::test]
async fn no_change_is_seen_where_there_was_none_however_long_one_looks() {
    let space = Space::new();
    let (store, other) = (space.open(), space.open());
    let saved = store.save_token(&token("alice")).await.unwrap();
    let state = TokenState::default();
    store.replace_state(saved.id().unwrap(), None, &state).await.unwrap();
    let mut mark = store.change_mark().await.unwrap();
    let changed = || space.path().metadata().unwrap().modified().unwrap().elapsed().unwrap();
    while changed() < Duration::from_millis(60) {
        read_all(&store).await;
        read_all(&other).await;
        assert!(!is_changed(&store, &mut mark).await);
    }
    // Writing what is there already is none either.
    let written = other.replace_state(saved.id().unwrap(), Some(&state), &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert!(!is_changed(&store, &mut mark).await);
}

#[tokio::test]
async fn what_an_sdk_writes_is_seen() {
    let space = Space::with(format!("{HEADER}\n1,alice,,,test-a,test-0000,,,,\n"));
    let store = space.open();
    find(&store, "alice").await.unwrap();
    let mut mark = store.change_mark().await.unwrap();
    for number in 1..20 {
        space.write(format!("{HEADER}\n1,alice,,,test-a,test-{number:04},,,,\n"));
        assert!(is_changed(&store, &mut mark).await, "{number}");
        let access = find(&store, "alice").await.unwrap().access_token().cloned().unwrap();
        assert_eq!(access.expose_secret(), format!("test-{number:04}"));
        assert!(!is_changed(&store, &mut mark).await, "{number}");
    }
    std::fs::remove_file(space.path()).unwrap();
    assert!(is_changed(&store, &mut mark).await);
}

/// A find does not believe for a while that a file has become shorter. The mark must tell of it
/// when finds do, or who asked for it too early would never hear.
#[tokio::test]
async fn a_file_that_became_shorter_is_seen_when_finds_see_it() {
    let space = Space::with(format!("{HEADER}\n1,alice,,,test-a,,,,,\n2,bob,,,test-b,,,,,\n"));
    let store = space.open();
    assert_eq!(store.get_tokens().await.unwrap().len(), 2);
    let mut before = store.change_mark().await.unwrap();
    for rows in ["1,alice,,,test-a,,,,,\n", ""] {
        space.write(format!("{HEADER}\n{rows}"));
        for _ in 0..100 {
            let mark = store.change_mark().await.unwrap();
            if store.get_tokens().await.unwrap().len() == rows.lines().count() {
                break;
            }
            before = mark;
        }
        let after = store.change_mark().await.unwrap();
        assert_ne!(before, after, "what was read after the first is not there any more");
        before = after;
    }
}

#[tokio::test]
async fn a_side_file_that_somebody_damages_or_removes_is_a_change() {
    let space = Space::new();
    let store = space.open();
    let saved = store.save_token(&token("alice")).await.unwrap();
    let one = saved.id().unwrap();
    let state = TokenState::default();
    store.replace_state(one, None, &state).await.unwrap();
    let mut mark = store.change_mark().await.unwrap();
    let side = space.directory().join("tokens.csv.tokenkeep");
    write(&side, "{");
    assert!(is_changed(&store, &mut mark).await);
    assert!(!is_changed(&store, &mut mark).await);
    // What cannot be read counts as nothing.
    let changed = store.replace_state(one, Some(&state), &state).await.unwrap();
    assert_eq!(changed, StateReplaced::Changed(None));
    let written = store.replace_state(one, None, &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert!(is_changed(&store, &mut mark).await);
    std::fs::remove_file(side).unwrap();
    assert!(is_changed(&store, &mut mark).await);
}
