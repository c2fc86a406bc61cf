//! A database of its own for each test, on the shared server.
#![allow(dead_code, reason = "each test program takes what it needs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::{
    hash::{BuildHasher, RandomState},
    sync::Mutex,
    thread,
};

use mysql_async::{
    Conn, Opts, OptsBuilder, Row,
    prelude::{FromRow, Queryable},
};
use tokenkeep_core::{OAuthToken, StoreError, TokenQuery};
use tokenkeep_servers::Address;
use tokenkeep_store_mysql::{MysqlConfig, MysqlStore};

/// What the SDKs' README creates.
pub(crate) const OFFICIAL: &str = "create table oauthtoken (id varchar(10) NOT NULL, \
     user_name varchar(255), client_id varchar(255), client_secret varchar(255), \
     refresh_token varchar(255), access_token varchar(255), grant_token varchar(255), \
     expiry_time varchar(20), redirect_url varchar(255), api_domain varchar(255), \
     primary key (id))";

/// An empty database, removed with all it holds when this is dropped.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) address: Address,
    pub(crate) name: String,
    users: Mutex<Vec<String>>,
}

impl Database {
    pub(crate) async fn new(address: &Address) -> Self {
        let unique = RandomState::new().hash_one(std::process::id());
        let database = Self {
            address: address.clone(),
            name: format!("test_{unique:016x}"),
            users: Mutex::default(),
        };
        let mut conn = database.connect_to(None).await;
        conn.query_drop(format!("create database {}", database.name)).await.unwrap();
        conn.disconnect().await.unwrap();
        database
    }

    /// How the store opens it.
    pub(crate) fn config(&self) -> MysqlConfig {
        MysqlConfig::new()
            .host(&self.address.host)
            .port(self.address.port)
            .user(&self.address.user)
            .password(&self.address.password)
            .database(&self.name)
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.address.url(), self.name)
    }

    pub(crate) async fn open(&self) -> MysqlStore {
        self.config().open().await.unwrap()
    }

    /// A connection as an SDK would have it.
    pub(crate) async fn connect(&self) -> Conn {
        self.connect_to(Some(&self.name)).await
    }

    async fn connect_to(&self, database: Option<&str>) -> Conn {
        Conn::new(opts(&self.address, database)).await.unwrap()
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: impl AsRef<str>) {
        let mut conn = self.connect().await;
        conn.query_drop(sql.as_ref()).await.unwrap();
        conn.disconnect().await.unwrap();
    }

    /// What a statement selects.
    pub(crate) async fn select<T: FromRow + Send + 'static>(&self, sql: &str) -> Vec<T> {
        let mut conn = self.connect().await;
        let rows = conn.query(sql).await.unwrap();
        conn.disconnect().await.unwrap();
        rows
    }

    /// The rows of the token table, by position, as the SDKs read them.
    pub(crate) async fn rows(&self) -> Vec<Vec<Option<String>>> {
        let rows: Vec<Row> = self.select("select * from oauthtoken order by length(id), id").await;
        let read = |row: Row| {
            (0..row.len()).map(|at| row.get::<Option<String>, _>(at).flatten()).collect()
        };
        rows.into_iter().map(read).collect()
    }
}

fn opts(address: &Address, database: Option<&str>) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(&address.host)
        .tcp_port(address.port)
        .user(Some(&address.user))
        .pass(Some(&address.password))
        .db_name(database)
        .prefer_socket(false)
        .into()
}

impl Drop for Database {
    fn drop(&mut self) {
        let (address, name) = (self.address.clone(), self.name.clone());
        let users = self.users.get_mut().unwrap().split_off(0);
        // A thread of its own, which needs no runtime that this may be dropped on.
        let removing = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut conn = admin(&address).await;
                // What a test left in the middle of a transaction would be waited for.
                let sql = "select id from information_schema.processlist where db = ?";
                for id in conn.exec::<u64, _, _>(sql, (&name,)).await? {
                    // It may have ended by itself.
                    let _ended = conn.query_drop(format!("kill {id}")).await;
                }
                conn.query_drop(format!("drop database if exists {name}")).await?;
                for user in users {
                    conn.query_drop(format!("drop user {user}@'%'")).await?;
                }
                conn.disconnect().await
            })
        });
        match removing.join() {
            Ok(Ok(())) => {}
            failed if !thread::panicking() => panic!("{} is still there: {failed:?}", self.name),
            _ => {}
        }
    }
}

pub(crate) fn token(name: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(name)
        .client("test-client", "test-client-secret")
        .refresh_token(format!("test-refresh-{name}"))
        .access_token(format!("test-access-{name}"))
        .build()
        .unwrap()
}

pub(crate) fn user(name: &str) -> TokenQuery {
    TokenQuery::user(name).unwrap()
}

/// An error in all words it has, with its sources.
pub(crate) fn in_full(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?} {:?}", error.hint());
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    text
}

impl Database {
    /// How somebody opens it who has these rights only.
    pub(crate) async fn reader(&self, rights: &str) -> MysqlConfig {
        let unique = RandomState::new().hash_one(&self.name);
        let (name, password) = (format!("t{unique:x}"), "test-password-of-a-reader");
        let mut conn = self.admin().await;
        for sql in [
            format!("create user {name}@'%' identified by '{password}'"),
            format!("grant {rights} on {}.* to {name}@'%'", self.name),
        ] {
            conn.query_drop(sql).await.unwrap();
        }
        conn.disconnect().await.unwrap();
        self.users.lock().unwrap().push(name.clone());
        self.config().user(name).password(password)
    }

    /// The last of those.
    pub(crate) fn last_user(&self) -> String {
        self.users.lock().unwrap().last().unwrap().clone()
    }

    /// A connection that may do everything.
    pub(crate) async fn admin(&self) -> Conn {
        admin(&self.address).await
    }
}

pub(crate) async fn admin(address: &Address) -> Conn {
    let mut admin = address.clone();
    admin.user.clone_from(&address.admin_user);
    admin.password.clone_from(&address.admin_password);
    Conn::new(opts(&admin, None)).await.unwrap()
}
