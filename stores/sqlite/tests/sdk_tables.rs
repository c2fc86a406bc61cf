//! Databases that the official SDKs have made, used in place.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{sync::Arc, time::Duration};

use rusqlite::Connection;
use tempfile::TempDir;
use tokenkeep_core::{
    AccessToken, Field, LeaseAttempt, OAuthToken, SharedStore, StateReplaced, StoreErrorKind,
    Timestamp, TokenId, TokenQuery, TokenState, TokenStore,
};
use tokenkeep_store_sqlite::{SqliteConfig, SqliteStore};
use tokenkeep_testkit::ManualClock;

/// As the SDKs' documentation and the article's store make it.
const OFFICIAL: &str = "create table oauthtoken (id varchar(10) NOT NULL, user_name varchar(255), \
     client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
     access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
     redirect_url varchar(255), api_domain varchar(255), primary key (id))";

/// As the v2 SDKs' documentation has it.
const V2: &str = "create table oauthtoken (id varchar(255) NOT NULL, \
     user_mail varchar(255) NOT NULL, client_id varchar(255), client_secret varchar(255), \
     refresh_token varchar(255), access_token varchar(255), grant_token varchar(255), \
     expiry_time varchar(20), redirect_url varchar(255), primary key (id))";

const INSERT: &str = "insert into oauthtoken (id, user_name, client_id, client_secret, \
     refresh_token, access_token, grant_token, expiry_time, redirect_url, api_domain) \
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

struct Sdk {
    _directory: TempDir,
    path: std::path::PathBuf,
    connection: Connection,
}

impl Sdk {
    fn new(ddl: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zohooauth.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(ddl).unwrap();
        Self { _directory: directory, path, connection }
    }

    fn insert(&self, id: &str, user: &str) {
        let row = [
            Some(id.to_owned()),
            Some(user.to_owned()),
            Some("test-client".to_owned()),
            Some("test-client-secret".to_owned()),
            Some(format!("test-refresh-{user}")),
            Some(format!("test-access-{user}")),
            None,
            Some("1764000000000".to_owned()),
            Some("https://example.com/callback".to_owned()),
            Some("https://www.zohoapis.eu".to_owned()),
        ];
        self.connection.execute(INSERT, rusqlite::params_from_iter(row)).unwrap();
    }

    /// `select *`, which the SDKs read by position.
    fn rows(&self) -> Vec<Vec<Option<String>>> {
        let mut statement =
            self.connection.prepare("select * from oauthtoken order by id").unwrap();
        let rows = statement
            .query_map([], |row| (0..row.as_ref().column_count()).map(|at| row.get(at)).collect())
            .unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path).unwrap()
    }

    fn refused(&self) -> tokenkeep_core::StoreError {
        let error = SqliteStore::open(&self.path).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
        assert!(error.hint().is_some(), "{error}");
        error
    }
}

fn user(name: &str) -> TokenQuery {
    TokenQuery::user(name).unwrap()
}

fn token(name: &str) -> OAuthToken {
    let token = OAuthToken::builder().user_name(name).client("test-client", "test-client-secret");
    token.refresh_token(format!("test-refresh-{name}")).build().unwrap()
}

#[tokio::test]
async fn an_empty_table_of_the_article_is_used() {
    let sdk = Sdk::new(OFFICIAL);
    let store = sdk.open();
    assert_eq!(store.get_tokens().await.unwrap(), []);
    store.save_token(&token("alice")).await.unwrap();
    assert_eq!(sdk.rows().len(), 1);
    drop(store);
    assert_eq!(sdk.open().get_tokens().await.unwrap().len(), 1);
}

