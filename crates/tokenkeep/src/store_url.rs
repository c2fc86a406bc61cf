//! [`StoreUrl`]: which store, as one line of text.

use std::{fmt, path::PathBuf, str::FromStr};

use tokenkeep_core::{StoreError, StoreErrorKind};

use crate::ServerUrl;

/// Which store, as one line of text.
///
/// | URL | store |
/// |---|---|
/// | `sqlite:PATH` | a SQLite database; made if it is not there |
/// | `sqlite::memory:` | a SQLite database in memory; gone with the process |
/// | `file:PATH` | the official SDKs' token file; made if it is not there |
/// | `file:PATH?dialect=quoted` | the same, with values quoted that not every SDK can read |
/// | `mysql://USER@HOST:PORT/DATABASE` | a MySQL or MariaDB database; feature `mysql` |
/// | `postgres://USER@HOST:PORT/DATABASE` | a PostgreSQL database; feature `postgres` |
/// | `redis://HOST:PORT/NUMBER`, `rediss://…` | a Redis server or cluster; feature `redis` |
/// | `dynamodb:TABLE?region=…` | a table of DynamoDB; feature `aws` |
/// | `aws-secretsmanager:NAME?region=…` | AWS Secrets Manager; feature `aws` |
/// | `vault+https://HOST:PORT/MOUNT/PATH` | Vault or OpenBao; feature `vault` |
/// | `keyring:SERVICE` | the keyring of the person who runs the program; feature `keyring` |
/// | `list:` | a list in memory; gone with the process |
///
/// What the others may say is in the documentation of each store's `from_url`; what it does not know
/// is refused. A password never has to stand in a URL: `?password-env=VAR` or `?password-file=PATH`
/// say where it is. Vault's token comes from `VAULT_TOKEN` unless `?token-env` or `?token-file` say
/// otherwise, AWS' credentials from where AWS' own programs find them.
///
/// For `sqlite:` and `file:`, what stands between the colon and a `?` is the path as it is, without
/// any escaping; a relative one is relative to the directory of the process when the store is
/// opened. A path with a `?` in it cannot be written as a URL: open that store by its own type.
///
/// ```
/// use tokenkeep::StoreUrl;
///
/// let url: StoreUrl = "sqlite:/var/lib/app/tokens.db".parse()?;
/// assert_eq!(url.scheme(), "sqlite");
/// assert!("ftp:somewhere".parse::<StoreUrl>().is_err());
/// # Ok::<(), tokenkeep::StoreUrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// `list:`
    List,
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `sqlite::memory:`
    SqliteMemory,
    /// `file:PATH`
    File {
        /// The token file.
        path: PathBuf,
        /// How its values are written.
        dialect: FileDialect,
    },
    /// `mysql://…` and `mariadb://…`
    Mysql(ServerUrl),
    /// `postgres://…` and `postgresql://…`
    Postgres(ServerUrl),
    /// `redis://…` and `rediss://…`
    Redis(ServerUrl),
    /// `dynamodb:TABLE` and `aws-dynamodb:TABLE`
    DynamoDb(ServerUrl),
    /// `aws-secretsmanager:NAME`
    SecretsManager(ServerUrl),
    /// `vault+https://…`, and `vault+http://…` on this machine
    Vault(ServerUrl),
    /// `keyring:SERVICE`
    Keyring(ServerUrl),
}

/// How a token file's values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileDialect {
    /// So that every official SDK can read it: a value that would need quoting is refused.
    #[default]
    Shared,
    /// Values are quoted where needed, which the Node, TypeScript and C# SDKs cannot read.
    Quoted,
}

const KNOWN: &str = "sqlite:PATH, sqlite::memory:, file:PATH, mysql://…, postgres://…, redis://…, \
                     rediss://…, dynamodb:TABLE, aws-secretsmanager:NAME, vault+https://…, \
                     keyring:SERVICE and list:";

