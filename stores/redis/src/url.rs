//! Reads the URL of a store.

use std::{borrow::Cow, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use tokenkeep_core::StoreError;

use crate::{
    RedisConfig, Tls,
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
    let query = Query::parse(query)?;

    let mut config = match (query.flag("cluster")?, query.flag("sentinel")?, query.get("master")) {
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
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        if !user.is_empty() {
            config = config.user(decoded(user)?);
        }
        if !password.is_empty() {
            config = config.password(decoded(password)?);
        }
    }
    with_parameters(config, &query)
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
    Ok((decoded(host)?.into_owned(), port))
}

fn with_parameters(mut config: RedisConfig, query: &Query<'_>) -> Result<RedisConfig, StoreError> {
    let mut wait_timeout = DEFAULT_WAIT;
    let mut replicas = None;
    for (name, value) in &query.0 {
        let (name, value) = (*name, value.as_ref());
        config = match name {
            "cluster" | "sentinel" | "master" => config,
            "prefix" => config.prefix(value),
            "tls" => {
                let tls: Tls = value.parse()?;
                if config.tls != Tls::Disable && tls == Tls::Disable {
                    return Err(invalid("rediss:// is TLS, and the URL forbids it")
                        .with_hint("write redis://"));
                }
                config.tls(tls)
            }
            "ca" => config.ca(value),
            "password-env" => {
                let password = variable(name, value)?;
                config.password(password)
            }
            "password-file" => config.password_file(value),
            "sentinel-user" => config.sentinel_user(value),
            "sentinel-password-env" => {
                let password = variable(name, value)?;
                config.sentinel_password(password)
            }
            "sentinel-password-file" => config.sentinel_password_file(value),
            "timeout" => config.timeout(Duration::from_secs(number(name, value)?)),
            "wait-replicas" => {
                replicas = Some(number(name, value)?);
                config
            }
            "wait-timeout" => {
                wait_timeout = Duration::from_millis(number(name, value)?);
                config
            }
            "expire-after" => config.expire_after(Duration::from_secs(number(name, value)?)),
            _ => {
                return Err(invalid("the URL has a parameter that is not known").with_hint(
                    "known are prefix, cluster, sentinel, master, tls, ca, password-env, \
                     password-file, sentinel-user, sentinel-password-env, \
                     sentinel-password-file, timeout, wait-replicas, wait-timeout and \
                     expire-after",
                ));
            }
        };
    }
    if config.topology == Topology::Single && config.sentinel_login.user.is_some() {
        return Err(invalid("a user for sentinels is named, and no sentinels"));
    }
    Ok(match replicas {
        Some(replicas) => config.wait_replicas(replicas, wait_timeout),
        None => config,
    })
}

/// The parameters of a URL, decoded.
struct Query<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Result<Self, StoreError> {
        let parameters = text.split('&').filter(|parameter| !parameter.is_empty());
        let pairs = parameters.map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            Ok((name, decoded(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, StoreError>>()?))
    }

    fn get(&self, wanted: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_ref())
    }

    fn flag(&self, name: &str) -> Result<bool, StoreError> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(invalid(format!("{name} in the URL is not true or false"))),
        }
    }
}

fn decoded(value: &str) -> Result<Cow<'_, str>, StoreError> {
    percent_decode_str(value)
        .decode_utf8()
        .map_err(|_not_text| invalid("a part of the URL is not UTF-8 text"))
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_no_number| invalid(format!("{name} in the URL is not a whole number")))
}

fn variable(parameter: &str, name: &str) -> Result<String, StoreError> {
    #[expect(clippy::disallowed_methods, reason = "this is the configuration, and says which")]
    std::env::var(name).map_err(|_why_not| {
        invalid(format!("the environment variable that {parameter} names is not set"))
            .with_hint("set it, or use a file")
    })
}

#[cfg(test)]
mod tests {
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
        assert_eq!(config.login.password.as_deref(), Some("test/password"));
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
        ] {
            let error = RedisConfig::from_url(text).unwrap().open().await.unwrap_err();
            assert_eq!(error.kind(), tokenkeep_core::StoreErrorKind::Invalid, "{text}");
        }
    }
}
