//! How often the provider is asked, and by whom not.

use std::time::Duration;

use tokenkeep_core::{RefreshToken, TokenStatus, update_state};
use tokenkeep_emulator::{Config, Fault};
use tokenkeep_manager::ManagerErrorKind;

use crate::scene::{HOUR, MINUTE, Scene, TOKEN, ask};

#[tokio::test]
async fn no_process_asks_an_eleventh_time_in_ten_minutes() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    let mut refreshed = scene.refreshes();
    let error = loop {
        let result = alice.refresh().await.and(other.refresh().await);
        match result {
            Ok(_) => refreshed += 2,
            Err(error) => break error,
        }
        assert!(refreshed < 20);
    };
    assert_eq!(error.kind(), ManagerErrorKind::Throttled);
    assert!(error.to_string().contains("10 times in 10 minutes"), "{error}");
    assert_eq!(scene.refreshes(), 10);
    assert_eq!(scene.emulator.stats().throttled, 0, "the provider had nothing to refuse");
    // What there is is served meanwhile, and when the time is over, it works again.
    alice.access_token().await.unwrap();
    scene.clock.set(error.retry_at().unwrap());
    other.refresh().await.unwrap();
    assert_eq!(scene.emulator.stats().throttled, 0);
}

#[tokio::test]
async fn an_api_that_refuses_every_token_does_not_use_the_budget_up() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let before = scene.refreshes();
    let mut errors = 0;
    for _ in 0..600 {
        scene.clock.advance(Duration::from_secs(1));
        let live = alice.access_token().await.unwrap();
        if let Err(error) = alice.rejected(live.access_token()).await {
            assert_eq!(error.kind(), ManagerErrorKind::Rejected);
            assert!(error.retry_at().is_some() && error.hint().is_some());
            errors += 1;
        }
    }
    let refreshes = scene.refreshes() - before;
    assert!((3..=7).contains(&refreshes), "{refreshes} in ten minutes, {errors} errors");
    assert_eq!(scene.emulator.stats().throttled, 0);
}

#[tokio::test]
async fn a_grant_that_one_process_saw_refused_is_asked_for_by_none() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let other = scene.another_manager().handle_by_id(alice.id()).await.unwrap();
    scene.emulator.reset();
    let again = scene.new_user("alice@example.com");
    scene.clock.advance(HOUR);
    alice.access_token().await.unwrap_err();
    let requests = scene.refreshes();
    for _ in 0..3 {
        let error = other.access_token().await.unwrap_err();
        assert_eq!(error.kind(), ManagerErrorKind::NeedsLogin);
    }
    assert_eq!(scene.refreshes(), requests);
    // An SDK logs the user in; it knows nothing of our state.
    let token = RefreshToken::new(again.refresh_token).unwrap();
    let fixed = scene.stored(alice.id()).await.with_refresh_token(token);
    scene.store.save_token(&fixed).await.unwrap();
    other.access_token().await.unwrap();
    let state = scene.state(alice.id()).await;
    assert_eq!((state.status, state.refused), (TokenStatus::Active, None));
}

#[tokio::test]
async fn what_a_request_is_about_is_on_record_before_it_is_sent() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.clock.advance(HOUR);
    scene.emulator.configure(Config::new().token_latency_ms(50));
    let before = scene.state(alice.id()).await;
    assert_eq!(before.in_flight, None);
    let caller = ask(&alice);
    while scene.emulator.stats().token_requests_of("refresh_token") == 1 {
        tokio::task::yield_now().await;
    }
    let during = scene.state(alice.id()).await;
    assert_eq!(during.in_flight.unwrap().since, scene.clock_now());
    assert_eq!(during.asked_at.last(), Some(&scene.clock_now()));
    caller.await.unwrap().unwrap();
    assert_eq!(scene.state(alice.id()).await.in_flight, None);
}

#[tokio::test]
async fn requests_that_were_counted_long_ago_or_by_a_wrong_clock_do_not_count() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let shared = scene.store.shared().unwrap();
    for at in [scene.clock_now().minus(11 * MINUTE), scene.clock_now().plus(24 * HOUR)] {
        let counted = |state: &mut tokenkeep_core::TokenState| state.asked_at = vec![at; 10];
        update_state(shared, alice.id(), counted).await.unwrap();
        alice.refresh().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_in_trouble_does_not_use_the_budget_up() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    scene.clock.advance(HOUR);
    let down = (0..1_000).map(|_| Fault::answering(TOKEN, 503, "<html>down</html>"));
    scene.emulator.configure(Config::new().fail_next(down));
    let before = scene.emulator.stats().faults;
    for _ in 0..5 * 60 {
        scene.clock.advance(Duration::from_secs(1));
        let error = alice.access_token().await.unwrap_err();
        assert_eq!(error.kind(), ManagerErrorKind::Provider);
    }
    let asked = scene.emulator.stats().faults - before;
    assert!((20..60).contains(&asked), "{asked} times in five minutes");
    scene.emulator.configure(Config::new().fail_next([]));
    scene.clock.advance(MINUTE);
    alice.access_token().await.unwrap();
}
