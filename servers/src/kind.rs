use std::{fmt, str::FromStr};

use crate::{mariadb, moto, postgres, redis, rusty_vault, secret_service};

/// What kind of server, or of several that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One MariaDB server.
    MariaDb,
    /// Three MariaDB servers with Galera: all take writes. One that is killed comes back as long
    /// as another runs.
    Galera,
    /// One PostgreSQL server.
    Postgres,
    /// A PostgreSQL primary and its replica.
    PostgresPair,
    /// One Redis server.
    Redis,
    /// Six Redis servers, three masters first and then a replica of each.
    RedisCluster,
    /// A Redis master, its replica, and three sentinels, which know the master by the name
    /// `tokenkeep` and take no password.
    RedisSentinel,
    /// moto, which stands in for AWS. It takes any keys.
    Moto,
    /// gnome-keyring on a message bus of its own, with the keyring `login` open.
    SecretService,
    /// RustyVault, which speaks as Vault does and has KV of version 1 only. A test starts its own,
    /// for it may seal it.
    RustyVault,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::MariaDb,
        Self::Galera,
        Self::Postgres,
        Self::PostgresPair,
        Self::Redis,
        Self::RedisCluster,
        Self::RedisSentinel,
        Self::Moto,
        Self::SecretService,
        Self::RustyVault,
    ];

    /// As it is called on the command line: `mariadb`, `postgres-pair`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::Galera => "galera",
            Self::Postgres => "postgres",
            Self::PostgresPair => "postgres-pair",
            Self::Redis => "redis",
            Self::RedisCluster => "redis-cluster",
            Self::RedisSentinel => "redis-sentinel",
            Self::Moto => "moto",
            Self::SecretService => "secret-service",
            Self::RustyVault => "rusty-vault",
        }
    }

    /// The environment variable that says where the shared one is.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::MariaDb => "TOKENKEEP_TEST_MARIADB",
            Self::Galera => "TOKENKEEP_TEST_GALERA",
            Self::Postgres => "TOKENKEEP_TEST_POSTGRES",
            Self::PostgresPair => "TOKENKEEP_TEST_POSTGRES_PAIR",
            Self::Redis => "TOKENKEEP_TEST_REDIS",
            Self::RedisCluster => "TOKENKEEP_TEST_REDIS_CLUSTER",
            Self::RedisSentinel => "TOKENKEEP_TEST_REDIS_SENTINEL",
            Self::Moto => "TOKENKEEP_TEST_MOTO",
            Self::SecretService => "TOKENKEEP_TEST_SECRET_SERVICE",
            Self::RustyVault => "TOKENKEEP_TEST_RUSTY_VAULT",
        }
    }

    /// Whether tests share it. The others have nodes to be killed, and a test starts its own.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(
            self,
            Self::MariaDb
                | Self::Postgres
                | Self::Redis
                | Self::RedisCluster
                | Self::Moto
                | Self::SecretService
        )
    }

    /// The programs and libraries that it takes, each with its Debian package; those that tests
    /// use on it, too.
    pub(crate) const fn needs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MariaDb => mariadb::NEEDS,
            Self::Galera => mariadb::GALERA_NEEDS,
            Self::Postgres => postgres::NEEDS,
            Self::PostgresPair => postgres::PAIR_NEEDS,
            Self::Redis | Self::RedisCluster | Self::RedisSentinel => redis::NEEDS,
            Self::Moto => moto::NEEDS,
            Self::SecretService => secret_service::NEEDS,
            Self::RustyVault => rusty_vault::NEEDS,
        }
    }

    /// The scheme of its URLs.
    pub(crate) const fn scheme(self) -> &'static str {
        match self {
            Self::MariaDb | Self::Galera => "mysql",
            Self::Postgres | Self::PostgresPair => "postgres",
            Self::Redis | Self::RedisCluster | Self::RedisSentinel => "redis",
            Self::Moto | Self::RustyVault => "http",
            Self::SecretService => "unix",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no server {name:?}; there are {known}")
        })
    }
}
