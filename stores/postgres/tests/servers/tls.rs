//! TLS, and how far the server has to prove who it is.

use tokenkeep_core::{StoreErrorKind, TokenStore as _};
use tokenkeep_servers::{Address, Trials};
use tokenkeep_store_postgres::{PostgresConfig, Tls};

use crate::{
    errors::shown,
    on_shared,
    support::{Database, token},
};

pub(crate) fn trials(trials: Trials) -> Trials {
    on_shared!(
        trials,
        each_kind_of_tls_encrypts_as_it_says,
        a_certificate_that_is_not_trusted_is_told,
        a_certificate_for_another_host_is_told,
        a_server_without_tls_is_told,
        a_ca_that_cannot_be_read_is_told,
    )
}

/// At the name that is in the certificate, unless said.
fn at(database: &Database, host: &str, tls: Tls) -> PostgresConfig {
    let address = database.address();
    PostgresConfig::new(host, database.name())
        .port(address.tls_port.unwrap())
        .user(&address.user)
        .password(&address.password)
        .tls(tls)
}

async fn each_kind_of_tls_encrypts_as_it_says(address: &Address) {
    let database = Database::new(address).await;
    let ca = address.ca.clone().unwrap();
    for (tls, ca, is_encrypted) in [
        (Tls::Disable, None, false),
        (Tls::Prefer, None, true),
        (Tls::Require, None, true),
        (Tls::VerifyCa, Some(&ca), true),
        (Tls::VerifyIdentity, Some(&ca), true),
    ] {
        let config = at(&database, "localhost", tls);
        let config = if let Some(ca) = ca { config.ca(ca) } else { config };
        let store = config.open().await.unwrap();
        store.save_token(&token("alice")).await.unwrap();
        let inspection = store.inspect().await.unwrap();
        assert_eq!(inspection.tls.is_some(), is_encrypted, "{tls:?}");
    }
    let url = format!("{}/{}?tls=verify-full&ca=", address.url(), database.name());
    let config = PostgresConfig::from_url(&(url + ca.to_str().unwrap())).unwrap();
    config.open().await.unwrap();
}

async fn refused(config: PostgresConfig, kind: StoreErrorKind, words: &str) {
    let error = config.open().await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(shown(&error).contains(words), "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
}

async fn a_certificate_that_is_not_trusted_is_told(address: &Address) {
    let database = Database::new(address).await;
    for tls in [Tls::VerifyCa, Tls::VerifyIdentity] {
        let kind = StoreErrorKind::PermissionDenied;
        refused(at(&database, "localhost", tls), kind, "authority that is trusted").await;
    }
}

async fn a_certificate_for_another_host_is_told(address: &Address) {
    let database = Database::new(address).await;
    let ca = address.ca.clone().unwrap();
    // Loopback too, and not what the certificate is for.
    let at = |tls| at(&database, "127.0.0.2", tls).ca(&ca);
    let proxy = crate::support::forward("127.0.0.2", address).await;
    let kind = StoreErrorKind::PermissionDenied;
    refused(at(Tls::VerifyIdentity).port(proxy), kind, "for another host").await;
    at(Tls::VerifyCa).port(proxy).open().await.unwrap();
}

async fn a_server_without_tls_is_told(_address: &Address) {
    let port = crate::support::without_tls().await;
    let config = PostgresConfig::new("127.0.0.1", "db").port(port).user("tk").tls(Tls::Require);
    refused(config, StoreErrorKind::PermissionDenied, "the server has no TLS").await;
}

async fn a_ca_that_cannot_be_read_is_told(address: &Address) {
    let database = Database::new(address).await;
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().join("none.pem"), directory.path().to_owned()] {
        let config = at(&database, "localhost", Tls::VerifyCa).ca(path);
        refused(config, StoreErrorKind::Invalid, "certificates in PEM").await;
    }
}
