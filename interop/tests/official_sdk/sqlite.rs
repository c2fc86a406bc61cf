//! What holds on the database of the article's store.

use std::fs;

use rusqlite::Connection;
use tokenkeep_core::{Field, TokenStore};

use crate::{language::workspace, scene::Scene, token::Columns};

pub(crate) async fn an_empty_table_of_the_article_is_used(mut scene: Scene) {
    scene.open_sdk();
    // The article's store cannot open a table without a row a second time, its own either.
    let location = scene.location();
    scene.sdk.open(&location).unwrap_err();
    let ours = scene.open_ours().await;
    scene.expect(&ours, &[]).await;
    let alice = ours.save(&Columns::of("alice@example.com", 1)).await;
    scene.open_sdk();
    let bob = scene.sdk.save(&Columns::of("bob@example.com", 2));
    scene.expect(&ours, &[alice, bob]).await;
}

pub(crate) async fn names_that_are_sql_stay_data(mut scene: Scene) {
    let ours = scene.open_both().await;
    let mut stored = vec![scene.sdk.save(&Columns::of("alice@example.com", 0))];
    let names =
        ["O'Neil", "' or '1'='1", "x'; delete from oauthtoken; --", "a, \"b\" \\c\r\nd", "%_", "1"];
    for (at, name) in names.into_iter().enumerate() {
        let saved = ours.save(&Columns::of(name, at + 1)).await;
        assert_eq!(ours.find_user(name).await.as_ref(), Some(&saved));
        stored.push(saved);
    }
    scene.expect(&ours, &stored).await;
    for token in &stored {
        assert_eq!(scene.sdk.find_by_id(&token.id()).unwrap(), *token);
    }
    // The article's store cannot look for an apostrophe: it fails, and nothing changes.
    scene.sdk.try_save(&Columns::update("O'Neil", 9)).unwrap_err();
    scene.expect(&ours, &stored).await;
}

pub(crate) async fn both_write_at_once(mut scene: Scene) {
    const SAVES: usize = 100;
    let ours = scene.open_both().await;
    let alice = scene.sdk.save(&Columns::of("alice@example.com", 1));
    let bob = ours.save(&Columns::of("bob@example.com", 2)).await;
    let updates = |user: &'static str| (0..SAVES).map(move |mark| Columns::update(user, mark));
    let saves = tokio::spawn({
        let ours = ours.clone();
        async move {
            for update in updates("bob@example.com") {
                ours.save(&update).await;
            }
        }
    });
    for update in updates("alice@example.com") {
        scene.sdk.save(&update);
    }
    saves.await.unwrap();
    let last = |user| updates(user).next_back().unwrap();
    let alice = alice.merged(&last("alice@example.com"));
    let bob = bob.merged(&last("bob@example.com"));
    scene.expect(&ours, &[alice, bob]).await;
}

pub(crate) async fn a_v2_table_is_used_in_place_and_listed_by_the_article(mut scene: Scene) {
    let script = workspace().join("fixtures/token-tables/v2.sql");
    let script = fs::read_to_string(script).unwrap();
    Connection::open(scene.path()).unwrap().execute_batch(&script).unwrap();
    let ours = scene.open_ours().await;
    let carol = ours.save(&Columns::of("carol@example.com", 3)).await;
    scene.open_sdk();
    let tokens = ours.tokens().await;
    assert_eq!(tokens.len(), 3);
    assert_eq!(scene.sdk.find_by_id(&carol.id()).unwrap(), carol);
    scene.expect(&ours, &tokens).await;

    // By access token: the article's store looks for users in a column `user_name`.
    let alice = ours.find_user("alice@example.com").await.unwrap();
    let update = alice.only(&[Field::AccessToken]).with(Field::ExpiryTime, "4102444802000");
    scene.sdk.save(&update);
    let found = ours.store().find_token_by_id(&alice.id()).await.unwrap().unwrap();
    assert_eq!(Columns::from(&found), alice.merged(&update));
}
