use proptest::prelude::*;

use super::*;

const JSON: Option<&str> = Some("application/json;charset=UTF-8");

fn refresh(body: &str) -> Result<TokenReply, OAuthError> {
    parse_token_reply(Grant::RefreshToken, 200, JSON, body.as_bytes())
}

fn refused(body: &str) -> OAuthError {
    refresh(body).expect_err(body)
}

#[test]
fn a_whole_reply_is_read() {
    let reply = parse_token_reply(
        Grant::Code,
        200,
        JSON,
        br#"{"access_token":"test-access","refresh_token":"test-refresh",
             "scope":"ZohoCRM.modules.ALL ZohoCRM.users.READ","token_type":"Bearer",
             "api_domain":"https://www.zohoapis.eu","expires_in":3600,"unknown":{"a":[1]}}"#,
    )
    .unwrap();
    assert_eq!(reply.access_token, AccessToken::new("test-access").unwrap());
    assert_eq!(reply.refresh_token, Some(RefreshToken::new("test-refresh").unwrap()));
    assert_eq!(reply.expires_in, Duration::from_secs(3600));
    assert_eq!(reply.api_domain.as_deref(), Some("https://www.zohoapis.eu"));
    assert_eq!(reply.scopes, ["ZohoCRM.modules.ALL", "ZohoCRM.users.READ"]);
    assert!(!format!("{reply:?}").contains("test-"));
}

