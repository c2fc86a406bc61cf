//! Saves that do not wait for a turn, beside those that do.

use tokenkeep_core::{OAuthToken, TokenStore};
use tokenkeep_servers::{
    Address, Kind, Trials,
    proxy::{Fault, Proxy},
};

use crate::support::{Database, token, user};

pub(crate) fn add(trials: Trials) -> Trials {
    trials
        .needs(Kind::MariaDb, "glance::a_known_token_is_saved_in_two_requests", |at| async move {
            a_known_token_is_saved_in_two_requests(&at[0]).await;
        })
        .needs(Kind::MariaDb, "glance::a_merge_takes_saves_along", |at| async move {
            a_merge_takes_saves_along(&at[0]).await;
        })
        .needs(Kind::MariaDb, "glance::a_token_that_comes_is_not_passed_over", |at| async move {
            a_token_that_comes_is_not_passed_over(&at[0]).await;
        })
        .needs(Kind::MariaDb, "glance::an_sdk_changes_a_row_meanwhile", |at| async move {
            an_sdk_changes_a_row_meanwhile(&at[0]).await;
        })
}

fn newer(number: u32) -> OAuthToken {
    let access = format!("test-newer-{number}");
    OAuthToken::builder().user_name("alice").access_token(access).build().unwrap()
}

async fn a_known_token_is_saved_in_two_requests(address: &Address) {
    let database = Database::new(address).await;
    let proxy = Proxy::start(address.socket().unwrap()).await.unwrap();
    let config = database.config().host("127.0.0.1").port(proxy.address().port()).pool_max(1);
    let store = config.open().await.unwrap();
    store.save_token(&token("alice")).await.unwrap();
    // Prepares the statements.
    store.save_token(&newer(1)).await.unwrap();
    proxy.set(Fault::None);
    let saved = store.save_token(&newer(2)).await.unwrap();
    assert_eq!(proxy.requests(), 2);
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), Some(saved));
}

/// One store saves a token that has no user yet, another one makes it a user's that is there: both
/// at once, again and again. Whoever is first, the value that was saved is the user's in the end.
async fn a_merge_takes_saves_along(address: &Address) {
    let database = Database::new(address).await;
    // Each is alone, for what it knows.
    let (one, other) = (database.open().await, database.open().await);
    for round in 0..60 {
        let name = format!("alice{round}");
        let refresh = format!("test-refresh-{round}");
        let with = |user: Option<&str>, access: Option<String>| {
            let builder = OAuthToken::builder().refresh_token(&*refresh);
            let builder = user.into_iter().fold(builder, |it, user| it.user_name(user));
            access.into_iter().fold(builder, |it, access| it.access_token(access)).build().unwrap()
        };
        let known = OAuthToken::builder().user_name(&*name).access_token("test-old");
        one.save_token(&known.build().unwrap()).await.unwrap();
        one.save_token(&with(None, None)).await.unwrap();
        let newer = with(None, Some(format!("test-access-{round}")));
        let named = with(Some(&name), None);
        let saved = {
            let store = one.clone();
            tokio::spawn(async move { store.save_token(&newer).await })
        };
        let merged = {
            let store = other.clone();
            tokio::spawn(async move { store.save_token(&named).await })
        };
        saved.await.unwrap().unwrap();
        merged.await.unwrap().unwrap();
        let found = one.find_token(&user(&name)).await.unwrap().unwrap();
        let access = found.access_token().unwrap().expose_secret();
        assert_eq!(access, format!("test-access-{round}"), "{round}");
        assert_eq!(one.get_tokens().await.unwrap().len(), round + 1);
    }
}

/// One store gives a user's token another refresh token, another one saves that refresh token, which
/// is not there yet. Whoever is first, it is one token in the end; two would be if the one that is
/// added came between the look and the write of the other.
async fn a_token_that_comes_is_not_passed_over(address: &Address) {
    let database = Database::new(address).await;
    let (one, other) = (database.open().await, database.open().await);
    one.save_token(&token("alice")).await.unwrap();
    for round in 0..100 {
        let refresh = format!("test-refresh-{round}");
        let with = || OAuthToken::builder().refresh_token(&*refresh);
        let named = with().user_name("alice").build().unwrap();
        let nameless = with().access_token(format!("test-access-{round}")).build().unwrap();
        let tasks = [(&one, named), (&other, nameless)].map(|(store, token)| {
            let store = store.clone();
            tokio::spawn(async move { store.save_token(&token).await })
        });
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let tokens = one.get_tokens().await.unwrap();
        assert_eq!(tokens.len(), 1, "{round}: {tokens:?}");
        let access = tokens[0].access_token().unwrap().expose_secret();
        assert_eq!(access, format!("test-access-{round}"));
    }
}

/// An SDK gives rows other users meanwhile: what was saved is then not in them.
async fn an_sdk_changes_a_row_meanwhile(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    store.save_token(&token("alice")).await.unwrap();
    for round in 0..60 {
        let saves = {
            let store = store.clone();
            tokio::spawn(async move { store.save_token(&newer(round)).await })
        };
        let stranger = format!("stranger{round}");
        let change =
            format!("update oauthtoken set user_name = '{stranger}' where user_name = 'alice'");
        database.run(change).await;
        saves.await.unwrap().unwrap();
        let access = format!("test-newer-{round}");
        for row in database.rows().await {
            let [_, name, _, _, _, found, ..] = &row[..] else { panic!("a row has ten columns") };
            // A save before the change goes along with it; after it alice has a row of her own.
            let (name, found) = (name.as_deref(), found.as_deref());
            assert!(found != Some(&access) || name == Some("alice") || name == Some(&stranger));
            if name == Some("alice") {
                assert_eq!(found, Some(&*access), "{round}");
            }
        }
        store.save_token(&newer(1_000 + round)).await.unwrap();
    }
}
