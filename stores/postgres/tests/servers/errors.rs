//! What goes wrong: each a clear error, without a secret.

use std::{error::Error, time::Duration};

use tokenkeep_core::{
    Field, OAuthToken, Operation, Outcome, StoreError, StoreErrorKind, TokenQuery, TokenStore as _,
};
use tokenkeep_servers::{Address, Trials};
use tokenkeep_store_postgres::PostgresConfig;

use crate::{
    on_shared,
    support::{Database, token},
};

pub(crate) fn trials(trials: Trials) -> Trials {
    on_shared!(
        trials,
        who_is_not_let_in_is_told_why,
        a_database_that_is_not_there_is_told,
        a_schema_that_is_not_there_is_told,
        nobody_at_the_place_is_told_at_once,
        a_server_that_is_read_only_is_waited_for_and_told,
        a_server_that_becomes_read_only_is_not_written_to,
        missing_permissions_are_told,
        too_many_connections_are_waited_for,
        somebody_who_keeps_a_lock_makes_it_busy,
        what_a_table_would_change_is_refused,
        a_constraint_of_others_is_told_without_values,
        what_is_too_long_is_refused_by_field,
        nothing_secret_is_shown,
        strange_names_are_refused,
    )
}

/// All that an error shows, and what it must not.
pub(crate) fn shown(error: &StoreError) -> String {
    let mut shown = format!("{error} {error:?} {:?}", error.hint());
    let mut source = error.source();
    while let Some(cause) = source {
        shown = format!("{shown} {cause} {cause:?}");
        source = cause.source();
    }
    for secret in ["test-password", "test-wrong", "test-refresh", "test-client-secret", "alice"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    shown
}

async fn refused(config: PostgresConfig, kind: StoreErrorKind, words: &str) -> StoreError {
    let error = config.open().await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.operation(), Some(Operation::Open));
    assert!(error.hint().is_some(), "{error:?}");
    assert!(shown(&error).contains(words), "{error:?}");
    error
}

async fn who_is_not_let_in_is_told_why(address: &Address) {
    let database = Database::new(address).await;
    let denied = StoreErrorKind::PermissionDenied;
    let config = database.config().password("test-wrong");
    let error = refused(config, denied, "the user or the password").await;
    assert_eq!(error.outcome(), Outcome::Final);
    let config = database.config().user("test-wrong-user");
    refused(config, denied, "the user or the password").await;
    let bare = PostgresConfig::new(&address.host, database.name()).port(address.port);
    refused(bare.user(&address.user), denied, "asks for a password").await;
}

async fn a_database_that_is_not_there_is_told(address: &Address) {
    let config = PostgresConfig::new(&address.host, "none").port(address.port);
    let config = config.user(&address.user).password(&address.password);
    let error = refused(config, StoreErrorKind::Unavailable, "no such database").await;
    assert_eq!(error.outcome(), Outcome::Final);
}

async fn a_schema_that_is_not_there_is_told(address: &Address) {
    let database = Database::new(address).await;
    let config = database.config().schema("none");
    refused(config, StoreErrorKind::Unavailable, "there is no schema none").await;
    database.client().await.batch_execute("create schema \"Mine\"").await.unwrap();
    let store = database.config().schema("Mine").table("Tokens").open().await.unwrap();
    let alice = store.save_token(&token("alice")).await.unwrap();
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
    let sql = "select (select count(*) from \"Mine\".\"Tokens\"), \
               (select count(*) from \"Mine\".\"tokenkeep_state_Tokens\")";
    let row = database.client().await.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 0));
}

async fn nobody_at_the_place_is_told_at_once(address: &Address) {
    // Nobody listens on what has just been let go.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = PostgresConfig::new(&address.host, "none").port(port);
    let opened = refused(config, StoreErrorKind::Unavailable, "no server answers").await;
    assert!(opened.to_string().contains(&format!("127.0.0.1:{port}")), "{opened}");
    let config = PostgresConfig::new("/tokenkeep-none", "none").user("alice");
    refused(config, StoreErrorKind::Unavailable, "no server answers").await;
    let config = PostgresConfig::new("tokenkeep.invalid", "none").user("alice");
    refused(config, StoreErrorKind::Unavailable, "name is not known").await;
}

