//! Codes, access tokens, refresh tokens.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokenkeep_emulator::Config;

use crate::bench::{Bench, CLIENT_ID, CLIENT_SECRET, EMAIL, MILLISECOND, minutes, refresh_form};

#[tokio::test]
async fn a_code_works_once() {
    let bench = Bench::start().await;
    let user = bench.user();
    let reply = bench.exchange(&user.grant_token, &[]).await;
    assert_eq!(reply.status, StatusCode::OK);
    let body = reply.json();
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["api_domain"], bench.emulator.url());
    assert_eq!(body.get("scope"), None, "no scope was asked for");
    assert!(bench.works(&reply.token("access_token")).await);
    assert_ne!(reply.token("refresh_token"), user.refresh_token);

    let again = bench.exchange(&user.grant_token, &[]).await;
    assert_eq!(again.status, StatusCode::OK, "errors come with 200");
    assert_eq!(again.json(), json!({ "error": "invalid_code" }));
    assert_eq!(bench.emulator.stats().token_requests_of("authorization_code"), 2);
}

#[tokio::test]
async fn a_code_lives_two_minutes() {
    let bench = Bench::start().await;
    let (young, old) = (bench.user(), bench.user());
    assert_eq!(young.grant_token_expires_in, 120);
    bench.clock.advance(minutes(2) - MILLISECOND);
    bench.exchange(&young.grant_token, &[]).await.token("access_token");
    bench.clock.advance(MILLISECOND);
    assert_eq!(bench.exchange(&old.grant_token, &[]).await.error(), "invalid_code");
}

