//! Answers that are refusals, garbage, too large, late or lost.

use std::time::Duration;

use serde_json::{Value, json};
use tokenkeep_core::Outcome;
use tokenkeep_crm::{CrmClient, CrmErrorKind, ListOptions, Method, StatusCode};
use tokenkeep_emulator::{Config, DropWhen, Fault};

use crate::{
    scripted::Scripted,
    setup::{Setup, shown},
};

#[tokio::test]
async fn refusals_have_their_kinds() {
    let setup = Setup::new().await;
    for (status, body, kind) in [
        (403, r#"{"code":"NO_PERMISSION"}"#, CrmErrorKind::NoPermission),
        (400, r#"{"code":"INVALID_MODULE"}"#, CrmErrorKind::Refused),
        (404, r#"{"code":"INVALID_URL_PATTERN"}"#, CrmErrorKind::Refused),
        (412, r#"{"code":"RECORD_MODIFIED"}"#, CrmErrorKind::Modified),
        (429, r#"{"code":"TOO_MANY_REQUESTS"}"#, CrmErrorKind::RateLimited),
        (400, r#"{"code":"TOO_MANY_REQUESTS"}"#, CrmErrorKind::RateLimited),
        (500, r#"{"code":"INTERNAL_ERROR"}"#, CrmErrorKind::Server),
        (503, "<html>", CrmErrorKind::Server),
    ] {
        setup.answers("/crm/v8/org", &[(status, body)]);
        let error = setup.crm.org().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body}");
        assert_eq!(error.status(), Some(StatusCode::from_u16(status).unwrap()));
        let code = body.split('"').nth(3);
        assert_eq!(error.code(), code);
        assert_eq!(error.response().unwrap().body(), body);
        assert_eq!(
            error.is_transient(),
            matches!(kind, CrmErrorKind::Server | CrmErrorKind::RateLimited),
            "{status}"
        );
    }
    let error = setup.crm.records("Nonesuch").count().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (CrmErrorKind::Refused, Some("INVALID_MODULE")));
}

#[tokio::test]
async fn a_rate_limit_says_until_when_if_the_server_does() {
    for (header, wait) in [
        ("Retry-After: 7\r\n", Some(Duration::from_secs(7))),
        ("Retry-After: Fri, 31 Jan 2025 09:30:00 GMT\r\n", None),
        ("", None),
    ] {
        let server = Scripted::answering("429 Too Many Requests", header, "").await;
        let setup = Setup::with_api_domain(&server.url).await;
        let error = setup.crm.org().await.unwrap_err();
        assert_eq!(error.kind(), CrmErrorKind::RateLimited);
        assert_eq!(error.retry_after(), wait);
        assert_eq!(server.requests().len(), 1, "it is not for the client to try again");
    }
}

#[tokio::test]
async fn garbage_is_malformed_and_is_not_quoted() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    let mark = "test-mark-of-a-body";
    let bodies = [
        String::new(),
        format!("<html>{mark}</html>"),
        format!(r#"{{"data":"{mark}"}}"#),
        format!(r#"{{"users":[{{"id":"{mark}"}}],"org":{{}},"count":"{mark}","data":[1]"#),
        format!(r#"["{mark}"]"#),
        "null".to_owned(),
        "[[[[".repeat(10_000),
    ];
    for body in &bodies {
        let answer = [(200, body.as_str())];
        let mut errors = Vec::new();
        setup.answers("/crm/*", &answer);
        errors.push(setup.crm.current_user().await.unwrap_err());
        setup.answers("/crm/*", &answer);
        errors.push(setup.crm.org().await.unwrap_err());
        setup.answers("/crm/*", &answer);
        errors.push(leads.count().await.unwrap_err());
        setup.answers("/crm/*", &answer);
        errors.push(leads.get("1").await.unwrap_err());
        setup.answers("/crm/*", &answer);
        errors.push(leads.list(ListOptions::new(["Email"])).next().await.unwrap_err());
        setup.answers("/crm/*", &answer);
        errors.push(leads.delete(&["1"]).await.unwrap_err());
        for (i, error) in errors.iter().enumerate() {
            assert_eq!(error.kind(), CrmErrorKind::Malformed, "{i}: {error}");
            assert!(!shown(error).contains(mark), "{error}");
            let outcome = if i < 5 { Outcome::NotApplied } else { Outcome::Unknown };
            assert_eq!(error.outcome(), outcome, "{i}");
        }
    }
    setup.answers("/crm/*", &[(200, r#"{"users":[]}"#)]);
    assert_eq!(setup.crm.current_user().await.unwrap_err().kind(), CrmErrorKind::Malformed);
}

#[tokio::test]
async fn an_error_with_a_status_of_success_is_an_error() {
    let setup = Setup::new().await;
    let body = r#"{"code":"INVALID_DATA","details":{"api_name":"id"},"status":"error"}"#;
    setup.answers("/crm/*", &[(200, body)]);
    let error = setup.crm.records("Leads").get("1").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (CrmErrorKind::Refused, Some("INVALID_DATA")));
    assert_eq!(error.field(), Some("id"));
    // Whoever asks for the answer itself gets it.
    setup.answers("/crm/*", &[(200, body)]);
    let answer = setup.crm.request(Method::GET, "Leads/1").send().await.unwrap();
    assert_eq!(answer.json::<Value>().unwrap()["status"], "error");
}

#[tokio::test]
async fn a_write_has_a_result_for_each_record_or_is_an_error() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    let lead = [json!({ "Last_Name": "Byron" })];
    let one = r#"{"code":"SUCCESS","status":"success","details":{"id":"1"}}"#;
    for (status, body) in [
        (201, r#"{"data":[]}"#.to_owned()),
        (201, format!(r#"{{"data":[{one},{one}]}}"#)),
        (204, String::new()),
    ] {
        setup.answers("/crm/*", &[(status, &body)]);
        let error = leads.create(&lead).await.unwrap_err();
        assert_eq!(error.kind(), CrmErrorKind::Malformed, "{body}");
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    // A refusal as a whole has no results.
    setup.answers("/crm/*", &[(400, r#"{"code":"INVALID_DATA","data":[]}"#)]);
    assert_eq!(leads.create(&lead).await.unwrap_err().kind(), CrmErrorKind::Refused);
    setup.answers("/crm/*", &[(202, &format!(r#"{{"data":[{one}]}}"#))]);
    assert_eq!(leads.create(&lead).await.unwrap()[0].id.as_deref(), Some("1"));
}

#[tokio::test]
async fn an_answer_may_be_as_large_as_the_limit() {
    let setup = Setup::new().await;
    let crm = CrmClient::builder(setup.handle.clone()).max_body(100).build().unwrap();
    let body = format!("[{}]", " ".repeat(98));
    setup.answers("/crm/*", &[(200, &body)]);
    let answer = crm.request(Method::GET, "org").send().await.unwrap();
    assert_eq!(answer.body().len(), 100);
    setup.answers("/crm/*", &[(200, &format!("{body} "))]);
    let error = crm.request(Method::GET, "org").send().await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::TooLarge);

    // Without an announcement of its length.
    let chunk = format!("32\r\n{}\r\n", "x".repeat(0x32));
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunks, fits) in [(2, true), (3, false)] {
        let answer = format!("{head}{}0\r\n\r\n", chunk.repeat(chunks));
        let server = Scripted::new(Some(answer)).await;
        let setup = Setup::with_api_domain(&server.url).await;
        let crm = CrmClient::builder(setup.handle.clone()).max_body(100).build().unwrap();
        let result = crm.request(Method::POST, "Leads").body("{}").send().await;
        assert_eq!(result.is_ok(), fits);
        if let Err(error) = result {
            assert_eq!(error.kind(), CrmErrorKind::TooLarge);
            assert_eq!(error.outcome(), Outcome::Unknown, "it was done, perhaps");
        }
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_a_write_in_doubt() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    let lead = [json!({ "Last_Name": "Byron" })];
    for (when, count) in [(DropWhen::Before, 0), (DropWhen::After, 1)] {
        setup.emulator.configure(Config::new().fail_next([Fault::dropping("/crm/v8/Leads", when)]));
        let error = leads.create(&lead).await.unwrap_err();
        assert_eq!(error.kind(), CrmErrorKind::Network);
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(!shown(&error).contains("127.0.0.1"), "{}", shown(&error));
        assert_eq!(leads.count().await.unwrap(), count, "it is not made again");
    }

    let short = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"org\":[";
    let server = Scripted::new(Some(short.to_owned())).await;
    let setup = Setup::with_api_domain(&server.url).await;
    let error = setup.crm.org().await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (CrmErrorKind::Network, Outcome::NotApplied));
}

#[tokio::test]
async fn a_server_that_is_not_there_or_silent_is_told_apart() {
    let gone = Scripted::answering("200 OK", "", "").await.url.clone();
    let setup = Setup::with_api_domain(&gone).await;
    let error = setup.crm.records("Leads").delete(&["1"]).await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Network);
    assert_eq!(error.outcome(), Outcome::NotApplied, "nothing was sent");

    let silent = Scripted::new(None).await;
    let setup = Setup::with_api_domain(&silent.url).await;
    let crm = CrmClient::builder(setup.handle.clone())
        .timeout(Duration::from_millis(100))
        .connect_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let error = crm.records("Leads").delete(&["1"]).await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Timeout);
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(silent.requests().len(), 1);
}

#[tokio::test]
async fn settings_are_checked() {
    let setup = Setup::new().await;
    let builder = || CrmClient::builder(setup.handle.clone());
    let secret = "http://user:test-proxy-password@proxy.example:3128";
    assert!(builder().proxy(secret).build().is_ok());
    assert!(!format!("{:?}", builder().proxy(secret)).contains("test-proxy-password"));
    for builder in [
        builder().proxy("test-proxy-password"),
        builder().proxy("socks9://test-proxy-password"),
        builder().version("v8/../.."),
        builder().version(""),
        builder().user_agent("test-proxy-password\r\nX: y"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), CrmErrorKind::Invalid);
        assert!(!shown(&error).contains("test-proxy-password"), "{}", shown(&error));
    }
    // What goes to this machine goes past the proxy.
    let crm = builder().proxy("http://127.0.0.1:1").build().unwrap();
    assert!(crm.current_user().await.is_ok());
}
