use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokenkeep_core::{
    GrantToken, ListStore, OAuthToken, Operation, RefreshToken, TokenState, TokenStatus,
    TokenStore, update_state,
};
use tokenkeep_emulator::{Config, DropWhen, Fault};
use tokenkeep_manager::{Login, ManagerErrorKind, TokenHandle, TokenManager};
use tokenkeep_store_file::FileConfig;
use tokenkeep_store_sqlite::SqliteConfig;
use tokenkeep_testkit::{ManualClock, When};
use tokio::{sync::Barrier, time::sleep};

use crate::scene::{HOUR, START, Scene, ask, client, manager, reached};

/// Has `tasks` tasks ask for a token at the same moment.
async fn storm(handles: Vec<TokenHandle>) {
    let barrier = Arc::new(Barrier::new(handles.len()));
    let tasks: Vec<_> = handles
        .into_iter()
        .map(|handle| {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                barrier.wait().await;
                handle.access_token().await.unwrap()
            })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(task.await.unwrap());
    }
    assert!(tokens.windows(2).all(|pair| pair[0].access_token() == pair[1].access_token()));
}

#[tokio::test]
async fn a_fresh_token_comes_from_memory() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    alice.access_token().await.unwrap();
    let before = scene.refreshes();
    for _ in 0..1000 {
        alice.access_token().await.unwrap();
    }
    assert_eq!(scene.refreshes(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_on_an_expired_token_cost_one_refresh_on_every_store() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let stores: [Arc<dyn TokenStore>; 3] = [
        Arc::new(ListStore::with_clock(clock.clone())),
        Arc::new(SqliteConfig::new(dir.path().join("t.db")).clock(clock.clone()).open().unwrap()),
        Arc::new(FileConfig::new(dir.path().join("t.csv")).clock(clock.clone()).open().unwrap()),
    ];
    for store in stores {
        let scene = Scene::with_store(Arc::clone(&clock), store);
        let alice = scene.user("alice@example.com").await;
        scene.clock.advance(HOUR);
        scene.emulator.configure(Config::new().token_latency_ms(50));
        let before = scene.refreshes();
        storm(vec![alice; 32]).await;
        assert_eq!(scene.refreshes(), before + 1, "{:?}", scene.store);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_managers_on_one_store_cost_one_refresh() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.clock.advance(HOUR);
    scene.emulator.configure(Config::new().token_latency_ms(100));
    let before = scene.refreshes();
    let mut handles = vec![alice.clone(); 8];
    for _ in 0..3 {
        let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
        handles.extend(vec![other; 8]);
    }
    storm(handles).await;
    assert_eq!(scene.refreshes(), before + 1);
}

#[tokio::test]
async fn a_token_that_another_one_refreshed_is_used() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.clock.advance(HOUR);
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let theirs = other.access_token().await.unwrap();
    let before = scene.refreshes();
    let ours = alice.access_token().await.unwrap();
    assert_eq!(ours.access_token(), theirs.access_token());
    assert_eq!(scene.refreshes(), before);
}

#[tokio::test]
async fn a_reply_without_a_refresh_token_keeps_the_old_one() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let before = scene.stored(alice.id()).await;
    scene.clock.advance(HOUR);
    alice.access_token().await.unwrap();
    let after = scene.stored(alice.id()).await;
    assert_eq!(after.refresh_token(), before.refresh_token());
    assert_ne!(after.access_token(), before.access_token());
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_before_anyone_gets_the_access_token() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.emulator.configure(Config::new().rotate_refresh_tokens(true));
    for _ in 0..3 {
        let before = scene.stored(alice.id()).await;
        scene.clock.advance(HOUR);
        let live = alice.access_token().await.unwrap();
        let after = scene.stored(alice.id()).await;
        assert_eq!(after.access_token(), Some(live.access_token()));
        assert_ne!(after.refresh_token(), before.refresh_token());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_goes_on_when_its_caller_goes_away() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.emulator.configure(Config::new().rotate_refresh_tokens(true).token_latency_ms(200));
    scene.clock.advance(HOUR);
    let before = scene.refreshes();
    let caller = tokio::time::timeout(Duration::from_millis(50), alice.access_token()).await;
    assert!(caller.is_err(), "the caller was to give up");
    let live = alice.access_token().await.unwrap();
    assert_eq!(scene.refreshes(), before + 1);
    assert_eq!(scene.stored(alice.id()).await.access_token(), Some(live.access_token()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_token_is_refreshed_once_and_a_late_rejection_not_at_all() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let old = alice.access_token().await.unwrap();
    scene.emulator.expire_access_tokens();
    let before = scene.refreshes();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (alice, old) = (alice.clone(), Arc::clone(&old));
            tokio::spawn(async move { alice.rejected(old.access_token()).await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert_ne!(task.await.unwrap().access_token(), old.access_token());
    }
    let new = alice.access_token().await.unwrap();
    let late = alice.rejected(old.access_token()).await.unwrap();
    assert_eq!(late.access_token(), new.access_token());
    assert_eq!(scene.refreshes(), before + 1);
}

/// The strike pause answers at once, so that the two sides meet in every few of the rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rejected_token_that_others_read_again_is_not_given_back() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let mut live = alice.access_token().await.unwrap();
    let error = loop {
        match alice.rejected(live.access_token()).await {
            Ok(other) => live = other,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ManagerErrorKind::Rejected);
    let before = scene.refreshes();

    let barrier = Arc::new(Barrier::new(4));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (alice, barrier) = (alice.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                for round in 0..2_000 {
                    let live = alice.access_token().await.unwrap();
                    let answer = alice.rejected(live.access_token()).await;
                    let error = answer.map(|_| format!("round {round}")).unwrap_err();
                    assert_eq!(error.kind(), ManagerErrorKind::Rejected, "{error}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(scene.refreshes(), before);
}

#[tokio::test]
async fn refreshing_on_demand_gives_another_token() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let old = alice.access_token().await.unwrap();
    let new = alice.refresh().await.unwrap();
    assert_ne!(new.access_token(), old.access_token());
}

#[tokio::test]
async fn a_refused_refresh_token_needs_a_login_and_is_not_sent_again() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.emulator.reset();
    scene.new_user("alice@example.com"); // the client is known, the refresh token is not
    scene.clock.advance(HOUR);
    let first = alice.access_token().await.unwrap_err();
    assert_eq!(first.kind(), ManagerErrorKind::NeedsLogin);
    let asked = scene.refreshes();
    let second = alice.access_token().await.unwrap_err();
    assert_eq!(second.kind(), ManagerErrorKind::NeedsLogin);
    assert_eq!(scene.refreshes(), asked);
    let state = scene.store.shared().unwrap().state(alice.id()).await.unwrap().unwrap();
    assert_eq!(state.status, TokenStatus::NeedsLogin);
    // The refresh token itself is not thrown away.
    assert!(scene.stored(alice.id()).await.refresh_token().is_some());
}

#[tokio::test]
async fn a_login_made_elsewhere_ends_the_need_for_one() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.emulator.reset();
    let again = scene.new_user("alice@example.com");
    scene.clock.advance(HOUR);
    alice.access_token().await.unwrap_err();
    let fixed = scene
        .stored(alice.id())
        .await
        .with_refresh_token(RefreshToken::new(again.refresh_token).unwrap());
    scene.store.save_token(&fixed).await.unwrap();
    alice.access_token().await.unwrap();
}

#[tokio::test]
async fn a_throttled_token_waits_out_the_window_without_asking() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let error = loop {
        match alice.refresh().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ManagerErrorKind::Throttled);
    let until = error.retry_at().unwrap();
    let asked = scene.refreshes();
    let old = alice.cached().unwrap();
    let again = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let error = again.rejected(old.access_token()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_at()), (ManagerErrorKind::Throttled, Some(until)));
    assert_eq!(scene.refreshes(), asked, "no request while the window lasts");
    scene.clock.set(until);
    alice.refresh().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_early_refresh_that_fails_leaves_the_old_token_in_use() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let old = alice.access_token().await.unwrap();
    scene.clock.advance(HOUR - Duration::from_secs(30)); // within the margin of 60 s
    let fail = |times| {
        let fault = || Fault::dropping("/oauth/v2/token", DropWhen::Before);
        scene.emulator.configure(Config::new().fail_next((0..times).map(|_| fault())));
    };
    fail(1);
    let served = alice.access_token().await.unwrap();
    assert_eq!(served.access_token(), old.access_token());
    // It is not asked again at once, and is once the pause is over.
    sleep(Duration::from_secs(1)).await;
    let faults = scene.emulator.stats().faults;
    alice.access_token().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.emulator.stats().faults, faults);
    scene.clock.advance(Duration::from_secs(6));
    assert_eq!(alice.access_token().await.unwrap().access_token(), old.access_token());
    sleep(Duration::from_secs(1)).await;
    let new = alice.access_token().await.unwrap();
    assert_ne!(new.access_token(), old.access_token());
    // An expired one is not served.
    scene.clock.advance(HOUR);
    fail(100);
    let error = alice.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Network);
}

