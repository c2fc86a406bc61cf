//! Tables that the SDKs' generations left on a real server are moved, and stay as they are.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    process::ExitCode,
};

use mysql_async::{Conn, prelude::Queryable};
use tokenkeep::{BulkStore, Entry, StoreUrl, migrate::Migration};
use tokenkeep_servers::{Address, Kind, Trials};

fn main() -> ExitCode {
    Trials::new()
        .needs(Kind::MariaDb, "the_tables_of_every_generation_move_and_stay_as_they_are", |nodes| {
            the_tables_of_every_generation_move_and_stay_as_they_are(nodes[0].clone())
        })
        .needs(Kind::MariaDb, "there_and_back_through_a_server_nothing_is_lost", |nodes| {
            there_and_back_through_a_server_nothing_is_lost(nodes[0].clone())
        })
        .run()
}

/// An empty database, removed with all it holds when the test ends well.
struct Database {
    conn: Conn,
    name: String,
    url: String,
}

impl Database {
    async fn new(address: &Address) -> Self {
        let unique = RandomState::new().hash_one(std::process::id());
        let name = format!("test_migrate_{unique:016x}");
        let mut conn = Conn::from_url(format!("{}/mysql", address.url())).await.unwrap();
        conn.query_drop(format!("create database {name}")).await.unwrap();
        conn.query_drop(format!("use {name}")).await.unwrap();
        let url = format!("{}/{name}", address.url());
        Self { conn, name, url }
    }

    fn table(&self, name: &str) -> StoreUrl {
        format!("{}?table={name}", self.url).parse().unwrap()
    }

    async fn run(&mut self, sql: &str) {
        self.conn.query_drop(sql).await.unwrap();
    }

    /// Everything that can be seen of the database: tables, their definitions, their rows.
    async fn seen(&mut self) -> BTreeMap<String, (String, Vec<String>)> {
        let tables: Vec<String> = self.conn.query("show tables").await.unwrap();
        let mut seen = BTreeMap::new();
        for table in tables {
            let definition: Option<(String, String)> =
                self.conn.query_first(format!("show create table {table}")).await.unwrap();
            let rows: Vec<mysql_async::Row> =
                self.conn.query(format!("select * from {table}")).await.unwrap();
            let rows = rows.into_iter().map(|row| format!("{:?}", row.unwrap())).collect();
            seen.insert(table, (definition.unwrap().1, rows));
        }
        seen
    }

    async fn remove(mut self) {
        self.run(&format!("drop database {}", self.name)).await;
    }
}

async fn entries(store: &dyn BulkStore) -> Vec<Entry> {
    store.read_entries(None, usize::MAX).await.unwrap().entries
}

/// The ten columns; absence is `-`.
fn columns(entry: &Entry) -> String {
    let columns = entry.token.expose_columns();
    columns.map(|column| column.map_or("-".to_owned(), |text| text.into_owned())).join(" ")
}

