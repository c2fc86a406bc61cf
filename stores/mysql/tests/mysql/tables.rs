//! Tables as others have made them.

use std::time::Duration;

use tokenkeep_core::{
    BulkStore, Field, LeaseAttempt, OAuthToken, SharedStore, StateReplaced, StoreErrorKind,
    TokenId, TokenState, TokenStore,
};
use tokenkeep_servers::{Kind, Trials};
use tokenkeep_store_mysql::MysqlConfig;

use crate::support::{Database, OFFICIAL, token, user};

pub(crate) fn add(trials: Trials) -> Trials {
    let mut trials = trials;
    macro_rules! tests {
        ($($name:ident),* $(,)?) => {
            $(trials = trials.needs(Kind::MariaDb, concat!("tables::", stringify!($name)), |at| async move {
                $name(Database::new(&at[0]).await).await;
            });)*
        };
    }
    tests![
        the_table_is_the_official_one,
        each_look_up_uses_an_index,
        bytes_decide_whatever_collation_the_table_has,
        what_a_character_set_lacks_is_refused_and_not_found,
        a_table_that_does_not_keep_a_token_refuses_it,
        a_name_that_must_not_be_null_is_empty,
        further_columns_are_kept,
        tables_of_another_shape_are_refused,
        tables_of_old_sdks_are_read_and_not_written,
        what_is_opened_to_read_is_taken_as_it_is,
        empty_text_and_strange_expiries_are_absent_and_stay,
        another_table_has_its_own_state,
        an_id_that_an_sdk_used_again_inherits_nothing,
        a_state_that_cannot_be_read_is_told_and_can_be_overwritten,
        tables_that_somebody_drops_are_made_again,
        numbers_that_an_sdk_gave_are_not_given_again,
        pages_have_the_order_of_ids,
        who_may_only_read_reads,
        an_inspection_tells_what_there_is,
        the_six_parameters_of_the_sdks_are_in_the_url,
    ];
    trials
}

async fn the_table_is_the_official_one(database: Database) {
    database.open().await;
    let columns: Vec<(String, String, String)> = database
        .select(
            "select column_name, column_type, is_nullable from information_schema.columns \
             where table_schema = database() and table_name = 'oauthtoken' \
             order by ordinal_position",
        )
        .await;
    let expected = Field::ALL.map(|field| {
        let length = if field == Field::ExpiryTime { 20 } else { 255 };
        let length = if field == Field::Id { 10 } else { length };
        let nullable = if field == Field::Id { "NO" } else { "YES" };
        (field.name().to_owned(), format!("varchar({length})"), nullable.to_owned())
    });
    assert_eq!(columns, expected);
}

async fn each_look_up_uses_an_index(database: Database) {
    database.run(format!("{OFFICIAL} character set latin1")).await;
    let store = database.open().await;
    let entry = |number: u32| {
        let mut columns =
            token(&format!("user{number}")).expose_columns().map(|c| c.map(String::from));
        columns[Field::GrantToken as usize] = Some(format!("test-grant-user{number}"));
        tokenkeep_core::Entry::new(OAuthToken::from_columns(columns).unwrap())
    };
    let entries: Vec<_> = (0..300).map(entry).collect();
    assert!(store.save_entries(&entries).await.unwrap().iter().all(Result::is_ok));
    database.run("analyze table oauthtoken").await;
    for (column, index, value) in [
        ("id", "PRIMARY", "7"),
        ("user_name", "tokenkeep_user_name", "user7"),
        ("access_token", "tokenkeep_access_token", "test-access-user7"),
        ("refresh_token", "tokenkeep_refresh_token", "test-refresh-user7"),
        ("grant_token", "tokenkeep_grant_token", "test-grant-user7"),
    ] {
        // As the store asks, of a column that is not of utf8mb4.
        let sql = format!(
            "set names utf8mb4; explain select * from oauthtoken t where t.`{column}` = \
             convert('{value}' using latin1) collate latin1_swedish_ci"
        );
        let mut conn = database.connect().await;
        let mut answers =
            mysql_async::prelude::Queryable::query_iter(&mut conn, sql).await.unwrap();
        answers.collect::<mysql_async::Row>().await.unwrap();
        let plan: Vec<mysql_async::Row> = answers.collect().await.unwrap();
        let used: Option<String> = plan[0].get("key").unwrap();
        assert_eq!(used.as_deref(), Some(index), "{column}");
    }
}