#[tokio::test(start_paused = true)]
async fn a_short_lived_token_is_used_for_half_its_life() {
    let scene = Scene::new();
    scene.emulator.configure(Config::new().access_token_lifetime_s(10));
    let alice = scene.user("alice@example.com").await;
    let first = alice.access_token().await.unwrap();
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    assert_eq!(other.access_token().await.unwrap().access_token(), first.access_token());
    scene.clock.advance(Duration::from_secs(6));
    assert_eq!(other.access_token().await.unwrap().access_token(), first.access_token());
    sleep(Duration::from_secs(1)).await;
    assert_ne!(other.access_token().await.unwrap().access_token(), first.access_token());
}

#[tokio::test]
async fn a_deleted_token_is_no_token() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.store.delete_token(alice.id()).await.unwrap();
    scene.clock.advance(HOUR);
    let error = alice.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::NoToken);
    let error = scene.manager.user("alice@example.com").await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::NoToken);
}

#[tokio::test]
async fn a_caller_does_not_wait_beyond_the_deadline() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.emulator.configure(Config::new().token_latency_ms(2_000));
    let impatient = manager(&scene.emulator, Arc::clone(&scene.store), &scene.clock)
        .deadline(Duration::from_millis(50))
        .build()
        .unwrap();
    scene.clock.advance(HOUR);
    let handle = impatient.handle_by_id(alice.id()).await.unwrap();
    assert_eq!(handle.access_token().await.unwrap_err().kind(), ManagerErrorKind::Timeout);
}

