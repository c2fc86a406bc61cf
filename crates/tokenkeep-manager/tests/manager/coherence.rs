//! What one process stores, replaces or revokes, another one does not serve the old of for long.

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{
    AccessToken, Clock, GrantToken, ListStore, OAuthToken, Operation, StoreErrorKind, TokenId,
    TokenStore,
};
use tokenkeep_manager::{Login, ManagerErrorKind};
use tokenkeep_store_file::FileConfig;
use tokenkeep_store_sqlite::SqliteConfig;
use tokenkeep_testkit::{ManualClock, When};
use tokio::time::Instant;

use crate::scene::{HOUR, START, Scene, client, manager};

const BOUND: Duration = Duration::from_secs(1);

/// Two stores of the same data each, as two processes have them.
fn pairs(
    dir: &tempfile::TempDir,
    clock: &Arc<ManualClock>,
) -> Vec<(Arc<dyn TokenStore>, Arc<dyn TokenStore>)> {
    let list = Arc::new(ListStore::with_clock(clock.clone()));
    let sqlite = || -> Arc<dyn TokenStore> {
        let path = dir.path().join("tokens.db");
        Arc::new(SqliteConfig::new(path).clock(clock.clone()).open().unwrap())
    };
    let file = || -> Arc<dyn TokenStore> {
        let path = dir.path().join("tokens.csv");
        Arc::new(FileConfig::new(path).clock(clock.clone()).open().unwrap())
    };
    vec![(list.clone(), list), (sqlite(), sqlite()), (file(), file())]
}

#[tokio::test]
async fn a_token_that_another_process_has_revoked_is_not_served_beyond_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    for (ours, theirs) in pairs(&dir, &clock) {
        let scene = Scene::with_store(Arc::clone(&clock), ours);
        let alice = scene.user("alice@example.com").await;
        alice.access_token().await.unwrap();
        scene.clock.advance(BOUND);
        alice.access_token().await.unwrap();
        let other = manager(&scene.emulator, theirs, &clock).build().unwrap();
        other.revoke(alice.id()).await.unwrap();
        scene.clock.advance(BOUND);
        let error = alice.access_token().await.unwrap_err();
        assert_eq!(error.kind(), ManagerErrorKind::NeedsLogin, "{:?}", scene.store);
    }
}

#[tokio::test]
async fn a_login_of_another_process_is_used_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    for (ours, theirs) in pairs(&dir, &clock) {
        let scene = Scene::with_store(Arc::clone(&clock), ours);
        let alice = scene.user("alice@example.com").await;
        alice.access_token().await.unwrap();
        let code = GrantToken::new(scene.new_user("alice@example.com").grant_token).unwrap();
        let other = manager(&scene.emulator, theirs, &clock).build().unwrap();
        let login = other.log_in(Login::grant_token(client(), code)).await.unwrap().token;
        assert_eq!(login.id(), Some(alice.id()));
        scene.clock.advance(BOUND);
        let live = alice.access_token().await.unwrap();
        assert_eq!(Some(live.access_token()), login.access_token(), "{:?}", scene.store);
    }
}

#[tokio::test]
async fn while_nothing_changes_no_token_is_read_and_the_store_is_seldom_asked() {
    let (scene, store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let bob = scene.user("bob@example.com").await;
    for _ in 0..2 {
        scene.clock.advance(BOUND);
        alice.access_token().await.unwrap();
        bob.access_token().await.unwrap();
    }
    let (finds, marks) =
        (store.calls(Operation::FindTokenById), store.calls(Operation::ChangeMark));
    for _ in 0..100 {
        for _ in 0..10 {
            alice.access_token().await.unwrap();
            bob.access_token().await.unwrap();
        }
        scene.clock.advance(BOUND / 2);
    }
    assert_eq!(store.calls(Operation::FindTokenById), finds);
    assert!(store.calls(Operation::ChangeMark) - marks <= 100, "twice in the bound, for all");
}

#[tokio::test]
async fn a_store_that_does_not_answer_costs_no_token_that_works() {
    let (scene, store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let live = alice.access_token().await.unwrap();
    let broken = [Operation::ChangeMark, Operation::FindTokenById, Operation::State];
    for operation in broken {
        store.fail_all(operation, When::Before, StoreErrorKind::Unavailable);
        scene.clock.advance(2 * BOUND);
        let served = alice.access_token().await.unwrap();
        assert_eq!(served.access_token(), live.access_token(), "{operation:?}");
        store.heal(operation);
        // The next one is broken while something has changed.
        store.inner().save_token(&scene.stored(alice.id()).await).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn callers_do_not_wait_one_after_another_for_a_store_that_does_not_answer() {
    let (scene, store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let bob = scene.user("bob@example.com").await;
    for handle in [&alice, &bob] {
        handle.access_token().await.unwrap();
    }
    scene.clock.advance(2 * BOUND);
    let _gates = [0, 1, 2, 3].map(|_| store.stop_next(Operation::ChangeMark, When::Before));
    let asked = Instant::now();
    let tasks: Vec<_> = [&alice, &bob, &alice, &bob]
        .map(|handle| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.access_token().await.unwrap() })
        })
        .into();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn an_old_token_that_an_sdk_puts_back_does_not_replace_ours() {
    let (scene, store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let before = scene.stored(alice.id()).await;
    scene.clock.advance(HOUR / 2);
    let new = alice.refresh().await.unwrap();
    // It writes all ten fields, as it read them a while ago.
    store.inner().save_token(&before).await.unwrap();
    scene.clock.advance(BOUND);
    assert_eq!(alice.access_token().await.unwrap().access_token(), new.access_token());
}

#[tokio::test]
async fn a_handle_does_not_serve_who_gets_its_id_next() {
    let (scene, store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    alice.access_token().await.unwrap();
    store.inner().delete_token(alice.id()).await.unwrap();
    // An SDK gives the id again.
    let bob = OAuthToken::builder()
        .id(alice.id().as_str())
        .user_name("bob@example.com")
        .client("test-client-id", "test-client-secret")
        .refresh_token("test-refresh-token-of-bob")
        .access_token("test-access-token-of-bob")
        .expiry_time(scene.clock.now().plus(HOUR))
        .build()
        .unwrap();
    store.inner().save_token(&bob).await.unwrap();
    scene.clock.advance(BOUND);
    for _ in 0..2 {
        let error = alice.access_token().await.unwrap_err();
        assert_eq!(error.kind(), ManagerErrorKind::NoToken);
        let rejected = AccessToken::new("test-access").unwrap();
        let error = alice.rejected(&rejected).await.unwrap_err();
        assert_eq!(error.kind(), ManagerErrorKind::NoToken);
    }
    let theirs = scene.manager.handle_by_id(&TokenId::new("1").unwrap()).await.unwrap();
    let live = theirs.access_token().await.unwrap();
    assert_eq!(Some(live.access_token()), bob.access_token());
}
