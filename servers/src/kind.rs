use std::{fmt, str::FromStr};

/// What kind of server, or of several that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One MariaDB server.
    MariaDb,
    /// One PostgreSQL server.
    Postgres,
    /// One Redis server.
    Redis,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MariaDb, Self::Postgres, Self::Redis];

    /// As it is called on the command line: `mariadb`, `postgres`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// The environment variable that says where the shared one is.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::MariaDb => "TOKENKEEP_TEST_MARIADB",
            Self::Postgres => "TOKENKEEP_TEST_POSTGRES",
            Self::Redis => "TOKENKEEP_TEST_REDIS",
        }
    }

    /// The scheme of its URLs.
    pub(crate) const fn scheme(self) -> &'static str {
        match self {
            Self::MariaDb => "mysql",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
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