#[tokio::test]
async fn errors_name_what_is_wrong() {
    let bench = Bench::start().await;
    let user = bench.user();
    let other = bench.emulator.add_user(EMAIL, "1000.OTHER", "test-other-secret");
    let ask = |client_id: &'static str, secret: &'static str, token: String| {
        let bench = &bench;
        async move {
            let mut form = refresh_form(&token);
            form[1].1 = client_id;
            form[2].1 = secret;
            bench.post("/oauth/v2/token", &form).await.error()
        }
    };
    let token = user.refresh_token;
    assert_eq!(ask("1000.NOBODY", CLIENT_SECRET, token.clone()).await, "invalid_client");
    assert_eq!(ask(CLIENT_ID, "test-wrong", token.clone()).await, "invalid_client_secret");
    assert_eq!(ask(CLIENT_ID, CLIENT_SECRET, "1000.unknown".to_owned()).await, "invalid_code");
    assert_eq!(ask(CLIENT_ID, CLIENT_SECRET, other.refresh_token).await, "invalid_code");
    assert_eq!(bench.exchange(&other.grant_token, &[]).await.error(), "invalid_code");

    let unsupported = bench.post("/oauth/v2/token", &[("grant_type", "password")]).await;
    assert_eq!(
        (unsupported.status, unsupported.error()),
        (StatusCode::OK, "invalid_client".into())
    );
    let missing = bench.post("/oauth/v2/token", &[]).await;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST);
    let wrong_method = bench.get("/oauth/v2/token?grant_type=refresh_token").await;
    assert_eq!(wrong_method.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn parameters_come_in_the_query_and_credentials_as_basic() {
    let bench = Bench::start().await;
    let user = bench.user();
    let path = format!(
        "/oauth/v2/token?grant_type=refresh_token&client_id={CLIENT_ID}\
         &client_secret={CLIENT_SECRET}&refresh_token={}",
        user.refresh_token
    );
    bench.post(&path, &[]).await.token("access_token");

    let reply = bench
        .client
        .post(bench.url("/oauth/v2/token"))
        .basic_auth(CLIENT_ID, Some(CLIENT_SECRET))
        .form(&[("grant_type", "refresh_token"), ("refresh_token", &user.refresh_token)])
        .send()
        .await
        .unwrap();
    assert!(reply.text().await.unwrap().contains("access_token"));

    let body = json!({ "grant_type": "refresh_token", "refresh_token": "test" });
    assert_eq!(bench.post_json("/oauth/v2/token", &body).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn ten_access_tokens_in_ten_minutes() {
    let bench = Bench::start().await;
    let user = bench.user();
    for _ in 0..10 {
        let reply = bench.refresh(&user.refresh_token).await;
        assert_eq!(reply.json().get("refresh_token"), None, "a refresh keeps its refresh token");
        reply.token("access_token");
    }
    let refused = bench.refresh(&user.refresh_token).await;
    assert_eq!(refused.status, StatusCode::OK);
    assert_eq!(refused.error(), "Access Denied");
    assert_eq!(refused.json()["status"], "failure");
    assert!(refused.token("error_description").starts_with("You have made too many requests"));
    assert_eq!(bench.emulator.stats().throttled, 1);

    let other = bench.user();
    bench.refresh(&other.refresh_token).await.token("access_token");

    bench.clock.advance(minutes(10) - MILLISECOND);
    assert_eq!(bench.refresh(&user.refresh_token).await.error(), "Access Denied");
    bench.clock.advance(MILLISECOND);
    bench.refresh(&user.refresh_token).await.token("access_token");
    assert_eq!(bench.emulator.stats().throttled, 2);
    assert_eq!(bench.emulator.stats().token_requests_of("refresh_token"), 14);
}

#[tokio::test]
async fn the_sixteenth_live_token_ends_the_oldest() {
    let bench = Bench::start().await;
    let user = bench.user();
    let mut minted = Vec::new();
    for i in 0..15 {
        if i == 10 {
            bench.clock.advance(minutes(10));
        }
        minted.push(bench.refresh(&user.refresh_token).await.token("access_token"));
    }
    assert!(bench.works(&minted[0]).await);
    minted.push(bench.refresh(&user.refresh_token).await.token("access_token"));
    assert!(!bench.works(&minted[0]).await);
    for access in &minted[1..] {
        assert!(bench.works(access).await);
    }
}

#[tokio::test]
async fn the_twenty_first_refresh_token_deletes_the_oldest() {
    let bench = Bench::start().await;
    let stranger = bench.emulator.add_user("bob@example.com", CLIENT_ID, CLIENT_SECRET);
    let users: Vec<_> = (0..20).map(|_| bench.user()).collect();
    let access = bench.refresh(&users[0].refresh_token).await.token("access_token");
    bench.user();
    assert!(!bench.works(&access).await, "its access tokens end with it");
    assert_eq!(bench.refresh(&users[0].refresh_token).await.error(), "invalid_code");
    bench.refresh(&users[1].refresh_token).await.token("access_token");
    bench.refresh(&stranger.refresh_token).await.token("access_token");

    bench.exchange(&users[19].grant_token, &[]).await.token("refresh_token");
    assert_eq!(bench.refresh(&users[1].refresh_token).await.error(), "invalid_code");
}

#[tokio::test]
async fn limits_can_be_off() {
    let bench = Bench::start().await;
    bench.emulator.configure(Config::new().enforce_limits(false));
    let first = bench.user();
    for _ in 0..30 {
        bench.user();
        bench.refresh(&first.refresh_token).await.token("access_token");
    }
    assert_eq!(bench.emulator.stats().throttled, 0);
}

#[tokio::test]
async fn access_tokens_expire() {
    let bench = Bench::start().await;
    let user = bench.user();
    let hour = bench.refresh(&user.refresh_token).await.token("access_token");
    bench.emulator.configure(Config::new().access_token_lifetime_s(5));
    let reply = bench.refresh(&user.refresh_token).await;
    assert_eq!(reply.json()["expires_in"], 5);
    let short = reply.token("access_token");
    bench.clock.advance(5000 * MILLISECOND - MILLISECOND);
    assert!(bench.works(&short).await);
    bench.clock.advance(MILLISECOND);
    assert!(!bench.works(&short).await);
    assert!(bench.works(&hour).await);
    bench.emulator.expire_access_tokens();
    assert!(!bench.works(&hour).await);
    assert_eq!(bench.emulator.stats().api_unauthorized, 2);
}

#[tokio::test]
async fn refresh_tokens_rotate_with_a_grace() {
    let bench = Bench::start().await;
    let user = bench.user();
    bench.emulator.configure(Config::new().rotate_refresh_tokens(true).grace_ms(1000));
    let reply = bench.refresh(&user.refresh_token).await;
    let next = reply.token("refresh_token");
    assert_ne!(next, user.refresh_token);

    bench.clock.advance(999 * MILLISECOND);
    let replay = bench.refresh(&user.refresh_token).await;
    assert_eq!(replay.json(), reply.json(), "a replay gets the same answer");
    bench.clock.advance(MILLISECOND);
    assert_eq!(bench.refresh(&user.refresh_token).await.error(), "invalid_code");

    bench.emulator.configure(Config::new().grace_ms(0));
    bench.refresh(&next).await.token("refresh_token");
    assert_eq!(bench.refresh(&next).await.error(), "invalid_code");
}

#[tokio::test]
async fn rotation_does_not_evade_the_limit() {
    let bench = Bench::start().await;
    bench.emulator.configure(Config::new().rotate_refresh_tokens(true));
    let mut token = bench.user().refresh_token;
    for _ in 0..10 {
        token = bench.refresh(&token).await.token("refresh_token");
    }
    assert_eq!(bench.refresh(&token).await.error(), "Access Denied");
}

#[tokio::test]
async fn revoking_ends_a_refresh_token_and_its_access_tokens() {
    let bench = Bench::start().await;
    let user = bench.user();
    let access = bench.refresh(&user.refresh_token).await.token("access_token");
    let second = bench.refresh(&user.refresh_token).await.token("access_token");

    let one = bench.post("/oauth/v2/token/revoke", &[("token", &second)]).await;
    assert_eq!(one.json(), json!({ "status": "success" }));
    assert!(!bench.works(&second).await);
    assert!(bench.works(&access).await);

    let path = format!("/oauth/v2/token/revoke?token={}", user.refresh_token);
    assert_eq!(bench.post(&path, &[]).await.json(), json!({ "status": "success" }));
    assert!(!bench.works(&access).await);
    assert_eq!(bench.refresh(&user.refresh_token).await.error(), "invalid_code");

    let again = bench.post(&path, &[]).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(bench.emulator.stats().revocations, 2);
}

#[tokio::test]
async fn a_client_has_tokens_of_its_own() {
    let bench = Bench::start().await;
    bench.user();
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("scope", "ZohoCRM.org.READ"),
    ];
    assert_eq!(bench.post("/oauth/v2/token", &form).await.error(), "missing_org_info");
    let soid = format!("ZohoCRM.{}", bench.emulator.zgid());
    form.push(("soid", &soid));
    let reply = bench.post("/oauth/v2/token", &form).await;
    assert_eq!(reply.json().get("refresh_token"), None);
    let org =
        bench.crm(Method::GET, "/crm/v8/org", &reply.token("access_token"), Value::Null).await;
    assert_eq!(org.json()["org"][0]["zgid"], bench.emulator.zgid());
}

#[tokio::test]
async fn another_data_centre_knows_nothing_of_it() {
    let (us, eu) = (Bench::start().await, Bench::start().await);
    let user = us.user();
    assert_eq!(eu.refresh(&user.refresh_token).await.error(), "invalid_client");
    eu.user();
    assert_eq!(eu.refresh(&user.refresh_token).await.error(), "invalid_code");
    assert_eq!(eu.exchange(&user.grant_token, &[]).await.error(), "invalid_code");
}
