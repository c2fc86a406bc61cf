//! When a token is renewed, what is served meanwhile, and what clocks and lifetimes do to it.

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{Operation, TokenStore};
use tokenkeep_emulator::{Config, DropWhen, Fault};
use tokenkeep_manager::{LiveToken, ManagerErrorKind, TokenHandle};
use tokenkeep_testkit::{ManualClock, When};
use tokio::time::{Instant, advance, sleep};

use crate::scene::{HOUR, MINUTE, START, Scene, TOKEN, manager};

const SECOND: Duration = Duration::from_secs(1);

/// Moves both clocks: the one that people set, and the one that nobody sets.
async fn pass(scene: &Scene, time: Duration) {
    scene.clock.advance(time);
    advance(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_served_while_it_is_renewed_in_the_background() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let old = alice.access_token().await.unwrap();
    scene.clock.advance(HOUR - 30 * SECOND);
    scene.emulator.configure(Config::new().token_latency_ms(5_000));
    let (asked, before) = (Instant::now(), scene.refreshes());
    for _ in 0..100 {
        let served = alice.access_token().await.unwrap();
        assert_eq!(served.access_token(), old.access_token());
    }
    assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits");
    sleep(6 * SECOND).await;
    let new = alice.access_token().await.unwrap();
    assert_ne!(new.access_token(), old.access_token());
    assert_eq!(scene.refreshes(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_stored_token_that_is_soon_to_expire_is_served_while_it_is_renewed() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.clock.advance(HOUR - 30 * SECOND);
    scene.emulator.configure(Config::new().token_latency_ms(5_000));
    // Another process that has just started: the first caller waits, and who comes then does not.
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let first = tokio::spawn({
        let other = other.clone();
        async move { other.access_token().await.unwrap() }
    });
    sleep(SECOND).await;
    let asked = Instant::now();
    let served = other.access_token().await.unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_ne!(first.await.unwrap().access_token(), served.access_token());
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_in_time_though_the_clock_was_set_back() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let old = alice.access_token().await.unwrap();
    pass(&scene, 50 * MINUTE).await;
    scene.clock.go_back(30 * MINUTE);
    assert_eq!(alice.access_token().await.unwrap().access_token(), old.access_token());
    // By the clock on the wall it has 29 more minutes.
    pass(&scene, 11 * MINUTE).await;
    let new = alice.access_token().await.unwrap();
    assert_ne!(new.access_token(), old.access_token());
    assert!(scene.emulator.is_live_access_token(new.access_token().expose_secret()));
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_of_the_machine_an_expired_token_costs_one_refresh() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let before = scene.refreshes();
    // The clock that nobody sets has stood still.
    scene.clock.advance(8 * HOUR);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.access_token().await.unwrap() })
        })
        .collect();
    for task in tasks {
        let live = task.await.unwrap();
        assert!(scene.emulator.is_live_access_token(live.access_token().expose_secret()));
    }
    assert_eq!(scene.refreshes(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_that_is_missing_or_absurd_costs_no_token() {
    for lifetime in ["", r#","expires_in":0"#, r#","expires_in":-5"#, r#","expires_in":1e300"#] {
        let scene = Scene::new();
        let alice = scene.user("alice@example.com").await;
        scene.clock.advance(HOUR);
        let body = format!(r#"{{"access_token":"test-access-odd"{lifetime}}}"#);
        scene.emulator.configure(Config::new().fail_next([Fault::answering(TOKEN, 200, body)]));
        let live = alice.access_token().await.unwrap();
        assert_eq!(live.access_token().expose_secret(), "test-access-odd", "{lifetime}");
        let life = scene.clock_now().until(live.expires_at());
        assert!(life >= SECOND && life <= 24 * HOUR, "{lifetime}: {life:?}");
        let stored = scene.stored(alice.id()).await;
        assert_eq!(stored.access_token(), Some(live.access_token()));
        scene.clock.advance(25 * HOUR);
        let next = alice.access_token().await.unwrap();
        assert!(scene.emulator.is_live_access_token(next.access_token().expose_secret()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_tried_again_while_the_caller_waits() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.clock.advance(HOUR);
    scene.emulator.configure(Config::new().fail_next([
        Fault::dropping(TOKEN, DropWhen::Before),
        Fault::answering(TOKEN, 503, "<html>"),
        Fault::dropping(TOKEN, DropWhen::After),
    ]));
    alice.access_token().await.unwrap();
    assert_eq!(scene.emulator.stats().faults, 3);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_is_not_asked_by_every_caller() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.clock.advance(HOUR);
    let faults = (0..1_000).map(|_| Fault::dropping(TOKEN, DropWhen::Before));
    scene.emulator.configure(Config::new().fail_next(faults));
    let asked = Instant::now();
    let first = alice.access_token().await.unwrap_err();
    assert_eq!(first.kind(), ManagerErrorKind::Network);
    assert!(asked.elapsed() <= 10 * SECOND, "{:?}", asked.elapsed());
    let requests = scene.emulator.stats().faults;
    let asked = Instant::now();
    for _ in 0..100 {
        assert_eq!(alice.access_token().await.unwrap_err().kind(), first.kind());
    }
    assert_eq!((scene.emulator.stats().faults, asked.elapsed()), (requests, Duration::ZERO));
    // After a pause it is asked again.
    scene.clock.advance(SECOND);
    alice.access_token().await.unwrap_err();
    assert!(scene.emulator.stats().faults > requests);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_does_not_keep_its_callers() {
    for operation in [Operation::FindTokenById, Operation::State, Operation::Lease] {
        let (scene, store) = Scene::faulty();
        let patient = manager(&scene.emulator, store.clone(), &scene.clock).deadline(MINUTE);
        let alice = scene.user("alice@example.com").await;
        let alice = patient.build().unwrap().handle_by_id(alice.id()).await.unwrap();
        scene.clock.advance(HOUR);
        let _gate = store.stop_next(operation, When::Before);
        let asked = Instant::now();
        let error = alice.access_token().await.unwrap_err();
        assert_eq!(error.kind(), ManagerErrorKind::Store, "{operation:?}");
        assert!(asked.elapsed() < 15 * SECOND, "{operation:?}: {:?}", asked.elapsed());
        // The next one gets through.
        alice.access_token().await.unwrap();
        assert!(store.shared().is_some());
    }
}

/// Asks as a client of the API does: a token that the API refuses is told to be.
async fn used(scene: &Scene, handle: &TokenHandle) {
    let live = handle.access_token().await.unwrap();
    let takes =
        |live: &LiveToken| scene.emulator.is_live_access_token(live.access_token().expose_secret());
    if !takes(&live) {
        let other = handle.rejected(live.access_token()).await.unwrap();
        assert!(takes(&other));
    }
}

#[tokio::test(start_paused = true)]
async fn machines_whose_clocks_differ_by_hours_share_a_token_all_the_same() {
    for ahead in [true, false] {
        let scene = Scene::new();
        let alice = scene.user("alice@example.com").await;
        let wrong = Arc::new(ManualClock::new(START));
        if ahead {
            wrong.advance(2 * HOUR);
        } else {
            wrong.go_back(2 * HOUR);
        }
        let other = manager(&scene.emulator, Arc::clone(&scene.store), &wrong).build().unwrap();
        let other = other.handle_by_id(alice.id()).await.unwrap();
        let before = scene.refreshes();
        for _ in 0..12 * 12 {
            used(&scene, &alice).await;
            used(&scene, &other).await;
            pass(&scene, 5 * MINUTE).await;
            wrong.advance(5 * MINUTE);
        }
        let refreshes = scene.refreshes() - before;
        println!("{refreshes} refreshes in twelve hours");
        assert!(refreshes <= 3 * 12, "{refreshes} refreshes in twelve hours");
        assert_eq!(scene.emulator.stats().throttled, 0);
    }
}
