//! Tokens that the CRM refuses, and where tokens may go.

use std::sync::Arc;

use serde_json::json;
use tokenkeep_core::{Clock, Outcome, SystemClock};
use tokenkeep_crm::{CrmClient, CrmErrorKind, Method, StatusCode};
use tokenkeep_manager::ManagerErrorKind;
use tokio::sync::Barrier;

use crate::{scripted::Scripted, setup::Setup};

const INVALID: &str =
    r#"{"code":"INVALID_TOKEN","details":{},"message":"invalid oauth token","status":"error"}"#;
const FAILURE: &str =
    r#"{"code":"AUTHENTICATION_FAILURE","details":{},"message":"x","status":"error"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expired_at_the_server_costs_one_refresh() {
    let setup = Setup::new().await;
    setup.crm.current_user().await.unwrap();
    let before = setup.refreshes();
    setup.emulator.expire_access_tokens();

    let barrier = Arc::new(Barrier::new(64));
    let tasks: Vec<_> = (0..64)
        .map(|i| {
            let (crm, barrier) = (setup.crm.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                let lead = json!({ "Last_Name": format!("Lead {i}") });
                crm.records("Leads").create(&[lead]).await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().unwrap()[0].status.is_success());
    }
    assert_eq!(setup.refreshes() - before, 1);
    assert_eq!(setup.crm.records("Leads").count().await.unwrap(), 64, "none was written twice");
}

#[tokio::test]
async fn either_refusal_is_answered_with_a_new_token_and_the_same_request() {
    let setup = Setup::new().await;
    for refusal in [INVALID, FAILURE] {
        let (before, old) = (setup.refreshes(), setup.handle.access_token().await.unwrap());
        setup.answers("/crm/v8/Leads", &[(401, refusal)]);
        let created = setup.crm.records("Leads").create(&[json!({ "Last_Name": "x" })]).await;
        assert!(created.unwrap()[0].status.is_success());
        let new = setup.handle.access_token().await.unwrap();
        assert_ne!(old.access_token(), new.access_token());
        assert_eq!(setup.refreshes() - before, 1);
    }
    assert_eq!(setup.crm.records("Leads").count().await.unwrap(), 2);
}

