use super::*;

#[test]
fn an_origin_is_read_and_normalised() {
    for (text, origin, loopback) in [
        ("https://accounts.zoho.eu", "https://accounts.zoho.eu", false),
        ("https://accounts.zoho.eu/", "https://accounts.zoho.eu", false),
        ("  HTTPS://Accounts.Zoho.EU ", "https://accounts.zoho.eu", false),
        ("https://accounts.zoho.eu:443", "https://accounts.zoho.eu", false),
        ("https://accounts.example.org:8443", "https://accounts.example.org:8443", false),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", true),
        ("http://127.255.0.3", "http://127.255.0.3", true),
        ("http://[::1]:9", "http://[::1]:9", true),
        ("http://localhost:1", "http://localhost:1", true),
        ("https://localhost", "https://localhost", true),
    ] {
        let server = AccountsServer::parse(text).unwrap();
        assert_eq!(server.as_str(), origin, "{text}");
        assert_eq!(server.to_string(), origin, "{text}");
        assert_eq!(server.is_loopback(), loopback, "{text}");
        assert_eq!(ApiDomain::parse(text).unwrap().as_str(), origin, "{text}");
    }
}

#[test]
fn everything_else_is_refused_without_being_shown() {
    for text in [
        "",
        "accounts.zoho.eu",
        "https://",
        "https:accounts.zoho.eu",
        "https:/accounts.zoho.eu",
        "ftp://accounts.zoho.eu",
        "file:///test-secret",
        "http://accounts.zoho.eu",
        "http://192.168.0.1",
        "http://0.0.0.0:80",
        "http://[::ffff:127.0.0.1]",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "https://user:test-secret@accounts.zoho.eu",
        "https://test-secret@accounts.zoho.eu",
        "https://@accounts.zoho.eu",
        "https://accounts.zoho.eu/test-secret",
        "https://accounts.zoho.eu?test-secret",
        "https://accounts.zoho.eu?",
        "https://accounts.zoho.eu#test-secret",
        "https://accounts.zoho.eu\\@test-secret",
        "https://accounts.zoho.eu\t.test-secret",
        "https://acc ounts.zoho.eu",
        "https://accounts.zoho.eu:99999",
        "https://accounts.zoho.eu:test-secret",
        "https://\u{e9}\u{0}.example",
    ] {
        let error = AccountsServer::parse(text).expect_err(text);
        assert_eq!(error.kind(), OAuthErrorKind::InvalidInput, "{text}");
        assert!(!format!("{error} {error:?}").contains("test-secret"), "{text}: {error:?}");
        assert!(ApiDomain::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_hint_shows_how_to_write_it() {
    let error = AccountsServer::parse("http://accounts.zoho.eu").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the URL of the accounts server must be https; plain http is for loopback addresses only"
    );
    assert_eq!(error.hint(), Some("write it like https://accounts.zoho.eu"));
}

#[test]
fn a_redirect_may_name_every_data_centre() {
    for data_center in DataCenter::all() {
        let server = data_center.accounts_server();
        assert_eq!(AccountsServer::known(server.as_str()).unwrap(), server);
        assert_eq!(AccountsServer::known(&format!("{server}/")).unwrap(), server);
        assert_eq!(AccountsServer::known(&server.as_str().to_uppercase()).unwrap(), server);
    }
}

#[test]
fn a_redirect_may_not_name_a_look_alike() {
    for text in [
        "",
        "/",
        "accounts.zoho.com",
        "http://accounts.zoho.com",
        "https://accounts.zoho.com//",
        "https://accounts.zoho.com:443",
        "https://accounts.zoho.com:8443",
        "https://accounts.zoho.com.",
        "https://accounts.zoho.com.evil.example",
        "https://accounts.zoho.com@evil.example",
        "https://accounts.zoho.com:x@evil.example",
        "https://user@accounts.zoho.com",
        "https://evil.example/accounts.zoho.com",
        "https://evil.example?https://accounts.zoho.com",
        "https://evil.example#https://accounts.zoho.com",
        "https://evil.example\\.accounts.zoho.com",
        "https://accounts.zoho.com\\.evil.example",
        "https://accounts.zoho.com/oauth",
        "https://accounts.zoho.com?",
        "https://accounts.zoho.com#",
        "https://accounts-zoho.com",
        "https://xaccounts.zoho.com",
        "https://zoho.com",
        "https://evil.accounts.zoho.com",
        "https://accounts.zoho.co",
        "https://accounts.zoho.com%2eevil.example",
        "https://accounts%2ezoho.com",
        "https://accounts.zoho.com\n",
        " https://accounts.zoho.com",
        "https://\u{430}ccounts.zoho.com",
        "https://\u{ff41}ccounts.zoho.com",
        "https://accounts\u{3002}zoho.com",
        "https://accounts.zoho.com\u{0}",
        "https:\\\\accounts.zoho.com",
        "https:accounts.zoho.com",
        "//accounts.zoho.com",
        "http://127.0.0.1",
        "http://localhost",
        "javascript:alert(1)",
    ] {
        let error = AccountsServer::known(text).expect_err(text);
        assert_eq!(error.kind(), OAuthErrorKind::UntrustedServer, "{text}");
        assert!(!format!("{error:?}").contains("evil"), "{text}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_server_of_ones_own_is_allowed_by_name_only() {
    let own = AccountsServer::parse("http://127.0.0.1:4567").unwrap();
    let allowed = AllowedServers::zoho().allow(own.clone());
    assert_eq!(allowed.check("http://127.0.0.1:4567/").unwrap(), own);
    assert!(allowed.contains(&own));
    assert!(allowed.check("http://127.0.0.1:4568").is_err());
    assert!(allowed.check("http://127.0.0.1").is_err());
    assert!(allowed.check("https://accounts.zoho.com").is_ok());
    assert!(AllowedServers::none().check("https://accounts.zoho.com").is_err());
}
