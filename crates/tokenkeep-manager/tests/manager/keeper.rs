//! A keeper of many tokens, on virtual days.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokenkeep_core::{Clock, ListStore, OAuthToken, Timestamp, TokenId, TokenStore};
use tokenkeep_emulator::{Config, Emulator, Fault, InProcess};
use tokenkeep_manager::{EventKind, Login, ManagerErrorKind, TokenManager, TokenManagerBuilder};
use tokenkeep_oauth::{AccountsServer, ApiDomain};
use tokio::time::{Instant, sleep};

use crate::{
    calls::client_of,
    scene::{CLIENT_ID, CLIENT_SECRET, HOUR, MINUTE, START, TOKEN, client},
};

/// A clock that goes as the paused one does.
#[derive(Debug)]
pub(crate) struct Passing(Instant);

impl Clock for Passing {
    fn now(&self) -> Timestamp {
        START.plus(self.0.elapsed())
    }
}

pub(crate) struct Day {
    pub(crate) clock: Arc<Passing>,
    emulator: InProcess,
    pub(crate) store: ListStore,
}

impl Day {
    /// A store of this many users' tokens, all of which end at the same moment.
    pub(crate) async fn new(users: u32) -> Self {
        let clock = Arc::new(Passing(Instant::now()));
        let emulator = Emulator::builder().seed(7).clock(clock.clone()).in_process();
        let store = ListStore::with_clock(clock.clone());
        for number in 0..users {
            let email = format!("{number}@example.com");
            let user = emulator.add_user(email.clone(), CLIENT_ID, CLIENT_SECRET);
            let token = OAuthToken::builder()
                .user_name(email)
                .client(CLIENT_ID, CLIENT_SECRET)
                .refresh_token(user.refresh_token)
                .access_token(format!("test-access-token-{number}"))
                .expiry_time(START.plus(HOUR))
                .build()
                .unwrap();
            store.save_token(&token).await.unwrap();
        }
        Self { clock, emulator, store }
    }

    fn manager(&self, name: &str) -> TokenManagerBuilder {
        self.manager_of(self.store.clone()).holder_name(name)
    }

    /// One that goes another way to the store.
    pub(crate) fn manager_of(&self, store: impl TokenStore) -> TokenManagerBuilder {
        TokenManager::builder(store)
            .clock(self.clock.clone())
            .oauth_client(client_of(&self.emulator))
            .accounts_server(AccountsServer::parse(self.emulator.url()).unwrap())
            .api_domain(ApiDomain::parse(self.emulator.url()).unwrap())
    }

    /// How many tokens have expired.
    pub(crate) async fn expired(&self) -> usize {
        let now = self.clock.now();
        let tokens = self.store.get_tokens().await.unwrap();
        tokens.iter().filter(|token| token.expiry_time().unwrap() <= now).count()
    }

    fn refreshes(&self) -> u64 {
        self.emulator.stats().token_requests_of("refresh_token")
    }
}

#[tokio::test(start_paused = true)]
async fn over_a_day_no_token_that_is_kept_expires_and_they_do_not_come_together() {
    let day = Day::new(300).await;
    day.emulator.configure(Config::new().token_latency_ms(300));
    let manager = day.manager("test-process").build().unwrap();
    let keeper = manager.keeper().start().unwrap();
    let (mut before, mut busiest) = (0, 0);
    for minute in 1..=24 * 60 {
        sleep(MINUTE).await;
        assert_eq!(day.expired().await, 0, "after {minute} minutes");
        busiest = busiest.max(day.refreshes() - before);
        before = day.refreshes();
    }
    let all = day.refreshes();
    println!("{all} refreshes, at most {busiest} in a minute");
    // So few are level enough at one a second; what many do is the schedule's test.
    assert!(busiest <= 75, "{busiest} in a minute");
    assert!(all < 300 * 24 * 3 / 2, "{all} refreshes of 300 tokens with an hour of life each");
    let status = keeper.status();
    assert_eq!((status.tokens, status.failed, status.late), (300, 0, 0));
    assert_eq!(status.refreshed, all);
    keeper.stop().await;
    let stopped = day.refreshes();
    sleep(2 * HOUR).await;
    assert_eq!(day.refreshes(), stopped);
}

