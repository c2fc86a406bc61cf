//! Several nodes that all take writes: what one node does is seen, or refused, on the others.

use std::time::Duration;

use tokenkeep_core::{
    LeaseAttempt, OAuthToken, Replaced, SharedStore, TokenState, TokenStore, update_state,
};
use tokenkeep_servers::{Address, Kind, Server, Trials};
use tokenkeep_store_mysql::MysqlStore;

use crate::support::{Database, token, user};

pub(crate) fn add(trials: Trials) -> Trials {
    trials.private(Kind::Galera, "galera::nodes_coordinate", |mut server| async move {
        let databases = nodes(server.nodes().to_vec()).await;
        updates_of_state_are_all_kept(&databases).await;
        saves_of_all_nodes_are_there(&databases).await;
        leases_are_granted_once(&databases).await;
        one_of_racing_replacements_wins(&databases).await;
        a_lost_lease_is_no_fence(&databases).await;
        a_node_that_dies_loses_nothing(&mut server, &databases).await;
    })
}

struct Nodes {
    /// Removed by the first node.
    database: Database,
    stores: Vec<MysqlStore>,
}

const TTL: Duration = Duration::from_secs(60);

async fn nodes(addresses: Vec<Address>) -> Nodes {
    let database = Database::new(&addresses[0]).await;
    let mut stores = Vec::new();
    for node in &addresses {
        let config = database.config().host(&node.host).port(node.port);
        stores.push(config.timeout(Duration::from_secs(30)).open().await.unwrap());
    }
    let inspection = stores[2].inspect().await.unwrap();
    assert_eq!(inspection.cluster, Some(3));
    Nodes { database, stores }
}