#[test]
fn the_least_reply_is_enough() {
    let reply = refresh(r#"{"access_token":"test-access"}"#).unwrap();
    assert_eq!(reply.refresh_token, None);
    assert_eq!(reply.expires_in, DEFAULT_LIFETIME);
    assert_eq!(reply.api_domain, None);
    assert!(reply.scopes.is_empty());
}

#[test]
fn a_refresh_token_in_the_reply_to_a_refresh_is_returned() {
    let reply = refresh(r#"{"access_token":"a","refresh_token":"test-rotated"}"#).unwrap();
    assert_eq!(reply.refresh_token.unwrap().expose_secret(), "test-rotated");
    for none in [r#""""#, "null", "7", "{}"] {
        let body = format!(r#"{{"access_token":"a","refresh_token":{none}}}"#);
        assert_eq!(refresh(&body).unwrap().refresh_token, None, "{none}");
    }
}

#[test]
fn the_life_of_a_token_is_read_in_every_form() {
    for (fields, seconds) in [
        (r#""expires_in":3600"#, 3600.0),
        (r#""expires_in":"3600""#, 3600.0),
        (r#""expires_in":" 1800 ""#, 1800.0),
        (r#""expires_in":3600000"#, 3600.0),
        (r#""expires_in":"3600000""#, 3600.0),
        (r#""expires_in":86400"#, 86_400.0),
        (r#""expires_in":86401"#, 86.401),
        (r#""expires_in":5"#, 5.0),
        (r#""expires_in":3599.5"#, 3599.5),
        (r#""expires_in_sec":3600,"expires_in":3600000"#, 3600.0),
        (r#""expires_in":3600000,"expires_in_sec":"3600""#, 3600.0),
        (r#""expires_in_sec":600"#, 600.0),
        (r#""expires_in_sec":0,"expires_in":1800000"#, 1800.0),
        (r#""expires_in_sec":null,"expires_in":1800"#, 1800.0),
        // Not usable: as if missing.
        (r#""expires_in":0"#, 3600.0),
        (r#""expires_in":-1"#, 3600.0),
        (r#""expires_in":0.5"#, 3600.0),
        (r#""expires_in":"""#, 3600.0),
        (r#""expires_in":"soon""#, 3600.0),
        (r#""expires_in":"NaN""#, 3600.0),
        (r#""expires_in":"inf""#, 3600.0),
        (r#""expires_in":null"#, 3600.0),
        (r#""expires_in":true"#, 3600.0),
        (r#""expires_in":[3600]"#, 3600.0),
        // More than a day, in whatever unit: a day.
        (r#""expires_in":99999999999999"#, 86_400.0),
        (r#""expires_in":1e300"#, 86_400.0),
        (r#""expires_in":18446744073709551615"#, 86_400.0),
        (r#""expires_in_sec":999999999"#, 86_400.0),
    ] {
        let reply = refresh(&format!(r#"{{"access_token":"a",{fields}}}"#)).unwrap();
        assert_eq!(reply.expires_in, Duration::from_secs_f64(seconds), "{fields}");
    }
}

#[test]
fn no_life_of_a_token_costs_the_tokens() {
    let (deep, digits) = ("[".repeat(500) + &"]".repeat(500), "9".repeat(400));
    for (value, seconds) in [
        ("0", None),
        ("-1", None),
        ("-3600000", None),
        ("-0.0", None),
        (r#""-3600""#, None),
        (r#""0""#, None),
        ("1e-400", None),
        ("1e400", None),
        ("-1e400", None),
        (&*digits, None),
        (r#""1e400""#, None),
        (r#""0x10""#, None),
        (r#""1 hour""#, None),
        (r#""\ud800""#, None),
        (r#""\u0000""#, None),
        ("[1,2]", None),
        (r#"{"seconds":3600}"#, None),
        (&*deep, None),
        ("false", None),
        ("null", None),
        (r#""\u0033600""#, Some(3600)),
        ("1.8e3", Some(1800)),
        // Ten years and more, in seconds and in milliseconds.
        ("315360001", Some(86_400)),
        ("315360001000", Some(86_400)),
        (r#""9223372036854775807""#, Some(86_400)),
    ] {
        for name in ["expires_in", "expires_in_sec"] {
            let body = format!(
                r#"{{"{name}":{value},"access_token":"test-access","refresh_token":"test-rotated"}}"#
            );
            let reply = refresh(&body).expect(value);
            assert_eq!(reply.access_token.expose_secret(), "test-access", "{value}");
            assert_eq!(reply.refresh_token.as_ref().unwrap().expose_secret(), "test-rotated");
            let named = seconds.map(Duration::from_secs);
            assert_eq!(reply.names_lifetime, named.is_some(), "{name}: {value}");
            assert_eq!(reply.expires_in, named.unwrap_or(DEFAULT_LIFETIME), "{name}: {value}");
            let or = named.unwrap_or(Duration::from_secs(7));
            assert_eq!(reply.expires_in_or(Duration::from_secs(7)), or, "{name}: {value}");
        }
    }
    let nonsense = r#"{"access_token":"a","refresh_token":"test-rotated","scope":1e400,
        "api_domain":"\ud800","token_type":[],"expires_in":{}}"#;
    assert!(refresh(nonsense).unwrap().refresh_token.is_some());
}

#[test]
fn an_api_domain_must_be_https_or_loopback() {
    for (domain, read) in [
        ("https://www.zohoapis.com", Some("https://www.zohoapis.com")),
        ("https://www.zohoapis.com/", Some("https://www.zohoapis.com")),
        ("http://127.0.0.1:9", Some("http://127.0.0.1:9")),
        ("http://www.zohoapis.com", None),
        ("www.zohoapis.com", None),
        ("https://user:pw@www.zohoapis.com", None),
        ("", None),
    ] {
        let body = format!(r#"{{"access_token":"a","api_domain":"{domain}"}}"#);
        assert_eq!(refresh(&body).unwrap().api_domain.as_deref(), read, "{domain}");
    }
}

#[test]
fn scopes_stand_between_blanks_or_commas() {
    let reply = refresh(r#"{"access_token":"a","scope":"b, c,,d  e \u001b[31m"}"#).unwrap();
    assert_eq!(reply.scopes, ["b", "c", "d", "e"]);
}

#[test]
fn each_error_has_its_kind_whatever_the_status() {
    use OAuthErrorKind as Kind;
    for (body, at_exchange, at_refresh, transient) in [
        (r#"{"error":"invalid_client"}"#, Kind::WrongClient, Kind::WrongClient, false),
        (
            r#"{"error":"invalid_client_secret"}"#,
            Kind::WrongClientSecret,
            Kind::WrongClientSecret,
            false,
        ),
        (
            r#"{"error":"invalid_redirect_uri"}"#,
            Kind::WrongRedirectUrl,
            Kind::WrongRedirectUrl,
            false,
        ),
        (r#"{"error":"invalid_code"}"#, Kind::CodeExpiredOrUsed, Kind::NeedsLogin, false),
        (r#"{"error":"invalid_grant"}"#, Kind::CodeExpiredOrUsed, Kind::NeedsLogin, false),
        (r#"{"error":"access_denied"}"#, Kind::AccessDenied, Kind::AccessDenied, false),
        (r#"{"error":"missing_org_info"}"#, Kind::MissingOrg, Kind::MissingOrg, false),
        (r#"{"error":"invalid_scope"}"#, Kind::ScopeMismatch, Kind::ScopeMismatch, false),
        (r#"{"error":"other_dc"}"#, Kind::WrongDataCenter, Kind::WrongDataCenter, false),
        (r#"{"error":"general_error"}"#, Kind::Provider, Kind::Provider, true),
        (r#"{"error":"something_new"}"#, Kind::Provider, Kind::Provider, false),
        (r#"{"error":{"code":"x"}}"#, Kind::Provider, Kind::Provider, false),
        (r#"{"error":7}"#, Kind::Provider, Kind::Provider, false),
        (r#"{"code":"INVALID_REQUEST","status":"error"}"#, Kind::Provider, Kind::Provider, false),
        (
            r#"{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time.","status":"failure"}"#,
            Kind::Throttled,
            Kind::Throttled,
            true,
        ),
        (r#"{"error":"Access Denied"}"#, Kind::Throttled, Kind::Throttled, true),
        (
            r#"{"error":"Access Denied","error_description":"The user refused."}"#,
            Kind::AccessDenied,
            Kind::AccessDenied,
            false,
        ),
    ] {
        for status in [200, 400, 401] {
            for (grant, kind) in [(Grant::Code, at_exchange), (Grant::RefreshToken, at_refresh)] {
                let error = parse_token_reply(grant, status, JSON, body.as_bytes()).unwrap_err();
                assert_eq!(error.kind(), kind, "{body}");
                assert_eq!(error.is_transient(), transient, "{body}");
                assert_eq!(error.status(), Some(status), "{body}");
                assert_eq!(error.maybe_applied(), body.contains("general_error"), "{body}");
                let throttled = kind == Kind::Throttled;
                assert_eq!(error.retry_after(), throttled.then_some(THROTTLE_WINDOW), "{body}");
            }
        }
    }
}

#[test]
fn the_providers_word_is_shown() {
    assert_eq!(refused(r#"{"error":"invalid_code"}"#).code(), Some("invalid_code"));
    assert_eq!(
        refused(r#"{"error":"something_new"}"#).to_string(),
        "the provider refused the request (something_new)"
    );
    assert_eq!(refused(r#"{"error":"1000.aabb.ccdd"}"#).code(), None);
}

#[test]
fn an_error_wins_over_a_token_and_leaves_doubt() {
    let error = refused(r#"{"access_token":"test-access","error":"general_error"}"#);
    assert_eq!(error.kind(), OAuthErrorKind::Provider);
    assert!(error.maybe_applied());
    assert!(refresh(r#"{"access_token":"a","error":null}"#).is_ok());
    assert!(refresh(r#"{"access_token":"a","error":""}"#).is_ok());
    assert!(refresh(r#"{"access_token":"a","error":false}"#).is_ok());
    assert!(refresh(r#"{"access_token":"a","code":"x"}"#).is_ok());
}

#[test]
fn a_good_body_is_good_with_a_bad_status() {
    let body = br#"{"access_token":"test-access"}"#;
    for status in [200, 201, 400, 500] {
        assert!(parse_token_reply(Grant::Code, status, None, body).is_ok(), "{status}");
    }
}

#[test]
fn what_is_no_answer_is_described() {
    let huge = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(MAX_ACCOUNTS_REPLY));
    for (status, content_type, body, message, transient) in [
        (200, JSON, "", "the answer (status 200, 0 bytes) is empty", false),
        (
            502,
            Some("text/html"),
            "<html>test-secret",
            "the answer (status 502, 17 bytes) is an HTML or XML page",
            true,
        ),
        (
            200,
            Some("text/html"),
            "test-secret",
            "the answer (status 200, 11 bytes) is an HTML page",
            false,
        ),
        (
            200,
            JSON,
            r#"{"access_token":"test-secret"#,
            "the answer (status 200, 28 bytes) is a JSON object that is cut off",
            true,
        ),
        (
            200,
            JSON,
            r#""test-secret""#,
            "the answer (status 200, 13 bytes) is not a JSON object",
            false,
        ),
        (
            200,
            JSON,
            r#"{"refresh_token":"test-secret"}"#,
            "the answer (status 200, 31 bytes) is a JSON object without an access token",
            false,
        ),
        (
            200,
            JSON,
            r#"{"access_token":""}"#,
            "the answer (status 200, 19 bytes) is a JSON object without an access token",
            false,
        ),
        (
            200,
            JSON,
            r#"{"access_token":"test secret"}"#,
            "the answer (status 200, 30 bytes) is a JSON object without an access token",
            false,
        ),
        (
            200,
            JSON,
            r#"{"access_token":["test-secret"]}"#,
            "the answer (status 200, 32 bytes) is a JSON object without an access token",
            false,
        ),
        (
            302,
            JSON,
            r#"{"access_token":"test-secret"}"#,
            "the answer (status 302, 30 bytes) is a redirect, which is not followed",
            false,
        ),
        (200, JSON, &huge, "the answer (status 200) is longer than 65536 bytes", false),
    ] {
        let error = parse_token_reply(Grant::Code, status, content_type, body.as_bytes())
            .expect_err(message);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.kind(), OAuthErrorKind::Malformed, "{message}");
        assert_eq!(error.is_transient(), transient, "{message}");
        assert_eq!(error.status(), Some(status));
        assert!(error.maybe_applied(), "{message}");
        assert!(!format!("{error:?}").contains("test"), "{error:?}");
    }
}

#[test]
fn the_status_decides_where_the_body_says_nothing() {
    for body in ["", "<html>slow down</html>", r#"{"error":"slow_down_now"}"#, "{}"] {
        let error = parse_token_reply(Grant::RefreshToken, 429, None, body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), OAuthErrorKind::Throttled, "{body}");
        assert_eq!(error.retry_after(), Some(THROTTLE_WINDOW), "{body}");
        assert!(!error.maybe_applied());
    }
    let body = br#"{"error":"something_new"}"#;
    let error = parse_token_reply(Grant::RefreshToken, 503, None, body).unwrap_err();
    assert_eq!(error.kind(), OAuthErrorKind::Provider);
    assert!(error.is_transient());
}

#[test]
fn a_server_that_failed_may_have_done_it() {
    for (status, body, transient, applied) in [
        (500, r#"{"error":"something_new"}"#, true, true),
        (503, r#"{"code":"X"}"#, true, true),
        (200, r#"{"error":"server_error"}"#, true, true),
        (400, r#"{"error":"internal_error"}"#, true, true),
        (500, "", true, true),
        (504, "<html>", true, true),
        (408, "", true, true),
        (200, "<html>", false, true),
        // It says what it means, and that is a refusal.
        (503, r#"{"error":"invalid_code"}"#, false, false),
        (500, r#"{"error":"invalid_client"}"#, false, false),
        (400, r#"{"error":"temporarily_unavailable"}"#, true, false),
        (400, r#"{"error":"something_new"}"#, false, false),
        (429, "", true, false),
        (429, r#"{"error":"something_new"}"#, true, false),
    ] {
        let error =
            parse_token_reply(Grant::RefreshToken, status, None, body.as_bytes()).expect_err(body);
        assert_eq!(
            (error.is_transient(), error.maybe_applied()),
            (transient, applied),
            "{status} {body}"
        );
    }
}

#[test]
fn a_revocation_says_what_became_of_it() {
    let parse = |status, body: &str| parse_revocation(status, JSON, body.as_bytes());
    assert_eq!(parse(200, r#"{"status":"success"}"#).unwrap(), Revocation::Done);
    for body in [
        r#"{"error":"invalid_code"}"#,
        r#"{"error":"invalid_token"}"#,
        r#"{"error":"Invalid Token","status":"failure"}"#,
        r#"{"code":"INVALID_TOKEN","status":"error"}"#,
        r#"{"code":"INVALID_OAUTHTOKEN","status":"error"}"#,
    ] {
        for status in [200, 400, 401] {
            assert_eq!(parse(status, body).unwrap(), Revocation::AlreadyGone, "{body}");
        }
    }
    for (body, kind) in [
        (r#"{"status":"failure"}"#, OAuthErrorKind::Provider),
        (r#"{"error":"general_error"}"#, OAuthErrorKind::Provider),
        (r#"{"error":"invalid_client"}"#, OAuthErrorKind::WrongClient),
        (
            r#"{"error":"Access Denied","error_description":"too many requests"}"#,
            OAuthErrorKind::Throttled,
        ),
        ("{}", OAuthErrorKind::Malformed),
        ("", OAuthErrorKind::Malformed),
        ("<html>", OAuthErrorKind::Malformed),
    ] {
        assert_eq!(parse(200, body).expect_err(body).kind(), kind, "{body}");
    }
}

#[test]
fn the_current_user_is_read() {
    let parse = |body: &str| parse_current_user(200, JSON, body.as_bytes());
    let user = parse(
        r#"{"users":[{"id":"5725767000000411001","email":"ada@example.com","zuid":123,
            "full_name":"Ada Lovelace","role":{"name":"CEO"}}],"info":{"count":1}}"#,
    )
    .unwrap();
    assert_eq!(user.id, "5725767000000411001");
    assert_eq!(user.email, "ada@example.com");
    assert_eq!(user.full_name.as_deref(), Some("Ada Lovelace"));
    assert_eq!(user.zuid.as_deref(), Some("123"));

    let body = r#"{"users":[{"id":5725767000000411001,"email":"ada@example.com"}]}"#;
    assert_eq!(parse(body).unwrap().id, "5725767000000411001", "all digits of a number");

    for (status, code, kind) in [
        (401, "OAUTH_SCOPE_MISMATCH", OAuthErrorKind::ScopeMismatch),
        (403, "OAUTH_SCOPE_MISMATCH", OAuthErrorKind::ScopeMismatch),
        (401, "INVALID_TOKEN", OAuthErrorKind::AccessTokenRefused),
        (401, "AUTHENTICATION_FAILURE", OAuthErrorKind::AccessTokenRefused),
        (403, "NO_PERMISSION", OAuthErrorKind::AccessDenied),
        (429, "TOO_MANY_REQUESTS", OAuthErrorKind::Throttled),
        (400, "LIMIT_REACHED", OAuthErrorKind::Throttled),
        (500, "INTERNAL_ERROR", OAuthErrorKind::Provider),
        (400, "INVALID_REQUEST", OAuthErrorKind::Provider),
    ] {
        let body = format!(
            r#"{{"code":"{code}","details":{{}},"message":"test-secret","status":"error"}}"#
        );
        let error = parse_current_user(status, JSON, body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), kind, "{code}");
        assert_eq!(error.code(), Some(code));
        assert!(!error.maybe_applied());
        assert!(!format!("{error:?}").contains("test-secret"));
    }
    for body in [
        "",
        "{}",
        r#"{"users":[]}"#,
        r#"{"users":{}}"#,
        r#"{"users":[{"id":"1"}]}"#,
        r#"{"users":[{"id":"1","email":""}]}"#,
        r#"{"users":[{"id":"1","email":"a\u001bb"}]}"#,
        "<html>",
    ] {
        let error = parse(body).expect_err(body);
        assert_eq!(error.kind(), OAuthErrorKind::Malformed, "{body}");
        assert!(!error.maybe_applied());
    }
}

#[test]
fn server_info_keeps_what_is_a_server() {
    let body = br#"{"result":"success","locations":{"us":"https://accounts.zoho.com",
        "eu":"https://accounts.zoho.eu","xx":"http://accounts.example.com","yy":7,
        "<b>":"https://accounts.zoho.in"}}"#;
    let servers = parse_server_info(200, JSON, body).unwrap();
    assert_eq!(servers.keys().collect::<Vec<_>>(), ["eu", "us"]);
    assert_eq!(servers["eu"].as_str(), "https://accounts.zoho.eu");
    for body in [&b"{}"[..], b"", b"{\"locations\":[]}"] {
        let error = parse_server_info(200, JSON, body).unwrap_err();
        assert_eq!(error.kind(), OAuthErrorKind::Malformed);
    }
}

/// Text that no message of ours contains: a token as Zoho writes them.
const MARK: &str = "1000.0123456789abcdef.test";

fn assert_silent(error: &OAuthError) {
    let mut shown = format!("{error} {error:?} {error:#?} {:?}", error.hint());
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        shown.push_str(&format!("{inner} {inner:?}"));
        source = inner.source();
    }
    for part in [MARK, "0123456789", "abcdef", "1000."] {
        assert!(!shown.contains(part), "{shown}");
    }
}

fn each_parser(status: u16, content_type: Option<&str>, body: &[u8]) {
    for grant in [Grant::Code, Grant::RefreshToken] {
        match parse_token_reply(grant, status, content_type, body) {
            Ok(reply) => assert!(!format!("{:?}", reply.access_token).contains(MARK)),
            Err(error) => assert_silent(&error),
        }
    }
    parse_revocation(status, content_type, body).err().iter().for_each(assert_silent);
    parse_current_user(status, content_type, body).err().iter().for_each(assert_silent);
    parse_server_info(status, content_type, body).err().iter().for_each(assert_silent);
}

/// A field's value: the mark, alone or inside of something.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(format!("\"{MARK}\"")),
        Just(format!("\"{MARK}\\n\\u0041 {MARK}\"")),
        Just(format!("{{\"{MARK}\":\"{MARK}\"}}")),
        Just(format!("[\"{MARK}\"]")),
        Just("1000.0123456789".to_owned()),
        Just("null".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"invalid_code\"".to_owned()),
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "access_token",
        "refresh_token",
        "expires_in",
        "expires_in_sec",
        "api_domain",
        "scope",
        "error",
        "error_description",
        "code",
        "message",
        "status",
        "users",
        "locations",
        MARK,
    ])
}

proptest! {
    #[test]
    fn no_error_shows_anything_of_an_object(
        fields in prop::collection::vec((name(), value()), 0..6),
        cut in 0_usize..400,
        status in 100_u16..600,
    ) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let body = format!("{{{}}}", fields.join(","));
        each_parser(status, Some(MARK), body.as_bytes());
        each_parser(status, None, &body.as_bytes()[..cut.min(body.len())]);
    }

    #[test]
    fn no_error_shows_anything_of_a_body(
        before in prop::collection::vec(any::<u8>(), 0..40),
        after in prop::collection::vec(any::<u8>(), 0..40),
        status in 100_u16..600,
    ) {
        let body = [&before[..], MARK.as_bytes(), &after[..]].concat();
        each_parser(status, Some("text/html"), &body);
    }

    #[test]
    fn a_life_is_between_a_second_and_a_day(number in any::<f64>(), text in ".{0,12}") {
        for value in [format!("{number}"), format!("\"{number}\""), format!("{text:?}")] {
            for field in ["expires_in", "expires_in_sec"] {
                let body = format!(r#"{{"access_token":"a","{field}":{value}}}"#);
                if let Ok(reply) = refresh(&body) {
                    prop_assert!(reply.expires_in >= Duration::from_secs(1));
                    prop_assert!(reply.expires_in <= MAX_LIFETIME);
                }
            }
        }
    }
}
