//! What the tests of this store have in common: databases of their own on a test server.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![allow(dead_code, reason = "each test program uses some of it")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokenkeep_core::OAuthToken;
use tokenkeep_servers::Address;
use tokenkeep_store_postgres::{PostgresConfig, PostgresStore};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_postgres::{Client, NoTls};

/// A database on a test server, gone when this is dropped.
pub(crate) struct Database {
    address: Address,
    name: String,
    is_ours: bool,
}

impl Database {
    /// A new one.
    pub(crate) async fn new(address: &Address) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        #[expect(clippy::disallowed_methods, reason = "makes a name that no earlier run has")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tokenkeep_{}_{now}_{number}", std::process::id());
        let database = Self { address: address.clone(), name, is_ours: true };
        let server = connect(&format!("{}/postgres", address.url())).await;
        server.batch_execute(&format!("create database {}", database.name)).await.unwrap();
        database
    }

    /// One that is there, and stays.
    pub(crate) fn named(address: &Address, name: &str) -> Self {
        Self { address: address.clone(), name: name.to_owned(), is_ours: false }
    }

    /// By which the store opens it.
    pub(crate) fn url(&self) -> String {
        format!("{}/{}?tls=disable", self.address.url(), self.name)
    }

    /// The same as the administrator.
    pub(crate) fn admin_url(&self) -> String {
        format!("{}/{}", self.address.admin_url(), self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig::from_url(&self.url()).unwrap()
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        self.config().open().await.unwrap()
    }

    /// A connection as the user of tests.
    pub(crate) async fn client(&self) -> Client {
        connect(&format!("{}/{}", self.address.url(), self.name)).await
    }

    /// A connection as the administrator.
    pub(crate) async fn admin(&self) -> Client {
        connect(&self.admin_url()).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let url = format!("{}/postgres", self.address.admin_url());
        let sql = format!("drop database if exists {} with (force)", self.name);
        // A runtime cannot be waited for in another one. The server may be gone.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let connecting = tokio_postgres::connect(&url, NoTls);
                if let Ok(Ok((client, connection))) =
                    tokio::time::timeout(Duration::from_secs(5), connecting).await
                {
                    tokio::spawn(connection);
                    drop(client.batch_execute(&sql).await);
                }
            });
        });
        drop(dropped.join());
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn token(name: &str) -> OAuthToken {
    let token = OAuthToken::builder().user_name(name).client("test-client", "test-client-secret");
    token.refresh_token(format!("test-refresh-{name}")).build().unwrap()
}

/// A port on another loopback address behind which the server is, for as long as the test runs.
pub(crate) async fn forward(host: &str, address: &Address) -> u16 {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = (address.host.clone(), address.port);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect((upstream.0.as_str(), upstream.1)).await.unwrap();
            tokio::spawn(async move {
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    port
}

/// The port of what answers to a request for TLS as a server without it does, and no more.
pub(crate) async fn without_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 8];
            client.read_exact(&mut request).await.unwrap();
            client.write_all(b"N").await.unwrap();
        }
    });
    port
}

/// Waits for a condition, at most half a minute.
#[expect(clippy::future_not_send, reason = "tests run where they are")]
pub(crate) async fn until(holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it never came to hold");
}
