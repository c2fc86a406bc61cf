//! Reads the URL of a store.

use std::{str::FromStr, time::Duration};

use tokenkeep_connect::{Parameters, Tls, decoded};
use tokenkeep_core::StoreError;

use crate::{
    RedisConfig,
    config::{Node, Topology},
    error::invalid,
};

const DEFAULT_WAIT: Duration = Duration::from_secs(1);

pub(crate) fn parse(text: &str) -> Result<RedisConfig, StoreError> {
    let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
        (Some(rest), _) => (Tls::Disable, rest),
        (_, Some(rest)) => (Tls::VerifyIdentity, rest),
        (None, None) => return Err(invalid("the URL does not begin with redis:// or rediss://")),
    };
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = base.split_once('/').unwrap_or((base, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let mut parameters = Parameters::parse(query)?;
    let is_cluster = parameters.flag("cluster")?.unwrap_or(false);
    let is_sentinel = parameters.flag("sentinel")?.unwrap_or(false);
    let mut config = match (is_cluster, is_sentinel, parameters.text("master")?) {
        (true, false, None) => RedisConfig::cluster(""),
        (false, true, Some(master)) => RedisConfig::sentinel("", master),
        (false, false, None) => RedisConfig::new(""),
        (true, true, _) => return Err(invalid("a store is on a cluster or behind sentinels")),
        (_, true, None) => {
            return Err(invalid("the URL does not say which primary the sentinels are asked for")
                .with_hint("add &master=NAME"));
        }
        (_, false, Some(_)) => {
            return Err(
                invalid("a master is named, and no sentinels").with_hint("add &sentinel=true")
            );
        }
    };
    config = with_hosts(config, hosts)?.tls(tls);
    if !database.is_empty() {
        config = config.database(number("the database", database)?);
    }
    let (user, password) = login
        .unwrap_or_default()
        .split_once(':')
        .unwrap_or_else(|| (login.unwrap_or_default(), ""));
    if !user.is_empty() {
        config = config.user(decoded(user)?);
    }
    let password = (!password.is_empty()).then(|| decoded(password)).transpose()?;
    config.login.password = parameters.password(password)?;
    with_parameters(config, parameters)
}

fn with_hosts(mut config: RedisConfig, hosts: &str) -> Result<RedisConfig, StoreError> {
    let nodes = hosts.split(',').map(|text| {
        let (host, port) = host_and_port(text)?;
        let host = if host.is_empty() { "localhost".to_owned() } else { host };
        Ok(Node { host, port: port.unwrap_or(config.topology.usual_port()) })
    });
    config.nodes = nodes.collect::<Result<_, StoreError>>()?;
    Ok(config)
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), StoreError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => return Err(invalid("an address in the URL has no end")),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map(|port| number("a port", port)).transpose()?;
    Ok((decoded(host)?, port))
}

