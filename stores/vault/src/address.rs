//! The URL of a store, read into a [`VaultConfig`].

use std::{net::IpAddr, path::PathBuf};

use percent_encoding::percent_decode_str;
use tokenkeep_core::{StoreError, StoreErrorKind};
use url::Url;

use crate::{VaultConfig, login::Secret};

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
        let text = percent_decode_str(segment).decode_utf8();
        path.push(text.map_err(|_reason| invalid("the path is not UTF-8"))?.into_owned());
    }
    let Some((mount, prefix)) = path.split_first().filter(|(_mount, prefix)| !prefix.is_empty())
    else {
        return Err(invalid("the URL must name the mount and the path of the store in it"));
    };
    let mut config = VaultConfig::at(address, mount, &prefix.join("/"));
    let mut token = None;
    let mut role_id = None;
    let mut secret_id = None;
    let mut approle = None;
    for (name, value) in url.query_pairs() {
        let value = value.into_owned();
        match &*name {
            "namespace" => config = config.namespace(value),
            "ca" => config = config.ca_file(value),
            "token-env" => token = Some(env(&value)?),
            "token-file" => token = Some(Secret::File(value.into())),
            "role-id" => role_id = Some(value),
            "secret-id-env" => secret_id = Some(env(&value)?),
            "secret-id-file" => secret_id = Some(Secret::File(PathBuf::from(value))),
            "approle-mount" => approle = Some(value),
            "timeout" => {
                let seconds = value.parse().map_err(|_reason| invalid("timeout is in seconds"))?;
                config = config.timeout(std::time::Duration::from_secs(seconds));
            }
            "token" | "secret-id" => {
                return Err(invalid(format!(
                    "a secret does not stand in the URL: say {name}-env=VARIABLE or {name}-file=PATH"
                )));
            }
            _ => return Err(invalid("the URL has a parameter that is not known")),
        }
    }
    config = match (token, role_id) {
        (Some(_), Some(_)) => return Err(invalid("name a token or a role, not both")),
        (Some(token), None) => config.with_token(token),
        (None, Some(role_id)) => config.with_app_role(approle, role_id, secret_id),
        (None, None) => config.with_token(env("VAULT_TOKEN")?),
    };
    Ok(config)
}

/// The secret in an environment variable, which is read now.
fn env(variable: &str) -> Result<Secret, StoreError> {
    #[expect(clippy::disallowed_methods, reason = "the URL names the variable")]
    let value = std::env::var(variable);
    match value {
        Ok(value) if !value.is_empty() => Ok(Secret::value(value)),
        _ => Err(StoreError::new(
            StoreErrorKind::Invalid,
            format!("the environment variable {} is not set", shown(variable)),
        )
        .with_hint("set it to the secret, or say in the URL where that is: token-env, token-file")),
    }
}

/// A name of a variable; not if it is the secret itself, by mistake.
fn shown(variable: &str) -> &str {
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if variable.bytes().all(is_name) { variable } else { "that the URL names" }
}