async fn bytes_decide_whatever_collation_the_table_has(database: Database) {
    database.run(format!("{OFFICIAL} character set utf8mb4 collate utf8mb4_general_ci")).await;
    let store = database.open().await;
    for name in ["alice", "ALICE", "alice ", "\u{e1}lice"] {
        store.save_token(&token(name)).await.unwrap();
    }
    assert_eq!(store.get_tokens().await.unwrap().len(), 4);
    assert_eq!(store.find_token(&user("Alice")).await.unwrap(), None);
    let found = store.find_token(&user("ALICE")).await.unwrap().unwrap();
    assert_eq!(found.id().unwrap().as_str(), "2");
    let padded = "2 ".parse().unwrap();
    assert_eq!(store.find_token_by_id(&padded).await.unwrap(), None);
    assert!(!store.delete_token(&padded).await.unwrap());

    // What the table counts as one id is refused, and nothing happens to the one that is there.
    let first = store.save_token(&token("bob").with_id("a".parse().unwrap())).await.unwrap();
    let other = token("carol").with_id("A".parse().unwrap());
    let error = store.save_token(&other).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    let entries = [token("dora"), other, token("eve")].map(tokenkeep_core::Entry::new);
    let answers = store.save_entries(&entries).await.unwrap();
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(store.find_token(&user("bob")).await.unwrap(), Some(first));
    assert_eq!(store.find_token(&user("carol")).await.unwrap(), None);
    assert!(store.find_token(&user("eve")).await.unwrap().is_some());
}

async fn what_a_character_set_lacks_is_refused_and_not_found(database: Database) {
    database.run(format!("{OFFICIAL} character set latin1")).await;
    let store = database.open().await;
    let kept = store.save_token(&token("jos\u{e9} \u{20ac}")).await.unwrap();
    assert_eq!(store.find_token(&user("jos\u{e9} \u{20ac}")).await.unwrap(), Some(kept.clone()));
    for name in ["\u{6f22}", "\u{1f600}", "jos\u{85}"] {
        assert_eq!(store.find_token(&user(name)).await.unwrap(), None);
        let error = store.save_token(&token(name)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error:?}");
    }
    let error = store.save_token(&token("\u{6f22}")).await.unwrap_err();
    assert!(error.to_string().contains("user_name"), "{error}");
    assert_eq!(store.get_tokens().await.unwrap(), [kept]);
}

async fn a_table_that_does_not_keep_a_token_refuses_it(database: Database) {
    database.run(OFFICIAL).await;
    database
        .run(
            "create trigger t before insert on oauthtoken for each row \
             set new.refresh_token = 'test-other'",
        )
        .await;
    let store = database.open().await;
    let error = store.save_token(&token("alice")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    assert!(error.to_string().contains("does not keep"), "{error}");
    assert!(database.rows().await.is_empty());

    database.run("drop trigger t; insert into oauthtoken (id, user_name, access_token) values ('1', 'alice', 'test-old')").await;
    database
        .run(
            "create trigger t before update on oauthtoken for each row \
             set new.access_token = old.access_token",
        )
        .await;
    let store = database.open().await;
    let renewed = OAuthToken::builder().user_name("alice").access_token("test-newer");
    let renewed = renewed.build().unwrap();
    assert_eq!(store.save_token(&renewed).await.unwrap_err().kind(), StoreErrorKind::Invalid);
    let stored = store.find_token(&user("alice")).await.unwrap().unwrap();
    let error = store.replace_token(&stored, &renewed, None).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), Some(stored));
    database.run("drop trigger t").await;
    store.save_token(&renewed).await.unwrap();
}

