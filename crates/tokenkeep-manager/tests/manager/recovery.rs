//! Lost answers, dead processes and broken stores: what was issued comes back.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenkeep_core::{
    Fingerprint, Operation, StoreError, StoreErrorKind, TokenId, TokenStatus, TokenStore,
};
use tokenkeep_emulator::{Config, DropWhen, Fault};
use tokenkeep_manager::{
    EventKind, Login, ManagerErrorKind, RecoveredFrom, RefreshReason, Spool, SpoolListing, Spooled,
    TokenHandle, TokenManagerBuilder,
};
use tokenkeep_oauth::{ProviderRules, Replay};
use tokenkeep_testkit::When;
use tokio::time::{Instant, sleep};

use crate::scene::{
    Faulty, HOUR, LEASE, MINUTE, START, Scene, TOKEN, client, manager, reached, spool,
};

struct Rotating {
    scene: Scene,
    store: Faulty,
    dir: tempfile::TempDir,
    alice: TokenHandle,
}

impl Rotating {
    /// A provider that rotates, with this grace, and an expired token.
    async fn new(grace: Duration) -> Self {
        let (scene, store, alice) = Scene::expired(true).await;
        let grace = u64::try_from(grace.as_millis()).unwrap();
        scene.emulator.configure(Config::new().rotate_refresh_tokens(true).grace_ms(grace));
        let dir = tempfile::tempdir().unwrap();
        Self { scene, store, dir, alice }
    }

    fn manager(&self, replay: Replay) -> TokenManagerBuilder {
        manager(&self.scene.emulator, self.store.clone(), &self.scene.clock)
            .provider_rules(ProviderRules::zoho().with_replay(replay))
    }

    /// The token's handle in another process, which has the spool.
    async fn process(&self, replay: Replay) -> TokenHandle {
        let manager = self.manager(replay).spool(spool(self.dir.path())).build().unwrap();
        manager.handle_by_id(self.alice.id()).await.unwrap()
    }
}

#[tokio::test]
async fn a_process_that_dies_before_it_has_stored_a_rotated_token_loses_nothing() {
    for replay in [Replay::Never, Replay::Always] {
        let at = Rotating::new(Duration::ZERO).await;
        let dying = at.process(replay).await;
        let gate = at.store.stop_next(Operation::ReplaceToken, When::Before);
        let caller = tokio::spawn(async move { dying.access_token().await });
        reached(&gate).await;
        // It stays there for good, and its lease ends.
        at.scene.clock.advance(LEASE);
        let requests = at.scene.refreshes();
        let next = at.process(replay).await;
        let live = next.access_token().await.unwrap();
        assert!(live.is_saved());
        assert!(at.scene.emulator.is_live_access_token(live.access_token().expose_secret()));
        assert_eq!(at.scene.refreshes(), requests, "it was not asked for again");
        assert_eq!(spool(at.dir.path()).list().await.unwrap().entries, []);
        at.scene.clock.advance(HOUR);
        next.access_token().await.unwrap();
        caller.abort();
    }
}

#[tokio::test]
async fn what_a_process_leaves_in_the_spool_is_stored_when_the_next_one_starts() {
    let at = Rotating::new(Duration::ZERO).await;
    at.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    let dying = at.process(Replay::Never).await;
    let live = dying.access_token().await.unwrap();
    assert!(!live.is_saved());
    at.store.heal(Operation::ReplaceToken);
    let manager = at.manager(Replay::Never).spool(spool(at.dir.path())).build().unwrap();
    let recovery = manager.recover().await.unwrap();
    assert_eq!((recovery.stored, recovery.waiting, recovery.foreign), (1, 0, 0));
    let stored = at.scene.stored(at.alice.id()).await;
    assert_eq!(stored.access_token(), Some(live.access_token()));
    assert_eq!(manager.recover().await.unwrap(), tokenkeep_manager::Recovery::default());
}

#[tokio::test]
async fn a_spooled_token_is_used_though_the_store_takes_nothing() {
    let at = Rotating::new(Duration::ZERO).await;
    at.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    let live = at.process(Replay::Never).await.access_token().await.unwrap();
    // Not even a lease can be taken.
    at.store.fail_all(Operation::Lease, When::Before, StoreErrorKind::Full);
    let requests = at.scene.refreshes();
    let next = at.process(Replay::Never).await.access_token().await.unwrap();
    assert_eq!((next.access_token(), next.is_saved()), (live.access_token(), false));
    assert_eq!(at.scene.refreshes(), requests);
}

