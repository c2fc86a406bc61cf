//! The store of a fleet: where each process finds it.

use std::{sync::Arc, time::Duration};

use mysql_async::prelude::Queryable;
use serde::{Deserialize, Serialize};
use tokenkeep_core::{Clock, TokenStore};
use tokenkeep_servers::{Address, Kind, Server};
use tokenkeep_store_mysql::MysqlConfig;
use tokenkeep_store_postgres::PostgresConfig;
use tokenkeep_store_redis::RedisConfig;

/// What a fleet's database, or prefix, is called.
const NAME: &str = "test_fleet";

/// How long one operation of a store may take.
const LIMIT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);

/// What the store is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Engine {
    Galera,
    PostgresPair,
    RedisCluster,
}

impl Engine {
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Galera => Kind::Galera,
            Self::PostgresPair => Kind::PostgresPair,
            Self::RedisCluster => Kind::RedisCluster,
        }
    }
}

/// Where a process finds the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    engine: Engine,
    /// The nodes it knows, the one to go to first.
    nodes: Vec<(String, u16)>,
    user: String,
    password: String,
}

impl Place {
    /// As the process of this number finds it. On Galera each process has one node.
    pub(crate) fn of(engine: Engine, nodes: &[Address], number: usize) -> Self {
        let Address { user, password, .. } = nodes[0].clone();
        let address = |node: &Address| (node.host.clone(), node.port);
        let nodes = match engine {
            Engine::Galera => vec![address(&nodes[number % nodes.len()])],
            Engine::PostgresPair | Engine::RedisCluster => nodes.iter().map(address).collect(),
        };
        Self { engine, nodes, user, password }
    }

    pub(crate) async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn TokenStore> {
        let Self { engine, nodes, user, password } = self;
        let ((host, port), others) = nodes.split_first().unwrap();
        match engine {
            Engine::Galera => {
                let config = MysqlConfig::new().host(host).port(*port).database(NAME);
                let config = config.user(user).password(password).timeout(LIMIT);
                Arc::new(config.connect_timeout(CONNECT).clock(clock).open().await.unwrap())
            }
            Engine::PostgresPair => {
                let mut config = PostgresConfig::new(host, NAME).port(*port);
                for (host, port) in others {
                    config = config.another_host(host).port(*port);
                }
                let config = config.user(user).password(password).timeout(LIMIT);
                Arc::new(config.connect_timeout(CONNECT).clock(clock).open().await.unwrap())
            }
            Engine::RedisCluster => Arc::new(self.redis().clock(clock).open().await.unwrap()),
        }
    }

    fn redis(&self) -> RedisConfig {
        let ((host, port), others) = self.nodes.split_first().unwrap();
        let mut config = RedisConfig::cluster(host).port(*port);
        for (host, port) in others {
            config = config.another_host(host).port(*port);
        }
        let config = config.user(&self.user).password(&self.password).prefix(NAME).timeout(LIMIT);
        // What is acknowledged is on two servers.
        config.wait_replicas(1, Duration::from_millis(500))
    }
}

/// Who is killed next: each node of Galera in turn; of PostgreSQL the primary, and then the one
/// that was promoted; of a cluster of Redis the master that has the store's keys.
pub(crate) fn victim(engine: Engine, server: &Server, number: usize) -> usize {
    match engine {
        Engine::Galera => number % server.nodes().len(),
        Engine::PostgresPair => number.min(1),
        Engine::RedisCluster => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let primary = runtime.block_on(async {
                let store = Place::of(engine, server.nodes(), 0).redis().open().await.unwrap();
                store.inspect().await.unwrap().primary
            });
            let is_it = |node: &Address| primary == format!("{}:{}", node.host, node.port);
            server.nodes().iter().position(is_it).unwrap()
        }
    }
}

/// Makes the database, where there are such, and lets what is acknowledged be on two servers.
pub(crate) async fn prepare(engine: Engine, address: &Address) {
    match engine {
        Engine::Galera => {
            let opts = mysql_async::OptsBuilder::default()
                .ip_or_hostname(&address.host)
                .tcp_port(address.port)
                .user(Some(&address.user))
                .pass(Some(&address.password))
                .prefer_socket(false);
            let mut conn = mysql_async::Conn::new(opts).await.unwrap();
            conn.query_drop(format!("create database {NAME}")).await.unwrap();
            conn.disconnect().await.unwrap();
        }
        Engine::PostgresPair => {
            let url = format!("{}/postgres", address.admin_url());
            let (client, connection) =
                tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            for sql in [
                &*format!("create database {NAME} owner {}", address.user),
                "alter system set synchronous_standby_names = '*'",
                "select pg_reload_conf()",
            ] {
                client.batch_execute(sql).await.unwrap();
            }
            let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'";
            let waited = tokio::time::timeout(Duration::from_secs(30), async {
                while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            waited.await.expect("the replica follows");
        }
        Engine::RedisCluster => {}
    }
}