#[tokio::test]
async fn what_is_stored_is_read_again_under_the_lease() {
    let (scene, store, alice) = Scene::expired(true).await;
    let before = scene.refreshes();
    // It has seen that the token has expired, and takes the lease.
    let gate = store.stop_next(Operation::Lease, When::Before);
    let caller = ask(&alice);
    reached(&gate).await;
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let theirs = other.access_token().await.unwrap();
    gate.open();
    assert_eq!(caller.await.unwrap().unwrap().access_token(), theirs.access_token());
    assert_eq!(scene.refreshes(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_saved_though_nobody_waits_for_it() {
    let (_scene, store, alice) = Scene::expired(true).await;
    let started = store.stop_next(Operation::Lease, When::Before);
    let saved = store.stop_next(Operation::ReplaceToken, When::After);
    let caller = ask(&alice);
    reached(&started).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    started.open();
    reached(&saved).await;
    saved.open();
}

#[test]
fn a_refresh_whose_runtime_has_ended_is_begun_again_in_another() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lasting = tokio::runtime::Runtime::new().unwrap();
    let (scene, alice) = lasting.block_on(async {
        let scene = Scene::new();
        let alice = scene.user("alice@example.com").await;
        (scene, alice)
    });
    scene.clock.advance(HOUR);
    let ending = runtime();
    ending.block_on(async {
        let mut asked = pin!(alice.access_token());
        let pending = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending()));
        assert!(pending.await);
    });
    // The refresh was never so much as looked at.
    drop(ending);
    lasting.block_on(alice.access_token()).unwrap();
}

