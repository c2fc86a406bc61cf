//! A store that fails at the worst moment: nothing that was issued is lost.

use std::time::Duration;

use tokenkeep_core::{GrantToken, OAuthToken, Operation, StoreErrorKind, TokenId, TokenStore};
use tokenkeep_emulator::Config;
use tokenkeep_manager::{Login, ManagerErrorKind, TokenHandle};
use tokenkeep_testkit::When;
use tokio::time::sleep;

use crate::scene::{Faulty, HOUR, LEASE, Scene, ask, client, reached};

/// A provider that rotates without a grace, and an expired token.
async fn rotating_scene(shared: bool) -> (Scene, Faulty, TokenHandle) {
    let (scene, store, alice) = Scene::expired(shared).await;
    scene.emulator.configure(Config::new().rotate_refresh_tokens(true).grace_ms(0));
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

#[tokio::test(start_paused = true)]
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
        // Mended: it is stored without being asked for.
        store.heal(write(shared));
        sleep(Duration::from_secs(61)).await;
        let stored = scene.stored(alice.id()).await;
        assert_eq!(stored.access_token(), Some(live.access_token()));
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
    let caller = ask(&alice);
    reached(&gate).await;
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

#[tokio::test]
async fn a_login_during_a_refresh_is_not_written_over() {
    for (shared, lost) in [(true, false), (true, true), (false, false)] {
        let (scene, store, alice) = rotating_scene(shared).await;
        let gate = if shared {
            store.stop_next(Operation::ReplaceToken, When::Before)
        } else {
            // The second one is the look before the save.
            store.stop_nth(Operation::FindTokenById, 2, When::Before)
        };
        if lost {
            store.fail_next(Operation::ReplaceToken, When::After, StoreErrorKind::Unavailable);
        }
        let caller = ask(&alice);
        reached(&gate).await;
        let code = GrantToken::new(scene.new_user("alice@example.com").grant_token).unwrap();
        let login = scene.manager.log_in(Login::grant_token(client(), code)).await.unwrap().token;
        assert_eq!(login.id(), Some(alice.id()));
        gate.open();
        let live = caller.await.unwrap().unwrap();
        assert_eq!(scene.stored(alice.id()).await, login, "shared: {shared}, lost: {lost}");
        assert_eq!(Some(live.access_token()), login.access_token());
    }
}

#[tokio::test]
async fn a_deleted_token_does_not_come_back_by_a_refresh() {
    for shared in [true, false] {
        let (scene, store, alice) = rotating_scene(shared).await;
        let gate = if shared {
            store.stop_next(Operation::ReplaceToken, When::Before)
        } else {
            store.stop_nth(Operation::FindTokenById, 2, When::Before)
        };
        let caller = ask(&alice);
        reached(&gate).await;
        scene.store.delete_token(alice.id()).await.unwrap();
        gate.open();
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ManagerErrorKind::NoToken, "shared: {shared}");
        assert_eq!(scene.store.get_tokens().await.unwrap(), []);
    }
}

#[tokio::test]
async fn who_lost_the_lease_does_not_write_over_what_its_new_holder_stored() {
    let (scene, store, alice) = rotating_scene(true).await;
    scene.emulator.configure(Config::new().rotate_refresh_tokens(false));
    let gate = store.stop_next(Operation::ReplaceToken, When::Before);
    let caller = ask(&alice);
    reached(&gate).await;
    scene.clock.advance(LEASE);
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let theirs = other.access_token().await.unwrap();
    gate.open();
    let ours = caller.await.unwrap().unwrap();
    assert_eq!(ours.access_token(), theirs.access_token());
    let stored = scene.stored(alice.id()).await;
    assert_eq!(stored.access_token(), Some(theirs.access_token()));
}

#[tokio::test]
async fn who_lost_the_lease_still_stores_the_only_copy_of_a_rotated_token() {
    let (scene, store, alice) = rotating_scene(true).await;
    let gate = store.stop_next(Operation::ReplaceToken, When::Before);
    let caller = ask(&alice);
    reached(&gate).await;
    scene.clock.advance(LEASE);
    // The stored refresh token was rotated away: the new holder of the lease can do nothing.
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let error = other.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::NeedsLogin);
    gate.open();
    let live = caller.await.unwrap().unwrap();
    assert!(live.is_saved());
    let theirs = other.access_token().await.unwrap();
    assert_eq!(theirs.access_token(), live.access_token());
    scene.clock.advance(HOUR);
    other.access_token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_saved_is_kept_when_no_handle_is_left() {
    for shared in [true, false] {
        let (scene, store, alice) = rotating_scene(shared).await;
        store.fail_all(write(shared), When::Before, StoreErrorKind::Full);
        let live = alice.access_token().await.unwrap();
        assert!(!live.is_saved());
        let refreshes = scene.refreshes();
        drop(alice);
        // Many other tokens come and go.
        for number in 0..200 {
            let id = TokenId::new(format!("other-{number}")).unwrap();
            let user = format!("{number}@example.com");
            let token = OAuthToken::builder().user_name(user).access_token("test-access");
            let token = token.build().unwrap().with_id(id.clone());
            store.inner().save_token(&token).await.unwrap();
            scene.manager.handle_by_id(&id).await.unwrap();
        }
        store.heal(write(shared));
        sleep(Duration::from_secs(61)).await;
        let again = scene.manager.handle_by_id(live.id()).await.unwrap();
        let again = again.access_token().await.unwrap();
        assert!(again.is_saved());
        assert_eq!(again.access_token(), live.access_token());
        assert_eq!(scene.refreshes(), refreshes, "shared: {shared}");
    }
}
