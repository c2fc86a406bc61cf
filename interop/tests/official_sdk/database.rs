//! A database of its own for each test, on the server that all share.

use std::{
    hash::{BuildHasher, RandomState},
    thread,
};

use mysql_async::{Conn, Opts, OptsBuilder, prelude::Queryable};
use serde_json::{Value, json};
use tokenkeep_servers::{Address, Kind, shared};

/// An empty database, removed with all it holds when this is dropped.
#[derive(Debug)]
pub(crate) struct Database {
    address: Address,
    name: String,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let address = shared(Kind::MariaDb).unwrap().remove(0);
        let unique = RandomState::new().hash_one(std::process::id());
        let database = Self { address, name: format!("test_{unique:016x}") };
        let mut conn = Conn::new(opts(&database.address, None)).await.unwrap();
        conn.query_drop(format!("create database {}", database.name)).await.unwrap();
        conn.disconnect().await.unwrap();
        database
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.address.url(), self.name)
    }

    /// What a `DBStore` is made with.
    pub(crate) fn location(&self) -> Value {
        let Address { host, port, user, password, .. } = &self.address;
        let database = &self.name;
        json!({
            "host": host, "port": port, "database": database, "user": user, "password": password,
        })
    }

    /// Runs a statement.
    pub(crate) async fn run(&self, sql: &str) {
        let mut conn = Conn::new(opts(&self.address, Some(&self.name))).await.unwrap();
        conn.query_drop(sql).await.unwrap();
        conn.disconnect().await.unwrap();
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
        // A thread of its own, which needs no runtime that this may be dropped on.
        let removing = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut conn = Conn::new(opts(&address, None)).await?;
                conn.query_drop(format!("drop database {name}")).await?;
                conn.disconnect().await
            })
        });
        let removed = removing.join();
        // A test that fails for another reason says that one.
        let is_removed = matches!(removed, Ok(Ok(()))) || thread::panicking();
        assert!(is_removed, "{} is still there: {removed:?}", self.name);
    }
}
