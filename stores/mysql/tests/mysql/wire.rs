//! Connections that are cut at every request that an operation makes: what it then says has to be
//! true.

use std::{net::SocketAddr, time::Duration};

use tokenkeep_core::{
    BulkStore, Entry, Lease, LeaseAttempt, OAuthToken, Outcome, Replaced, SharedStore,
    StateReplaced, StoreError, TokenId, TokenState, TokenStore,
};
use tokenkeep_servers::{
    Address, Kind, Trials,
    proxy::{Fault, Proxy},
};
use tokenkeep_store_mysql::MysqlStore;

use crate::support::{Database, in_full, token, user};

pub(crate) fn add(trials: Trials) -> Trials {
    JOBS.into_iter()
        .fold(trials, |trials, job| {
            trials.needs(Kind::MariaDb, format!("wire::{job:?}"), move |at| async move {
                cut_everywhere(&at[0], job).await;
            })
        })
        .needs(Kind::MariaDb, "wire::reads_are_tried_again", |at| async move {
            reads_are_tried_again(&at[0]).await;
        })
        .needs(Kind::MariaDb, "wire::a_server_that_is_silent_is_given_up", |at| async move {
            a_server_that_is_silent_is_given_up(&at[0]).await;
        })
        .needs(Kind::MariaDb, "wire::a_dropped_save_leaves_no_transaction", |at| async move {
            a_dropped_save_leaves_no_transaction(&at[0]).await;
        })
}

#[derive(Clone, Copy, Debug)]
enum Job {
    Insert,
    Update,
    Batch,
    Replace,
    FencedReplace,
    State,
    Lease,
    Release,
    Delete,
    DeleteAll,
}

const JOBS: [Job; 10] = [
    Job::Insert,
    Job::Update,
    Job::Batch,
    Job::Replace,
    Job::FencedReplace,
    Job::State,
    Job::Lease,
    Job::Release,
    Job::Delete,
    Job::DeleteAll,
];

/// What was there before the job.
struct Before {
    alice: OAuthToken,
    id: TokenId,
    lease: Lease,
}

const TTL: Duration = Duration::from_secs(600);

async fn before(store: &MysqlStore) -> Before {
    store.delete_tokens().await.unwrap();
    let alice = store.save_token(&token("alice")).await.unwrap();
    let id = alice.id().cloned().unwrap();
    let LeaseAttempt::Granted(lease) = store.try_lease(&id, "test-holder", TTL).await.unwrap()
    else {
        panic!("nobody has the lease");
    };
    Before { alice, id, lease }
}

fn newer() -> OAuthToken {
    OAuthToken::builder().user_name("alice").access_token("test-newer").build().unwrap()
}

fn known() -> TokenState {
    let mut state = TokenState::default();
    state.org_id = Some("42".to_owned());
    state
}

impl Job {
    async fn prepare(self, store: &MysqlStore, before: &Before) {
        if matches!(self, Self::Lease) {
            assert!(store.release_lease(&before.lease).await.unwrap());
        }
    }

    async fn run(self, store: &MysqlStore, before: &Before) -> Result<(), StoreError> {
        let Before { alice, id, lease } = before;
        match self {
            Self::Insert => store.save_token(&token("bob")).await.map(drop),
            Self::Update => store.save_token(&newer()).await.map(drop),
            Self::Batch => {
                let entries = [newer(), token("bob")];
                let entries = entries.map(|token| Entry::new(token).with_state(Some(known())));
                let answers = store.save_entries(&entries).await?;
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                Ok(())
            }
            Self::Replace | Self::FencedReplace => {
                let fence = matches!(self, Self::FencedReplace).then_some(lease);
                let replaced = store.replace_token(alice, &newer(), fence).await?;
                assert!(matches!(replaced, Replaced::Saved(_)), "{replaced:?}");
                Ok(())
            }
            Self::State => {
                let replaced = store.replace_state(id, None, &known()).await?;
                assert_eq!(replaced, StateReplaced::Written);
                Ok(())
            }
            Self::Lease => {
                let attempt = store.try_lease(id, "test-other", TTL).await?;
                assert!(matches!(attempt, LeaseAttempt::Granted(_)), "{attempt:?}");
                Ok(())
            }
            Self::Release => {
                assert!(store.release_lease(lease).await?);
                Ok(())
            }
            Self::Delete => {
                assert!(store.delete_token(id).await?);
                Ok(())
            }
            Self::DeleteAll => {
                assert_eq!(store.delete_tokens().await?, 1);
                Ok(())
            }
        }
    }

    /// Whether what is stored is as after the job; anything but this and what was before is a
    /// failure.
    async fn is_applied(self, store: &MysqlStore, before: &Before) -> bool {
        let tokens = store.get_tokens().await.unwrap();
        let names: Vec<_> = tokens.iter().map(|token| token.user_name().unwrap()).collect();
        let access = |at: usize| tokens[at].access_token().unwrap().expose_secret().to_owned();
        match self {
            Self::Insert => {
                assert_eq!(access(0), "test-access-alice");
                assert!(names == ["alice"] || names == ["alice", "bob"], "{names:?}");
                names.len() == 2
            }
            Self::Batch => {
                let is_known = store.state(&before.id).await.unwrap() == Some(known());
                assert_eq!(names.len() == 2, access(0) == "test-newer");
                assert_eq!(names.len() == 2, is_known);
                is_known
            }
            Self::Update | Self::Replace | Self::FencedReplace => {
                assert_eq!(names, ["alice"]);
                assert!(["test-newer", "test-access-alice"].contains(&&*access(0)));
                access(0) == "test-newer"
            }
            Self::State => store.state(&before.id).await.unwrap().is_some(),
            Self::Lease | Self::Release => {
                let attempt = store.try_lease(&before.id, "test-third", TTL).await.unwrap();
                let is_free = matches!(attempt, LeaseAttempt::Granted(_));
                is_free == matches!(self, Self::Release)
            }
            Self::Delete | Self::DeleteAll => names.is_empty(),
        }
    }
}