async fn updates_of_state_are_all_kept(nodes: &Nodes) {
    let id = nodes.stores[0].save_token(&token("counted")).await.unwrap().id().cloned().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for store in &nodes.stores[..2] {
        let (store, id) = (store.clone(), id.clone());
        tasks.spawn(async move {
            for _ in 0..100 {
                let count = |state: &mut TokenState| {
                    let number = state.org_id.as_deref().map_or(0, |n| n.parse::<u32>().unwrap());
                    state.org_id = Some((number + 1).to_string());
                };
                update_state(&store, &id, count).await.unwrap().unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let state = nodes.stores[2].state(&id).await.unwrap().unwrap();
    assert_eq!(state.org_id.as_deref(), Some("200"));
}

async fn saves_of_all_nodes_are_there(nodes: &Nodes) {
    let mut tasks = tokio::task::JoinSet::new();
    for (number, store) in nodes.stores.iter().enumerate() {
        let store = store.clone();
        tasks.spawn(async move {
            for save in 0..30 {
                store.save_token(&token(&format!("node{number}-{save}"))).await.unwrap();
                // All save this one, which is not there at first: it is one token.
                store.save_token(&token(&format!("common{save}"))).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for store in &nodes.stores {
        assert_eq!(store.get_tokens().await.unwrap().len(), 1 + 3 * 30 + 30);
        for save in 0..30 {
            assert!(store.find_token(&user(&format!("common{save}"))).await.unwrap().is_some());
        }
    }
}

async fn leases_are_granted_once(nodes: &Nodes) {
    let id = nodes.stores[0].save_token(&token("leased")).await.unwrap().id().cloned().unwrap();
    for round in 0..20 {
        let mut tasks = tokio::task::JoinSet::new();
        for (number, store) in nodes.stores.iter().enumerate() {
            let (store, id) = (store.clone(), id.clone());
            tasks.spawn(async move {
                let holder = format!("test-{round}-{number}");
                (store.try_lease(&id, &holder, TTL).await.unwrap(), store)
            });
        }
        let mut granted = 0;
        let mut release = None;
        while let Some(done) = tasks.join_next().await {
            if let (LeaseAttempt::Granted(lease), store) = done.unwrap() {
                granted += 1;
                assert_eq!(lease.generation, round + 1);
                release = Some((lease, store));
            }
        }
        assert_eq!(granted, 1, "{round}");
        let (lease, store) = release.unwrap();
        assert!(store.release_lease(&lease).await.unwrap());
    }
}

async fn one_of_racing_replacements_wins(nodes: &Nodes) {
    let mut stored = nodes.stores[0].save_token(&token("swapped")).await.unwrap();
    for round in 0..20 {
        let mut tasks = tokio::task::JoinSet::new();
        for (number, store) in nodes.stores.iter().enumerate() {
            let (store, stored) = (store.clone(), stored.clone());
            tasks.spawn(async move {
                let newer =
                    OAuthToken::builder().access_token(format!("test-{round}-{number}")).build();
                store.replace_token(&stored, &newer.unwrap(), None).await.unwrap()
            });
        }
        let mut saved = Vec::new();
        while let Some(done) = tasks.join_next().await {
            if let Replaced::Saved(token) = done.unwrap() {
                saved.push(token);
            }
        }
        assert_eq!(saved.len(), 1, "{round}");
        stored = saved.remove(0);
        for store in &nodes.stores {
            let found = store.find_token(&user("swapped")).await.unwrap();
            assert_eq!(found.as_ref(), Some(&stored), "{round}");
        }
    }
}

/// A holder writes under its lease on one node while another node takes the lease over: the write
/// goes before the takeover or not at all.
async fn a_lost_lease_is_no_fence(nodes: &Nodes) {
    let [first, second, _] = &nodes.stores[..] else { panic!("there are three") };
    let mut stored = first.save_token(&token("fenced")).await.unwrap();
    let id = stored.id().cloned().unwrap();
    let (mut kept, mut lost) = (0, 0);
    for round in 0..40 {
        // What the other node gave back in the round before is seen here.
        let holder = format!("test-old-{round}");
        let attempt = first.try_lease(&id, &holder, Duration::ZERO).await.unwrap();
        let LeaseAttempt::Granted(lease) = attempt else { panic!("{round}: {attempt:?}") };
        let write = {
            let (store, stored, lease) = (first.clone(), stored.clone(), lease.clone());
            let newer = OAuthToken::builder().access_token(format!("test-old-{round}"));
            let newer = newer.build().unwrap();
            tokio::spawn(async move { store.replace_token(&stored, &newer, Some(&lease)).await })
        };
        let take = {
            let (store, id) = (second.clone(), id.clone());
            tokio::spawn(async move {
                let attempt = store.try_lease(&id, &format!("test-new-{round}"), TTL).await;
                let LeaseAttempt::Granted(lease) = attempt.unwrap() else { panic!("it has ended") };
                // What the new holder reads is what it goes on from.
                (lease, store.find_token_by_id(&id).await.unwrap().unwrap())
            })
        };
        let written = write.await.unwrap().unwrap();
        let (newest, read) = take.await.unwrap();
        match written.clone() {
            Replaced::Saved(token) => {
                kept += 1;
                assert_eq!(read, token, "{round}");
                stored = token;
            }
            Replaced::LeaseLost(_) => {
                lost += 1;
                assert_eq!(read, stored, "{round}");
            }
            Replaced::Changed(_) | _ => panic!("{written:?}"),
        }
        let late = OAuthToken::builder().access_token("test-late").build().unwrap();
        let late = first.replace_token(&stored, &late, Some(&lease)).await.unwrap();
        assert!(matches!(late, Replaced::LeaseLost(_)), "{late:?}");
        assert!(second.release_lease(&newest).await.unwrap());
    }
    assert!(kept + lost == 40);
}

async fn a_node_that_dies_loses_nothing(server: &mut Server, nodes: &Nodes) {
    let (first, last) = (&nodes.stores[0], &nodes.stores[2]);
    last.save_token(&token("before")).await.unwrap();
    server.kill(2);
    // The cluster notices, and goes on.
    first.save_token(&token("after")).await.unwrap();
    for name in ["before", "after"] {
        assert!(nodes.stores[1].find_token(&user(name)).await.unwrap().is_some(), "{name}");
    }
    server.restart(2).unwrap();
    assert!(last.find_token(&user("after")).await.unwrap().is_some());
    drop(nodes.database.connect().await);
}
