//! Connections by TLS.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokenkeep_core::{Outcome, StoreErrorKind, TokenStore};
use tokenkeep_servers::{Kind, Trials, start_with};
use tokenkeep_store_mysql::{MysqlConfig, Tls};

use crate::support::{Database, admin, in_full, token};

pub(crate) fn add(trials: Trials) -> Trials {
    trials
        .needs(Kind::MariaDb, "tls::each_way_connects", |at| async move {
            each_way_connects(Database::new(&at[0]).await).await;
        })
        .needs(Kind::MariaDb, "tls::who_is_not_trusted_is_refused", |at| async move {
            who_is_not_trusted_is_refused(Database::new(&at[0]).await).await;
        })
        .private(Kind::MariaDb, "tls::a_server_that_demands_or_lacks_it", |_server| async move {
            a_server_without_tls().await;
            a_server_for_another_host().await;
        })
}

async fn each_way_connects(database: Database) {
    let ca = database.address.ca.clone().unwrap();
    let secured = [
        database.config().tls(Tls::Prefer),
        database.config().tls(Tls::Require),
        database.config().tls(Tls::VerifyCa).ca(&ca),
        database.config().tls(Tls::VerifyIdentity).ca(&ca),
        database.config().host("localhost").tls(Tls::VerifyIdentity).ca(&ca),
        MysqlConfig::from_url(&format!(
            "{}?tls=verify-identity&ca={}",
            database.url(),
            ca.display()
        ))
        .unwrap(),
    ];
    for config in secured {
        let store = config.open().await.unwrap();
        store.save_token(&token("alice")).await.unwrap();
        assert!(store.inspect().await.unwrap().tls.is_some());
    }
    let store = database.config().tls(Tls::Disable).open().await.unwrap();
    assert_eq!(store.inspect().await.unwrap().tls, None);
}

async fn who_is_not_trusted_is_refused(database: Database) {
    for config in [
        // The public authorities have not signed it.
        database.config().tls(Tls::VerifyCa),
        database.config().tls(Tls::VerifyIdentity),
    ] {
        let error = config.timeout(Duration::from_secs(5)).open().await.unwrap_err();
        assert!(error.to_string().contains("not trusted"), "{error}");
        assert_eq!(error.outcome(), Outcome::Final);
        assert!(error.hint().unwrap().contains("ca"), "{error:?}");
        assert!(!in_full(&error).contains(&database.address.password));
    }
    let error =
        database.config().tls(Tls::VerifyCa).ca("/nowhere/ca.pem").open().await.unwrap_err();
    assert!(error.hint().unwrap().contains("ca"), "{error:?}");

    // A user that must use TLS is not let in without.
    let config = database.reader("all").await;
    let mut conn = database.admin().await;
    conn.query_drop(format!("alter user {}@'%' require ssl", database.last_user())).await.unwrap();
    let error = config.clone().tls(Tls::Disable).open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
    assert!(error.hint().unwrap().contains("TLS"), "{error:?}");
    config.tls(Tls::Require).open().await.unwrap();
}

async fn a_server_without_tls() {
    let server = start_with(Kind::MariaDb, &["--skip-ssl"]).unwrap();
    let database = Database::new(&server.nodes()[0]).await;
    let error = database.config().tls(Tls::Require).open().await.unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    assert_eq!(error.outcome(), Outcome::Final);
    let store = database.config().tls(Tls::Prefer).open().await.unwrap();
    store.save_token(&token("alice")).await.unwrap();
    assert_eq!(store.inspect().await.unwrap().tls, None);
}

/// One whose certificate, by a trusted authority, names other hosts; and that takes TLS only.
async fn a_server_for_another_host() {
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = Issuer::new(authority, key);
    let names = ["*.example.com".to_owned(), "db.example.org".to_owned()];
    let mut server = CertificateParams::new(names).unwrap();
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate().unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, text) in [
        ("ca.pem", certificate.pem()),
        ("server.pem", server.pem()),
        ("key.pem", server_key.serialize_pem()),
    ] {
        #[expect(clippy::disallowed_methods, reason = "no file of the store")]
        std::fs::write(path(name), text).unwrap();
    }
    let option = |option: &str, name: &str| format!("--{option}={}", path(name).display());
    let options = [
        option("ssl-ca", "ca.pem"),
        option("ssl-cert", "server.pem"),
        option("ssl-key", "key.pem"),
    ];
    let server = start_with(Kind::MariaDb, &options.each_ref().map(String::as_str)).unwrap();
    let address = &server.nodes()[0];
    let database = Database::new(address).await;
    let config = || database.config().ca(path("ca.pem"));
    let error = config().tls(Tls::VerifyIdentity).open().await.unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    assert!(error.hint().unwrap().contains("verify-ca"), "{error:?}");
    let store = config().tls(Tls::VerifyCa).open().await.unwrap();
    store.save_token(&token("alice")).await.unwrap();
    assert!(store.inspect().await.unwrap().tls.is_some());
    // Another authority's is not taken for it.
    let other = tempfile::NamedTempFile::new().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    #[expect(clippy::disallowed_methods, reason = "no file of the store")]
    std::fs::write(other.path(), params.self_signed(&key).unwrap().pem()).unwrap();
    let error = database.config().tls(Tls::VerifyCa).ca(other.path()).open().await.unwrap_err();
    assert!(error.to_string().contains("not trusted"), "{error}");

    let mut conn = admin(address).await;
    conn.query_drop("set global require_secure_transport = on").await.unwrap();
    let error = database.config().tls(Tls::Disable).open().await.unwrap_err();
    let opened = database.config().tls(Tls::Require).open().await;
    conn.query_drop("set global require_secure_transport = off").await.unwrap();
    assert!(error.hint().unwrap().contains("TLS"), "{error:?}");
    opened.unwrap();
}