impl StoreUrl {
    /// What stands before the colon; `vault` for both of Vault's.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Sqlite(_) | Self::SqliteMemory => "sqlite",
            Self::File { .. } => "file",
            Self::Mysql(_) => "mysql",
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
            Self::DynamoDb(_) => "dynamodb",
            Self::SecretsManager(_) => "aws-secretsmanager",
            Self::Vault(_) => "vault",
            Self::Keyring(_) => "keyring",
        }
    }

    /// The feature of this crate that the store needs; `None` if it is always there.
    #[must_use]
    pub fn feature(&self) -> Option<&'static str> {
        match self {
            Self::List => None,
            Self::DynamoDb(_) | Self::SecretsManager(_) => Some("aws"),
            Self::Sqlite(_)
            | Self::SqliteMemory
            | Self::File { .. }
            | Self::Mysql(_)
            | Self::Postgres(_)
            | Self::Redis(_)
            | Self::Vault(_)
            | Self::Keyring(_) => Some(self.scheme()),
        }
    }

    /// Whether what is stored ends with the process.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        match self {
            Self::List | Self::SqliteMemory => true,
            Self::Sqlite(_)
            | Self::File { .. }
            | Self::Mysql(_)
            | Self::Postgres(_)
            | Self::Redis(_)
            | Self::DynamoDb(_)
            | Self::SecretsManager(_)
            | Self::Vault(_)
            | Self::Keyring(_) => false,
        }
    }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        let (scheme, rest) = split_scheme(text)?;
        if let Some(server) = Self::of_server(&scheme, rest) {
            return server;
        }
        let (location, options) = match rest.split_once('?') {
            Some((location, options)) => (location, Some(options)),
            None => (rest, None),
        };
        let url = match scheme.as_str() {
            "list" if location.is_empty() => Self::List,
            "list" => {
                return Err(StoreUrlError::new("`list:` takes nothing after the colon")
                    .hint("it is a list in memory; for one that lasts use sqlite:PATH"));
            }
            "sqlite" if location == ":memory:" => Self::SqliteMemory,
            "sqlite" => Self::Sqlite(path("sqlite", location)?),
            "file" => Self::File { path: path("file", location)?, dialect: FileDialect::default() },
            unknown => {
                return Err(StoreUrlError::new(format!("there is no store `{unknown}:`"))
                    .hint(format!("this version has {KNOWN}")));
            }
        };
        options.into_iter().flat_map(|options| options.split('&')).try_fold(url, Self::with_option)
    }
}

impl StoreUrl {
    /// The store that reads its URL itself, and that these parts of one name; `None` if it is
    /// another one.
    fn of_server(scheme: &str, rest: &str) -> Option<Result<Self, StoreUrlError>> {
        let of: fn(ServerUrl) -> Self = match scheme {
            "mysql" | "mariadb" => Self::Mysql,
            "postgres" | "postgresql" => Self::Postgres,
            "redis" | "rediss" => Self::Redis,
            "dynamodb" | "aws-dynamodb" => Self::DynamoDb,
            "aws-secretsmanager" => Self::SecretsManager,
            "vault+https" | "vault+http" => Self::Vault,
            "keyring" => Self::Keyring,
            _ => return None,
        };
        let url = of(ServerUrl::new(format!("{scheme}:{rest}")));
        Some(url.check_server().map(|()| url).map_err(|error| {
            let hint = error.hint().unwrap_or("see the documentation of the store's URL");
            StoreUrlError::new(error.to_string()).hint(hint)
        }))
    }

    fn with_option(self, option: &str) -> Result<Self, StoreUrlError> {
        match (self, option.split_once('=')) {
            (Self::File { path, .. }, Some(("dialect", "quoted"))) => {
                Ok(Self::File { path, dialect: FileDialect::Quoted })
            }
            (Self::File { path, .. }, Some(("dialect", "shared"))) => {
                Ok(Self::File { path, dialect: FileDialect::Shared })
            }
            (Self::File { .. }, _) => {
                Err(StoreUrlError::new("`file:` does not know this option after the `?`")
                    .hint("it has dialect=shared and dialect=quoted"))
            }
            (url, _) => {
                Err(StoreUrlError::new(format!("`{}:` has no options after a `?`", url.scheme()))
                    .hint("leave out what begins with the `?`"))
            }
        }
    }
}

/// Writes the URL that reads as this store, but for a password in it, which is masked.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => f.write_str("list:"),
            Self::SqliteMemory => f.write_str("sqlite::memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::File { path, dialect: FileDialect::Shared } => {
                write!(f, "file:{}", path.display())
            }
            Self::File { path, dialect: FileDialect::Quoted } => {
                write!(f, "file:{}?dialect=quoted", path.display())
            }
            Self::Mysql(url)
            | Self::Postgres(url)
            | Self::Redis(url)
            | Self::DynamoDb(url)
            | Self::SecretsManager(url)
            | Self::Vault(url)
            | Self::Keyring(url) => url.fmt(f),
        }
    }
}

/// The scheme in lower case, and what follows the colon. A drive letter is no scheme.
fn split_scheme(text: &str) -> Result<(String, &str), StoreUrlError> {
    let is_scheme = |scheme: &str| {
        scheme.len() > 1
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => Ok((scheme.to_ascii_lowercase(), rest)),
        Some(_) | None => Err(StoreUrlError::new("the store URL does not begin with a store")
            .hint(format!("write one of {KNOWN}"))),
    }
}

fn path(scheme: &str, location: &str) -> Result<PathBuf, StoreUrlError> {
    let problem = if location.is_empty() {
        "needs a path"
    } else if location.contains('\0') {
        "cannot have a NUL in its path"
    } else if location == "~" || location.starts_with("~/") {
        "does not know what `~` stands for"
    } else if location.starts_with("//") && !location.starts_with("///") {
        "takes a path, not a host"
    } else {
        return Ok(PathBuf::from(location));
    };
    Err(StoreUrlError::new(format!("`{scheme}:` {problem}"))
        .hint(format!("write {scheme}:/an/absolute/path or {scheme}:a/relative/one")))
}