#[tokio::test]
async fn a_second_refusal_is_an_error() {
    let setup = Setup::new().await;
    let before = setup.refreshes();
    setup.answers("/crm/v8/org", &[(401, INVALID), (401, FAILURE), (401, INVALID)]);
    let error = setup.crm.org().await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Unauthorized);
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(error.outcome(), Outcome::Final);
    assert_eq!(
        error.to_string(),
        "GET /crm/v8/org: the CRM refuses to authenticate, with a new token too \
         (401 AUTHENTICATION_FAILURE)"
    );
    assert!(error.hint().unwrap().contains("data centre"));
    assert_eq!(setup.refreshes() - before, 1);
    assert_eq!(setup.emulator.stats().faults, 2, "there is no third attempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_refuses_every_token_costs_two_refreshes_and_then_none() {
    let setup = Setup::new().await;
    let before = setup.refreshes();
    setup.answers("/crm/v8/org", &[(401, INVALID); 600]);

    // One after the other: two calls try with a new token, the third is told to stop.
    for call in 1..=2 {
        let error = setup.crm.org().await.unwrap_err();
        assert_eq!(error.kind(), CrmErrorKind::Unauthorized, "call {call}: {error}");
    }
    let error = setup.crm.org().await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Token, "{error}");
    let cause = error.manager_error().unwrap();
    assert_eq!(cause.kind(), ManagerErrorKind::Rejected, "{cause}");
    let retry_at = cause.retry_at().unwrap();
    let wait = SystemClock.now().until(retry_at);
    assert!(!wait.is_zero() && wait.as_secs() <= 60, "{wait:?}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("API domain") && hint.contains("scopes"), "{hint}");
    assert_eq!(setup.refreshes() - before, 2);

    // Many at once, again and again: the API is asked, the provider is not.
    let barrier = Arc::new(Barrier::new(16));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (crm, barrier) = (setup.crm.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                for _ in 0..10 {
                    let error = crm.org().await.unwrap_err();
                    let cause = error.manager_error().unwrap();
                    assert_eq!(cause.kind(), ManagerErrorKind::Rejected, "{cause}");
                    assert_eq!(cause.retry_at(), Some(retry_at), "no call makes it longer");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(setup.refreshes() - before, 2);

    // What the API takes still works, with the token that there is.
    setup.crm.current_user().await.unwrap();
    assert_eq!(setup.refreshes() - before, 2);
}

#[tokio::test]
async fn a_refusal_for_another_reason_costs_no_refresh() {
    let setup = Setup::new().await;
    let before = setup.refreshes();
    for body in ["", "<html>test</html>", r#"{"code":"SOMETHING_ELSE"}"#] {
        setup.answers("/crm/v8/org", &[(401, body)]);
        let error = setup.crm.org().await.unwrap_err();
        assert_eq!(error.kind(), CrmErrorKind::Unauthorized);
        assert!(!error.to_string().contains("new token"), "{error}");
    }
    assert_eq!(setup.refreshes(), before);
}

#[tokio::test]
async fn a_scope_that_lacks_is_named_and_costs_no_refresh() {
    let setup = Setup::with_scope("ZohoCRM.modules.leads.READ").await;
    let before = setup.refreshes();
    let leads = setup.crm.records("Leads");
    assert_eq!(leads.count().await.unwrap(), 0);
    let lead = json!({ "Last_Name": "Byron" });
    for (error, scope) in [
        (setup.crm.current_user().await.unwrap_err(), "ZohoCRM.users.READ"),
        (setup.crm.org().await.unwrap_err(), "ZohoCRM.org.READ"),
        (setup.crm.records("Deals").count().await.unwrap_err(), "ZohoCRM.modules.READ"),
        (leads.create(std::slice::from_ref(&lead)).await.unwrap_err(), "ZohoCRM.modules.CREATE"),
        (
            leads.upsert(&[lead], &[]).await.unwrap_err(),
            "ZohoCRM.modules.CREATE,ZohoCRM.modules.UPDATE",
        ),
        (leads.delete(&["1"]).await.unwrap_err(), "ZohoCRM.modules.DELETE"),
    ] {
        assert_eq!(error.kind(), CrmErrorKind::ScopeMismatch, "{error}");
        assert_eq!(error.code(), Some("OAUTH_SCOPE_MISMATCH"));
        assert_eq!(error.scope(), Some(scope));
        let hint = error.hint().unwrap();
        assert!(hint.contains(scope) && hint.contains("log in again"), "{hint}");
    }
    // Zoho's pages say 401, its servers also 403.
    setup.answers("/crm/v8/Leads/1", &[(403, r#"{"code":"OAUTH_SCOPE_MISMATCH"}"#)]);
    assert_eq!(leads.get("1").await.unwrap_err().kind(), CrmErrorKind::ScopeMismatch);
    assert_eq!(setup.refreshes(), before);
}

#[tokio::test]
async fn what_the_manager_says_is_passed_on() {
    let setup = Setup::new().await;
    setup.emulator.reset();
    let error = setup.crm.current_user().await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Token);
    assert_eq!(error.path(), Some("/crm/v8/users"));
    let cause = error.manager_error().unwrap();
    assert!(matches!(cause.kind(), ManagerErrorKind::WrongClient | ManagerErrorKind::NeedsLogin));
    assert_eq!(error.hint(), cause.hint());
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn the_token_goes_to_its_api_domain_and_nowhere_else() {
    let setup = Setup::new().await;
    let elsewhere = Scripted::answering("200 OK", "", "{}").await;
    let before = setup.emulator.stats().api_requests;
    for path in [
        format!("{}/crm/v8/Leads", elsewhere.url),
        elsewhere.url.replacen("http:", "", 1),
        elsewhere.url.replacen("http://", "/", 1).replacen('/', "//", 1),
        format!("{}@{}/crm", setup.emulator.url(), &elsewhere.url["http://".len()..]),
        "https://www.zohoapis.com/crm/v8/Leads".to_owned(),
        "/crm/v8/../../oauth/v2/token".to_owned(),
    ] {
        let error = setup.crm.request(Method::GET, &path).send().await.expect_err(&path);
        assert_eq!(error.kind(), CrmErrorKind::Invalid, "{path}: {error}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
    assert_eq!(setup.emulator.stats().api_requests, before);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Scripted::answering("200 OK", "", "{}").await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let location = format!("Location: {}/crm/v8/org\r\n", elsewhere.url);
        let server = Scripted::answering(status, &location, "").await;
        let setup = Setup::with_api_domain(&server.url).await;
        let error = setup.crm.org().await.unwrap_err();
        assert_eq!(error.kind(), CrmErrorKind::Malformed);
        assert!(error.to_string().contains("redirect"), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    let server = Scripted::answering("200 OK", "", r#"{"count":3}"#).await;
    let setup = Setup::with_api_domain(&server.url).await;
    let token = setup.handle.access_token().await.unwrap();
    let builder = CrmClient::builder(setup.handle.clone()).user_agent("test/1").version("v2.1");
    let other = builder.build().unwrap();
    assert_eq!(other.records("Leads").count().await.unwrap(), 3);
    assert_eq!(setup.crm.for_user(setup.handle.clone()).records("Deals").count().await.unwrap(), 3);

    let requests = server.requests();
    assert!(requests[0].starts_with("GET /crm/v2.1/Leads/actions/count HTTP/1.1\r\n"));
    assert!(requests[1].starts_with("GET /crm/v8/Deals/actions/count HTTP/1.1\r\n"));
    let secret = token.access_token().expose_secret();
    assert!(requests[0].contains(&format!("authorization: Zoho-oauthtoken {secret}\r\n")));
    assert!(requests[0].contains("user-agent: test/1\r\n"));
    assert!(requests[1].contains("user-agent: tokenkeep/"));
    assert!(!shown_client(&setup.crm).contains(secret));
}

fn shown_client(crm: &CrmClient) -> String {
    format!("{crm:?} {:?} {:?}", crm.records("Leads"), crm.request(Method::GET, "org"))
}

#[tokio::test]
async fn a_proxy_sees_the_servers_name_and_no_token() {
    let proxy = Scripted::answering("407 Proxy Authentication Required", "", "").await;
    let setup = Setup::with_api_domain("https://www.zohoapis.eu").await;
    let crm = CrmClient::builder(setup.handle.clone()).proxy(&proxy.url).build().unwrap();
    let error = crm.records("Leads").delete(&["1"]).await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Network, "{error}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(!crate::setup::shown(&error).contains(&proxy.url));
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("CONNECT www.zohoapis.eu:443 "), "{}", requests[0]);
    assert!(!requests[0].contains("Leads") && !requests[0].contains("Zoho-oauthtoken"));
}
