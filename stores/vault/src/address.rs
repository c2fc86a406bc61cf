//! The URL of a store, read into a [`VaultConfig`].

use std::net::IpAddr;

use tokenkeep_connect::{Parameters, Secret, decoded};
use tokenkeep_core::{StoreError, StoreErrorKind};
use url::Url;

use crate::VaultConfig;

fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message).with_hint(
        "write it like vault+https://vault.example.com:8200/secret/tokenkeep?token-env=VAULT_TOKEN",
    )
}

/// Where Vault is: `https`, or `http` on this machine.
pub(crate) fn server(text: &str) -> Result<Url, StoreError> {
    let mut url = Url::parse(text).map_err(|_may_repeat| invalid("that is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "a Vault token does not stand in the address: say ?token-env=VARIABLE",
        ));
    }
    let is_here = url.host_str().is_some_and(|host| {
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    });
    match url.scheme() {
        "https" if url.has_host() => {}
        "http" if is_here => {}
        "http" => return Err(invalid("http is for this machine only; say https")),
        _ => return Err(invalid("the address must begin with https")),
    }
    url.set_query(None);
    url.set_fragment(None);
    url.set_path("/v1");
    Ok(url)
}

/// Reads the URL of a store. It may hold no secret, but names the variables and files that do.
pub(crate) fn parse(text: &str) -> Result<VaultConfig, StoreError> {
    let text = text
        .strip_prefix("vault+")
        .ok_or_else(|| invalid("the URL must begin with vault+https or vault+http"))?;
    let url = Url::parse(text).map_err(|_may_repeat| invalid("that is not a URL"))?;
    let address = server(text)?;
    let mut path = Vec::new();
    for segment in url.path_segments().into_iter().flatten().filter(|part| !part.is_empty()) {
        path.push(decoded(segment)?);
    }
    let Some((mount, prefix)) = path.split_first().filter(|(_mount, prefix)| !prefix.is_empty())
    else {
        return Err(invalid("the URL must name the mount and the path of the store in it"));
    };
    let mut config = VaultConfig::at(address, mount, &prefix.join("/"));
    let mut parameters = Parameters::parse(url.query().unwrap_or_default())?;
    let token = parameters.secret("token")?;
    let role_id = parameters.text("role-id")?;
    let secret_id = parameters.secret("secret-id")?;
    let approle = parameters.text("approle-mount")?;
    if let Some(namespace) = parameters.text("namespace")? {
        config = config.namespace(namespace);
    }
    if let Some(path) = parameters.text("ca")? {
        config = config.ca_file(path);
    }
    if let Some(timeout) = parameters.seconds("timeout")? {
        config = config.timeout(timeout);
    }
    parameters.finish()?;
    Ok(match (token, role_id) {
        (Some(_), Some(_)) => return Err(invalid("name a token or a role, not both")),
        (None, Some(role_id)) => config.with_app_role(approle, role_id, secret_id),
        (_, None) if secret_id.is_some() || approle.is_some() => {
            return Err(invalid("the login of a role is described, and no role is named")
                .with_hint("add &role-id=ID"));
        }
        (Some(token), None) => config.with_token(token),
        (None, None) => config.with_token(Secret::variable("VAULT_TOKEN").map_err(|error| {
            error.with_hint("set it, or say in the URL where the token is: token-env, token-file")
        })?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "token-file=/nowhere/token";

    #[test]
    fn a_url_says_it_all() {
        let config = parse(
            "vault+https://vault.example.com:8200/kv%2Fteam/a/b%20c?role-id=r&approle-mount=apps\
             &secret-id-file=/nowhere/id&namespace=n%2F1&ca=/etc/ca.pem&timeout=2.5",
        )
        .unwrap();
        let shown = format!("{config:?}");
        for part in [
            "https://vault.example.com:8200/v1",
            "kv/team",
            "a/b c",
            "n/1",
            "/etc/ca.pem",
            "2.5s",
            "role_id: \"r\"",
            "apps",
            "/nowhere/id",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for host in ["localhost:8200", "127.0.0.1", "[::1]:8200"] {
            let config = parse(&format!("vault+http://{host}/secret/t?{TOKEN}")).unwrap();
            assert!(format!("{config:?}").contains("http://"));
        }
        for host in ["vault.example.com", "10.0.0.1", "localhost.example.com", "0.0.0.0"] {
            let error = parse(&format!("vault+http://{host}/secret/t?{TOKEN}")).unwrap_err();
            assert!(error.to_string().contains("http is for this machine only"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_url() {
        for url in [
            "https://h/secret/t?token-file=test-secret",
            "vault+ftp://h/secret/test-secret?token-file=x",
            "vault+https://h:test-secret/secret/t",
            "vault+https://test-secret@h/secret/t?token-file=x",
            "vault+https://u:test-secret@h/secret/t?token-file=x",
            "vault+https://h/test-secret?token-file=x",
            "vault+https://h/secret/t?token=test-secret",
            "vault+https://h/secret/t?token-env=test-secret",
            "vault+https://h/secret/t?token-file=x&token-env=test-secret",
            "vault+https://h/secret/t?role-id=r&secret-id=test-secret",
            "vault+https://h/secret/t?role-id=test-secret&token-file=x",
            "vault+https://h/secret/t?secret-id-file=test-secret",
            "vault+https://h/secret/t?token-file=x&approle-mount=test-secret",
            "vault+https://h/secret/t?token-file=x&test-secret=1",
            "vault+https://h/secret/t?token-file=x&timeout=test-secret",
            "vault+https://h/secret/%ff?token-file=x",
        ] {
            let error = VaultConfig::from_url(url).expect_err(url);
            assert_eq!(error.kind(), StoreErrorKind::Invalid, "{url}");
            assert_eq!(error.operation(), Some(tokenkeep_core::Operation::Open));
            assert!(!format!("{error} {error:?}").contains("test-secret"), "{error:?}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_those_that_are_known() {
        let error = parse(&format!("vault+https://h/secret/t?{TOKEN}&mount=x")).unwrap_err();
        assert_eq!(error.to_string(), "parameter 2 of the URL is not known");
        assert_eq!(
            error.hint(),
            Some(
                "known are token-env, token-file, role-id, secret-id-env, secret-id-file, \
                 approle-mount, namespace, ca and timeout"
            )
        );
    }
}
