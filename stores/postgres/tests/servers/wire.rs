//! The connection is cut at each place there is: what an operation says of its outcome is so.

use std::time::Duration;

use tokenkeep_core::{
    Field, Lease, LeaseAttempt, OAuthToken, Outcome, Replaced, SharedStore as _, StateReplaced,
    StoreError, TokenId, TokenQuery, TokenState, TokenStore as _,
};
use tokenkeep_servers::{
    Address, Trials,
    proxy::{Fault, Proxy},
};
use tokenkeep_store_postgres::{PostgresConfig, PostgresStore};

use crate::{
    errors::shown,
    on_shared,
    support::{Database, token, until},
};

pub(crate) fn trials(trials: Trials) -> Trials {
    on_shared!(
        trials,
        saves_tell_what_became_of_them,
        first_saves_tell_what_became_of_them,
        replacements_tell_what_became_of_them,
        leases_tell_what_became_of_them,
        states_tell_what_became_of_them,
        deletions_tell_what_became_of_them,
        finds_are_made_again,
        a_server_that_is_silent_does_not_hold_an_operation,
        a_dropped_future_leaves_nothing_half_done,
    )
}

/// All that is stored, as another connection sees it.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    tokens: Vec<OAuthToken>,
    state: Option<TokenState>,
    lease: Vec<Option<String>>,
}

struct Scene {
    database: Database,
    proxy: Proxy,
    /// Not by way of the proxy.
    direct: PostgresStore,
    alice: OAuthToken,
}

impl Scene {
    async fn new(address: &Address) -> Self {
        let database = Database::new(address).await;
        let upstream = format!("{}:{}", address.host, address.port).parse().unwrap();
        let proxy = Proxy::start(upstream).await.unwrap();
        let direct = database.open().await;
        let alice = direct.save_token(&token("alice")).await.unwrap();
        Self { database, proxy, direct, alice }
    }

    fn config(&self) -> PostgresConfig {
        let address = self.database.address();
        let at = self.proxy.address();
        PostgresConfig::new(at.ip().to_string(), self.database.name())
            .port(at.port())
            .user(&address.user)
            .password(&address.password)
            .timeout(Duration::from_secs(5))
    }

    fn id(&self) -> &TokenId {
        self.alice.id().unwrap()
    }

    async fn stored(&self) -> Stored {
        let sql = "select lease_holder || ' ' || lease_generation from tokenkeep_state";
        let leases = self.database.client().await.query(sql, &[]).await.unwrap();
        Stored {
            tokens: self.direct.get_tokens().await.unwrap(),
            state: self.direct.state(self.id()).await.unwrap(),
            lease: leases.iter().map(|row| row.get(0)).collect(),
        }
    }
}

/// Makes a change again and again, each time with the connection cut at another place, until it
/// needs no more requests than there were. `change` says what it has done; `prepared` puts things
/// back.
async fn at_each_place<T: std::fmt::Debug>(
    scene: &Scene,
    prepared: impl AsyncFn(usize),
    change: impl AsyncFn(&PostgresStore, usize) -> Result<T, StoreError>,
    is_applied: impl Fn(&Stored, &T, usize) -> bool,
) {
    let mut round = 0;
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::HalfClose] {
        let mut applied_in_spite = 0;
        for place in 1.. {
            round += 1;
            scene.proxy.set(Fault::None);
            prepared(round).await;
            let store = scene.config().open().await.unwrap();
            // A connection that writes is there, and its statements.
            let warm = token("warm");
            let warm = store.save_token(&warm).await.unwrap();
            store.delete_token(warm.id().unwrap()).await.unwrap();
            let before = scene.stored().await;
            scene.proxy.set(fault(place));
            let result = change(&store, round).await;
            let needed = scene.proxy.requests();
            scene.proxy.set(Fault::None);
            let after = scene.stored().await;
            match &result {
                Ok(answer) => {
                    assert!(is_applied(&after, answer, round), "{place}: {answer:?} {after:?}");
                    applied_in_spite += u32::from(needed >= place);
                }
                Err(error) => {
                    shown(error);
                    if error.outcome() != Outcome::Unknown {
                        assert_eq!(before, after, "{place}: {error:?}");
                    }
                }
            }
            // It goes on.
            let found = store.find_token_by_id(scene.id()).await.unwrap();
            assert_eq!(found.as_ref(), after.tokens.iter().find(|t| t.id() == Some(scene.id())));
            store.save_token(&token("next")).await.unwrap();
            if needed < place {
                assert!(result.is_ok(), "nothing was cut: {result:?}");
                break;
            }
            assert!(place < 40, "it needs ever more requests");
        }
        // A cut connection is made again, and what has become of a commit is found out.
        assert!(applied_in_spite > 0);
    }
}

fn access(scene: &Scene, round: usize) -> OAuthToken {
    let token = OAuthToken::builder().user_name("alice").client_id("test-client");
    let token = token.access_token(format!("test-access-{round}")).build().unwrap();
    assert!(scene.alice.user_name() == token.user_name());
    token
}

async fn saves_tell_what_became_of_them(address: &Address) {
    let scene = Scene::new(address).await;
    at_each_place(
        &scene,
        async |_| {},
        async |store, round| store.save_token(&access(&scene, round)).await,
        |after, saved, round| {
            let expected = access(&scene, round);
            after.tokens.contains(saved) && saved.access_token() == expected.access_token()
        },
    )
    .await;
}