#[tokio::test]
async fn a_spooled_token_of_an_earlier_login_is_not_used() {
    let at = Rotating::new(Duration::ZERO).await;
    at.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    at.process(Replay::Never).await.access_token().await.unwrap();
    at.store.heal(Operation::ReplaceToken);
    at.scene.emulator.configure(Config::new().rotate_refresh_tokens(false));
    let again = at.scene.user("alice@example.com").await;
    assert_eq!(again.id(), at.alice.id());
    let login = at.scene.stored(at.alice.id()).await;
    let manager = at.manager(Replay::Never).spool(spool(at.dir.path())).build().unwrap();
    let recovery = manager.recover().await.unwrap();
    assert_eq!((recovery.stored, recovery.foreign), (0, 1));
    assert_eq!(at.scene.stored(at.alice.id()).await, login);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_within_the_grace() {
    let at = Rotating::new(MINUTE).await;
    let fault = Fault::dropping(TOKEN, DropWhen::After);
    at.scene.emulator.configure(Config::new().fail_next([fault]));
    let process = at.process(Replay::Within(MINUTE)).await;
    let live = process.access_token().await.unwrap();
    assert!(at.scene.emulator.is_live_access_token(live.access_token().expose_secret()));
    let newest = at.scene.emulator.newest_refresh_token("alice@example.com").unwrap();
    let stored = at.scene.stored(at.alice.id()).await;
    assert_eq!(stored.refresh_token().unwrap().expose_secret(), newest);
    assert_eq!(at.scene.emulator.stats().refreshes_granted, 2, "the login's, and this one");
}

#[tokio::test]
async fn the_answer_that_a_dead_process_was_waiting_for_is_asked_for_by_the_next() {
    let at = Rotating::new(MINUTE).await;
    let manager = at.manager(Replay::Within(MINUTE)).build().unwrap();
    let dying = manager.handle_by_id(at.alice.id()).await.unwrap();
    // The answer comes when nobody is there any more.
    at.scene.emulator.configure(Config::new().token_latency_ms(3_600_000));
    let caller = tokio::spawn(async move { dying.access_token().await });
    while at.scene.refreshes() == 1 {
        tokio::task::yield_now().await;
    }
    caller.abort();
    at.scene.emulator.configure(Config::new().token_latency_ms(0));
    at.scene.clock.advance(LEASE);
    let manager = at.manager(Replay::Within(MINUTE)).build().unwrap();
    let mut events = manager.events();
    let next = manager.handle_by_id(at.alice.id()).await.unwrap();
    let live = next.access_token().await.unwrap();
    assert!(at.scene.emulator.is_live_access_token(live.access_token().expose_secret()));
    let mut recovered = false;
    while let Some(Ok(event)) = futures_util::FutureExt::now_or_never(events.next()).flatten() {
        recovered |= matches!(event.kind, EventKind::Recovered { from: RecoveredFrom::Replay, .. });
    }
    assert!(recovered);
}

#[tokio::test(start_paused = true)]
async fn without_a_grace_a_lost_answer_is_not_asked_for_again_at_once() {
    let at = Rotating::new(Duration::ZERO).await;
    let fault = Fault::dropping(TOKEN, DropWhen::After);
    at.scene.emulator.configure(Config::new().fail_next([fault]));
    let process = at.process(Replay::Never).await;
    let before = at.scene.refreshes();
    let error = process.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Network);
    assert_eq!(at.scene.refreshes(), before + 1);
    // There is nothing else to try later, and then it is said what happened.
    at.scene.clock.advance(MINUTE);
    let error = process.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::NeedsLogin);
    assert!(error.to_string().contains("was lost"), "{error}");
    assert_eq!(at.scene.state(at.alice.id()).await.status, TokenStatus::NeedsLogin);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_works_once_is_not_sent_while_its_answer_may_still_be_stored() {
    let at = Rotating::new(Duration::ZERO).await;
    at.scene.emulator.configure(Config::new().revoke_family_on_reuse(true));
    at.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    let manager = at.manager(Replay::Never).build().unwrap();
    let ours = manager.handle_by_id(at.alice.id()).await.unwrap();
    assert!(!ours.access_token().await.unwrap().is_saved());
    let requests = at.scene.refreshes();
    let other = at.manager(Replay::Never).build().unwrap();
    let other = other.handle_by_id(at.alice.id()).await.unwrap();
    let error = other.access_token().await.unwrap_err();
    assert!(error.is_transient() && error.retry_at().is_some() && error.hint().is_some());
    assert_eq!(at.scene.refreshes(), requests);
    at.store.heal(Operation::ReplaceToken);
    sleep(MINUTE).await;
    let theirs = other.access_token().await.unwrap();
    assert_eq!(theirs.access_token(), ours.access_token().await.unwrap().access_token());
    assert_eq!(at.scene.emulator.stats().families_revoked, 0);
}