#[tokio::test(start_paused = true)]
async fn keepers_of_several_processes_share_the_work() {
    let alone = Day::new(100).await;
    let keeper = alone.manager("a").build().unwrap().keeper().start().unwrap();
    sleep(12 * HOUR).await;
    keeper.stop().await;

    let shared = Day::new(100).await;
    let keepers: Vec<_> = ["a", "b", "c"]
        .map(|name| shared.manager(name).build().unwrap().keeper().start().unwrap())
        .into();
    for _ in 0..12 * 60 {
        sleep(MINUTE).await;
        assert_eq!(shared.expired().await, 0);
    }
    let (one, three) = (alone.refreshes(), shared.refreshes());
    println!("one keeper: {one} refreshes, three: {three}");
    // Who finds the work done takes note; the earliest of three moments comes a little earlier.
    assert!(three as f64 <= 1.25 * one as f64, "{one} {three}");
    for keeper in keepers {
        let status = keeper.status();
        assert_eq!((status.failed, status.late), (0, 0));
        keeper.stop().await;
    }
}

/// Who refreshed which token.
#[derive(Clone, Default)]
struct Refreshers(Arc<Mutex<BTreeMap<TokenId, BTreeSet<&'static str>>>>);

impl Refreshers {
    fn watch(&self, name: &'static str, manager: &TokenManager) {
        let (refreshers, mut events) = (self.0.clone(), manager.events());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let event = event.expect("a reader that keeps up");
                if let EventKind::Refreshed { .. } = event.kind {
                    refreshers.lock().unwrap().entry(event.token_id).or_default().insert(name);
                }
            }
        });
    }

    fn take(&self) -> BTreeMap<TokenId, BTreeSet<&'static str>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn who_refreshed_a_token_goes_on_with_it_and_the_others_stand_in_for_it() {
    let day = Day::new(100).await;
    let refreshers = Refreshers::default();
    let keepers = ["a", "b", "c"].map(|name| {
        let manager = day.manager(name).build().unwrap();
        refreshers.watch(name, &manager);
        (name, manager.keeper().start().unwrap())
    });
    // In the first hours they find out about each other.
    sleep(4 * HOUR).await;
    refreshers.take();
    sleep(4 * HOUR).await;
    let share = refreshers.take();
    assert_eq!(share.len(), 100);
    for (id, by) in &share {
        assert_eq!(by.len(), 1, "{id:?} was refreshed by {by:?} in turns");
    }
    let of = |name| share.values().filter(|by| by.contains(name)).count();
    for (name, _) in &keepers {
        assert!(of(name) >= 10, "{name} refreshes {} of 100", of(name));
    }
    // One stops, and none of its tokens is late.
    let [(gone, stops), others @ ..] = keepers;
    stops.stop().await;
    for _ in 0..3 * 60 {
        sleep(MINUTE).await;
        assert_eq!(day.expired().await, 0);
    }
    refreshers.take();
    sleep(2 * HOUR).await;
    let left = refreshers.take();
    assert_eq!(left.len(), 100);
    assert!(left.values().all(|by| !by.contains(gone)));
    for (_, keeper) in others {
        assert_eq!((keeper.status().failed, keeper.status().late), (0, 0));
        keeper.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refreshed_by_a_keeper_is_fresh_for_those_who_ask() {
    let day = Day::new(5).await;
    let manager = day.manager("test-process").build().unwrap();
    let keeper = manager.keeper().start().unwrap();
    let alice = manager.user("1@example.com").await.unwrap();
    day.emulator.configure(Config::new().token_latency_ms(5_000));
    for _ in 0..12 * 12 {
        sleep(5 * MINUTE).await;
        let asked = Instant::now();
        let live = alice.access_token().await.unwrap();
        assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits");
        assert!(day.clock.now() < live.expires_at());
    }
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_is_not_kept_if_so_told() {
    let day = Day::new(3).await;
    let manager = day.manager("test-process").build().unwrap();
    let keeper = manager.keeper().used_within(3 * HOUR).start().unwrap();
    let used = manager.user("1@example.com").await.unwrap();
    used.access_token().await.unwrap();
    sleep(2 * HOUR).await;
    assert_eq!(keeper.status().tokens, 1);
    let stored = day.store.find_token_by_id(used.id()).await.unwrap().unwrap();
    assert!(day.clock.now() < stored.expiry_time().unwrap(), "it was renewed");
    assert_eq!(day.expired().await, 2, "the others were not");
    sleep(6 * HOUR).await;
    assert_eq!((keeper.status().tokens, day.expired().await), (0, 3));
    // Asked for again, it is kept again.
    used.access_token().await.unwrap();
    sleep(2 * HOUR).await;
    assert_eq!((keeper.status().tokens, day.expired().await), (1, 2));
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_learns_of_new_tokens_and_of_those_that_end() {
    let day = Day::new(2).await;
    let manager = day.manager("test-process").build().unwrap();
    let keeper = manager.keeper().start().unwrap();
    sleep(MINUTE).await;
    assert_eq!(keeper.status().tokens, 2);
    // Logged in by another process, deleted, revoked, and dead at the provider.
    let other = day.manager("other").build().unwrap();
    let user = day.emulator.add_user("new@example.com", CLIENT_ID, CLIENT_SECRET);
    let code = tokenkeep_core::GrantToken::new(user.grant_token).unwrap();
    let new = other.log_in(Login::grant_token(client(), code)).await.unwrap().token;
    day.store.delete_token(&TokenId::from_number(1)).await.unwrap();
    other.revoke(&TokenId::from_number(2)).await.unwrap();
    sleep(2 * HOUR).await;
    assert_eq!(keeper.status().tokens, 1);
    let kept = day.store.find_token_by_id(new.id().unwrap()).await.unwrap().unwrap();
    assert!(day.clock.now() < kept.expiry_time().unwrap());
    let dead = Fault::answering(TOKEN, 200, r#"{"error":"invalid_code"}"#);
    day.emulator.configure(Config::new().fail_next([dead]));
    sleep(2 * HOUR).await;
    assert_eq!(keeper.status().tokens, 0);
    keeper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_for_a_while_costs_no_token() {
    let day = Day::new(50).await;
    let manager = day.manager("test-process").build().unwrap();
    let keeper = manager.keeper().start().unwrap();
    sleep(3 * HOUR).await;
    // Down for four minutes of each nine: whenever a token's turn comes.
    for _ in 0..40 {
        let down = (0..10_000).map(|_| Fault::answering(TOKEN, 503, "<html>down</html>"));
        day.emulator.configure(Config::new().fail_next(down));
        sleep(4 * MINUTE).await;
        assert_eq!(day.expired().await, 0);
        day.emulator.configure(Config::new().fail_next([]));
        sleep(5 * MINUTE).await;
        assert_eq!(day.expired().await, 0);
    }
    // It is not asked as fast as it goes: each token a few times in these minutes.
    let failed = keeper.status().failed;
    assert!((50..50 * 16 * 6).contains(&failed), "{failed} attempts");
    keeper.stop().await;
}

#[tokio::test]
async fn a_keeper_that_cannot_keep_anything_is_refused() {
    let manager = TokenManager::builder(ListStore::new()).build().unwrap();
    for keeper in [manager.keeper().concurrency(0), manager.keeper().scan_every(Duration::ZERO)] {
        assert_eq!(keeper.start().unwrap_err().kind(), ManagerErrorKind::Invalid);
    }
}