/// A store URL that is none.
///
/// It names the scheme and never what follows it, for that may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct StoreUrlError {
    problem: String,
    hint: String,
}

impl StoreUrlError {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: String::new() }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// What to write in its place.
    #[must_use]
    pub fn way_out(&self) -> &str {
        &self.hint
    }
}

impl From<StoreUrlError> for StoreError {
    fn from(error: StoreUrlError) -> Self {
        Self::new(StoreErrorKind::Invalid, error.problem).with_hint(error.hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> StoreUrlError {
        text.parse::<StoreUrl>().expect_err(text)
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in [
            "list:",
            "sqlite::memory:",
            "sqlite:tokens.db",
            "sqlite:/a b/c%20d.db",
            "file:/var/lib/sdk_tokens.txt",
            "file:tokens.csv?dialect=quoted",
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
        }
        assert_eq!("SQLite:x".parse(), Ok(StoreUrl::Sqlite("x".into())));
        assert_eq!("file:x?dialect=shared".parse::<StoreUrl>().unwrap(), "file:x".parse().unwrap());
    }

    #[test]
    fn an_unknown_store_lists_the_known_ones_and_shows_only_its_scheme() {
        let error = error("mongo://u:test-password@h");
        assert_eq!(error.to_string(), "there is no store `mongo:`");
        assert_eq!(
            error.way_out(),
            "this version has sqlite:PATH, sqlite::memory:, file:PATH, mysql://…, postgres://…, \
             redis://…, rediss://…, dynamodb:TABLE, aws-secretsmanager:NAME, vault+https://…, \
             keyring:SERVICE and list:"
        );
        assert!(!format!("{error:?}").contains("test-password"));
    }

    #[test]
    fn a_servers_url_is_kept_and_its_password_not_shown() {
        for (text, scheme) in [
            ("mysql://app:test-password@db/zoho?table=tokens", "mysql"),
            ("mariadb://app:test-password@db/zoho", "mysql"),
            ("postgres://app:test-password@db/zoho", "postgres"),
            ("PostgreSQL://app:test-password@db/zoho", "postgres"),
            ("redis://:test-password@db:6379/1", "redis"),
            ("rediss://:test-password@db?cluster=true", "redis"),
            ("dynamodb:tokens?region=eu-central-1", "dynamodb"),
            ("aws-dynamodb:tokens?profile=p", "dynamodb"),
            ("aws-secretsmanager:prod/tokens?region=eu-central-1", "aws-secretsmanager"),
            ("vault+https://vault.example.com:8200/kv/tokens?token-file=/x", "vault"),
            ("vault+http://127.0.0.1:8200/kv/tokens?token-env=PATH", "vault"),
            ("keyring:my-program", "keyring"),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!((url.scheme(), url.is_in_memory()), (scheme, false));
            assert!(!format!("{url} {url:?}").contains("test-password"), "{url:?}");
            let (StoreUrl::Mysql(kept)
            | StoreUrl::Postgres(kept)
            | StoreUrl::Redis(kept)
            | StoreUrl::DynamoDb(kept)
            | StoreUrl::SecretsManager(kept)
            | StoreUrl::Vault(kept)
            | StoreUrl::Keyring(kept)) = &url
            else {
                panic!("{url}")
            };
            assert!(kept.expose_url().ends_with(text.split_once(':').unwrap().1));
        }
    }

    #[test]
    fn a_url_that_its_store_does_not_read_is_refused_without_its_text() {
        for (text, is_built) in [
            ("mysql://u:test-password@h/d?tls=test-password", cfg!(feature = "mysql")),
            ("postgres://u:test-password@h/d?test-password=1", cfg!(feature = "postgres")),
            ("redis://:test-password@h/test-password", cfg!(feature = "redis")),
            ("dynamodb:t?secret_access_key=test-password", cfg!(feature = "aws")),
            ("aws-secretsmanager:t?test-password", cfg!(feature = "aws")),
            ("vault+https://h/kv/t?token=test-password", cfg!(feature = "vault")),
            ("vault+http://test-password.example.com/kv/t", cfg!(feature = "vault")),
            ("keyring:x?password=test-password", cfg!(feature = "keyring")),
        ] {
            // Where the store is left out, nobody reads its URL; opening it says that.
            let Err(error) = text.parse::<StoreUrl>() else {
                assert!(!is_built, "{text}");
                continue;
            };
            assert!(is_built && !error.way_out().is_empty(), "{text}");
            assert!(!format!("{error} {error:?}").contains("test-password"), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_way_out() {
        for text in [
            "",
            "tokens.db",
            "C:\\tokens.db",
            ":x",
            "sqlite:",
            "file:",
            "list:x",
            "sqlite:~/x.db",
            "sqlite://tokens.db",
            "sqlite:x?mode=ro",
            "file:x?dialect=odd",
            "file:x?",
            "file:a\0b",
        ] {
            assert!(!error(text).way_out().is_empty(), "{text:?}");
        }
    }
}
