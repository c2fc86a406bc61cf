//! Faults at each request of each operation: what the store says of the outcome is true.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use support::{config, contents, open, secrets, state, token};
use tokenkeep_core::{
    BulkStore, Entry, LeaseAttempt, OAuthToken, Outcome, Replaced, SharedStore, StateReplaced,
    StoreError, TokenId, TokenStore,
};
use tokenkeep_store_vault::VaultStore;
use tokenkeep_testkit::{VaultFault, VaultServer};

/// The operations that change something; each does on what [`prepared`] leaves.
const OPERATIONS: [&str; 9] =
    ["insert", "update", "absorb", "replace", "state", "lease", "delete", "delete all", "entries"];

/// A store with Alice's token, and one of nobody known.
async fn prepared(server: &VaultServer) -> VaultStore {
    let store = open(server).await;
    store.save_token(&token("alice", "0")).await.unwrap();
    store.save_token(&nameless()).await.unwrap();
    store
}

fn nameless() -> OAuthToken {
    OAuthToken::builder().refresh_token("test-refresh-nameless").build().unwrap()
}

fn id() -> TokenId {
    TokenId::from_number(1)
}

/// Fails the test if the operation succeeds and says that it did nothing.
async fn operate(store: &VaultStore, operation: &str) -> Result<(), StoreError> {
    match operation {
        "insert" => store.save_token(&token("bob", "0")).await.map(drop),
        "update" => store.save_token(&token("alice", "1")).await.map(drop),
        "absorb" => {
            let both = OAuthToken::builder()
                .user_name("alice")
                .refresh_token("test-refresh-nameless")
                .build();
            store.save_token(&both.unwrap()).await.map(drop)
        }
        "replace" => {
            let mut stored = token("alice", "0");
            stored = stored.with_id(id());
            let replaced = store.replace_token(&stored, &token("alice", "2"), None).await?;
            assert!(matches!(replaced, Replaced::Saved(_)), "{replaced:?}");
            Ok(())
        }
        "state" => {
            let written = store.replace_state(&id(), None, &state("1")).await?;
            assert_eq!(written, StateReplaced::Written);
            Ok(())
        }
        "lease" => {
            let leased = store.try_lease(&id(), "me", Duration::from_secs(60)).await?;
            assert!(matches!(leased, LeaseAttempt::Granted(_)), "{leased:?}");
            Ok(())
        }
        "delete" => {
            assert!(store.delete_token(&id()).await?, "it was there");
            Ok(())
        }
        "delete all" => {
            assert_eq!(store.delete_tokens().await?, 2);
            Ok(())
        }
        "entries" => {
            let entries = [token("carol", "0"), token("alice", "3")].map(Entry::new);
            let saved = store.save_entries(&entries).await?;
            assert!(saved.iter().all(Result::is_ok));
            Ok(())
        }
        other => panic!("there is no operation {other}"),
    }
}

/// What the operation leaves if nothing fails; with the lease, that cannot be seen otherwise.
async fn outcome(store: &VaultStore) -> (Vec<(OAuthToken, Option<String>)>, bool) {
    let tokens = contents(store).await.into_iter();
    let tokens = tokens.map(|(token, state)| (token, state.and_then(|state| state.org_id)));
    let tokens: Vec<_> = tokens.collect();
    let other = store.try_lease(&id(), "other", Duration::from_secs(60)).await.unwrap();
    (tokens, matches!(other, LeaseAttempt::Held { .. }))
}

