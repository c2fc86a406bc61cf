//! What once made a keeper forget a token, or not stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{
    Clock, ListStore, OAuthToken, Operation, SharedStore, StoreError, StoreErrorKind, Timestamp,
    TokenId, TokenQuery, TokenStore,
};
use tokenkeep_emulator::Emulator;
use tokenkeep_manager::TokenManager;
use tokenkeep_oauth::AccountsServer;
use tokenkeep_testkit::{FaultyStore, ManualClock, When};
use tokio::time::{Instant, sleep};

use crate::{
    calls::client_of,
    scene::{CLIENT_ID, CLIENT_SECRET, HOUR, MINUTE, START, Scene},
};

fn watched() -> (Scene, Arc<FaultyStore<ListStore>>) {
    let clock = Arc::new(ManualClock::new(START));
    let store = Arc::new(FaultyStore::new(ListStore::with_clock(clock.clone())));
    (Scene::with_store(clock, store.clone()), store)
}

/// Panics once, where a keeper's renewal begins.
#[derive(Debug)]
struct Panics(ListStore, AtomicBool);

#[async_trait]
impl TokenStore for Panics {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        self.0.find_token(query).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        assert!(!self.1.swap(false, Ordering::SeqCst), "a test");
        self.0.find_token_by_id(id).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.0.save_token(token).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.0.get_tokens().await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.0.delete_token(id).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.0.delete_tokens().await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        self.0.shared()
    }
}

/// A clock that goes as the paused one does.
#[derive(Debug)]
struct Passing(Instant);

impl Clock for Passing {
    fn now(&self) -> Timestamp {
        START.plus(self.0.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_panics_is_tried_again() {
    let clock = Arc::new(Passing(Instant::now()));
    let emulator = Emulator::builder().clock(clock.clone()).in_process();
    let inner = ListStore::with_clock(clock.clone());
    let user = emulator.add_user("a@example.com", CLIENT_ID, CLIENT_SECRET);
    let token = OAuthToken::builder()
        .user_name("a@example.com")
        .client(CLIENT_ID, CLIENT_SECRET)
        .refresh_token(user.refresh_token)
        .build()
        .unwrap();
    let stored = inner.save_token(&token).await.unwrap();
    let manager = TokenManager::builder(Panics(inner.clone(), true.into()))
        .clock(clock.clone())
        .oauth_client(client_of(&emulator))
        .accounts_server(AccountsServer::parse(emulator.url()).unwrap())
        .build()
        .unwrap();
    let keeper = manager.keeper().start().unwrap();
    sleep(2 * HOUR).await;
    let now = inner.find_token_by_id(stored.id().unwrap()).await.unwrap().unwrap();
    assert!(now.expiry_time().is_some_and(|end| clock.now() < end));
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_keeps_who_logged_in_again_by_an_sdk() {
    let clock = Arc::new(Passing(Instant::now()));
    let emulator = Emulator::builder().clock(clock.clone()).in_process();
    let store = ListStore::with_clock(clock.clone());
    let user = emulator.add_user("a@example.com", CLIENT_ID, CLIENT_SECRET);
    let token = |refresh: &str| {
        OAuthToken::builder()
            .user_name("a@example.com")
            .client(CLIENT_ID, CLIENT_SECRET)
            .refresh_token(refresh)
            .access_token(format!("test-access-of-{refresh}"))
            .expiry_time(clock.now().plus(HOUR))
            .build()
            .unwrap()
    };
    let stored = store.save_token(&token("test-refresh-dead")).await.unwrap();
    let manager = TokenManager::builder(store.clone())
        .clock(clock.clone())
        .oauth_client(client_of(&emulator))
        .accounts_server(AccountsServer::parse(emulator.url()).unwrap())
        .build()
        .unwrap();
    let keeper = manager.keeper().start().unwrap();
    sleep(2 * HOUR).await;
    assert_eq!(keeper.status().tokens, 0, "it needs a login");
    store.save_token(&token(&user.refresh_token)).await.unwrap();
    sleep(2 * HOUR).await;
    let now = store.find_token_by_id(stored.id().unwrap()).await.unwrap().unwrap();
    assert!(now.expiry_time().is_some_and(|end| clock.now() < end));
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_cannot_look_through_the_store_at_first_tries_soon_again() {
    let (scene, store) = watched();
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
    let (scene, _store) = watched();
    let keeper = scene.manager.keeper().start().unwrap();
    sleep(MINUTE).await;
    scene.user("alice@example.com").await.access_token().await.unwrap();
    sleep(MINUTE).await;
    assert_eq!(keeper.status().tokens, 1);
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_stops_although_the_store_hangs() {
    let (scene, store) = watched();
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