#[tokio::test]
async fn both_write_in_turn_and_both_stay_right() {
    let sdk = Sdk::new(OFFICIAL);
    sdk.insert("1", "alice");
    let store = sdk.open();
    let alice = store.find_token(&user("alice")).await.unwrap().unwrap();
    assert_eq!(alice.api_domain(), Some("https://www.zohoapis.eu"));
    assert_eq!(alice.expiry_time(), Some(Timestamp::from_millis(1_764_000_000_000)));

    for number in 2..=10 {
        let saved = store.save_token(&token(&format!("user{number}"))).await.unwrap();
        assert_eq!(saved.id().unwrap().number(), Some(number));
    }
    assert!(store.inspect().await.unwrap().sdk_cannot_insert);
    sdk.insert("12", "bob");
    let carol = store.save_token(&token("carol")).await.unwrap();
    assert_eq!(carol.id().unwrap().as_str(), "13");

    let changed =
        "update oauthtoken set access_token = 'test-access-sdk' where user_name = 'carol'";
    sdk.connection.execute(changed, []).unwrap();
    let found = store.find_token(&user("carol")).await.unwrap().unwrap();
    assert_eq!(found.access_token(), Some(&AccessToken::new("test-access-sdk").unwrap()));
    let renewed = found.clone().with_access_token(
        AccessToken::new("test-access-ours").unwrap(),
        Timestamp::from_millis(1_764_000_003_600),
    );
    store.save_token(&renewed).await.unwrap();
    let row = sdk.rows().into_iter().find(|row| row[0].as_deref() == Some("13")).unwrap();
    assert_eq!(row.len(), 10);
    assert_eq!(row[5].as_deref(), Some("test-access-ours"));
    assert_eq!(row[7].as_deref(), Some("1764000003600"));
    assert_eq!(row[6], None);
}

#[tokio::test]
async fn a_v2_table_gets_its_tenth_column_and_keeps_its_names_and_ids() {
    let sdk = Sdk::new(V2);
    let insert = "insert into oauthtoken values ('python_alice_PRD_ab12', 'alice@example.com', \
         'test-client', 'test-client-secret', 'test-refresh', 'test-access', '', '1764000000000', \
         'https://example.com')";
    sdk.connection.execute(insert, []).unwrap();
    let store = sdk.open();
    let alice = store.find_token(&user("alice@example.com")).await.unwrap().unwrap();
    assert_eq!(alice.id().unwrap().as_str(), "python_alice_PRD_ab12");
    assert_eq!(alice.api_domain(), None);
    let alice = alice.with_api_domain("https://www.zohoapis.com").unwrap();
    store.save_token(&alice).await.unwrap();

    // The v2 table wants a mail: absence is empty text there.
    let nameless = OAuthToken::builder().refresh_token("test-refresh-2").build().unwrap();
    let saved = store.save_token(&nameless).await.unwrap();
    assert_eq!(saved.id().unwrap().as_str(), "1");
    assert_eq!(store.find_token_by_id(saved.id().unwrap()).await.unwrap(), Some(saved));

    let rows = sdk.rows();
    assert_eq!(rows[0][1].as_deref(), Some(""));
    assert_eq!(rows[1][9].as_deref(), Some("https://www.zohoapis.com"));
    let tokens = store.get_tokens().await.unwrap();
    let ids: Vec<_> = tokens.iter().map(|token| token.id().unwrap().as_str()).collect();
    assert_eq!(ids, ["1", "python_alice_PRD_ab12"]);
    let inspection = store.inspect().await.unwrap();
    assert_eq!(inspection.text_ids.len(), 1);
    assert_eq!(inspection.too_long.len(), 1);
}

#[test]
fn tables_of_the_first_sdks_are_refused_and_left_alone() {
    let v1 = Sdk::new(
        "create table oauthtoken (id integer primary key autoincrement, user_mail varchar(255), \
         client_id varchar(255), refresh_token varchar(255), access_token varchar(255), \
         grant_token varchar(255), expiry_time varchar(20))",
    );
    assert!(v1.refused().to_string().contains("v1 SDK"));
    let older = Sdk::new(
        "create table oauthtoken (useridentifier varchar(100), accesstoken varchar(100), \
         refreshtoken varchar(100), expirytime bigint)",
    );
    assert!(older.refused().to_string().contains("before v1"));
    for sdk in [v1, older] {
        let tables: u32 = sdk
            .connection
            .query_row("select count(*) from sqlite_schema where name like 'tokenkeep%'", [], |r| {
                r.get(0)
            })
            .unwrap();
        assert_eq!(tables, 0);
    }
}

#[test]
fn tables_of_another_shape_are_refused() {
    let shapes = [
        ("create table oauthtoken (id varchar(10), colour text)", "no column user_name"),
        ("create view oauthtoken as select 1 as id", "of type view"),
        (&*OFFICIAL.replace("id varchar(10)", "id integer"), "column id"),
        (&*OFFICIAL.replace("primary key", "owner text not null, primary key"), "column owner"),
    ];
    for (ddl, said) in shapes {
        let error = Sdk::new(ddl).refused();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn further_columns_and_another_order_are_no_matter() {
    let sdk = Sdk::new(
        "create table oauthtoken (api_domain text, user_name text, note text default 'none', \
         ID text not null primary key, client_id text, client_secret text, redirect_uri text, \
         refresh_token text, access_token text, grant_token text, expiry_time integer)",
    );
    let store = sdk.open();
    let saved = store
        .save_token(&token("alice").with_access_token(
            AccessToken::new("test-access").unwrap(),
            Timestamp::from_millis(1_764_000_000_000),
        ))
        .await
        .unwrap();
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), Some(saved));
    assert_eq!(sdk.rows_note(), "none");
}

