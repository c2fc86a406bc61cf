//! Store URLs.

use tokenkeep_connect::{Parameters, decoded};
use tokenkeep_core::{StoreError, StoreErrorKind};
use url::Url;

use crate::MysqlConfig;

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
    let mut parameters = Parameters::parse(url.query().unwrap_or_default())?;
    let in_url = url.password().map(decoded).transpose()?;
    config.password = parameters.password(in_url)?.unwrap_or(config.password);
    if let Some(table) = parameters.text("table")? {
        config = config.table(table);
    }
    if let Some(socket) = parameters.text("socket")? {
        config = config.socket(socket);
    }
    if let Some(tls) = parameters.text("tls")? {
        config = config.tls(tls.parse()?);
    }
    if let Some(ca) = parameters.text("ca")? {
        config = config.ca(ca);
    }
    config.pool_min = parameters.number("pool-min")?.unwrap_or(config.pool_min);
    config.pool_max = parameters.number("pool-max")?.unwrap_or(config.pool_max);
    let connect_timeout = parameters.seconds("connect-timeout")?;
    config.connect_timeout = connect_timeout.unwrap_or(config.connect_timeout);
    config.timeout = parameters.seconds("timeout")?.unwrap_or(config.timeout);
    parameters.finish()?;
    Ok(config)
}

fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message).with_hint(FORM)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret;
    use tokenkeep_connect::Tls;

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
        assert_eq!(config.password.read().unwrap().expose_secret(), "");
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
            let password = parse(&url).unwrap().password.read().unwrap();
            assert_eq!(password.expose_secret(), "test-password");
        }
    }

    #[tokio::test]
    async fn a_password_that_is_not_there_is_told_before_anything_is_asked() {
        let url = "mysql://127.0.0.1:1/?password-file=/nowhere/password";
        let error = MysqlConfig::from_url(url).unwrap().open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert_eq!(error.operation(), Some(tokenkeep_core::Operation::Open));
        assert!(error.to_string().contains("/nowhere/password cannot be read"), "{error}");
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
            "mysql://root@host/?password=test-password",
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
