//! Stores, tokens and administrators of the tests.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, aio::MultiplexedConnection};
use tokenkeep_core::{OAuthToken, StoreError, TokenQuery};
use tokenkeep_servers::Address;
use tokenkeep_store_redis::{RedisConfig, RedisStore};

/// A prefix that nobody else has.
pub(crate) fn prefix() -> String {
    format!("test-{:016x}", getrandom::u64().unwrap())
}

/// A store on `node`, under `prefix`.
pub(crate) fn config(node: &Address, prefix: &str) -> RedisConfig {
    RedisConfig::new(&node.host)
        .port(node.port)
        .user(&node.user)
        .password(&node.password)
        .prefix(prefix)
}

pub(crate) async fn store(node: &Address) -> RedisStore {
    config(node, &prefix()).open().await.unwrap()
}

pub(crate) fn token(name: &str, access: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(name)
        .client("test-client", "test-client-secret")
        .refresh_token(format!("test-refresh-{name}"))
        .access_token(format!("test-access-{name}-{access}"))
        .build()
        .unwrap()
}

pub(crate) fn user(name: &str) -> TokenQuery {
    TokenQuery::user(name).unwrap()
}

/// Someone who may do everything on a node.
pub(crate) struct Admin(MultiplexedConnection);

impl Admin {
    pub(crate) async fn of(node: &Address) -> Self {
        let client = redis::Client::open(node.admin_url()).unwrap();
        Self(client.get_multiplexed_async_connection().await.unwrap())
    }

    /// The answer to a command, word by word.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.unwrap()
    }

    pub(crate) async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, String> {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.0.clone()).await.map_err(|error| error.to_string())
    }
}

/// That neither the error nor what is underneath shows a secret.
#[track_caller]
pub(crate) fn shows_no_secret(error: &StoreError) {
    let mut shown = format!("{error} {error:?} {error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        shown.push_str(&format!("{inner} {inner:?}"));
        source = inner.source();
    }
    for secret in
        ["test-refresh", "test-access", "test-client", "test-password", "alice", "://tokenkeep"]
    {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// Waits until `is_so`, for at most a minute.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "not within a minute: {what}");
}
