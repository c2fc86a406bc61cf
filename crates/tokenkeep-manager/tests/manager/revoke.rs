use tokenkeep_core::{GrantToken, OAuthToken, Operation, TokenStatus};
use tokenkeep_emulator::{Config, DropWhen, Fault};
use tokenkeep_manager::{Login, ManagerErrorKind, Revoked};
use tokenkeep_testkit::When;

use crate::scene::{Scene, client, reached};

#[tokio::test]
async fn a_revoked_token_ends_at_the_provider_and_here() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let bob = scene.user("bob@example.com").await;
    assert_eq!(scene.manager.revoke(alice.id()).await.unwrap(), Revoked::Now);
    assert_eq!(scene.emulator.stats().revocations, 1);
    let error = alice.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::NeedsLogin);
    let state = scene.store.shared().unwrap().state(alice.id()).await.unwrap().unwrap();
    assert_eq!(state.status, TokenStatus::Revoked);
    assert!(!scene.stored(alice.id()).await.has_token());
    bob.refresh().await.unwrap();
}

#[tokio::test]
async fn a_revoked_user_can_log_in_again() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.manager.revoke(alice.id()).await.unwrap();
    let user = scene.new_user("alice@example.com");
    let code = GrantToken::new(user.grant_token).unwrap();
    let again = scene.manager.log_in(Login::grant_token(client(), code)).await.unwrap();
    assert_eq!(again.token.id(), Some(alice.id()));
    alice.access_token().await.unwrap();
    let state = scene.store.shared().unwrap().state(alice.id()).await.unwrap().unwrap();
    assert_eq!(state.status, TokenStatus::Active);
}

#[tokio::test]
async fn a_revocation_that_does_not_reach_the_provider_changes_nothing() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let before = scene.stored(alice.id()).await;
    let fault = Fault::dropping("/oauth/v2/token/revoke", DropWhen::Before);
    scene.emulator.configure(Config::new().fail_next([fault]));
    let error = scene.manager.revoke(alice.id()).await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Network);
    assert_eq!(scene.stored(alice.id()).await, before);
    assert_eq!(scene.manager.revoke(alice.id()).await.unwrap(), Revoked::Now);
}

#[tokio::test]
async fn what_is_revoked_already_is_ended_here() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.emulator.reset();
    assert_eq!(scene.manager.revoke(alice.id()).await.unwrap(), Revoked::Already);
    assert!(!scene.stored(alice.id()).await.has_token());
}

#[tokio::test]
async fn a_login_during_a_revocation_is_revoked_too() {
    for shared in [true, false] {
        let (scene, store) = Scene::faulty_and(shared);
        let alice = scene.user("alice@example.com").await;
        let gate = if shared {
            store.stop_next(Operation::ReplaceToken, When::Before)
        } else {
            // The third one is the look before it is deleted.
            store.stop_nth(Operation::FindTokenById, 3, When::Before)
        };
        let revoking = tokio::spawn({
            let (manager, id) = (scene.manager.clone(), alice.id().clone());
            async move { manager.revoke(&id).await }
        });
        reached(&gate).await;
        let code = GrantToken::new(scene.new_user("alice@example.com").grant_token).unwrap();
        scene.manager.log_in(Login::grant_token(client(), code)).await.unwrap();
        gate.open();
        assert_eq!(revoking.await.unwrap().unwrap(), Revoked::Now);
        assert_eq!(scene.emulator.stats().revocations, 2, "shared: {shared}");
        let left = scene.store.get_tokens().await.unwrap();
        assert!(!left.iter().any(OAuthToken::has_token), "shared: {shared}");
    }
}
