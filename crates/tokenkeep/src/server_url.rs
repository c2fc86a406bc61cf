//! [`ServerUrl`]: where a store is that is not a file, without showing a password.

use std::fmt;

/// The URL of a store on a server, in a cloud or in a keyring, as it was written. The store reads
/// it when it is opened.
///
/// A password in it is masked in `Debug` and `Display`. It need not be there: `?password-env=VAR`
/// and `?password-file=PATH` say where it is.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The URL as it was written, **with a password that stands in it**.
    #[must_use]
    pub fn expose_url(&self) -> &str {
        &self.0
    }
}

/// Masks what may be a password: all between the first colon of the login and the last `@`,
/// wherever that is, and what a parameter named so says.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once(':').unwrap_or((&self.0, ""));
        let (slashes, rest) = match rest.strip_prefix("//") {
            Some(rest) => ("//", rest),
            None => ("", rest),
        };
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        write!(f, "{scheme}:{slashes}")?;
        match login.map(|login| login.split_once(':').ok_or(login)) {
            Some(Ok((user, _password))) => write!(f, "{user}:***@")?,
            Some(Err(user)) => write!(f, "{user}@")?,
            None => {}
        }
        let (place, parameters) = place.split_once('?').unwrap_or((place, ""));
        f.write_str(place)?;
        for (at, parameter) in parameters.split('&').filter(|it| !it.is_empty()).enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            match parameter.split_once('=') {
                Some((name, value)) if is_secret(name, value) => write!(f, "{mark}{name}=***")?,
                _ => write!(f, "{mark}{parameter}")?,
            }
        }
        Ok(())
    }
}

/// Where a secret is, is none, unless it stands there itself by mistake.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if name.ends_with("-file") || name == "kms-key" {
        return false;
    }
    if name.ends_with("-env") {
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        return !value.bytes().all(is_name);
    }
    ["pass", "pwd", "secret", "token", "key"].iter().any(|part| name.contains(part))
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown_however_it_is_written() {
        for (text, shown) in [
            ("mysql://app@db:3306/zoho?table=t", "mysql://app@db:3306/zoho?table=t"),
            ("mysql://app:test-pw@db/zoho", "mysql://app:***@db/zoho"),
            ("postgres://a:test-pw/x?y#z@h/d?tls=require", "postgres://a:***@h/d?tls=require"),
            ("redis://:test-pw@h", "redis://:***@h"),
            ("redis://h?password=test-pw&cluster=true", "redis://h?password=***&cluster=true"),
            ("mysql://h/d?password-env=VAR", "mysql://h/d?password-env=VAR"),
            ("mysql://a:test-pw@h/d?user=x@y", "mysql://a:***@y"),
            ("dynamodb:tokens?region=eu", "dynamodb:tokens?region=eu"),
            ("dynamodb:tokens?secret_key=test-pw", "dynamodb:tokens?secret_key=***"),
            ("keyring:my-program", "keyring:my-program"),
            (
                "vault+https://h:8200/kv/t?token-env=VAULT_TOKEN&ca=/x",
                "vault+https://h:8200/kv/t?token-env=VAULT_TOKEN&ca=/x",
            ),
            ("vault+https://h/kv/t?token-env=hvs.test-pw", "vault+https://h/kv/t?token-env=***"),
            ("vault+https://h/kv/t?token-file=/x", "vault+https://h/kv/t?token-file=/x"),
            ("vault+https://h/kv/t?secret-id=test-pw", "vault+https://h/kv/t?secret-id=***"),
        ] {
            let url = ServerUrl::new(text);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("test-pw"));
            assert_eq!(url.expose_url(), text);
        }
    }
}
