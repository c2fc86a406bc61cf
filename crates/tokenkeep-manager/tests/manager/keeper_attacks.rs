//! What once made a keeper forget a token, or not stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{AccessToken, Clock, Operation, RefreshToken, StoreErrorKind, TokenStore};
use tokenkeep_testkit::{Chaos, ChaosStore, Fate, When};
use tokio::time::{Instant, sleep};

use crate::{
    keeper::Day,
    scene::{HOUR, MINUTE, Scene},
};

/// Panics once, where a keeper's renewal begins.
#[derive(Debug)]
struct Panics(AtomicBool);

#[async_trait]
impl Chaos for Panics {
    async fn fate(&self, operation: Operation) -> Fate {
        let panics = operation == Operation::FindTokenById && self.0.swap(false, Ordering::SeqCst);
        assert!(!panics, "a test");
        Fate::Spared
    }
}

/// Answers with the first page only.
#[derive(Debug)]
struct SlowPages(AtomicU32);

#[async_trait]
impl Chaos for SlowPages {
    async fn fate(&self, operation: Operation) -> Fate {
        if operation == Operation::Page && self.0.fetch_add(1, Ordering::SeqCst) > 0 {
            std::future::pending::<()>().await;
        }
        Fate::Spared
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_panics_is_tried_again() {
    let day = Day::new(1).await;
    let panics = Arc::new(Panics(true.into()));
    let store = ChaosStore::new(Arc::new(day.store.clone()), panics.clone());
    let keeper = day.manager_of(store).build().unwrap().keeper().start().unwrap();
    sleep(2 * HOUR).await;
    assert!(!panics.0.load(Ordering::SeqCst), "it has panicked");
    assert_eq!(day.expired().await, 0);
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_keeps_who_logged_in_again_by_an_sdk() {
    let day = Day::new(1).await;
    let token = day.store.get_tokens().await.unwrap().remove(0);
    let dead = RefreshToken::new("test-refresh-dead").unwrap();
    day.store.save_token(&token.clone().with_refresh_token(dead)).await.unwrap();
    let manager = day.manager_of(day.store.clone()).build().unwrap();
    let keeper = manager.keeper().start().unwrap();
    sleep(2 * HOUR).await;
    assert_eq!(keeper.status().tokens, 0, "it needs a login");
    let access = AccessToken::new("test-access-of-the-sdk").unwrap();
    let token = token.with_access_token(access, day.clock.now().plus(HOUR));
    day.store.save_token(&token).await.unwrap();
    sleep(2 * HOUR).await;
    assert_eq!(day.expired().await, 0);
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_cannot_look_through_the_store_at_first_tries_soon_again() {
    let (scene, store) = Scene::faulty();
    scene.user("alice@example.com").await;
    store.fail_next(Operation::Page, When::Before, StoreErrorKind::Busy);
    let keeper = scene.another_manager().keeper().start().unwrap();
    for _ in 0..120 {
        sleep(Duration::from_secs(1)).await;
        scene.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(keeper.status().tokens, 1);
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_manager_serves_is_known_at_once() {
    let (scene, _store) = Scene::faulty();
    let keeper = scene.manager.keeper().start().unwrap();
    sleep(MINUTE).await;
    scene.user("alice@example.com").await.access_token().await.unwrap();
    sleep(MINUTE).await;
    assert_eq!(keeper.status().tokens, 1);
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_does_not_come_holds_up_no_renewal() {
    let day = Day::new(20).await;
    let pages = Arc::new(SlowPages(0.into()));
    let store = ChaosStore::new(Arc::new(day.store.clone()), pages.clone());
    // No answer is given up for a day.
    let manager = day.manager_of(store).store_timeout(24 * HOUR).build().unwrap();
    let keeper = manager.keeper().scan_every(MINUTE).start().unwrap();
    for _ in 0..5 * 60 {
        sleep(MINUTE).await;
        assert_eq!(day.expired().await, 0);
    }
    assert_eq!(pages.0.load(Ordering::SeqCst), 2, "the second pass hangs");
    assert_eq!(keeper.status().tokens, 20);
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_stops_although_the_store_hangs() {
    let (scene, store) = Scene::faulty();
    scene.user("alice@example.com").await;
    let keeper = scene.another_manager().keeper().start().unwrap();
    sleep(MINUTE).await;
    for nth in 1..200 {
        store.stop_nth(Operation::ChangeMark, nth, When::Before);
    }
    sleep(Duration::from_secs(2)).await;
    let before = Instant::now();
    keeper.stop().await;
    assert!(before.elapsed() <= Duration::from_secs(1), "{:?}", before.elapsed());
}