fn with_parameters(
    mut config: RedisConfig,
    mut parameters: Parameters,
) -> Result<RedisConfig, StoreError> {
    if let Some(prefix) = parameters.text("prefix")? {
        config = config.prefix(prefix);
    }
    if let Some(tls) = parameters.text("tls")? {
        let tls: Tls = tls.parse()?;
        if config.tls != Tls::Disable && tls == Tls::Disable {
            return Err(
                invalid("rediss:// is TLS, and the URL forbids it").with_hint("write redis://")
            );
        }
        config = config.tls(tls);
    }
    if let Some(ca) = parameters.text("ca")? {
        config = config.ca(ca);
    }
    if let Some(user) = parameters.text("sentinel-user")? {
        config = config.sentinel_user(user);
    }
    config.sentinel_login.password = parameters.secret("sentinel-password")?;
    config.timeout = parameters.seconds("timeout")?.unwrap_or(config.timeout);
    let replicas = parameters.number("wait-replicas")?;
    let wait = parameters.number("wait-timeout")?.map_or(DEFAULT_WAIT, Duration::from_millis);
    if let Some(replicas) = replicas {
        config = config.wait_replicas(replicas, wait);
    }
    config.lifetime = parameters.seconds("expire-after")?;
    parameters.finish()?;
    let asks_sentinels = config.sentinel_login.user.is_some();
    if config.topology == Topology::Single && asks_sentinels {
        return Err(invalid("a user for sentinels is named, and no sentinels"));
    }
    Ok(config)
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_no_number| invalid(format!("{name} in the URL is not a whole number")))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node { host: host.to_owned(), port }
    }

    #[test]
    fn a_url_says_it_all() {
        let config = parse(
            "rediss://tokens:test%2Fpassword@a.example:7000,[::1]:7001,b.example/?cluster=true&\
             prefix=crm&ca=%2Fetc%2Fca.pem&timeout=7&wait-replicas=1&wait-timeout=250&\
             expire-after=60",
        )
        .unwrap();
        assert_eq!(
            config.nodes,
            [node("a.example", 7000), node("::1", 7001), node("b.example", 6379)]
        );
        assert_eq!((&config.topology, config.tls), (&Topology::Cluster, Tls::VerifyIdentity));
        assert_eq!(config.login.user.as_deref(), Some("tokens"));
        let password = config.login.password.as_ref().unwrap().read().unwrap();
        assert_eq!(password.expose_secret(), "test/password");
        assert_eq!(config.ca.as_deref(), Some("/etc/ca.pem".as_ref()));
        assert_eq!((config.prefix.as_str(), config.timeout), ("crm", Duration::from_secs(7)));
        let replicas = config.replicas.unwrap();
        assert_eq!((replicas.number, replicas.timeout), (1, Duration::from_millis(250)));
        assert_eq!(config.lifetime, Some(Duration::from_secs(60)));
        let shown = format!("{config:?}");
        assert!(!shown.contains("test/password") && !shown.contains("tokens"), "{shown}");
    }

    #[test]
    fn sentinels_and_single_servers_have_their_ports() {
        let config = parse("redis://a,b/3?sentinel=true&master=mymaster").unwrap();
        assert_eq!(config.nodes, [node("a", 26_379), node("b", 26_379)]);
        assert_eq!(config.topology, Topology::Sentinel("mymaster".to_owned()));
        assert_eq!(config.database, 3);
        let config = parse("redis://").unwrap();
        assert_eq!(config.nodes, [node("localhost", 6_379)]);
        assert_eq!((config.topology, config.tls), (Topology::Single, Tls::Disable));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_url() {
        for text in [
            "mysql://tk:test-password@host/0",
            "redis://tk:test-password@host:port/0",
            "redis://tk:test-password@[::1/0",
            "redis://tk:test-password@host/zero",
            "redis://tk:test-password@host/0?tls=maybe",
            "rediss://tk:test-password@host/0?tls=disable",
            "redis://tk:test-password@host/0?cluster=perhaps",
            "redis://tk:test-password@host/0?cluster=true&sentinel=true&master=m",
            "redis://tk:test-password@host/0?sentinel=true",
            "redis://tk:test-password@host/0?master=m",
            "redis://tk:test-password@host/0?timeout=soon",
            "redis://tk:test-password@host/0?test-password=1",
            "redis://tk:test-password@host/0?password-file=/nowhere",
            "redis://host/0?password=test-password",
            "redis://host/0?sentinel=true&master=m&sentinel-password=test-password",
            "redis://tk:test-password@host/0?password-env=TOKENKEEP_TEST_NOT_SET",
            "redis://tk:test-password@host/0?prefix=%ff",
        ] {
            let error = RedisConfig::from_url(text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("test-password"), "{shown}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_before_anything_is_asked() {
        for text in [
            "redis://a,b",
            "redis://a/1?cluster=true",
            "redis://a?prefix=",
            "redis://a?prefix={x}",
            "redis://a?timeout=0",
            "redis://a?expire-after=0",
            "redis://a?wait-replicas=1&wait-timeout=0",
            "redis://tokens@a",
            "redis://a?ca=/etc/ca.pem",
            "redis://a?tls=prefer",
        ] {
            let error = RedisConfig::from_url(text).unwrap().open().await.unwrap_err();
            assert_eq!(error.kind(), tokenkeep_core::StoreErrorKind::Invalid, "{text}");
        }
    }
}
