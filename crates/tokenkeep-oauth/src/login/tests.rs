use std::collections::HashMap;

use super::*;
use crate::DataCenter;

fn us() -> AccountsServer {
    DataCenter::by_code("us").unwrap().accounts_server()
}

fn request() -> AuthorizationRequest {
    AuthorizationRequest::new(
        &us(),
        "test-client",
        "https://app.example.com/cb?a=b",
        ["ZohoCRM.modules.ALL", "ZohoCRM.users.READ"],
    )
}

fn query(login: &Authorization) -> HashMap<String, String> {
    login.url.query_pairs().into_owned().collect()
}

#[test]
fn the_url_has_what_zoho_documents() {
    let login = request().build().unwrap();
    assert_eq!(login.url.origin().ascii_serialization(), "https://accounts.zoho.com");
    assert_eq!(login.url.path(), "/oauth/v2/auth");
    let sent = query(&login);
    assert_eq!(sent["response_type"], "code");
    assert_eq!(sent["client_id"], "test-client");
    assert_eq!(sent["scope"], "ZohoCRM.modules.ALL,ZohoCRM.users.READ");
    assert_eq!(sent["redirect_uri"], "https://app.example.com/cb?a=b");
    assert_eq!(sent["access_type"], "online");
    assert_eq!(sent["state"], login.state.expose_secret());
    assert_eq!(sent.len(), 6);
    assert!(login.pkce.is_none());
}

#[test]
fn offline_consent_and_pkce_are_asked_for() {
    let login = request().offline().prompt_consent().pkce(true).build().unwrap();
    let sent = query(&login);
    assert_eq!(sent["access_type"], "offline");
    assert_eq!(sent["prompt"], "consent");
    assert_eq!(sent["code_challenge_method"], "S256");
    assert_eq!(sent["code_challenge"], login.pkce.as_ref().unwrap().challenge());
    let shown = format!("{login:?}");
    assert!(!shown.contains(login.state.expose_secret()), "{shown}");
    assert!(!shown.contains(login.pkce.as_ref().unwrap().expose_secret()), "{shown}");
}

#[test]
fn two_logins_have_two_states() {
    let states = [request().build().unwrap().state, request().build().unwrap().state];
    assert!(!states[0].matches(states[1].expose_secret()));
}

#[test]
fn what_cannot_work_is_refused_before_the_browser_opens() {
    let none: [&str; 0] = [];
    let url = "https://app.example.com/cb";
    for request in [
        AuthorizationRequest::new(&us(), " ", url, ["a"]),
        AuthorizationRequest::new(&us(), "id", "app.example.com/cb", ["a"]),
        AuthorizationRequest::new(&us(), "id", "javascript:alert(1)", ["a"]),
        AuthorizationRequest::new(&us(), "id", "https://app.example.com/#x", ["a"]),
        AuthorizationRequest::new(&us(), "id", url, none),
        AuthorizationRequest::new(&us(), "id", url, ["a b"]),
        AuthorizationRequest::new(&us(), "id", url, ["a,b"]),
        AuthorizationRequest::new(&us(), "id", url, [""]),
    ] {
        let error = request.build().unwrap_err();
        assert_eq!(error.kind(), OAuthErrorKind::InvalidInput, "{request:?}");
        assert!(error.hint().is_some(), "{request:?}");
    }
}

fn parse(text: &str) -> Result<Callback, OAuthError> {
    Callback::parse(text, &State::from_text("test-state")?, &AllowedServers::zoho())
}

#[test]
fn a_redirect_is_read_in_each_form() {
    let query = "state=test-state&code=1000.test-code&location=eu\
                 &accounts-server=https%3A%2F%2Faccounts.zoho.eu&";
    for text in [
        query.to_owned(),
        format!("?{query}"),
        format!("/cb?{query}"),
        format!("http://127.0.0.1:8000/cb?{query}#fragment"),
        format!(" https://app.example.com?{query}\n"),
    ] {
        let callback = parse(&text).unwrap();
        assert_eq!(callback.code, GrantToken::new("1000.test-code").unwrap(), "{text}");
        assert_eq!(callback.location.as_deref(), Some("eu"));
        assert_eq!(callback.accounts_server.unwrap().as_str(), "https://accounts.zoho.eu");
    }
    let callback = parse("code=test-code&state=test-state").unwrap();
    assert!(callback.accounts_server.is_none() && callback.location.is_none());
    assert!(!format!("{callback:?}").contains("test-code"));
}

#[test]
fn a_redirect_that_is_wrong_says_how() {
    let server = "accounts-server=https%3A%2F%2Faccounts.zoho.com";
    for (text, kind) in [
        ("", OAuthErrorKind::StateMismatch),
        ("code=test-code", OAuthErrorKind::StateMismatch),
        ("code=test-code&state=", OAuthErrorKind::StateMismatch),
        ("code=test-code&state=test-state-2", OAuthErrorKind::StateMismatch),
        ("error=access_denied", OAuthErrorKind::StateMismatch),
        (
            "code=test-code&state=wrong&accounts-server=https://e.example",
            OAuthErrorKind::StateMismatch,
        ),
        ("error=access_denied&state=test-state", OAuthErrorKind::AccessDenied),
        ("error=invalid_scope&state=test-state", OAuthErrorKind::ScopeMismatch),
        ("error=test-code.test-code&state=test-state", OAuthErrorKind::Provider),
        ("error=access_denied&code=test-code&state=test-state", OAuthErrorKind::AccessDenied),
        ("state=test-state", OAuthErrorKind::Malformed),
        ("code=&state=test-state", OAuthErrorKind::Malformed),
        ("code=test-code&code=test-code&state=test-state", OAuthErrorKind::Malformed),
        ("state=test-state&state=test-state&code=test-code", OAuthErrorKind::Malformed),
        (
            "code=test-code&state=test-state&accounts-server=https%3A%2F%2Faccounts.zoho.com.evil.example",
            OAuthErrorKind::UntrustedServer,
        ),
        (
            "code=test-code&state=test-state&accounts-server=http%3A%2F%2F127.0.0.1",
            OAuthErrorKind::UntrustedServer,
        ),
        (&format!("code=test-code&state=test-state&{server}&{server}"), OAuthErrorKind::Malformed),
        (&format!("code={}&state=test-state", "x".repeat(MAX_CALLBACK)), OAuthErrorKind::Malformed),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.kind(), kind, "{text}");
        let shown = format!("{error} {error:?}");
        for secret in ["test-code", "test-state", "evil"] {
            assert!(!shown.contains(secret), "{text}: {shown}");
        }
        assert!(!error.maybe_applied());
    }
}

#[test]
fn a_location_that_is_none_is_left_out() {
    let callback = parse("code=test-code&state=test-state&location=%3Cscript%3E").unwrap();
    assert_eq!(callback.location, None);
}