async fn a_name_that_must_not_be_null_is_empty(database: Database) {
    let php = OFFICIAL.replace("user_name varchar(255)", "user_name varchar(255) NOT NULL");
    database.run(php).await;
    let store = database.open().await;
    let nameless = OAuthToken::builder().refresh_token("test-refresh").build().unwrap();
    let saved = store.save_token(&nameless).await.unwrap();
    assert_eq!(database.rows().await[0][1].as_deref(), Some(""));
    assert_eq!(store.find_token_by_id(saved.id().unwrap()).await.unwrap(), Some(saved.clone()));
    // The name is learnt, and forgotten again.
    let named = saved.clone().with_user_name("alice").unwrap();
    assert_eq!(store.save_token(&named).await.unwrap(), named);
    store.save_token(&named.clear(Field::UserName)).await.unwrap();
    assert_eq!(store.get_tokens().await.unwrap(), [saved]);
}

async fn further_columns_are_kept(database: Database) {
    let ddl = OFFICIAL
        .replace(", primary key", ", note varchar(20) default 'none', primary key")
        .replace("redirect_url", "redirect_uri");
    database.run(ddl).await;
    let store = database.open().await;
    let full = OAuthToken::builder().user_name("alice").refresh_token("test-refresh");
    let full = full.redirect_url("https://example.com/cb").build().unwrap();
    let saved = store.save_token(&full).await.unwrap();
    database.run("update oauthtoken set note = 'mine'").await;
    store.save_token(&token("alice")).await.unwrap();
    let rows = database.rows().await;
    assert_eq!(rows[0][8].as_deref(), saved.redirect_url());
    assert_eq!(rows[0][10].as_deref(), Some("mine"));
}

async fn tables_of_another_shape_are_refused(database: Database) {
    for (ddl, said) in [
        (
            "create table oauthtoken (id varchar(10) primary key, colour text)",
            "no column user_name",
        ),
        ("create view oauthtoken as select 1 as id", "is not a table"),
        (&*OFFICIAL.replace("id varchar(10)", "id int"), "column id"),
        (&*OFFICIAL.replace("primary key", "owner text not null, primary key"), "column owner"),
        (&*OFFICIAL.replace(", primary key (id)", ""), "id is no key"),
        (&*format!("{OFFICIAL} engine = MyISAM"), "without transactions"),
    ] {
        database.run(ddl).await;
        let error = database.config().open().await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.hint().is_some(), "{error:?}");
        let ours: Vec<String> = database.select("show tables like 'tokenkeep%'").await;
        assert!(ours.is_empty(), "{ours:?}");
        let kind = if ddl.contains(" view ") { "view" } else { "table" };
        database.run(format!("drop {kind} oauthtoken")).await;
    }
    database.open().await;
    database.run("update tokenkeep_meta set version = 99").await;
    let error = database.config().open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
}

async fn tables_of_old_sdks_are_read_and_not_written(database: Database) {
    let v2 = "create table oauthtoken (id varchar(255) NOT NULL, user_mail varchar(255) NOT NULL, \
              client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
              access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
              redirect_url varchar(255), primary key (id)) character set latin1; \
              insert into oauthtoken values ('python_alice_PRD_ab12', 'alice', 'test-client', \
              'test-secret', 'test-refresh', 'test-access', null, '1764000000000', 'https://x')";
    let v1 = "create table oauthtoken (id int(11) not null auto_increment, user_mail varchar(255), \
              client_id varchar(255), refresh_token varchar(255), access_token varchar(255), \
              grant_token varchar(255), expiry_time varchar(20), primary key (id)); \
              insert into oauthtoken values (7, 'alice', 'test-client', 'test-refresh', \
              'test-access', 'test-grant', '1764000000000')";
    let zcrm = "create table oauthtokens (useridentifier varchar(100) not null, \
                accesstoken varchar(100), refreshtoken varchar(100), expirytime bigint); \
                insert into oauthtokens values ('bob', 'test-a', 'test-b', 1764000000001), \
                ('alice', 'test-access', 'test-refresh', 1764000000000)";
    for (ddl, table, id, tokens) in [
        (v2, "oauthtoken", "python_alice_PRD_ab12", 1),
        (v1, "oauthtoken", "7", 1),
        (zcrm, "oauthtokens", "1", 2),
    ] {
        database.run(ddl).await;
        let store = database.config().table(table).open().await.unwrap();
        let found = store.find_token(&user("alice")).await.unwrap().unwrap();
        assert_eq!(found.id().unwrap().as_str(), id);
        assert_eq!(found.refresh_token().unwrap().expose_secret(), "test-refresh");
        assert_eq!(found.expiry_time().unwrap().as_millis(), 1_764_000_000_000);
        assert_eq!(store.find_token(&user("\u{6f22}")).await.unwrap(), None);
        assert_eq!(store.find_token_by_id(found.id().unwrap()).await.unwrap(), Some(found.clone()));
        assert_eq!(store.get_tokens().await.unwrap().len(), tokens);
        let read = store.read_entries(None, 10).await.unwrap();
        assert_eq!((read.entries.len(), read.next, read.damage.len()), (tokens, None, 0));
        assert!(read.entries.iter().any(|entry| entry.token == found));
        assert_eq!(store.page(None, 10).await.unwrap().tokens.len(), tokens);
        assert_eq!(store.state(found.id().unwrap()).await.unwrap(), None);

        let ttl = Duration::from_secs(1);
        let id = found.id().unwrap();
        for error in [
            store.save_token(&token("bob")).await.unwrap_err(),
            store.delete_token(id).await.unwrap_err(),
            store.delete_tokens().await.unwrap_err(),
            store.replace_token(&found, &token("alice"), None).await.unwrap_err(),
            store.try_lease(id, "test-holder", ttl).await.unwrap_err(),
            store.replace_state(id, None, &TokenState::default()).await.unwrap_err(),
            store.save_entries(&[]).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{error:?}");
            assert!(error.hint().unwrap().contains("migrate"));
        }
        let ours: Vec<String> = database.select("show tables like 'tokenkeep%'").await;
        assert!(ours.is_empty(), "{ours:?}");
        database.run(format!("drop table {table}")).await;
    }
}