async fn first_saves_tell_what_became_of_them(address: &Address) {
    let scene = Scene::new(address).await;
    at_each_place(
        &scene,
        async |_| {},
        async |store, round| store.save_token(&token(&format!("user{round}"))).await,
        |after, saved, round| {
            let name = format!("user{round}");
            let there = after.tokens.iter().filter(|t| t.user_name() == Some(name.as_str()));
            there.collect::<Vec<_>>() == [saved]
        },
    )
    .await;
}

async fn replacements_tell_what_became_of_them(address: &Address) {
    let scene = Scene::new(address).await;
    at_each_place(
        &scene,
        async |_| {},
        async |store, round| {
            let stored = scene.direct.find_token_by_id(scene.id()).await.unwrap().unwrap();
            store.replace_token(&stored, &access(&scene, round), None).await
        },
        |after, replaced, round| {
            let Replaced::Saved(saved) = replaced else { return false };
            let expected = access(&scene, round);
            after.tokens.contains(saved) && saved.access_token() == expected.access_token()
        },
    )
    .await;
}

async fn leases_tell_what_became_of_them(address: &Address) {
    let scene = Scene::new(address).await;
    at_each_place(
        &scene,
        async |_| {
            scene
                .database
                .client()
                .await
                .batch_execute("delete from tokenkeep_state")
                .await
                .unwrap();
        },
        async |store, round| {
            store.try_lease(scene.id(), &round.to_string(), Duration::from_secs(60)).await
        },
        |after, attempt, round| {
            let LeaseAttempt::Granted(Lease { generation, .. }) = attempt else { return false };
            *generation == 1 && after.lease == [Some(format!("{round} 1"))]
        },
    )
    .await;
}

fn state(round: usize) -> TokenState {
    let mut state = TokenState::default();
    state.org_id = Some(round.to_string());
    state
}

async fn states_tell_what_became_of_them(address: &Address) {
    let scene = Scene::new(address).await;
    at_each_place(
        &scene,
        async |_| {},
        async |store, round| {
            let stored = scene.direct.state(scene.id()).await.unwrap();
            store.replace_state(scene.id(), stored.as_ref(), &state(round)).await
        },
        |after, replaced, round| {
            *replaced == StateReplaced::Written && after.state == Some(state(round))
        },
    )
    .await;
}

async fn deletions_tell_what_became_of_them(address: &Address) {
    let scene = Scene::new(address).await;
    at_each_place(
        &scene,
        async |round| {
            scene.direct.save_token(&token("gone").with_id(id(round))).await.unwrap();
        },
        async |store, round| store.delete_token(&id(round)).await,
        |after, was_there, round| {
            *was_there && after.tokens.iter().all(|token| token.id() != Some(&id(round)))
        },
    )
    .await;
}

fn id(round: usize) -> TokenId {
    TokenId::new(format!("gone-{round}")).unwrap()
}

async fn finds_are_made_again(address: &Address) {
    let scene = Scene::new(address).await;
    let query = TokenQuery::user("alice").unwrap();
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::HalfClose] {
        for place in 1..6 {
            let store = scene.config().open().await.unwrap();
            scene.proxy.set(fault(place));
            let found = store.find_token(&query).await.unwrap();
            assert_eq!(found.as_ref(), Some(&scene.alice));
            assert_eq!(store.get_tokens().await.unwrap(), std::slice::from_ref(&scene.alice));
            scene.proxy.set(Fault::None);
        }
    }
}

async fn a_server_that_is_silent_does_not_hold_an_operation(address: &Address) {
    let scene = Scene::new(address).await;
    let store = scene.config().timeout(Duration::from_millis(400)).open().await.unwrap();
    let before = store.change_mark().await.unwrap();
    scene.proxy.set(Fault::Stall);
    let query = TokenQuery::user("alice").unwrap();
    let errors = [
        store.find_token(&query).await.unwrap_err(),
        store.save_token(&token("bob")).await.unwrap_err(),
        store.try_lease(scene.id(), "a", Duration::from_secs(1)).await.unwrap_err(),
        store.change_mark().await.unwrap_err(),
        store.inspect().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
        shown(&error);
    }
    scene.proxy.set(Fault::None);
    scene.proxy.cut_all();
    assert_eq!(store.find_token(&query).await.unwrap().as_ref(), Some(&scene.alice));
    assert_ne!(before, store.change_mark().await.unwrap());
    store.save_token(&token("bob")).await.unwrap();
}

async fn a_dropped_future_leaves_nothing_half_done(address: &Address) {
    let scene = Scene::new(address).await;
    let store = scene.config().writers(2).open().await.unwrap();
    // What comes takes a moment, so that a future can be left at each of its waits.
    scene.proxy.set(Fault::Delay(Duration::from_millis(2)));
    for round in 0..60 {
        let moved = token(&format!("user{round}")).clear(Field::GrantToken);
        let limit = Duration::from_micros(400 * round);
        drop(tokio::time::timeout(limit, store.save_token(&moved)).await);
    }
    scene.proxy.set(Fault::None);
    let last = store.save_token(&token("last")).await.unwrap();
    let admin = scene.database.admin().await;
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{}' \
         and state like 'idle in transaction%'",
        scene.database.name()
    );
    until(async || admin.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    let tokens = scene.direct.get_tokens().await.unwrap();
    assert!(tokens.contains(&last));
    assert!(tokens.iter().all(|token| token.refresh_token().is_some() && token.client().is_some()));
}