#[tokio::test]
async fn a_refusal_is_remembered_when_no_handle_is_left() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let code = GrantToken::new(user.grant_token).unwrap();
    scene.manager.log_in(Login::grant_token(client(), code.clone())).await.unwrap();
    let dead_code = OAuthToken::from_grant_token(client(), code);
    let dead_token = RefreshToken::new("test-refresh-token-of-nobody").unwrap();
    let dead_token = OAuthToken::from_refresh_token(client(), dead_token);
    for (token, grant) in [(dead_code, "authorization_code"), (dead_token, "refresh_token")] {
        scene.store.delete_tokens().await.unwrap();
        let id = scene.store.save_token(&token).await.unwrap().id().unwrap().clone();
        let before = scene.emulator.stats().token_requests_of(grant);
        for _ in 0..3 {
            let handle = scene.manager.handle_by_id(&id).await.unwrap();
            let error = handle.access_token().await.unwrap_err();
            assert_eq!(error.kind(), ManagerErrorKind::NeedsLogin);
        }
        assert_eq!(scene.emulator.stats().token_requests_of(grant), before + 1, "{grant}");
        let state = scene.store.shared().unwrap().state(&id).await.unwrap().unwrap();
        assert_eq!(state.status, TokenStatus::NeedsLogin);
    }
}

#[tokio::test]
async fn a_login_made_while_the_old_token_is_refused_is_used_at_once() {
    let (scene, store) = Scene::faulty();
    let alice = scene.user("alice@example.com").await;
    scene.emulator.reset();
    scene.clock.advance(HOUR);
    let user = scene.new_user("alice@example.com");
    // The first look, the look under the lease, and the look after the refusal.
    let gate = store.stop_nth(Operation::FindTokenById, 3, When::Before);
    let caller = ask(&alice);
    reached(&gate).await;
    let code = GrantToken::new(user.grant_token).unwrap();
    let login = scene.manager.log_in(Login::grant_token(client(), code)).await.unwrap();
    gate.open();
    let live = caller.await.unwrap().unwrap();
    assert_eq!(Some(live.access_token()), login.token.access_token());
    let state = scene.store.shared().unwrap().state(alice.id()).await.unwrap().unwrap();
    assert_eq!(state.status, TokenStatus::Active);
}

#[test]
fn a_lease_or_a_deadline_of_zero_is_refused() {
    let builder = || TokenManager::builder(ListStore::new());
    for builder in [builder().lease(Duration::ZERO), builder().deadline(Duration::ZERO)] {
        assert_eq!(builder.build().unwrap_err().kind(), ManagerErrorKind::Invalid);
    }
    builder().margin(Duration::ZERO).build().unwrap();
}

#[tokio::test]
async fn a_clock_that_was_wrong_throttles_nobody_for_long() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let shared = scene.store.shared().unwrap();
    for (ahead, throttled) in [(HOUR / 6, true), (24 * HOUR, false)] {
        let throttle = |state: &mut TokenState| state.throttled_until = Some(START.plus(ahead));
        update_state(shared, alice.id(), throttle).await.unwrap();
        let error = alice.refresh().await.err().map(|error| error.kind());
        assert_eq!(error, throttled.then_some(ManagerErrorKind::Throttled), "{ahead:?}");
    }
}