/// What the READMEs of the generations tell people to create, and rows as the SDKs write them.
const GENERATIONS: [(&str, &str, &[&str]); 5] = [
    (
        "v8",
        "create table v8 (id varchar(10) NOT NULL, user_name varchar(255), \
         client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
         access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
         redirect_url varchar(255), api_domain varchar(255), primary key (id)); \
         insert into v8 values \
         ('9', 'alice', 'c', 's', 'test-r1', 'test-a1', null, '1764000000000', null, 'https://d'), \
         ('10', 'bob', 'c', 's', 'test-r2', 'test-a2', 'test-g2', '1764000000001', 'https://x', ''), \
         ('11', 'bob', 'c', 's', 'test-r2', 'test-a3', 'test-g2', '1764000000002', '', null)",
        &[
            "9 alice c s test-r1 test-a1 - 1764000000000 - https://d",
            "10 bob c s test-r2 test-a3 test-g2 1764000000002 https://x -",
        ],
    ),
    (
        "php",
        "create table php (id varchar(10) NOT NULL, user_name varchar(255) NOT NULL, \
         client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
         access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
         redirect_url varchar(255), api_domain varchar(255), primary key (id)); \
         insert into php values \
         ('1', '', 'c', 's', 'test-r1', 'test-a1', '', '1764000000000', '', ''), \
         ('2', 'bob', 'c', 's', 'test-r2', 'test-a2', null, '1764000000001', null, null)",
        &[
            "1 - c s test-r1 test-a1 - 1764000000000 - -",
            "2 bob c s test-r2 test-a2 - 1764000000001 - -",
        ],
    ),
    (
        "v2",
        "create table v2 (id varchar(255) NOT NULL, user_mail varchar(255) NOT NULL, \
         client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
         access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
         redirect_url varchar(255), primary key (id)) character set latin1; \
         insert into v2 values ('python_alice_PRD_r1r1', 'alice', 'c', 's', 'test-r1', 'test-a1', \
         null, '1764000000000', 'https://x'), ('nodejs_bob_PRD_r2r2', 'bob', 'c', 's', 'test-r2', \
         'test-a2', 'test-g2', '1764000000001', null)",
        &[
            "nodejs_bob_PRD_r2r2 bob c s test-r2 test-a2 test-g2 1764000000001 - -",
            "python_alice_PRD_r1r1 alice c s test-r1 test-a1 - 1764000000000 https://x -",
        ],
    ),
    (
        "v1",
        "create table v1 (id int(11) not null auto_increment, user_mail varchar(255), \
         client_id varchar(255), refresh_token varchar(255), access_token varchar(255), \
         grant_token varchar(255), expiry_time varchar(20), primary key (id)); \
         insert into v1 values (7, 'alice', 'c', 'test-r1', 'test-a1', 'test-g1', '1764000000000')",
        &["7 alice c - test-r1 test-a1 test-g1 1764000000000 - -"],
    ),
    (
        "zcrm",
        "create table zcrm (useridentifier varchar(100) not null, accesstoken varchar(100), \
         refreshtoken varchar(100), expirytime bigint); \
         insert into zcrm values ('bob', 'test-a2', 'test-r2', 1764000000001), \
         ('alice', 'test-a1', 'test-r1', 1764000000000)",
        &[
            "1 alice - - test-r1 test-a1 - 1764000000000 - -",
            "2 bob - - test-r2 test-a2 - 1764000000001 - -",
        ],
    ),
];

async fn the_tables_of_every_generation_move_and_stay_as_they_are(address: Address) {
    let mut database = Database::new(&address).await;
    let directory = tempfile::tempdir().unwrap();
    for (table, sql, _) in GENERATIONS {
        let missing = database.table(table);
        assert!(!missing.is_there().await.unwrap(), "{table}");
        assert!(missing.open_to_read().await.is_err(), "{table}");
        database.run(sql).await;
        assert!(missing.is_there().await.unwrap(), "{table}");
    }
    let before = database.seen().await;
    assert_eq!(before.len(), GENERATIONS.len());
    for (table, _, expected) in GENERATIONS {
        let from = database.table(table).open_to_read().await.unwrap().into_bulk_store();
        let to = format!("sqlite:{}/{table}.db", directory.path().display());
        let to = to.parse::<StoreUrl>().unwrap().open().await.unwrap().into_bulk_store();
        for round in 0..2 {
            let report = Migration::new(&*from, &*to).page_size(1).run().await.unwrap();
            assert!(report.is_complete() && report.renamed.is_empty(), "{table}: {report:?}");
            let moved = if round == 0 { report.moved } else { report.unchanged };
            assert_eq!(moved, expected.len() as u64, "{table}: {report:?}");
            assert_eq!(report.merged.len(), usize::from(table == "v8"), "{table}");
            let stored: Vec<_> = entries(&*to).await.iter().map(columns).collect();
            assert_eq!(stored, *expected, "{table}");
        }
    }
    assert_eq!(database.seen().await, before);
    database.remove().await;
}

async fn there_and_back_through_a_server_nothing_is_lost(address: Address) {
    const TOKENS: usize = 1_500;
    let database = Database::new(&address).await;
    let from = tokenkeep::ListStore::new();
    let all: Vec<_> = (1..=TOKENS)
        .map(|number| {
            let token = tokenkeep::OAuthToken::builder()
                .id((number * 3).to_string())
                .user_name(format!("user{number}@example.com"))
                .refresh_token(format!("test-refresh-{number}"));
            let mut state = tokenkeep::TokenState::default();
            state.org_id = Some(number.to_string());
            Entry::new(token.build().unwrap()).with_state((number % 2 == 0).then_some(state))
        })
        .collect();
    assert!(from.save_entries(&all).await.unwrap().iter().all(Result::is_ok));
    let server = database.table("oauthtoken").open().await.unwrap().into_bulk_store();
    let back = tokenkeep::ListStore::new();
    assert!(Migration::new(&from, &*server).run().await.unwrap().is_complete());
    let server = database.table("oauthtoken").open_to_read().await.unwrap().into_bulk_store();
    assert!(Migration::new(&*server, &back).run().await.unwrap().is_complete());
    assert_eq!(entries(&back).await, entries(&from).await);
    database.remove().await;
}