#[tokio::test]
async fn what_stayed_in_the_spool_is_not_stored_over_a_token_that_lasts_longer() {
    let at = Rotating::new(Duration::ZERO).await;
    at.scene.emulator.configure(Config::new().rotate_refresh_tokens(false));
    let old = at.scene.stored(at.alice.id()).await;
    let newer = at.alice.access_token().await.unwrap();
    let grant = Fingerprint::of_grant(&old).unwrap();
    let left = Spooled::new(at.alice.id().clone(), grant, old, START);
    spool(at.dir.path()).put(&left).await.unwrap();
    let process = at.process(Replay::Always).await;
    assert_eq!(process.access_token().await.unwrap().access_token(), newer.access_token());
    let stored = at.scene.stored(at.alice.id()).await;
    assert_eq!(stored.access_token(), Some(newer.access_token()));
    assert_eq!(spool(at.dir.path()).list().await.unwrap().entries, []);
}

#[tokio::test]
async fn a_login_does_not_send_a_refresh_token_that_is_being_replaced() {
    let at = Rotating::new(Duration::ZERO).await;
    at.scene.emulator.configure(Config::new().revoke_family_on_reuse(true));
    let given = at.scene.stored(at.alice.id()).await.refresh_token().unwrap().clone();
    let gate = at.store.stop_next(Operation::Lease, When::Before);
    let manager = at.manager(Replay::Never).build().unwrap();
    let login = tokio::spawn(async move {
        manager.log_in(Login::refresh_token(client(), given)).await.unwrap().token
    });
    reached(&gate).await;
    let live = at.process(Replay::Never).await.access_token().await.unwrap();
    gate.open();
    assert_eq!(login.await.unwrap().access_token(), Some(live.access_token()));
    assert_eq!(at.scene.emulator.stats().families_revoked, 0);
}

#[tokio::test]
async fn a_token_that_was_deleted_is_not_served_from_the_spool() {
    let at = Rotating::new(Duration::ZERO).await;
    at.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    at.process(Replay::Never).await.access_token().await.unwrap();
    let gate = at.store.stop_next(Operation::Lease, When::Before);
    let process = at.process(Replay::Never).await;
    let caller = tokio::spawn(async move { process.access_token().await });
    reached(&gate).await;
    at.store.inner().delete_token(at.alice.id()).await.unwrap();
    gate.open();
    let error = caller.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::NoToken);
}

/// A spool on a disk that does not answer.
#[derive(Debug)]
struct Hanging;

#[async_trait]
impl Spool for Hanging {
    async fn put(&self, _entry: &Spooled) -> Result<(), StoreError> {
        std::future::pending().await
    }

    async fn get(&self, _: &TokenId, _: &Fingerprint) -> Result<Option<Spooled>, StoreError> {
        std::future::pending().await
    }

    async fn remove(&self, _: &TokenId, _: &Fingerprint) -> Result<bool, StoreError> {
        std::future::pending().await
    }

