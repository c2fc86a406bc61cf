//! Programs on official SDKs that write the same table at the same time, by the statements that
//! these SDKs use.

use std::{collections::BTreeSet, sync::Arc};

use mysql_async::prelude::Queryable;
use tokenkeep_core::{
    OAuthToken, Replaced, SharedStore, StateReplaced, TokenState, TokenStore, update_state,
};
use tokenkeep_servers::{Kind, Trials};

use crate::support::{Database, OFFICIAL, token, user};

pub(crate) fn add(trials: Trials) -> Trials {
    trials
        .needs(Kind::MariaDb, "sdk::nothing_of_ours_is_lost_beside_one", |at| async move {
            nothing_of_ours_is_lost_beside_one(Database::new(&at[0]).await).await;
        })
        .needs(Kind::MariaDb, "sdk::what_one_writes_is_seen_by_a_comparison", |at| async move {
            what_one_writes_is_seen_by_a_comparison(Database::new(&at[0]).await).await;
        })
}

/// What an SDK does to keep a token: an update by the name of the user, and if that finds no row,
/// an insert under the largest text plus one, which fails if that is taken.
async fn keep(conn: &mut mysql_async::Conn, name: &str, access: &str) -> Option<u64> {
    conn.exec_drop(
        "update oauthtoken set access_token = ?, expiry_time = '1' where user_name = ? limit 1",
        (access, name),
    )
    .await
    .unwrap();
    if conn.affected_rows() > 0 {
        return None;
    }
    let largest: Option<Option<String>> =
        conn.query_first("select max(id) from oauthtoken").await.unwrap();
    let id = largest.flatten().map_or(1, |id| id.parse::<u64>().unwrap() + 1);
    let insert = "insert into oauthtoken (id, user_name, refresh_token, access_token) \
                  values (?, ?, 'test-refresh-of-an-sdk', ?)";
    // Most fail, because the largest text is not the largest number, or we were faster.
    conn.exec_drop(insert, (id.to_string(), name, access)).await.ok().map(|()| id)
}

async fn nothing_of_ours_is_lost_beside_one(database: Database) {
    database.run(OFFICIAL).await;
    let database = Arc::new(database);
    let store = database.open().await;
    let shared = store.save_token(&token("shared")).await.unwrap();
    let id = shared.id().cloned().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for sdk in 0..2 {
        let database = Arc::clone(&database);
        tasks.spawn(async move {
            let mut conn = database.connect().await;
            for round in 0..60 {
                keep(&mut conn, "shared", &format!("test-sdk-{sdk}-{round}")).await;
                keep(&mut conn, &format!("sdk-{sdk}-{round}"), "test-access-of-an-sdk").await;
            }
        });
    }
    for ours in 0..2 {
        let (store, id) = (store.clone(), id.clone());
        tasks.spawn(async move {
            for round in 0..60 {
                store.save_token(&token(&format!("ours-{ours}-{round}"))).await.unwrap();
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
    let tokens = store.get_tokens().await.unwrap();
    let ids: BTreeSet<_> = tokens.iter().map(|token| token.id().unwrap()).collect();
    assert_eq!(ids.len(), tokens.len());
    for name in (0..2).flat_map(|ours| (0..60).map(move |round| format!("ours-{ours}-{round}"))) {
        let found = store.find_token(&user(&name)).await.unwrap().unwrap();
        assert_eq!(found.clone().without_id(), token(&name));
    }
    assert_eq!(store.state(&id).await.unwrap().unwrap().org_id.as_deref(), Some("120"));
    let found = store.find_token(&user("shared")).await.unwrap().unwrap();
    assert_eq!(found.refresh_token(), shared.refresh_token());
    assert!(found.access_token().unwrap().expose_secret().starts_with("test-sdk-"));
}

async fn what_one_writes_is_seen_by_a_comparison(database: Database) {
    let store = database.open().await;
    let stored = store.save_token(&token("alice")).await.unwrap();
    let mut conn = database.connect().await;
    keep(&mut conn, "alice", "test-access-of-an-sdk").await;
    let newer = OAuthToken::builder().access_token("test-newer").build().unwrap();
    let replaced = store.replace_token(&stored, &newer, None).await.unwrap();
    let Replaced::Changed(Some(now)) = replaced else { panic!("{replaced:?}") };
    assert_eq!(now.access_token().unwrap().expose_secret(), "test-access-of-an-sdk");
    // One that differs in case only is another one, whatever the table's collation says.
    conn.query_drop("update oauthtoken set access_token = 'TEST-access-of-an-sdk'").await.unwrap();
    let replaced = store.replace_token(&now, &newer, None).await.unwrap();
    assert!(matches!(replaced, Replaced::Changed(Some(_))), "{replaced:?}");
    let state = TokenState::default();
    let id = stored.id().unwrap();
    assert_eq!(store.replace_state(id, None, &state).await.unwrap(), StateReplaced::Written);
}
