//! Rare orders of events, each of which once cost a wait, a request or a token.

use std::time::Duration;

use tokenkeep_core::{
    AccessToken, Clock, Fingerprint, GrantToken, ListStore, OAuthToken, OAuthTokenBuilder,
    Operation, StoreErrorKind, Timestamp, TokenId, TokenStore,
};
use tokenkeep_emulator::{Config, DropWhen, Fault};
use tokenkeep_manager::{Login, ManagerErrorKind, Spool, Spooled, TokenHandle, TokenManager};
use tokenkeep_oauth::{Budget, ProviderRules, Replay};
use tokenkeep_testkit::When;
use tokio::time::{Instant, sleep};

use crate::scene::{
    CLIENT_ID, CLIENT_SECRET, HOUR, MINUTE, START, Scene, TOKEN, ask, client, manager, reached,
    spool,
};

#[tokio::test(start_paused = true)]
async fn a_slow_store_keeps_no_caller_beyond_the_deadline() {
    let (scene, store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let deadline = Duration::from_secs(1);
    let manager = manager(&scene.emulator, scene.store.clone(), &scene.clock).deadline(deadline);
    let alice = manager.build().unwrap().handle_by_id(alice.id()).await.unwrap();
    let live = alice.access_token().await.unwrap();
    scene.clock.advance(Duration::from_secs(2));
    let _gate = store.stop_next(Operation::ChangeMark, When::Before);
    let before = Instant::now();
    assert_eq!(alice.access_token().await.unwrap().access_token(), live.access_token());
    assert!(before.elapsed() <= deadline, "{:?}", before.elapsed());
}

/// The handle of a token that nothing can renew, and that is served.
async fn without_a_grant(scene: &Scene) -> (OAuthToken, TokenHandle) {
    let token = OAuthToken::builder()
        .user_name("alice@example.com")
        .client(CLIENT_ID, CLIENT_SECRET)
        .access_token("test-access-token")
        .build()
        .unwrap();
    let stored = scene.store.save_token(&token).await.unwrap();
    let alice = scene.manager.handle_by_id(stored.id().unwrap()).await.unwrap();
    alice.access_token().await.unwrap();
    (stored, alice)
}

#[tokio::test]
async fn a_revoked_token_without_a_grant_is_not_served_beyond_the_bound() {
    let (scene, _store) = Scene::faulty();
    let (_stored, alice) = without_a_grant(&scene).await;
    scene.another_manager().revoke(alice.id()).await.unwrap();
    scene.clock.advance(Duration::from_secs(1));
    let error = alice.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::NeedsLogin);
}

#[tokio::test]
async fn a_replaced_token_without_a_grant_is_not_served_beyond_the_bound() {
    let (scene, _store) = Scene::faulty();
    let (stored, alice) = without_a_grant(&scene).await;
    let newer = AccessToken::new("test-access-token-2").unwrap();
    let newer = stored.with_access_token(newer, scene.clock.now().plus(HOUR));
    scene.store.save_token(&newer).await.unwrap();
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(Some(alice.access_token().await.unwrap().access_token()), newer.access_token());
}