async fn a_server_that_is_read_only_is_waited_for_and_told(address: &Address) {
    let database = Database::new(address).await;
    let admin = database.admin().await;
    let sql = format!("alter role tokenkeep in database {} ", database.name());
    let set = format!("{sql} set default_transaction_read_only = on");
    admin.batch_execute(&set).await.unwrap();
    let limit = Duration::from_millis(600);
    let config = database.config().timeout(limit);
    let error = refused(config, StoreErrorKind::Unavailable, "read-only").await;
    assert_eq!(error.outcome(), Outcome::NotApplied);
    // Another becomes the primary in time.
    let opening = tokio::spawn(database.config().open());
    admin.batch_execute(&format!("{sql} reset default_transaction_read_only")).await.unwrap();
    opening.await.unwrap().unwrap();
}

async fn a_server_that_becomes_read_only_is_not_written_to(address: &Address) {
    let database = Database::new(address).await;
    let store = database.config().timeout(Duration::from_millis(600)).open().await.unwrap();
    let alice = store.save_token(&token("alice")).await.unwrap();
    let admin = database.admin().await;
    // Connections that are open are told by being ended, as a primary that is replaced does.
    let read_only = format!("alter database {} set default_transaction_read_only", database.name());
    admin.batch_execute(&format!("{read_only} = on")).await.unwrap();
    end_connections(&database).await;
    let error = store.save_token(&token("bob")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(shown(&error).contains("read-only"), "{error:?}");
    admin.batch_execute(&format!("{read_only} = off")).await.unwrap();
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
}

pub(crate) async fn end_connections(database: &Database) {
    let sql = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' \
         and pid <> pg_backend_pid() and application_name = 'tokenkeep'",
        database.name()
    );
    database.admin().await.batch_execute(&sql).await.unwrap();
}

async fn missing_permissions_are_told(address: &Address) {
    let database = Database::new(address).await;
    let admin = database.admin().await;
    admin.batch_execute("create schema locked").await.unwrap();
    let denied = StoreErrorKind::PermissionDenied;
    refused(database.config().schema("locked"), denied, "may not do this").await;

    let store = database.open().await;
    store.save_token(&token("alice")).await.unwrap();
    let sql = "alter table oauthtoken owner to postgres; grant select on oauthtoken to tokenkeep";
    admin.batch_execute(sql).await.unwrap();
    let error = store.save_token(&token("bob")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (denied, Outcome::Final), "{error:?}");
    assert!(shown(&error).contains("grant select, insert"), "{error:?}");
    assert_eq!(store.get_tokens().await.unwrap().len(), 1);
    let inspection = store.inspect().await.unwrap();
    let missing = ["insert", "update", "delete"].map(|what| format!("{what} on \"oauthtoken\""));
    assert_eq!(inspection.missing_grants, missing);
}

