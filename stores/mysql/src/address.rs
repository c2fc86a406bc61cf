//! Store URLs.

use std::{borrow::Cow, path::Path, time::Duration};

use percent_encoding::percent_decode_str;
use tokenkeep_core::{StoreError, StoreErrorKind};
use url::Url;

use crate::{MysqlConfig, Tls};

const FORM: &str = "write mysql://user@host:port/database?table=oauthtoken&password-env=VARIABLE";

/// Neither the URL nor a part of it stands in an error: it may hold a password.
pub(crate) fn parse(text: &str) -> Result<MysqlConfig, StoreError> {
    let url = Url::parse(text).map_err(|_syntax| invalid("the store's URL cannot be read"))?;
    if !matches!(url.scheme(), "mysql" | "mariadb") {
        return Err(invalid("the store's URL does not begin with mysql:"));
    }
    let mut config = MysqlConfig::new();
    if let Some(host) = url.host_str().filter(|host| !host.is_empty()) {
        // An address of version 6 stands in brackets in a URL, and only there.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        config = config.host(decoded(host)?);
    }
    if let Some(port) = url.port() {
        config = config.port(port);
    }
    if !url.username().is_empty() {
        config = config.user(decoded(url.username())?);
    }
    match url.path().trim_start_matches('/') {
        "" => {}
        path if path.contains('/') => {
            return Err(invalid("the store's URL names more than a database"));
        }
        name => config = config.database(decoded(name)?),
    }
    let mut passwords = usize::from(url.password().is_some());
    if let Some(password) = url.password() {
        config = config.password(decoded(password)?);
    }
    for (name, value) in url.query_pairs() {
        config = match &*name {
            "table" => config.table(value),
            "socket" => config.socket(&*value),
            "tls" => config.tls(tls(&value)?),
            "ca" => config.ca(&*value),
            "pool-min" => config.pool_min(number(&name, &value)?),
            "pool-max" => config.pool_max(number(&name, &value)?),
            "connect-timeout" => config.connect_timeout(seconds(&name, &value)?),
            "timeout" => config.timeout(seconds(&name, &value)?),
            "password-env" => {
                passwords += 1;
                config.password(from_environment(&value)?)
            }
            "password-file" => {
                passwords += 1;
                config.password(from_file(Path::new(&*value))?)
            }
            _ => {
                return Err(invalid("the store's URL has a parameter that is not known")
                    .with_hint(
                        "there are table, password-env, password-file, socket, tls, ca, pool-min, \
                     pool-max, connect-timeout and timeout",
                    ));
            }
        };
    }
    if passwords > 1 {
        return Err(invalid("the store's URL says more than once what the password is"));
    }
    Ok(config)
}

fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message).with_hint(FORM)
}

fn decoded(text: &str) -> Result<String, StoreError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_not_utf8| invalid("the store's URL holds what is not UTF-8 text"))
}

fn tls(value: &str) -> Result<Tls, StoreError> {
    Tls::ALL.into_iter().find(|tls| tls.name() == value).ok_or_else(|| {
        let names = Tls::ALL.map(Tls::name).join(", ");
        invalid("tls has a value that is not known").with_hint(format!("there are {names}"))
    })
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_not_a_number| invalid(format!("{name} is not a number")))
}

fn seconds(name: &str, value: &str) -> Result<Duration, StoreError> {
    Duration::try_from_secs_f64(number(name, value)?)
        .map_err(|_out_of_range| invalid(format!("{name} is not a number of seconds")))
}

fn from_environment(variable: &str) -> Result<String, StoreError> {
    #[expect(clippy::disallowed_methods, reason = "the configuration says which variable")]
    std::env::var(variable).map_err(|_absent_or_not_text| {
        StoreError::new(
            StoreErrorKind::Invalid,
            format!("the environment has no variable {variable} with a password"),
        )
        .with_hint("set it, or name another one with password-env")
    })
}

fn from_file(path: &Path) -> Result<String, StoreError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        StoreError::new(
            StoreErrorKind::Invalid,
            format!("the password cannot be read from {}", path.display()),
        )
        .with_hint("check the path and its permissions")
        .with_source(std::io::Error::from(error.kind()))
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn each_part_is_taken() {
        let config = parse(
            "mysql://al%40ice@[::1]:3307/my%20db?table=tokens&tls=verify-identity&ca=/x/ca.pem\
             &pool-min=2&pool-max=3&connect-timeout=1.5&timeout=20",
        )
        .unwrap();
        assert_eq!((config.user.as_str(), config.host.as_str()), ("al@ice", "::1"));
        assert_eq!((config.port, config.database.as_str()), (3307, "my db"));
        assert_eq!((config.table.as_str(), config.tls), ("tokens", Tls::VerifyIdentity));
        assert_eq!((config.pool_min, config.pool_max), (2, 3));
        assert_eq!(config.connect_timeout, Duration::from_millis(1_500));
        assert_eq!(config.timeout, Duration::from_secs(20));
    }

    #[test]
    fn what_is_left_out_is_as_in_the_sdks() {
        let config = parse("mysql:").unwrap();
        assert_eq!((config.user.as_str(), config.host.as_str()), ("root", "localhost"));
        assert_eq!((config.port, config.database.as_str()), (3306, "zohooauth"));
        assert_eq!(config.password.expose_secret(), "");
    }

    #[test]
    fn a_password_comes_from_where_the_url_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        #[expect(clippy::disallowed_methods, reason = "no file of the store")]
        std::fs::write(&path, "test-password\n").unwrap();
        for url in [
            format!("mysql://root@localhost/?password-file={}", path.display()),
            "mysql://root:test%2Dpassword@localhost/".to_owned(),
        ] {
            assert_eq!(parse(&url).unwrap().password.expose_secret(), "test-password");
        }
    }

    #[test]
    fn errors_do_not_show_the_url() {
        for url in [
            "mysql://root:test-password@host:99999/",
            "postgres://root:test-password@host/",
            "mysql://root:test-password@host/a/test-password",
            "mysql://root:test-password@host/?tls=test-password",
            "mysql://root:test-password@host/?test-password=1",
            "mysql://root:test-password@host/?password-file=/nowhere",
            "mysql://root:test-password@host/?timeout=test-password",
            "mysql://root:%ff@host/",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(error.hint().is_some());
            assert!(!format!("{error} {error:?}").contains("test-password"), "{error:?}");
        }
    }
}