#[tokio::test(start_paused = true)]
async fn who_must_have_a_token_is_not_given_the_error_of_a_renewal_that_could_wait() {
    let (scene, store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    alice.access_token().await.unwrap();
    // Soon to expire: one in the background, which is slow to take its lease.
    scene.clock.advance(HOUR - Duration::from_secs(30));
    let gate = store.stop_next(Operation::Lease, When::Before);
    alice.access_token().await.unwrap();
    reached(&gate).await;
    scene.clock.advance(Duration::from_secs(29));
    let fault = Fault::answering(TOKEN, 503, "<html>down</html>");
    scene.emulator.configure(Config::new().fail_next([fault]));
    let caller = ask(&alice);
    tokio::task::yield_now().await;
    scene.clock.advance(Duration::from_secs(2));
    gate.open();
    caller.await.unwrap().unwrap();
}

async fn handle(scene: &Scene, rules: ProviderRules, id: &TokenId) -> TokenHandle {
    let manager = manager(&scene.emulator, scene.store.clone(), &scene.clock).provider_rules(rules);
    manager.build().unwrap().handle_by_id(id).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_although_the_lease_cannot_be_renewed_at_once() {
    let (scene, store, alice) = Scene::expired(true).await;
    let grace = u64::try_from(MINUTE.as_millis()).unwrap();
    let lost = Fault::dropping(TOKEN, DropWhen::After);
    let config = Config::new().rotate_refresh_tokens(true).grace_ms(grace).fail_next([lost]);
    scene.emulator.configure(config);
    store.fail_next(Operation::RenewLease, When::Before, StoreErrorKind::Busy);
    let rules = ProviderRules::zoho().with_replay(Replay::Within(MINUTE));
    let alice = handle(&scene, rules, alice.id()).await;
    alice.access_token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_life_shorter_than_the_way_does_not_use_the_budget_up() {
    let (scene, _store, alice) = Scene::expired(true).await;
    scene.emulator.configure(Config::new().access_token_lifetime_s(1).token_latency_ms(2_000));
    let before = scene.refreshes();
    let ticking = tokio::spawn({
        let clock = scene.clock.clone();
        async move {
            loop {
                sleep(Duration::from_millis(100)).await;
                clock.advance(Duration::from_millis(100));
            }
        }
    });
    let result = alice.access_token().await;
    ticking.abort();
    let asked = scene.refreshes() - before;
    assert!(asked <= 3, "{asked} {result:?}");
}

#[tokio::test]
async fn a_client_secret_that_is_mended_during_a_refresh_stays() {
    let (scene, store, alice) = Scene::expired(true).await;
    let gate = store.stop_next(Operation::ReplaceToken, When::Before);
    let caller = ask(&alice);
    reached(&gate).await;
    let mended = OAuthToken::builder()
        .id(alice.id().as_str())
        .user_name("alice@example.com")
        .client(CLIENT_ID, "test-new-secret")
        .refresh_token(scene.stored(alice.id()).await.refresh_token().unwrap().expose_secret())
        .build()
        .unwrap();
    store.inner().save_token(&mended).await.unwrap();
    gate.open();
    let live = caller.await.unwrap().unwrap();
    let stored = scene.stored(alice.id()).await;
    assert_eq!(stored.access_token(), Some(live.access_token()));
    assert_eq!(stored.client_secret(), mended.client_secret());
}

/// Recovers `token`, which was issued then to the grant that is stored, from a spool. What is stored
/// after that; nothing stays in the spool.
async fn recovered(scene: &Scene, id: &TokenId, token: OAuthToken, at: Timestamp) -> OAuthToken {
    let dir = tempfile::tempdir().unwrap();
    let spool = || spool(dir.path());
    let grant = Fingerprint::of_grant(&scene.stored(id).await).unwrap();
    spool().put(&Spooled::new(id.clone(), grant, token, at)).await.unwrap();
    let manager = manager(&scene.emulator, scene.store.clone(), &scene.clock).spool(spool());
    manager.build().unwrap().recover().await.unwrap();
    assert_eq!(spool().list().await.unwrap().entries, []);
    scene.stored(id).await
}

/// What a provider that rotates issues.
fn rotated(id: &TokenId, client_secret: &str) -> OAuthTokenBuilder {
    OAuthToken::builder()
        .id(id.as_str())
        .client(CLIENT_ID, client_secret)
        .access_token("test-access-new")
        .expiry_time(START.plus(2 * HOUR))
        .refresh_token("test-refresh-new")
}

#[tokio::test]
async fn what_was_spooled_long_ago_is_not_stored_over_a_token_that_lasts_longer() {
    let (scene, _store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let stored = scene.stored(alice.id()).await;
    let old = AccessToken::new("test-access-old").unwrap();
    let old = stored.clone().with_access_token(old, START.minus(HOUR));
    assert_eq!(recovered(&scene, alice.id(), old, START.minus(2 * HOUR)).await, stored);
}

#[tokio::test]
async fn what_was_spooled_does_not_undo_what_was_mended_since() {
    let (scene, _store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let mended = scene.stored(alice.id()).await;
    let token = rotated(alice.id(), "test-old-secret").user_name("alice@example.com");
    let now = recovered(&scene, alice.id(), token.build().unwrap(), START).await;
    assert_eq!(now.refresh_token().unwrap().expose_secret(), "test-refresh-new");
    assert_eq!(now.client_secret(), mended.client_secret());
}

#[tokio::test]
async fn a_name_that_was_learnt_since_does_not_cost_what_was_spooled() {
    let (scene, _store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let token = rotated(alice.id(), CLIENT_SECRET);
    let now = recovered(&scene, alice.id(), token.build().unwrap(), START).await;
    assert_eq!(now.refresh_token().unwrap().expose_secret(), "test-refresh-new");
    assert!(now.user_name().is_some());
}

#[tokio::test]
async fn a_spool_that_cannot_be_read_keeps_nobody_from_a_stored_token_that_works() {
    let (scene, _store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(dir.path());
    std::fs::remove_dir(dir.path().join("spool")).unwrap();
    let rules = ProviderRules::zoho().with_replay(Replay::Never);
    let manager = manager(&scene.emulator, scene.store.clone(), &scene.clock)
        .spool(spool)
        .provider_rules(rules);
    let alice = manager.build().unwrap().handle_by_id(alice.id()).await.unwrap();
    let live = alice.access_token().await.unwrap();
    assert_eq!(scene.stored(alice.id()).await.access_token(), Some(live.access_token()));
}

/// A login while the refresh of an expired token stops there, in a store of six methods.
async fn a_login_while_a_refresh_saves(when: When) {
    let (scene, store, alice) = Scene::expired(false).await;
    let gate = store.stop_next(Operation::SaveToken, when);
    let caller = ask(&alice);
    reached(&gate).await;
    let code = scene.new_user("alice@example.com").grant_token;
    let code = GrantToken::new(code).unwrap();
    let login = Login::grant_token(client(), code).user_name("alice@example.com");
    let manager = scene.manager.clone();
    let login = tokio::spawn(async move { manager.log_in(login).await.unwrap() });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.open();
    drop(caller.await.unwrap());
    let login = login.await.unwrap();
    assert_eq!(login.token.id(), Some(alice.id()));
    assert_eq!(scene.stored(alice.id()).await.refresh_token(), login.token.refresh_token());
    scene.clock.advance(Duration::from_secs(2));
    let live = alice.access_token().await.unwrap();
    assert_eq!(Some(live.access_token()), login.token.access_token());
}

#[tokio::test]
async fn a_login_is_not_written_over_by_a_refresh_that_has_just_looked() {
    a_login_while_a_refresh_saves(When::Before).await;
}

#[tokio::test]
async fn after_a_login_the_token_of_the_one_before_is_not_served() {
    a_login_while_a_refresh_saves(When::After).await;
}

#[tokio::test]
async fn a_budget_of_no_refreshes_is_refused() {
    let rules = ProviderRules::zoho().with_budget(Some(Budget::new(0, MINUTE)));
    let manager = TokenManager::builder(ListStore::new()).provider_rules(rules);
    assert_eq!(manager.build().unwrap_err().kind(), ManagerErrorKind::Invalid);
}