async fn what_is_opened_to_read_is_taken_as_it_is(database: Database) {
    let config = || database.config().read_only(true);
    let error = config().open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("no table oauthtoken"), "{error}");
    assert!(!config().is_there().await.unwrap());
    database.run(OFFICIAL).await;
    assert!(config().is_there().await.unwrap());
    database
        .run("insert into oauthtoken (id, user_name, refresh_token) values ('3', 'a', 'test-r')")
        .await;
    let described = async || -> Vec<(String, String)> {
        let mut all = database.select("show create table oauthtoken").await;
        all.extend(
            database
                .select(
                    "select table_name, 'a table' from information_schema.tables \
             where table_schema = database()",
                )
                .await,
        );
        all
    };
    let before = described().await;
    let store = config().open().await.unwrap();
    let found = store.find_token(&user("a")).await.unwrap().unwrap();
    let id = found.id().unwrap();
    assert_eq!(store.read_entries(None, 10).await.unwrap().entries.len(), 1);
    assert_eq!(store.page(None, 10).await.unwrap().tokens.len(), 1);
    assert_eq!(store.state(id).await.unwrap(), None);
    let ttl = Duration::from_secs(1);
    for error in [
        store.save_token(&token("bob")).await.unwrap_err(),
        store.delete_token(id).await.unwrap_err(),
        store.delete_tokens().await.unwrap_err(),
        store.replace_token(&found, &token("alice"), None).await.unwrap_err(),
        store.try_lease(id, "test-holder", ttl).await.unwrap_err(),
        store.replace_state(id, None, &TokenState::default()).await.unwrap_err(),
        store.save_entries(&[]).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::PermissionDenied, "{error:?}");
    }
    assert_eq!(described().await, before);
    // Also of a table that has ours beside it.
    let writing = database.open().await;
    let state = TokenState::default();
    writing.replace_state(id, None, &state).await.unwrap();
    let store = config().open().await.unwrap();
    assert_eq!(store.state(id).await.unwrap(), Some(state));
    assert!(store.save_token(&token("bob")).await.is_err());
}

