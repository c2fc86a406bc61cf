//! Reads the URL of a store.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokenkeep_core::StoreError;
use tokio_postgres::config::Host;

use crate::{
    PostgresConfig,
    config::{Server, Tls, invalid},
};

pub(crate) fn parse(text: &str) -> Result<PostgresConfig, StoreError> {
    let (base, parameters) = text.split_once('?').unwrap_or((text, ""));
    if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
        return Err(invalid("the URL does not begin with postgres://"));
    }
    let login: tokio_postgres::Config = base.parse().map_err(|_may_hold_a_password| {
        invalid("the URL is not one of PostgreSQL")
            .with_hint("write postgres://user@host:port/database?table=oauthtoken")
    })?;
    let mut config = of_login(&login)?;
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_not_text| invalid("a parameter of the URL is not UTF-8 text"))?;
        config = match name {
            "host" => config.another_host(value),
            "port" => config.port(number(name, &value)?),
            "user" => config.user(value),
            "schema" => config.schema(value),
            "table" => config.table(value),
            "tls" | "sslmode" => config.tls(value.parse::<Tls>()?),
            "ca" | "sslrootcert" => config.ca(value.as_ref()),
            "password-env" => {
                let password = variable(&value)?;
                config.password(password)
            }
            "password-file" => config.password_file(value.as_ref()),
            "timeout" => config.timeout(Duration::from_secs(number(name, &value)?)),
            "connect-timeout" => config.connect_timeout(Duration::from_secs(number(name, &value)?)),
            "writers" => config.writers(number(name, &value)?),
            _ => {
                return Err(invalid("the URL has a parameter that is not known").with_hint(
                    "known are schema, table, tls, ca, password-env, password-file, timeout, \
                     connect-timeout, writers, host, port and user",
                ));
            }
        };
    }
    if config.servers.is_empty() {
        config = config.another_host("localhost");
    }
    Ok(config)
}

/// What stands before the parameters.
fn of_login(parsed: &tokio_postgres::Config) -> Result<PostgresConfig, StoreError> {
    let mut login = tokio_postgres::Config::new();
    if let Some(user) = parsed.get_user() {
        login.user(user);
    }
    if let Some(password) = parsed.get_password() {
        login.password(password);
    }
    if let Some(database) = parsed.get_dbname() {
        login.dbname(database);
    }
    let mut servers = Vec::new();
    for (at, host) in parsed.get_hosts().iter().enumerate() {
        let host = match host {
            Host::Tcp(name) => name.as_str(),
            #[cfg(unix)]
            Host::Unix(directory) => directory
                .to_str()
                .ok_or_else(|| invalid("the directory in the URL is not UTF-8 text"))?,
        };
        let mut server = Server::new(host);
        if let Some(port) = parsed.get_ports().get(at) {
            server.port = *port;
        }
        servers.push(server);
    }
    Ok(PostgresConfig::at(servers, login))
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_no_number| invalid(format!("{name} in the URL is not a whole number")))
}

fn variable(name: &str) -> Result<String, StoreError> {
    #[expect(clippy::disallowed_methods, reason = "this is the configuration, and says which")]
    std::env::var(name).map_err(|_why_not| {
        invalid("the environment variable that password-env names is not set")
            .with_hint("set it, or use password-file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_it_all() {
        let config = parse(
            "postgres://tokens:test%2Fpassword@a.example:5433,b.example:5434/zoho?schema=crm&\
             table=oauth&tls=verify-identity&ca=%2Fetc%2Fca.pem&timeout=7&writers=2",
        )
        .unwrap();
        let places: Vec<_> = config.servers.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["a.example:5433", "b.example:5434"]);
        assert_eq!(config.login.get_user(), Some("tokens"));
        assert_eq!(config.login.get_password(), Some(&b"test/password"[..]));
        assert_eq!(config.login.get_dbname(), Some("zoho"));
        assert_eq!((config.schema.as_deref(), config.table.as_str()), (Some("crm"), "oauth"));
        assert_eq!(config.tls, Tls::VerifyIdentity);
        assert_eq!(config.ca.as_deref(), Some("/etc/ca.pem".as_ref()));
        assert_eq!((config.timeout, config.writers), (Duration::from_secs(7), 2));
        let shown = format!("{config:?}");
        assert!(!shown.contains("test/password") && !shown.contains("tokens"), "{shown}");
    }

    #[test]
    fn a_directory_is_a_socket() {
        for text in [
            "postgresql://tk@%2Frun%2Fpostgresql:5433/db",
            "postgres://tk@/db?host=/run/postgresql&port=5433",
        ] {
            let config = parse(text).unwrap();
            assert_eq!(config.servers.len(), 1);
            assert_eq!(config.servers[0].to_string(), "/run/postgresql/.s.PGSQL.5433");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_url() {
        for text in [
            "mysql://tk:test-password@host/db",
            "postgres://tk:test-password@host:port/db",
            "postgres://tk:test-password@host/db?tls=maybe",
            "postgres://tk:test-password@host/db?timeout=soon",
            "postgres://tk:test-password@host/db?test-password=1",
            "postgres://tk:test-password@host/db?password-env=TOKENKEEP_TEST_NOT_SET",
            "postgres://tk:test-password@host/db?table=%ff",
        ] {
            let error = PostgresConfig::from_url(text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("test-password"), "{shown}");
        }
    }
}
