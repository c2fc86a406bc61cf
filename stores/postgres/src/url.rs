//! Reads the URL of a store.

use tokenkeep_connect::Parameters;
use tokenkeep_core::StoreError;
use tokio_postgres::config::Host;

use crate::{
    PostgresConfig,
    config::{Server, invalid},
};

pub(crate) fn parse(text: &str) -> Result<PostgresConfig, StoreError> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
        return Err(invalid("the URL does not begin with postgres://"));
    }
    let login: tokio_postgres::Config = base.parse().map_err(|_may_hold_a_password| {
        invalid("the URL is not one of PostgreSQL")
            .with_hint("write postgres://user@host:port/database?table=oauthtoken")
    })?;
    let mut config = of_login(&login)?;
    let mut parameters = Parameters::parse(query)?;
    for host in parameters.every("host") {
        config = config.another_host(host);
    }
    if config.servers.is_empty() {
        config = config.another_host("localhost");
    }
    if let Some(port) = parameters.number("port")? {
        config = config.port(port);
    }
    if let Some(user) = parameters.text("user")? {
        config = config.user(user);
    }
    if let Some(schema) = parameters.text("schema")? {
        config = config.schema(schema);
    }
    if let Some(table) = parameters.text("table")? {
        config = config.table(table);
    }
    // As libpq calls them, too.
    for name in ["tls", "sslmode"] {
        if let Some(tls) = parameters.text(name)? {
            config = config.tls(tls.parse()?);
        }
    }
    for name in ["ca", "sslrootcert"] {
        if let Some(ca) = parameters.text(name)? {
            config = config.ca(ca);
        }
    }
    let in_url = login.get_password().map(|password| str::from_utf8(password).map(str::to_owned));
    let in_url =
        in_url.transpose().map_err(|_not_text| invalid("the password is not UTF-8 text"))?;
    config.password = parameters.password(in_url)?;
    config.timeout = parameters.seconds("timeout")?.unwrap_or(config.timeout);
    let connect_timeout = parameters.seconds("connect-timeout")?;
    config.connect_timeout = connect_timeout.unwrap_or(config.connect_timeout);
    config.writers = parameters.number("writers")?.unwrap_or(config.writers);
    parameters.finish()?;
    Ok(config)
}

/// What stands before the parameters.
fn of_login(parsed: &tokio_postgres::Config) -> Result<PostgresConfig, StoreError> {
    let mut login = tokio_postgres::Config::new();
    if let Some(user) = parsed.get_user() {
        login.user(user);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret as _;
    use tokenkeep_connect::Tls;

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
        let password = config.password.as_ref().unwrap().read().unwrap();
        assert_eq!(password.expose_secret(), "test/password");
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
            "postgres://tk:test-password@host/db?password=test-password",
            "postgres://tk:test-password@host/db?password-file=/nowhere",
            "postgres://tk:test-password@host/db?password-env=TOKENKEEP_TEST_NOT_SET",
            "postgres://tk:test-password@host/db?table=%ff",
        ] {
            let error = PostgresConfig::from_url(text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("test-password"), "{shown}");
        }
    }
}
