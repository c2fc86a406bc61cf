//! Tables as others make, change and remove them.

use tokenkeep_core::{
    OAuthToken, Outcome, RefreshToken, SharedStore as _, StoreErrorKind, TokenQuery,
    TokenStore as _,
};
use tokenkeep_servers::{Address, Trials};

use crate::{
    on_shared,
    support::{Database, token},
};

pub(crate) fn trials(trials: Trials) -> Trials {
    on_shared!(
        trials,
        tables_of_another_shape_are_refused,
        a_newer_version_is_not_touched,
        another_encoding_is_refused,
        tables_that_are_removed_are_made_again,
        a_column_that_changes_its_type_is_looked_at_again,
        long_tokens_are_found_by_an_index,
        rows_that_cannot_be_read_are_told,
        what_may_cause_trouble_is_told,
        ids_go_on_after_those_of_others,
    )
}

async fn tables_of_another_shape_are_refused(address: &Address) {
    let columns = "user_name text, client_id text, client_secret text, refresh_token text, \
                   access_token text, grant_token text, expiry_time text, redirect_url text";
    for (sql, words) in [
        (format!("create table oauthtoken (id text, {columns})"), "has no column api_domain"),
        (format!("create table oauthtoken (id int, {columns}, api_domain text)"), "column id that"),
        ("create view oauthtoken as select 1 as id".to_owned(), "is not a table"),
        (
            format!(
                "create table oauthtoken (id text, {columns}, api_domain text, more int not null)"
            ),
            "column more that must not be null",
        ),
    ] {
        let database = Database::new(address).await;
        database.client().await.batch_execute(&sql).await.unwrap();
        let error = database.config().open().await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (StoreErrorKind::Corrupt, Outcome::Final));
        assert!(error.to_string().contains(words) && error.hint().is_some(), "{error:?}");
    }
}

async fn a_newer_version_is_not_touched(address: &Address) {
    let database = Database::new(address).await;
    drop(database.open().await);
    let client = database.client().await;
    client.batch_execute("update tokenkeep_meta set version = 2").await.unwrap();
    let error = database.config().open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
}

async fn another_encoding_is_refused(address: &Address) {
    let database = Database::new(address).await;
    let name = database.name().to_owned();
    let sql = format!("drop database {name}; ");
    let admin = crate::support::connect(&format!("{}/postgres", address.admin_url())).await;
    admin.batch_execute(sql.trim()).await.unwrap();
    let sql = format!("create database {name} encoding 'LATIN1' locale 'C' template template0");
    admin.batch_execute(&format!("{sql} owner tokenkeep")).await.unwrap();
    let error = database.config().open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{error:?}");
    assert!(error.to_string().contains("LATIN1"), "{error}");
}

async fn tables_that_are_removed_are_made_again(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    store.save_token(&token("alice")).await.unwrap();
    let client = database.client().await;
    for (number, tables) in
        ["oauthtoken", "tokenkeep_state", "tokenkeep_meta", "oauthtoken, tokenkeep_state"]
            .into_iter()
            .enumerate()
    {
        client.batch_execute(&format!("drop table {tables}")).await.unwrap();
        let name = format!("user{number}");
        let saved = store.save_token(&token(&name)).await.unwrap();
        let id = saved.id().unwrap();
        assert_eq!(store.state(id).await.unwrap(), None);
        let found = store.find_token(&TokenQuery::user(name).unwrap()).await.unwrap();
        assert_eq!(found, Some(saved));
        assert!(store.inspect().await.unwrap().tells_of_changes, "{tables}");
    }
    client.batch_execute("delete from tokenkeep_meta").await.unwrap();
    store.save_token(&token("last")).await.unwrap();
}

async fn a_column_that_changes_its_type_is_looked_at_again(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    let alice = store.save_token(&token("alice")).await.unwrap();
    let query = TokenQuery::user("alice").unwrap();
    assert!(store.find_token(&query).await.unwrap().is_some());
    let sql = "alter table oauthtoken alter grant_token type varchar(10)";
    database.client().await.batch_execute(sql).await.unwrap();
    assert_eq!(store.find_token(&query).await.unwrap(), Some(alice));
    let long = OAuthToken::builder().user_name("alice").grant_token("test-grant-token");
    let error = store.save_token(&long.build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error:?}");
    assert!(error.to_string().contains("grant_token"), "{error:?}");
}

/// Text that cannot be made shorter by the server.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    };
    (0..length).map(|_| next()).collect()
}