async fn behind(database: &Database, proxy: &Proxy) -> MysqlStore {
    // A request that the server does not answer is waited for by the proxy. With one connection,
    // an operation makes the same requests each time.
    let config = database.config().port(proxy.address().port()).pool_max(1);
    config.connect_timeout(Duration::from_millis(500)).open().await.unwrap()
}

async fn proxy(address: &Address) -> Proxy {
    Proxy::start(SocketAddr::new(address.host.parse().unwrap(), address.port)).await.unwrap()
}

async fn cut_everywhere(address: &Address, job: Job) {
    let database = Database::new(address).await;
    let observer = database.open().await;
    let (mut unknown, mut longest) = (0, 0);
    for fault in [Fault::CutBefore as fn(u64) -> Fault, Fault::CutAfter] {
        for number in 1.. {
            // One of its own: connections that end late are not counted with those of the next.
            let proxy = proxy(address).await;
            let before = before(&observer).await;
            job.prepare(&observer, &before).await;
            let store = behind(&database, &proxy).await;
            assert!(store.find_token(&user("alice")).await.unwrap().is_some());
            proxy.set(fault(number));
            let said = job.run(&store, &before).await;
            let requests = proxy.requests();
            proxy.set(Fault::None);

            let is_applied = job.is_applied(&observer, &before).await;
            let fault = fault(number);
            match &said {
                Ok(()) => assert!(is_applied, "{fault:?}"),
                Err(error) if error.outcome() == Outcome::Unknown => unknown += 1,
                Err(error) => assert!(!is_applied, "{fault:?}: {error:?}"),
            }
            if let Err(error) = &said {
                assert!(!in_full(error).contains("test-"), "{error:?}");
            }
            store.save_token(&token("after")).await.unwrap();
            assert!(observer.find_token(&user("after")).await.unwrap().is_some());
            longest = longest.max(number);
            if requests < number {
                assert!(said.is_ok(), "{said:?}");
                break;
            }
        }
    }
    // It was cut somewhere, and once at least in the decision.
    assert!(longest > 3, "{longest}");
    assert!(unknown >= 2, "{unknown}");
}

async fn reads_are_tried_again(address: &Address) {
    let database = Database::new(address).await;
    let alice = database.open().await.save_token(&token("alice")).await.unwrap();
    let proxy = proxy(address).await;
    let id = alice.id().cloned().unwrap();
    for number in 1..=8 {
        for fault in [Fault::CutBefore(number), Fault::CutAfter(number)] {
            let store = behind(&database, &proxy).await;
            proxy.set(fault);
            assert_eq!(store.find_token(&user("alice")).await.unwrap(), Some(alice.clone()));
            assert_eq!(store.get_tokens().await.unwrap().len(), 1);
            assert_eq!(store.state(&id).await.unwrap(), None);
            proxy.set(Fault::None);
        }
    }
}

async fn a_server_that_is_silent_is_given_up(address: &Address) {
    let database = Database::new(address).await;
    let proxy = proxy(address).await;
    let config = database.config().port(proxy.address().port()).timeout(Duration::from_secs(1));
    let store = config.open().await.unwrap();
    let alice = store.save_token(&token("alice")).await.unwrap();
    store.replace_token(&alice, &token("alice"), None).await.unwrap();
    proxy.set(Fault::Stall);
    let error = store.find_token(&user("alice")).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    let error = store.save_token(&newer()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    proxy.set(Fault::None);
    // What was under way goes on now; a transaction nobody ends is rolled back.
    proxy.cut_all();
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), Some(alice));
    store.save_token(&newer()).await.unwrap();
}

/// Saves that are dropped at any moment: the row that all of them lock is free at once, and no
/// connection comes back in the middle of a transaction.
async fn a_dropped_save_leaves_no_transaction(address: &Address) {
    let database = Database::new(address).await;
    let proxy = proxy(address).await;
    let config = database.config().port(proxy.address().port()).pool_max(2);
    let store = config.open().await.unwrap();
    store.save_token(&token("alice")).await.unwrap();
    let mut dropped = 0;
    for micros in (0..4_000).step_by(100) {
        proxy.set(Fault::Delay(Duration::from_micros(500)));
        let newer = newer();
        let save = store.save_token(&newer);
        dropped +=
            u32::from(tokio::time::timeout(Duration::from_micros(micros), save).await.is_err());
        proxy.set(Fault::None);
        store.save_token(&token("alice")).await.unwrap();
        let found = store.find_token(&user("alice")).await.unwrap().unwrap();
        assert_eq!(found.access_token().unwrap().expose_secret(), "test-access-alice");
    }
    assert!(dropped > 10, "{dropped}");
    let mut admin = database.admin().await;
    let open: Vec<u64> = mysql_async::prelude::Queryable::query(
        &mut admin,
        format!(
            "select trx_mysql_thread_id from information_schema.innodb_trx, \
             information_schema.processlist where id = trx_mysql_thread_id and db = '{}'",
            database.name
        ),
    )
    .await
    .unwrap();
    assert!(open.is_empty(), "{open:?}");
}
