//! A store that fails at the worst moment: nothing that was issued is lost.

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{ListStore, OAuthToken, Operation, StoreErrorKind, TokenStore};
use tokenkeep_emulator::Config;
use tokenkeep_manager::TokenHandle;
use tokenkeep_testkit::{FaultyStore, ManualClock, When};

use crate::scene::{HOUR, START, Scene};

type Faulty = Arc<FaultyStore<ListStore>>;

async fn rotating_scene(shared: bool) -> (Scene, Faulty, TokenHandle) {
    let clock = Arc::new(ManualClock::new(START));
    let mut store = FaultyStore::new(ListStore::with_clock(clock.clone()));
    if !shared {
        store = store.without_shared();
    }
    let store = Arc::new(store);
    let scene = Scene::with_store(clock, store.clone()).await;
    let alice = scene.user("alice@example.com").await;
    scene.emulator.configure(Config::new().rotate_refresh_tokens(true).grace_ms(0));
    scene.clock.advance(HOUR);
    (scene, store, alice)
}

fn write(shared: bool) -> Operation {
    if shared { Operation::ReplaceToken } else { Operation::SaveToken }
}

#[tokio::test]
async fn a_save_that_failed_is_tried_again() {
    for shared in [true, false] {
        for when in [When::Before, When::After] {
            let (scene, store, alice) = rotating_scene(shared).await;
            store.fail_next(write(shared), when, StoreErrorKind::Unavailable);
            let before = scene.refreshes();
            let live = alice.access_token().await.unwrap();
            assert!(live.is_saved(), "{when:?}");
            assert_eq!(scene.refreshes(), before + 1, "{when:?}");
            let stored = scene.stored(alice.id()).await;
            assert_eq!(stored.access_token(), Some(live.access_token()), "{when:?}");
            // What is stored is what the provider goes by: the next refresh works.
            scene.clock.advance(HOUR);
            alice.access_token().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_cannot_be_saved_is_used_kept_and_saved_later() {
    for shared in [true, false] {
        let (scene, store, alice) = rotating_scene(shared).await;
        store.fail_all(write(shared), When::Before, StoreErrorKind::Full);
        let before: OAuthToken = scene.stored(alice.id()).await;
        let live = alice.access_token().await.unwrap();
        assert!(!live.is_saved());
        assert_eq!(scene.stored(alice.id()).await, before, "nothing was stored");
        // Still broken, still used, and no second refresh.
        let refreshes = scene.refreshes();
        scene.clock.advance(Duration::from_secs(2));
        assert_eq!(alice.access_token().await.unwrap().access_token(), live.access_token());
        assert_eq!(scene.refreshes(), refreshes);
        // Mended: the next call stores it.
        store.heal(write(shared));
        scene.clock.advance(Duration::from_secs(2));
        let again = alice.access_token().await.unwrap();
        assert!(again.is_saved());
        assert_eq!(again.access_token(), live.access_token());
        let stored = scene.stored(alice.id()).await;
        assert_eq!(stored.access_token(), Some(live.access_token()));
        assert_ne!(stored.refresh_token(), before.refresh_token());
        assert_eq!(scene.refreshes(), refreshes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_that_writes_in_between_loses_nothing_of_ours_or_its_own() {
    let (scene, store, alice) = rotating_scene(true).await;
    let gate = store.stop_next(Operation::ReplaceToken, When::Before);
    let caller = tokio::spawn({
        let alice = alice.clone();
        async move { alice.access_token().await }
    });
    gate.reached().await;
    // The SDK writes the row it had read, with another redirect URL, after our exchange.
    let sdk = scene.stored(alice.id()).await.with_redirect_url("https://example.com/sdk").unwrap();
    store.inner().save_token(&sdk).await.unwrap();
    gate.open();
    let live = caller.await.unwrap().unwrap();
    let stored = scene.stored(alice.id()).await;
    assert_eq!(stored.access_token(), Some(live.access_token()));
    scene.clock.advance(HOUR);
    alice.access_token().await.unwrap();
}
