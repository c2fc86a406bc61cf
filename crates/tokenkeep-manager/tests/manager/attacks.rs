//! Rare orders of events, each of which once cost a wait, a request or a token.

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{ListStore, Operation};
use tokenkeep_emulator::{Config, Fault};
use tokenkeep_testkit::{FaultyStore, ManualClock, When};

use crate::scene::{HOUR, START, Scene, TOKEN, reached};

fn watched() -> (Scene, Arc<FaultyStore<ListStore>>) {
    let clock = Arc::new(ManualClock::new(START));
    let store = Arc::new(FaultyStore::new(ListStore::with_clock(clock.clone())));
    (Scene::with_store(clock, store.clone()), store)
}

#[tokio::test(start_paused = true)]
async fn who_must_have_a_token_is_not_given_the_error_of_a_renewal_that_could_wait() {
    let (scene, store) = watched();
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
    let caller = tokio::spawn({
        let alice = alice.clone();
        async move { alice.access_token().await }
    });
    tokio::task::yield_now().await;
    scene.clock.advance(Duration::from_secs(2));
    gate.open();
    caller.await.unwrap().unwrap();
}