    async fn list(&self) -> Result<SpoolListing, StoreError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_never_answers_keeps_nobody_for_long() {
    let at = Rotating::new(Duration::ZERO).await;
    let manager = at.manager(Replay::Always).spool(Hanging).build().unwrap();
    let process = manager.handle_by_id(at.alice.id()).await.unwrap();
    let asked = Instant::now();
    assert!(process.access_token().await.unwrap().is_saved());
    assert!(asked.elapsed() < MINUTE, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_a_token_is_told() {
    let at = Rotating::new(Duration::ZERO).await;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let manager = at.manager(Replay::Always).on_event({
        let seen = Arc::clone(&seen);
        move |event| seen.lock().unwrap().push(event.kind.clone())
    });
    let manager = manager.build().unwrap();
    let alice = manager.handle_by_id(at.alice.id()).await.unwrap();
    at.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    alice.access_token().await.unwrap();
    at.store.heal(Operation::ReplaceToken);
    sleep(MINUTE).await;
    at.scene.clock.advance(HOUR);
    alice.refresh().await.unwrap();
    manager.revoke(alice.id()).await.unwrap();
    let seen = seen.lock().unwrap();
    let [
        EventKind::Unsaved { .. },
        EventKind::Refreshed { reason: RefreshReason::Expired, rotated: true, .. },
        EventKind::Recovered { from: RecoveredFrom::Memory, .. },
        EventKind::Refreshed { reason: RefreshReason::Asked, rotated: true, .. },
        EventKind::Revoked,
    ] = &seen[..]
    else {
        panic!("{seen:#?}")
    };
    assert!(at.store.shared().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_replaced_refresh_token_that_is_not_stored_is_not_replaced_again() {
    let at = Rotating::new(Duration::ZERO).await;
    at.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    let process = at.process(Replay::Never).await;
    let live = process.access_token().await.unwrap();
    let requests = at.scene.refreshes();
    at.scene.clock.advance(HOUR);
    let error = process.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Store);
    assert!(error.hint().unwrap().contains("mend the store"), "{error:?}");
    assert_eq!(at.scene.refreshes(), requests);
    at.store.heal(Operation::ReplaceToken);
    let next = process.access_token().await.unwrap();
    assert_ne!(next.access_token(), live.access_token());
    let newest = at.scene.emulator.newest_refresh_token("alice@example.com").unwrap();
    let stored = at.scene.stored(at.alice.id()).await;
    assert_eq!(stored.refresh_token().unwrap().expose_secret(), newest);
}

/// What one process could not store, and another one has made obsolete by a refresh of its own.
#[tokio::test(start_paused = true)]
async fn what_is_left_over_is_not_stored_over_a_token_that_lasts_longer() {
    let at = Rotating::new(Duration::ZERO).await;
    at.scene.emulator.configure(Config::new().rotate_refresh_tokens(false));
    let process = at.process(Replay::Always).await;
    at.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    assert!(!process.access_token().await.unwrap().is_saved());
    at.store.heal(Operation::ReplaceToken);
    at.scene.clock.advance(HOUR / 4);
    let other = at.manager(Replay::Always).build().unwrap();
    let other = other.handle_by_id(at.alice.id()).await.unwrap();
    let theirs = other.refresh().await.unwrap();
    sleep(2 * MINUTE).await;
    let stored = at.scene.stored(at.alice.id()).await;
    assert_eq!(stored.access_token(), Some(theirs.access_token()));
    assert_eq!(spool(at.dir.path()).list().await.unwrap().entries, []);
    let ours = process.access_token().await.unwrap();
    assert_eq!(ours.access_token(), theirs.access_token());
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_leaves_the_record_of_its_new_holder() {
    let at = Rotating::new(Duration::ZERO).await;
    at.scene.emulator.configure(Config::new().rotate_refresh_tokens(false));
    let gate = at.store.stop_next(Operation::ReplaceToken, When::Before);
    let process = at.process(Replay::Always).await;
    let first = tokio::spawn(async move { process.access_token().await });
    reached(&gate).await;
    at.scene.clock.advance(LEASE);
    at.scene.emulator.configure(Config::new().token_latency_ms(5_000));
    let other = at.process(Replay::Always).await;
    let second = tokio::spawn(async move { other.access_token().await });
    sleep(Duration::from_secs(1)).await;
    let theirs = at.scene.state(at.alice.id()).await.in_flight.unwrap();
    gate.open();
    first.await.unwrap().unwrap();
    assert_eq!(at.scene.state(at.alice.id()).await.in_flight, Some(theirs));
    second.await.unwrap().unwrap();
    assert_eq!(at.scene.state(at.alice.id()).await.in_flight, None);
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_does_not_ask_again() {
    let at = Rotating::new(MINUTE).await;
    let lost = Fault::dropping(TOKEN, DropWhen::After);
    at.scene.emulator.configure(Config::new().fail_next([lost]));
    let before = at.scene.refreshes();
    let process = at.process(Replay::Within(MINUTE)).await;
    let first = tokio::spawn(async move { process.access_token().await.unwrap() });
    // It pauses for a tenth of a second before it would ask again.
    sleep(Duration::from_millis(50)).await;
    assert_eq!(at.scene.refreshes(), before + 1);
    at.scene.clock.advance(LEASE);
    at.scene.emulator.configure(Config::new().token_latency_ms(3_000));
    let other = at.process(Replay::Within(MINUTE)).await;
    let second = tokio::spawn(async move { other.access_token().await.unwrap() });
    let (ours, theirs) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!(ours.access_token(), theirs.access_token());
    assert_eq!(at.scene.refreshes(), before + 2, "its own, and one of the new holder");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_still_be_had_is_asked_for_though_the_budget_is_used_up() {
    let at = Rotating::new(MINUTE).await;
    let process = at.process(Replay::Within(MINUTE)).await;
    for _ in 0..8 {
        process.refresh().await.unwrap();
    }
    // The tenth request, with that of the login: its answer is lost.
    let lost = Fault::dropping(TOKEN, DropWhen::After);
    at.scene.emulator.configure(Config::new().fail_next([lost]));
    process.refresh().await.unwrap();
    let stored = at.scene.stored(at.alice.id()).await;
    let newest = at.scene.emulator.newest_refresh_token("alice@example.com").unwrap();
    assert_eq!(stored.refresh_token().unwrap().expose_secret(), newest);
    let error = process.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Throttled);
}