async fn empty_text_and_strange_expiries_are_absent_and_stay(database: Database) {
    database.run(OFFICIAL).await;
    database
        .run(
            "insert into oauthtoken values ('7', '', '', '', 'test-refresh', 'test-access', '', \
             'tomorrow', '', '')",
        )
        .await;
    let store = database.open().await;
    let id = TokenId::from_number(7);
    let found = store.find_token_by_id(&id).await.unwrap().unwrap();
    assert!(!found.has(Field::UserName) && !found.has(Field::ExpiryTime));

    // Replaced although its expiry is not what it is read as, and nothing else is touched.
    let newer = OAuthToken::builder().access_token("test-newer").build().unwrap();
    let replaced = store.replace_token(&found, &newer, None).await.unwrap();
    assert!(matches!(replaced, tokenkeep_core::Replaced::Saved(_)), "{replaced:?}");
    let named = OAuthToken::builder().user_name("alice").refresh_token("test-refresh");
    assert_eq!(store.save_token(&named.build().unwrap()).await.unwrap().id(), Some(&id));
    let rows = database.rows().await;
    assert_eq!(rows[0][1].as_deref(), Some("alice"));
    assert_eq!(rows[0][5].as_deref(), Some("test-newer"));
    assert_eq!(rows[0][7].as_deref(), Some("tomorrow"));
    assert_eq!(rows[0][2].as_deref(), Some(""));

    store.save_token(&token("alice").clear(Field::ExpiryTime)).await.unwrap();
    assert_eq!(database.rows().await[0][7], None);
}

async fn another_table_has_its_own_state(database: Database) {
    let first = database.open().await;
    let second = database.config().table("tokens_2").open().await.unwrap();
    let id = first.save_token(&token("alice")).await.unwrap().id().cloned().unwrap();
    second.save_token(&token("bob")).await.unwrap();
    let mut state = TokenState::default();
    state.org_id = Some("42".to_owned());
    let written = first.replace_state(&id, None, &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert_eq!(second.state(&id).await.unwrap(), None);
    assert_eq!(first.state(&id).await.unwrap(), Some(state));
    assert_eq!(second.delete_tokens().await.unwrap(), 1);
    assert_eq!(first.get_tokens().await.unwrap().len(), 1);
}

async fn an_id_that_an_sdk_used_again_inherits_nothing(database: Database) {
    let store = database.open().await;
    let id = store.save_token(&token("alice")).await.unwrap().id().cloned().unwrap();
    let ttl = Duration::from_secs(60);
    store.replace_state(&id, None, &TokenState::default()).await.unwrap();
    let LeaseAttempt::Granted(lease) = store.try_lease(&id, "test-holder", ttl).await.unwrap()
    else {
        panic!("nobody has the lease");
    };
    database.run("delete from oauthtoken").await;
    assert_eq!(store.state(&id).await.unwrap(), None);
    assert!(!store.release_lease(&lease).await.unwrap());
    database
        .run("insert into oauthtoken (id, user_name, refresh_token) values ('1', 'bob', 'test-r')")
        .await;
    assert_eq!(store.state(&id).await.unwrap(), None);
    assert_eq!(store.page(None, 10).await.unwrap().tokens[0].state, None);
    assert_eq!(store.renew_lease(&lease, ttl).await.unwrap(), None);
    let other = store.try_lease(&id, "test-other", ttl).await.unwrap();
    assert!(matches!(other, LeaseAttempt::Granted(_)), "{other:?}");
}

async fn a_state_that_cannot_be_read_is_told_and_can_be_overwritten(database: Database) {
    let store = database.open().await;
    let id = store.save_token(&token("alice")).await.unwrap().id().cloned().unwrap();
    store.replace_state(&id, None, &TokenState::default()).await.unwrap();
    for stored in ["'{'", "''", "'7'"] {
        database.run(format!("update tokenkeep_state set state = {stored}")).await;
        assert_eq!(store.state(&id).await.unwrap_err().kind(), StoreErrorKind::Corrupt, "{stored}");
        assert_eq!(store.page(None, 10).await.unwrap().damage.len(), 1, "{stored}");
        assert_eq!(store.read_entries(None, 10).await.unwrap().damage.len(), 1, "{stored}");
        // A lease leaves it, and it counts as nothing.
        let LeaseAttempt::Granted(lease) =
            store.try_lease(&id, "test-holder", Duration::from_secs(9)).await.unwrap()
        else {
            panic!("nobody has the lease");
        };
        assert!(store.release_lease(&lease).await.unwrap());
        assert_eq!(store.state(&id).await.unwrap_err().kind(), StoreErrorKind::Corrupt, "{stored}");
        let state = TokenState::default();
        let changed = store.replace_state(&id, Some(&state), &state).await.unwrap();
        assert_eq!(changed, StateReplaced::Changed(None), "{stored}");
        let written = store.replace_state(&id, None, &state).await.unwrap();
        assert_eq!(written, StateReplaced::Written, "{stored}");
        assert_eq!(store.state(&id).await.unwrap(), Some(state));
    }
}

async fn tables_that_somebody_drops_are_made_again(database: Database) {
    let store = database.open().await;
    store.save_token(&token("alice")).await.unwrap();
    database.run("drop table oauthtoken").await;
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), None);
    database.run("drop table oauthtoken; drop table tokenkeep_state").await;
    let saved = store.save_token(&token("bob")).await.unwrap();
    assert_eq!(saved.id().unwrap().as_str(), "2", "ids are not given again");
    database.run("delete from tokenkeep_meta").await;
    let saved = store.save_token(&token("carol")).await.unwrap();
    assert_eq!(saved.id().unwrap().as_str(), "3");
}

