//! Steps of a refresh that nothing else shows the lack of.

use std::time::Duration;

use futures_util::FutureExt;
use tokenkeep_core::{Operation, RefreshToken, TokenStore};
use tokenkeep_emulator::Config;
use tokenkeep_testkit::When;
use tokio::time::sleep;

use crate::scene::{LEASE, Scene, ask, reached};

#[tokio::test]
async fn a_login_while_the_provider_is_asked_is_not_written_over() {
    let (scene, store, alice) = Scene::expired(true).await;
    // It is on record that the provider is asked, with the refresh token of the old login.
    let gate = store.stop_next(Operation::ReplaceState, When::After);
    let caller = ask(&alice);
    reached(&gate).await;
    let login = RefreshToken::new(scene.new_user("alice@example.com").refresh_token).unwrap();
    let stored = scene.stored(alice.id()).await.with_refresh_token(login.clone());
    store.inner().save_token(&stored).await.unwrap();
    gate.open();
    let live = caller.await.unwrap().unwrap();
    let stored = scene.stored(alice.id()).await;
    assert_eq!(stored.refresh_token(), Some(&login));
    assert_eq!(stored.access_token(), Some(live.access_token()));
}

#[tokio::test]
async fn nobody_gets_a_new_token_before_it_is_stored() {
    let (_scene, store, alice) = Scene::expired(true).await;
    let gate = store.stop_next(Operation::ReplaceToken, When::Before);
    let caller = ask(&alice);
    reached(&gate).await;
    assert!(alice.cached().is_none());
    assert!(alice.access_token().now_or_never().is_none(), "it waits for the save");
    gate.open();
    assert!(caller.await.unwrap().unwrap().is_saved());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_while_the_provider_is_slow() {
    let (scene, _store, alice) = Scene::expired(true).await;
    scene.emulator.configure(Config::new().token_latency_ms(25_000));
    let before = scene.refreshes();
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let first = ask(&alice);
    let mut second = None;
    for second_of_the_wait in 0..27 {
        // The lease of the first would have ended by itself when the second one asks.
        if second_of_the_wait == 12 {
            second = Some(ask(&other));
        }
        sleep(Duration::from_secs(1)).await;
        scene.clock.advance(Duration::from_secs(1));
    }
    let first = first.await.unwrap().unwrap();
    let second = second.unwrap().await.unwrap().unwrap();
    assert_eq!(first.access_token(), second.access_token());
    assert_eq!(scene.refreshes(), before + 1);
}

#[tokio::test]
async fn who_lost_the_lease_does_not_put_an_older_token_in_the_place_of_a_newer_one() {
    let (scene, store, alice) = Scene::expired(true).await;
    let gate = store.stop_next(Operation::ReplaceToken, When::Before);
    let caller = ask(&alice);
    reached(&gate).await;
    scene.clock.advance(LEASE);
    // It is newer, but does not last as long: only the lease tells.
    scene.emulator.configure(Config::new().access_token_lifetime_s(600));
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let theirs = other.access_token().await.unwrap();
    gate.open();
    let ours = caller.await.unwrap().unwrap();
    assert_eq!(ours.access_token(), theirs.access_token());
    let stored = scene.stored(alice.id()).await;
    assert_eq!(stored.access_token(), Some(theirs.access_token()));
}