#[tokio::test]
async fn one_fault_at_any_request_is_got_over() {
    for operation in OPERATIONS {
        let server = VaultServer::start().unwrap();
        operate(&prepared(&server).await, operation).await.unwrap();
        let expected = outcome(&open(&server).await).await;
        for fault in [
            VaultFault::CutBefore,
            VaultFault::CutAfter,
            VaultFault::Status(429),
            VaultFault::Status(500),
            VaultFault::Status(503),
        ] {
            let mut requests = 0;
            loop {
                let server = VaultServer::start().unwrap();
                let store = prepared(&server).await;
                server.fail(requests, fault);
                let answer = operate(&store, operation).await;
                if server.disarm() == 0 {
                    break;
                }
                answer
                    .unwrap_or_else(|error| panic!("{operation}, {fault:?} {requests}: {error:?}"));
                let seen = outcome(&open(&server).await).await;
                assert_eq!(seen, expected, "{operation}, {fault:?} at request {requests}");
                assert_eq!(
                    secrets(&server).len(),
                    seen.0.len(),
                    "{operation}: secrets stay behind"
                );
                requests += 1;
            }
            assert!(requests >= 2, "{operation} made {requests} requests");
        }
    }
}

/// The network goes away at some request, and comes back after the operation has given up.
#[tokio::test]
async fn an_outage_at_any_request_is_told_truly() {
    let mut outcomes = Vec::new();
    for operation in OPERATIONS {
        for first in [VaultFault::CutBefore, VaultFault::CutAfter] {
            let mut requests = 0;
            loop {
                let server = VaultServer::start().unwrap();
                let before = outcome(&prepared(&server).await).await.0;
                let store = impatient(&server).await;
                server.fail(requests, first);
                for later in 1..200 {
                    server.fail(requests + later, VaultFault::CutBefore);
                }
                let answer = operate_unless_leased(&store, operation).await;
                if server.disarm() == 0 {
                    break;
                }
                let after = outcome(&open(&server).await).await.0;
                match answer.map_err(|error| error.outcome()) {
                    Ok(()) => assert_ne!(after, before, "{operation}, {first:?} {requests}"),
                    Err(Outcome::NotApplied | Outcome::Final) => {
                        assert_eq!(after, before, "{operation}, {first:?} {requests}");
                    }
                    Err(_unknown) => outcomes.push(after != before),
                }
                // Another store goes on, and removes what was left.
                let store = open(&server).await;
                store.save_token(&token("dora", "0")).await.unwrap();
                let tokens = store.get_tokens().await.unwrap().len();
                assert_eq!(secrets(&server).len(), tokens, "{operation}, {first:?} {requests}");
                requests += 1;
            }
        }
    }
    // Both happen, so that neither could have been said.
    assert!(outcomes.contains(&true) && outcomes.contains(&false), "{outcomes:?}");
}

/// A store that gives up soon, but not before it is opened.
async fn impatient(server: &VaultServer) -> VaultStore {
    let limit = Duration::from_millis(100);
    loop {
        let opened = config(server).token(VaultServer::ROOT).timeout(limit).open().await;
        if let Ok(store) = opened
            && store.find_token_by_id(&TokenId::from_number(2)).await.is_ok()
        {
            return store;
        }
    }
}

/// `outcome` takes the lease to see whether it is free, so that it is not tried here.
async fn operate_unless_leased(store: &VaultStore, operation: &str) -> Result<(), StoreError> {
    if operation == "lease" { Ok(()) } else { operate(store, operation).await }
}

#[tokio::test]
async fn a_lost_answer_is_not_taken_for_a_lost_race() {
    let server = VaultServer::start().unwrap();
    let (store, other) = (prepared(&server).await, open(&server).await);
    // It looks at the index, writes the secret, writes the index: that answer is lost.
    server.fail(2, VaultFault::HangAfter);
    let saving = tokio::spawn(async move { store.save_token(&token("alice", "9")).await });
    let waited = tokio::task::spawn_blocking(move || {
        (server.wait_for_fault(Duration::from_secs(30)), server)
    });
    let (happened, server) = waited.await.unwrap();
    assert!(happened);
    // Meanwhile somebody else changes the store, several times.
    for round in 0..3 {
        other.save_token(&token("bob", &round.to_string())).await.unwrap();
    }
    let saved = saving.await.unwrap().unwrap();
    assert_eq!(saved.access_token().unwrap().expose_secret(), "test-access-alice-9");
    let stored = open(&server).await.find_token_by_id(&id()).await.unwrap();
    assert_eq!(stored, Some(saved));
    assert_eq!(secrets(&server).len(), 3);
}