impl Sdk {
    fn rows_note(&self) -> String {
        self.connection.query_row("select note from oauthtoken", [], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn bytes_decide_whatever_collation_the_table_has() {
    let sdk = Sdk::new(
        &OFFICIAL
            .replace("varchar(255)", "varchar(255) collate nocase")
            .replace("id varchar(10)", "id varchar(10) collate rtrim"),
    );
    let store = sdk.open();
    for name in ["alice", "ALICE", "alice ", "\u{e1}lice"] {
        store.save_token(&token(name)).await.unwrap();
    }
    assert_eq!(store.get_tokens().await.unwrap().len(), 4);
    assert_eq!(store.find_token(&user("Alice")).await.unwrap(), None);
    let found = store.find_token(&user("ALICE")).await.unwrap().unwrap();
    assert_eq!(found.id().unwrap().as_str(), "2");
    assert_eq!(store.find_token_by_id(&"2 ".parse().unwrap()).await.unwrap(), None);
    assert!(!store.delete_token(&"2 ".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn empty_text_and_strange_expiries_are_absent_and_stay() {
    let sdk = Sdk::new(OFFICIAL);
    let row = ["7", "", "", "", "test-refresh", "test-access", "", "tomorrow", "", ""];
    sdk.connection.execute(INSERT, rusqlite::params_from_iter(row)).unwrap();
    let store = sdk.open();
    let id = TokenId::from_number(7);
    let found = store.find_token_by_id(&id).await.unwrap().unwrap();
    assert!(!found.has(Field::UserName) && !found.has(Field::ExpiryTime));
    assert_eq!(store.inspect().await.unwrap().unreadable_expiry, std::slice::from_ref(&id));

    // Known by its refresh token, it gets its name, and nothing else is touched.
    let named = OAuthToken::builder().user_name("alice").refresh_token("test-refresh");
    assert_eq!(store.save_token(&named.build().unwrap()).await.unwrap().id(), Some(&id));
    let rows = sdk.rows();
    assert_eq!(rows[0][1].as_deref(), Some("alice"));
    assert_eq!(rows[0][7].as_deref(), Some("tomorrow"));
    assert_eq!(rows[0][2].as_deref(), Some(""));

    let cleared = token("alice").clear(Field::ExpiryTime);
    store.save_token(&cleared).await.unwrap();
    assert_eq!(sdk.rows()[0][7], None);
}

#[tokio::test]
async fn another_table_has_its_own_state() {
    let sdk = Sdk::new(OFFICIAL);
    sdk.insert("1", "alice");
    let first = sdk.open();
    let second = SqliteConfig::new(&sdk.path).table("tokens_2").open().unwrap();
    second.save_token(&token("bob")).await.unwrap();
    let id = TokenId::from_number(1);
    let mut state = TokenState::default();
    state.org_id = Some("42".to_owned());
    let written = first.replace_state(&id, None, &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert_eq!(second.state(&id).await.unwrap(), None);
    assert_eq!(first.state(&id).await.unwrap(), Some(state));
    assert_eq!(second.delete_tokens().await.unwrap(), 1);
    assert_eq!(first.get_tokens().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_id_that_an_sdk_used_again_inherits_nothing() {
    let sdk = Sdk::new(OFFICIAL);
    sdk.insert("1", "alice");
    let store = sdk.open();
    let id = TokenId::from_number(1);
    let ttl = Duration::from_secs(60);
    let written = store.replace_state(&id, None, &TokenState::default()).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    let LeaseAttempt::Granted(lease) = store.try_lease(&id, "test-holder", ttl).await.unwrap()
    else {
        panic!("nobody has the lease");
    };

    sdk.connection.execute("delete from oauthtoken", []).unwrap();
    assert_eq!(store.inspect().await.unwrap().orphans, 1);
    assert_eq!(store.state(&id).await.unwrap(), None);
    assert!(!store.release_lease(&lease).await.unwrap());
    sdk.insert("1", "bob");
    assert_eq!(store.state(&id).await.unwrap(), None);
    assert_eq!(store.page(None, 10).await.unwrap().tokens[0].state, None);
    assert_eq!(store.renew_lease(&lease, ttl).await.unwrap(), None);
    let other = store.try_lease(&id, "test-other", ttl).await.unwrap();
    assert!(matches!(other, LeaseAttempt::Granted(_)), "{other:?}");
}

/// Our table as the version before made it, which did not say for how long a lease was taken.
const WITHOUT_TTL: &str = "create table tokenkeep_state (token_id text not null primary key, \
     user_name text, client_id text, state text, lease_holder text, lease_generation integer, \
     lease_until integer) without rowid; \
     insert into tokenkeep_state values \
     ('1', 'alice', 'test-client', '{\"org_id\":\"42\"}', 'test-holder', 7, 1764000060000)";

#[tokio::test]
async fn a_table_of_ours_without_ttl_is_read_and_gets_it() {
    let sdk = Sdk::new(OFFICIAL);
    sdk.insert("1", "alice");
    drop(sdk.open());
    sdk.connection.execute_batch("drop table tokenkeep_state").unwrap();
    sdk.connection.execute_batch(WITHOUT_TTL).unwrap();
    let ttl = || -> Option<i64> {
        let sql = "select lease_ttl from tokenkeep_state";
        sdk.connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let id = TokenId::from_number(1);
    let expected = Some("42".to_owned());

    let reading = SqliteConfig::new(&sdk.path).read_only(true).open().unwrap();
    assert_eq!(reading.state(&id).await.unwrap().unwrap().org_id, expected);
    assert_eq!(
        reading.page(None, 9).await.unwrap().tokens[0].state.clone().unwrap().org_id,
        expected
    );
    assert_eq!(reading.inspect().await.unwrap().orphans, 0);
    let columns = "select count(*) from pragma_table_info('tokenkeep_state')";
    let columns = || -> i64 { sdk.connection.query_row(columns, [], |row| row.get(0)).unwrap() };
    assert_eq!(columns(), 7);

    let minute = Duration::from_secs(60);
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_764_000_000_000)));
    let config = SqliteConfig::new(&sdk.path).clock(Arc::clone(&clock) as _);
    let (store, _) = (config.clone().open().unwrap(), config.open().unwrap());
    assert_eq!((columns(), ttl()), (8, None));
    assert_eq!(store.state(&id).await.unwrap().unwrap().org_id, expected);
    // It is held, whatever the clock says, because nothing is known of it.
    clock.set(Timestamp::from_millis(1_763_000_000_000));
    let held = store.try_lease(&id, "test-other", minute).await.unwrap();
    assert_eq!(held, LeaseAttempt::Held { until: Timestamp::from_millis(1_764_000_060_000) });
    clock.set(Timestamp::from_millis(1_764_000_060_000));
    let attempt = store.try_lease(&id, "test-other", minute).await.unwrap();
    let LeaseAttempt::Granted(lease) = attempt else { panic!("it has ended: {attempt:?}") };
    assert_eq!((lease.generation, ttl()), (8, Some(60_000)));
    store.renew_lease(&lease, minute * 2).await.unwrap().unwrap();
    assert_eq!(ttl(), Some(120_000));
    // A clock that is set back ends a lease of which more is known.
    clock.set(Timestamp::from_millis(1_763_000_000_000));
    let attempt = store.try_lease(&id, "test-third", minute).await.unwrap();
    assert!(matches!(attempt, LeaseAttempt::Granted(_)), "{attempt:?}");
    assert_eq!(reading.state(&id).await.unwrap().unwrap().org_id, expected);
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_told_and_can_be_overwritten() {
    let sdk = Sdk::new(OFFICIAL);
    let store = sdk.open();
    let id = store.save_token(&token("alice")).await.unwrap().id().cloned().unwrap();
    store.replace_state(&id, None, &TokenState::default()).await.unwrap();
    for stored in ["'{'", "''", "x'7bff7d'", "cast(x'7bff7d' as text)"] {
        let sql = format!("update tokenkeep_state set state = {stored}");
        sdk.connection.execute(&sql, []).unwrap();
        assert_eq!(store.state(&id).await.unwrap_err().kind(), StoreErrorKind::Corrupt, "{stored}");
        assert_eq!(store.page(None, 10).await.unwrap().damage.len(), 1, "{stored}");
        // It counts as nothing.
        let state = TokenState::default();
        let changed = store.replace_state(&id, Some(&state), &state).await.unwrap();
        assert_eq!(changed, StateReplaced::Changed(None), "{stored}");
        let written = store.replace_state(&id, None, &state).await.unwrap();
        assert_eq!(written, StateReplaced::Written, "{stored}");
        assert_eq!(store.state(&id).await.unwrap(), Some(state));
    }
}

#[tokio::test]
async fn a_table_that_somebody_drops_is_made_again() {
    let sdk = Sdk::new(OFFICIAL);
    let store = sdk.open();
    store.save_token(&token("alice")).await.unwrap();
    sdk.connection.execute_batch("drop table oauthtoken").unwrap();
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), None);
    sdk.connection.execute_batch("drop table oauthtoken; drop table tokenkeep_state").unwrap();
    let saved = store.save_token(&token("bob")).await.unwrap();
    assert_eq!(saved.id().unwrap().as_str(), "2", "ids are not given again");
}

#[tokio::test]
async fn an_inspection_tells_what_may_cause_trouble() {
    let sdk = Sdk::new(OFFICIAL);
    for (id, user) in [("1", "alice"), ("2", "alice"), ("3", "bob"), ("crm-a", "carol")] {
        sdk.insert(id, user);
    }
    let long = "x".repeat(300);
    sdk.connection
        .execute("update oauthtoken set access_token = ?1 where id = '3'", [&long])
        .unwrap();
    let inspection = sdk.open().inspect().await.unwrap();
    let ids = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect::<Vec<TokenId>>();
    assert_eq!(inspection.duplicates, [ids(&["1", "2"])]);
    assert_eq!(inspection.too_long, [("3".parse().unwrap(), Field::AccessToken)]);
    assert_eq!(inspection.text_ids, ids(&["crm-a"]));
    assert_eq!(inspection.next_id, Some(TokenId::from_number(4)));
    assert_eq!((inspection.tokens, inspection.orphans), (4, 0));
    assert_eq!(inspection.table, "oauthtoken");
    assert!(!format!("{inspection:?}").contains("test-refresh"));
}

#[tokio::test]
async fn when_all_numbers_are_given_one_can_still_name_a_token() {
    let sdk = Sdk::new(OFFICIAL);
    sdk.insert("2147483647", "alice");
    let store = sdk.open();
    let error = store.save_token(&token("bob")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    let named = token("bob").with_id("crm-bob".parse().unwrap());
    assert_eq!(store.save_token(&named).await.unwrap(), named);
    assert_eq!(store.inspect().await.unwrap().next_id, None);
}

#[tokio::test]
async fn a_table_that_does_not_keep_a_token_refuses_it() {
    for change in [
        "create trigger t before insert on oauthtoken begin select raise(ignore); end",
        "create trigger t after insert on oauthtoken begin \
         delete from oauthtoken where id = new.id; end",
        "create trigger t after insert on oauthtoken begin \
         update oauthtoken set refresh_token = 'test-other' where id = new.id; end",
    ] {
        let sdk = Sdk::new(OFFICIAL);
        sdk.connection.execute_batch(change).unwrap();
        let store = sdk.open();
        let error = store.save_token(&token("alice")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{change}");
        assert!(error.to_string().contains("does not keep"), "{error}");
        assert!(sdk.rows().is_empty());
    }

    let sdk = Sdk::new(OFFICIAL);
    sdk.insert("1", "alice");
    let forget = "create trigger t before update on oauthtoken begin select raise(ignore); end";
    sdk.connection.execute_batch(forget).unwrap();
    let renewed = OAuthToken::builder().user_name("alice").access_token("test-newer");
    let error = sdk.open().save_token(&renewed.build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);

    // A number is another text than what was given.
    let sdk = Sdk::new(&OFFICIAL.replace("client_id varchar(255)", "client_id integer"));
    let numbered = OAuthToken::builder().client("007", "test-secret").refresh_token("test-r");
    let error = sdk.open().save_token(&numbered.build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
}

#[tokio::test]
async fn a_row_without_an_id_is_told_of() {
    let sdk = Sdk::new(&OFFICIAL.replace(" NOT NULL", ""));
    sdk.insert("", "alice");
    sdk.insert("1", "bob");
    sdk.connection.execute("insert into oauthtoken (user_name) values ('carol')", []).unwrap();
    let store = sdk.open();
    let page = store.page(None, 10).await.unwrap();
    assert_eq!(page.tokens.len(), 1);
    assert_eq!(page.damage, ["rows without an id: 2"]);
}