async fn long_tokens_are_found_by_an_index(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    let mut saved = Vec::new();
    for number in 0..50 {
        let of = |kind: u64| format!("test-{}", noise(number * 10 + kind, 4_096));
        let token = OAuthToken::builder().user_name(of(1)).refresh_token(of(2));
        let token = token.access_token(of(3)).grant_token(of(4)).client(of(5), of(6));
        saved.push(store.save_token(&token.build().unwrap()).await.unwrap());
    }
    for token in &saved {
        let refresh = RefreshToken::new(token.refresh_token().unwrap().expose_secret()).unwrap();
        let found = store.find_token(&TokenQuery::refresh_token(refresh)).await.unwrap();
        assert_eq!(found.as_ref(), Some(token));
    }
    let client = database.client().await;
    client.batch_execute("set enable_seqscan = off").await.unwrap();
    for field in ["user_name", "refresh_token", "access_token", "grant_token"] {
        let sql = format!("explain select * from oauthtoken where {field} = 'x'");
        let plan = client.query(&sql, &[]).await.unwrap();
        let plan: String = plan.iter().map(|row| row.get::<_, String>(0)).collect();
        assert!(plan.contains(&format!("tokenkeep_oauthtoken_{field}")), "{plan}");
    }
}

async fn rows_that_cannot_be_read_are_told(address: &Address) {
    let database = Database::new(address).await;
    let name = database.name().to_owned();
    let admin = crate::support::connect(&format!("{}/postgres", address.admin_url())).await;
    admin.batch_execute(&format!("drop database {name}")).await.unwrap();
    let sql = format!("create database {name} encoding 'SQL_ASCII' locale 'C' template template0");
    admin.batch_execute(&format!("{sql} owner tokenkeep")).await.unwrap();
    let store = database.open().await;
    let alice = store.save_token(&token("alic\u{e9}")).await.unwrap();
    let client = database.client().await;
    let sql = "insert into oauthtoken (id, user_name) values ('7', e'bo\\xff')";
    client.batch_execute(sql).await.unwrap();
    let error = store.find_token_by_id(&"7".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error:?}");
    assert!(error.to_string().contains("user_name of token 7"), "{error}");
    assert_eq!(store.get_tokens().await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    let query = TokenQuery::user("alic\u{e9}").unwrap();
    assert_eq!(store.find_token(&query).await.unwrap(), Some(alice));
    let entries = tokenkeep_core::BulkStore::read_entries(&store, None, 10).await.unwrap();
    assert_eq!((entries.entries.len(), entries.damage.len()), (1, 1));
    assert_eq!(store.inspect().await.unwrap().damage.len(), 1);
}

async fn what_may_cause_trouble_is_told(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    let sql = "insert into oauthtoken (id, user_name, api_domain, expiry_time, access_token) values \
               ('1', 'alice', 'https://a.example', '1', 'test'), \
               ('2', 'alice', 'https://A.example/', 'soon', 'test'), ('x', 'bob', null, null, 't'); \
               insert into tokenkeep_state (token_id) values ('99'); \
               drop index tokenkeep_oauthtoken_user_name";
    database.client().await.batch_execute(sql).await.unwrap();
    let found = store.inspect().await.unwrap();
    assert!(found.version.starts_with(|digit: char| digit.is_ascii_digit()), "{found:?}");
    assert_eq!((found.tokens, found.orphans, found.is_replica), (3, 1, false));
    assert_eq!(found.duplicates, [["1", "2"].map(|id| id.parse().unwrap())]);
    assert_eq!(found.text_ids, ["x".parse().unwrap()]);
    assert_eq!(found.unreadable_expiry, ["2".parse().unwrap()]);
    assert_eq!(found.missing_indices, ["tokenkeep_oauthtoken_user_name"]);
    assert!(found.fsync && found.full_page_writes && found.tells_of_changes);
    assert_eq!((found.synchronous_commit.as_str(), found.table.as_str()), ("on", "oauthtoken"));
    assert_eq!(found.missing_grants, Vec::<String>::new());
}

async fn ids_go_on_after_those_of_others(address: &Address) {
    let database = Database::new(address).await;
    let sql = format!("alter database {} set synchronous_commit = off", database.name());
    database.admin().await.batch_execute(&sql).await.unwrap();
    let store = database.open().await;
    // What is lost by that is not for a token store.
    assert_eq!(store.inspect().await.unwrap().synchronous_commit, "on");
    store.save_token(&token("alice")).await.unwrap();
    let client = database.client().await;
    for (others, next) in [("9", "10"), ("41", "42"), ("99999999999", "43"), ("007", "44")] {
        let sql = format!("insert into oauthtoken (id) values ('{others}')");
        client.batch_execute(&sql).await.unwrap();
        let saved = store.save_token(&token(others)).await.unwrap();
        assert_eq!(saved.id().unwrap().as_str(), next);
    }
}