async fn too_many_connections_are_waited_for(address: &Address) {
    let database = Database::new(address).await;
    let store = database.config().timeout(Duration::from_millis(700)).open().await.unwrap();
    let admin = database.admin().await;
    let limit = format!("alter database {} connection limit", database.name());
    admin.batch_execute(&format!("{limit} 1")).await.unwrap();
    // The connection that reads is there; one that writes cannot be had.
    let error = store.save_token(&token("alice")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(shown(&error).contains("too many connections"), "{error:?}");
    let saving = tokio::spawn(async move { store.save_token(&token("alice")).await });
    admin.batch_execute(&format!("{limit} -1")).await.unwrap();
    saving.await.unwrap().unwrap();
}

async fn somebody_who_keeps_a_lock_makes_it_busy(address: &Address) {
    let database = Database::new(address).await;
    let store = database.config().timeout(Duration::from_millis(500)).open().await.unwrap();
    let alice = store.save_token(&token("alice")).await.unwrap();
    let mut other = database.client().await;
    let transaction = other.transaction().await.unwrap();
    transaction.batch_execute("select * from oauthtoken for update").await.unwrap();
    let error = store.save_token(&token("alice").clear(Field::ClientId)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    shown(&error);
    // Reading waits for nobody.
    assert_eq!(store.get_tokens().await.unwrap(), std::slice::from_ref(&alice));
    transaction.rollback().await.unwrap();
    store.save_token(&token("alice").clear(Field::ClientId)).await.unwrap();
}

async fn what_a_table_would_change_is_refused(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    let alice = store.save_token(&token("alice")).await.unwrap();
    let client = database.client().await;
    for (body, when) in [
        ("new.refresh_token := upper(new.refresh_token); return new;", "insert or update"),
        ("return null;", "insert or update"),
    ] {
        let sql = format!(
            "create or replace function foreign_trigger() returns trigger language plpgsql as \
             $$ begin {body} end $$; drop trigger if exists foreign_trigger on oauthtoken; \
             create trigger foreign_trigger before {when} on oauthtoken \
             for each row execute procedure foreign_trigger()"
        );
        client.batch_execute(&sql).await.unwrap();
        let changed = OAuthToken::builder().user_name("alice").refresh_token("test-refresh-new");
        for token in [token("bob"), changed.build().unwrap()] {
            let error = store.save_token(&token).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error:?}");
            assert!(shown(&error).contains("does not keep the token"), "{error:?}");
        }
    }
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
}

async fn a_constraint_of_others_is_told_without_values(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    let sql = "alter table oauthtoken add check (length(refresh_token) < 10), \
               add constraint one_user unique (user_name)";
    database.client().await.batch_execute(sql).await.unwrap();
    let error = store.save_token(&token("alice")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (StoreErrorKind::Invalid, Outcome::Final));
    shown(&error);
    let short = |client: &str| {
        let token = OAuthToken::builder().user_name("alice").client_id(client);
        token.refresh_token("test").build().unwrap()
    };
    store.save_token(&short("one")).await.unwrap();
    let error = store.save_token(&short("two")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (StoreErrorKind::Invalid, Outcome::Final));
    shown(&error);
}

async fn what_is_too_long_is_refused_by_field(address: &Address) {
    let database = Database::new(address).await;
    let sql = "create table oauthtoken (id varchar(10) primary key, user_name varchar(20), \
               client_id text, client_secret text, refresh_token varchar(30), access_token text, \
               grant_token text, expiry_time text, redirect_url text not null, api_domain text)";
    database.client().await.batch_execute(sql).await.unwrap();
    let store = database.open().await;
    let build = |name: &str, refresh: &str| {
        OAuthToken::builder().user_name(name).refresh_token(refresh).build().unwrap()
    };
    // Characters count, and trailing blanks, which the server would cut without a word.
    let exactly = build(&"\u{e9}".repeat(20), &"test".repeat(7));
    let saved = store.save_token(&exactly).await.unwrap();
    assert_eq!(saved.redirect_url(), None);
    for (token, field) in [
        (build(&"\u{e9}".repeat(21), "test-refresh"), Field::UserName),
        (build("alice", &format!("test{}", " ".repeat(27))), Field::RefreshToken),
        (build("alice", "test\0refresh"), Field::RefreshToken),
        (build("alice", "test-refresh").with_id("12345678901".parse().unwrap()), Field::Id),
    ] {
        let error = store.save_token(&token).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (StoreErrorKind::Invalid, Outcome::Final));
        assert!(shown(&error).contains(field.name()), "{error:?}");
    }
    assert_eq!(store.get_tokens().await.unwrap(), [saved]);
}

async fn nothing_secret_is_shown(address: &Address) {
    let database = Database::new(address).await;
    let config = database.config();
    let store = config.clone().open().await.unwrap();
    store.save_token(&token("alice")).await.unwrap();
    for text in [format!("{config:?}"), format!("{store:?}")] {
        assert!(!text.contains(&address.password) && !text.contains("alice"), "{text}");
    }
    let found = store.find_token(&TokenQuery::user("alice").unwrap()).await.unwrap();
    assert!(found.is_some());
}

async fn strange_names_are_refused(address: &Address) {
    let database = Database::new(address).await;
    for table in ["", "a b", "x\"; drop table oauthtoken; --", "tokenkeep_state", "Tokenkeep_x"] {
        let error = database.config().table(table).open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{table}");
    }
    for config in [
        database.config().schema("a\"b"),
        database.config().table("x".repeat(41)),
        database.config().writers(0),
        database.config().timeout(Duration::ZERO),
        database.config().ca("/etc/ca.pem"),
        PostgresConfig::new("", "db"),
    ] {
        let error = config.open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error:?}");
    }
}