async fn numbers_that_an_sdk_gave_are_not_given_again(database: Database) {
    database.run(OFFICIAL).await;
    let insert = |id: &str| {
        format!("insert into oauthtoken (id, refresh_token) values ('{id}', 'test-refresh-{id}')")
    };
    for id in ["9", "10", "007", "zz", "2147483648", "9999999999"] {
        database.run(insert(id)).await;
    }
    let store = database.open().await;
    assert_eq!(store.save_token(&token("a")).await.unwrap().id().unwrap().as_str(), "11");
    database.run(insert("12")).await;
    database.run(insert("13")).await;
    assert_eq!(store.save_token(&token("b")).await.unwrap().id().unwrap().as_str(), "14");
    database.run(insert("15")).await;
    assert!(store.delete_token(&TokenId::from_number(15)).await.unwrap());
    assert_eq!(store.save_token(&token("c")).await.unwrap().id().unwrap().as_str(), "16");
    assert!(!store.delete_token(&TokenId::from_number(99)).await.unwrap());
    assert_eq!(store.save_token(&token("d")).await.unwrap().id().unwrap().as_str(), "17");
    database.run(insert("2147483647")).await;
    database.open().await;
    let error = store.save_token(&token("e")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
}

async fn pages_have_the_order_of_ids(database: Database) {
    let wide = OFFICIAL.replace("id varchar(10)", "id varchar(100)");
    database.run(format!("{wide} character set utf8mb4 collate utf8mb4_unicode_ci")).await;
    let store = database.open().await;
    let ids = [
        "0",
        "1",
        "2",
        "9",
        "10",
        "11",
        "99",
        "100",
        "2147483648",
        "9999999999",
        "18446744073709551615",
        " 5",
        "-1",
        "007",
        "18446744073709551616",
        "1e9",
        "1\n",
        "a",
        "b1",
        "\u{ff10}7",
    ];
    let mut expected: Vec<TokenId> = ids.iter().map(|id| id.parse().unwrap()).collect();
    for (number, id) in expected.iter().enumerate() {
        store.save_token(&token(&format!("user{number}")).with_id(id.clone())).await.unwrap();
    }
    expected.sort();
    for limit in [1, 2, 3, 7, 100, usize::MAX] {
        let (mut listed, mut read) = (Vec::new(), Vec::new());
        let mut after = None;
        loop {
            let page = store.page(after.as_ref(), limit).await.unwrap();
            listed.extend(page.tokens.into_iter().map(|meta| meta.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = store.read_entries(after.as_ref(), limit).await.unwrap();
            read.extend(page.entries.into_iter().filter_map(|entry| entry.token.id().cloned()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed, expected, "{limit}");
        assert_eq!(read, expected, "{limit}");
    }
}

async fn who_may_only_read_reads(database: Database) {
    database.run(OFFICIAL).await;
    database.run("insert into oauthtoken (id, user_name, refresh_token) values ('1', 'alice', 'test-refresh')").await;
    let reader = database.reader("select").await;
    let store = reader.open().await.unwrap();
    assert!(store.find_token(&user("alice")).await.unwrap().is_some());
    assert_eq!(store.get_tokens().await.unwrap().len(), 1);
    assert_eq!(store.page(None, 10).await.unwrap().tokens.len(), 1);
    assert_eq!(store.state(&TokenId::from_number(1)).await.unwrap(), None);
    let error = store.save_token(&token("bob")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
    assert!(error.hint().unwrap().contains("grant create"), "{error:?}");

    // With all tables there, the server says it.
    database.open().await;
    let store = database.reader("select").await.open().await.unwrap();
    let error = store.save_token(&token("bob")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
    assert_eq!(database.rows().await.len(), 1);
    // Without the right to make indices it works.
    let writer = Database::new(&database.address).await;
    writer.run(OFFICIAL).await;
    let config = writer.reader("select, insert, update, delete, create").await;
    let store = config.open().await.unwrap();
    store.save_token(&token("bob")).await.unwrap();
}

async fn an_inspection_tells_what_there_is(database: Database) {
    let id = |number| TokenId::from_number(number);
    database.run(format!("{OFFICIAL} character set utf8mb4 collate utf8mb4_unicode_ci")).await;
    let store = database.open().await;
    for number in 1..=9 {
        store.save_token(&token(&format!("user{number}"))).await.unwrap();
    }
    let sound = store.inspect().await.unwrap();
    assert!(sound.version.contains("MariaDB"), "{sound:?}");
    assert!(sound.is_durable && sound.has_state && !sound.is_read_only, "{sound:?}");
    assert_eq!(sound.flush_log.as_deref(), Some("1"));
    assert!(!sound.sdk_cannot_insert, "{sound:?}");
    assert_eq!((sound.tokens, sound.next_id), (9, Some(id(10))));
    assert_eq!((sound.look_alikes, sound.duplicates, sound.damage), (vec![], vec![], vec![]));

    // From ten tokens on an SDK would choose the id of the tenth again.
    for name in ["USER3", "jos\u{e9}", "jose", "jose "] {
        store.save_token(&token(name)).await.unwrap();
    }
    database
        .run(
            "insert into oauthtoken (id, user_name, client_id, expiry_time, refresh_token) values \
             ('20', 'user5', 'test-client', 'tomorrow', 'test-refresh-20')",
        )
        .await;
    store.replace_state(&id(9), None, &TokenState::default()).await.unwrap();
    database.run("delete from oauthtoken where id = '9'").await;
    database.run("insert into oauthtoken (id, refresh_token) values ('9', 'test-r')").await;
    let found = store.inspect().await.unwrap();
    assert!(found.sdk_cannot_insert, "{found:?}");
    assert_eq!(found.look_alikes, [vec![id(3), id(10)], vec![id(11), id(12), id(13)]]);
    assert_eq!(found.duplicates, [[id(5), id(20)]]);
    assert_eq!((found.unreadable_expiry, found.tokens), (vec![id(20)], 14));
    database.run("delete from oauthtoken where id = '9'").await;
    let orphaned = store.inspect().await.unwrap();
    assert_eq!((orphaned.orphans, orphaned.tokens), (1, 13));
    assert!(!format!("{orphaned:?} {store:?}").contains("test-"), "{orphaned:?}");
}

/// Host, database, table, user, password and port, by URL and by builder.
async fn the_six_parameters_of_the_sdks_are_in_the_url(database: Database) {
    let address = &database.address;
    let url = format!(
        "mysql://{}:{}@{}:{}/{}?table=tokens_6",
        address.user, address.password, address.host, address.port, database.name
    );
    let by_url = MysqlConfig::from_url(&url).unwrap().open().await.unwrap();
    let by_builder = MysqlConfig::new()
        .host(&address.host)
        .port(address.port)
        .user(&address.user)
        .password(&address.password)
        .database(&database.name)
        .table("tokens_6")
        .open()
        .await
        .unwrap();
    let saved = by_url.save_token(&token("alice")).await.unwrap();
    assert_eq!(by_builder.get_tokens().await.unwrap(), [saved]);
    let names: Vec<String> = database.select("select user_name from tokens_6").await;
    assert_eq!(names, ["alice"]);
    assert!(database.select::<String>("show tables like 'oauthtoken'").await.is_empty());
}
