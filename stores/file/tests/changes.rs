//! Whether a change mark tells of what has been changed, and of nothing else.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use support::{HEADER, Space, access, find, id, token, write};
use tokenkeep_core::{
    ChangeMark, LeaseAttempt, Replaced, SharedStore as _, StateReplaced, TokenState,
    TokenStore as _,
};
use tokenkeep_store_file::FileStore;

const TTL: Duration = Duration::from_secs(60);

/// A store that is asked whether it has been changed since it was asked last.
struct Watched<'a> {
    store: &'a FileStore,
    last: ChangeMark,
}

impl<'a> Watched<'a> {
    async fn new(store: &'a FileStore) -> Self {
        Self { store, last: store.change_mark().await.unwrap() }
    }

    async fn is_changed(&mut self) -> bool {
        let before = std::mem::replace(&mut self.last, self.store.change_mark().await.unwrap());
        before != self.last
    }
}

async fn read_all(store: &FileStore) {
    find(store, "alice").await;
    store.find_token_by_id(&id("1")).await.unwrap();
    store.get_tokens().await.unwrap();
    store.state(&id("1")).await.unwrap();
    store.page(None, 10).await.unwrap();
    store.inspect().await.unwrap();
}

/// Makes every change there is through `writer`; each is seen by `watched`.
async fn each_change_is_seen(writer: &FileStore, watched: &mut Watched<'_>) {
    let alice = writer.save_token(&token("alice")).await.unwrap();
    assert!(watched.is_changed().await, "a token added");
    let alice_id = alice.id().unwrap();
    let alice = writer.save_token(&access("alice", "test-access-1")).await.unwrap();
    assert!(watched.is_changed().await, "a token updated");
    let new = access("alice", "test-access-2");
    let replaced = writer.replace_token(&alice, &new, None).await.unwrap();
    assert!(matches!(replaced, Replaced::Saved(_)), "{replaced:?}");
    assert!(watched.is_changed().await, "a token replaced");
    let written = writer.replace_state(alice_id, None, &TokenState::default()).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert!(watched.is_changed().await, "a state written");
    let attempt = writer.try_lease(alice_id, "test-holder", TTL).await.unwrap();
    let LeaseAttempt::Granted(lease) = attempt else { panic!("nobody has the lease") };
    assert!(watched.is_changed().await, "a lease taken");
    let lease = writer.renew_lease(&lease, TTL * 2).await.unwrap().unwrap();
    assert!(watched.is_changed().await, "a lease renewed");
    assert!(writer.release_lease(&lease).await.unwrap());
    assert!(watched.is_changed().await, "a lease released");
    assert!(writer.delete_token(alice_id).await.unwrap());
    assert!(watched.is_changed().await, "a token deleted");
    writer.save_token(&token("bob")).await.unwrap();
    assert!(watched.is_changed().await, "another token added");
    assert_eq!(writer.delete_tokens().await.unwrap(), 1);
    assert!(watched.is_changed().await, "all tokens deleted");
    read_all(writer).await;
    assert!(!watched.is_changed().await, "reading is no change");
}

#[tokio::test]
async fn each_change_is_seen_whoever_makes_it() {
    let space = Space::new();
    let (store, other) = (space.open(), space.open());
    let mut watched = Watched::new(&store).await;
    for _ in 0..3 {
        each_change_is_seen(&other, &mut watched).await;
        each_change_is_seen(&store, &mut watched).await;
        each_change_is_seen(&store.clone(), &mut watched).await;
    }
}

/// At first the times of the files do not tell yet of the next change, later they do.
#[tokio::test]
async fn no_change_is_seen_where_there_was_none_however_long_one_looks() {
    let space = Space::new();
    let (store, other) = (space.open(), space.open());
    let saved = store.save_token(&token("alice")).await.unwrap();
    let state = TokenState::default();
    store.replace_state(saved.id().unwrap(), None, &state).await.unwrap();
    let mut watched = Watched::new(&store).await;
    let changed = || space.path().metadata().unwrap().modified().unwrap().elapsed().unwrap();
    while changed() < Duration::from_millis(60) {
        read_all(&store).await;
        read_all(&other).await;
        assert!(!watched.is_changed().await);
    }
    // Writing what is there already is none either.
    let written = other.replace_state(saved.id().unwrap(), Some(&state), &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert!(!watched.is_changed().await);
}

#[tokio::test]
async fn what_an_sdk_writes_is_seen() {
    let space = Space::with(format!("{HEADER}\n1,alice,,,test-a,test-0000,,,,\n"));
    let store = space.open();
    find(&store, "alice").await.unwrap();
    let mut watched = Watched::new(&store).await;
    for number in 1..20 {
        space.write(format!("{HEADER}\n1,alice,,,test-a,test-{number:04},,,,\n"));
        assert!(watched.is_changed().await, "{number}");
        let access = find(&store, "alice").await.unwrap().access_token().cloned().unwrap();
        assert_eq!(access.expose_secret(), format!("test-{number:04}"));
        assert!(!watched.is_changed().await, "{number}");
    }
    std::fs::remove_file(space.path()).unwrap();
    assert!(watched.is_changed().await);
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
    let mut watched = Watched::new(&store).await;
    let side = space.directory().join("tokens.csv.tokenkeep");
    write(&side, "{");
    assert!(watched.is_changed().await);
    assert!(!watched.is_changed().await);
    // What cannot be read counts as nothing.
    let changed = store.replace_state(one, Some(&state), &state).await.unwrap();
    assert_eq!(changed, StateReplaced::Changed(None));
    let written = store.replace_state(one, None, &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert!(watched.is_changed().await);
    std::fs::remove_file(side).unwrap();
    assert!(watched.is_changed().await);
}
