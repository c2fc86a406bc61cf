//! The page, the redirect, PKCE, and the device flow.

use reqwest::StatusCode;
use serde_json::json;
use url::{Url, form_urlencoded};

use crate::bench::{
    Answer, Bench, CLIENT_ID, CLIENT_SECRET, EMAIL, MILLISECOND, REDIRECT, minutes,
};

const SCOPE: &str = "ZohoCRM.modules.ALL,ZohoCRM.users.READ";

/// An authorisation request with what it needs, and more.
fn request<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut params = vec![
        ("client_id", CLIENT_ID),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", SCOPE),
        ("access_type", "offline"),
        ("state", "a&b"),
    ];
    params.extend(more);
    params
}

fn path(params: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    format!("/oauth/v2/auth?{query}")
}

/// The parameters of a redirect.
fn query(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.text);
    let url = Url::parse(answer.location.as_ref().unwrap()).unwrap();
    assert!(url.as_str().starts_with(REDIRECT));
    url.query_pairs().into_owned().collect()
}

fn value(answer: &Answer, name: &str) -> Option<String> {
    query(answer).into_iter().find(|(given, _)| given == name).map(|(_, value)| value)
}

async fn accept(bench: &Bench, more: &[(&str, &str)]) -> Answer {
    let mut params = request(more);
    params.push(("emulator_accept", EMAIL));
    bench.get(&path(&params)).await
}

const REDIRECTED: (&str, &str) = ("redirect_uri", REDIRECT);

#[tokio::test]
async fn a_browser_accepts() {
    let bench = Bench::start().await;
    bench.user();
    let page = bench.get(&path(&request(&[]))).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("name=\"state\" value=\"a&amp;b\""));
    assert!(page.text.contains(EMAIL));

    let mut form = request(&[]);
    form.extend([("email", EMAIL), ("other_email", ""), ("decision", "accept")]);
    let answer = bench.post("/oauth/v2/auth", &form).await;
    assert_eq!(value(&answer, "location").as_deref(), Some("us"));
    assert_eq!(value(&answer, "accounts-server").as_deref(), Some(bench.emulator.url()));
    assert_eq!(value(&answer, "state").as_deref(), Some("a&b"));
    let code = value(&answer, "code").unwrap();

    assert_eq!(bench.exchange(&code, &[]).await.error(), "invalid_redirect_uri");
    let reply = bench.exchange(&code, &[REDIRECTED]).await;
    assert_eq!(reply.token("scope"), SCOPE);
    reply.token("refresh_token");
    let user = bench.read("/crm/v8/users?type=CurrentUser", &reply.token("access_token")).await;
    assert_eq!(user.json()["users"][0]["email"], EMAIL);
}

#[tokio::test]
async fn a_browser_refuses() {
    let bench = Bench::start().await;
    bench.user();
    let mut form = request(&[]);
    form.extend([("email", EMAIL), ("decision", "refuse")]);
    let answer = bench.post("/oauth/v2/auth", &form).await;
    assert_eq!(value(&answer, "error").as_deref(), Some("access_denied"));
    assert_eq!(value(&answer, "state").as_deref(), Some("a&b"));
    assert_eq!(value(&answer, "code"), None);

    let answer = bench.get(&path(&request(&[("emulator_refuse", "1")]))).await;
    assert_eq!(value(&answer, "error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn somebody_new_may_accept() {
    let bench = Bench::start().await;
    bench.user();
    let mut form = request(&[]);
    form.extend([("email", EMAIL), ("other_email", "new@example.com"), ("decision", "accept")]);
    let answer = bench.post("/oauth/v2/auth", &form).await;
    let code = value(&answer, "code").unwrap();
    let access = bench.exchange(&code, &[REDIRECTED]).await.token("access_token");
    let user = bench.read("/crm/v8/users?type=CurrentUser", &access).await;
    assert_eq!(user.json()["users"][0]["email"], "new@example.com");
}

#[tokio::test]
async fn what_is_wrong_is_shown_and_not_redirected() {
    let bench = Bench::start().await;
    bench.user();
    for (name, wrong) in [
        ("client_id", "1000.NOBODY"),
        ("response_type", "token"),
        ("redirect_uri", "javascript:alert(1)"),
        ("scope", ""),
        ("code_challenge_method", "S512"),
    ] {
        let mut params = request(&[("code_challenge", "test-challenge")]);
        params.retain(|(given, _)| *given != name);
        params.extend([(name, wrong), ("emulator_accept", EMAIL)]);
        let answer = bench.get(&path(&params)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(answer.location, None);
        assert!(answer.text.contains("An error occurred"));
    }
    bench.emulator.add_client(CLIENT_ID, CLIENT_SECRET, ["https://example.com/callback"]);
    assert_eq!(accept(&bench, &[]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_challenge_is_verified() {
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let bench = Bench::start().await;
    bench.user();
    for (method, challenge) in [("S256", CHALLENGE), ("plain", VERIFIER)] {
        let more = [("code_challenge", challenge), ("code_challenge_method", method)];
        let code = value(&accept(&bench, &more).await, "code").unwrap();
        for wrong in [&[REDIRECTED][..], &[REDIRECTED, ("code_verifier", "wrong")]] {
            assert_eq!(bench.exchange(&code, wrong).await.error(), "invalid_code");
        }
        let right = [REDIRECTED, ("code_verifier", VERIFIER)];
        bench.exchange(&code, &right).await.token("access_token");
    }
}

#[tokio::test]
async fn only_the_first_consent_gives_a_refresh_token() {
    let bench = Bench::start().await;
    bench.user();
    for (more, expected) in
        [(&[][..], true), (&[][..], false), (&[("prompt", "consent")][..], true)]
    {
        let code = value(&accept(&bench, more).await, "code").unwrap();
        let reply = bench.exchange(&code, &[REDIRECTED]).await;
        assert_eq!(reply.json().get("refresh_token").is_some(), expected);
    }
    let mut online = request(&[("emulator_accept", EMAIL), ("prompt", "consent")]);
    online.retain(|(name, _)| *name != "access_type");
    let code = value(&bench.get(&path(&online)).await, "code").unwrap();
    let reply = bench.exchange(&code, &[REDIRECTED]).await;
    assert_eq!(reply.json().get("refresh_token"), None, "access_type is online unless said");
    assert!(bench.works(&reply.token("access_token")).await);
}

#[tokio::test]
async fn ten_codes_in_ten_minutes() {
    let bench = Bench::start().await;
    bench.user();
    for _ in 0..10 {
        assert_eq!(accept(&bench, &[]).await.status, StatusCode::FOUND);
    }
    let refused = accept(&bench, &[]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("too many requests"));
    bench.clock.advance(minutes(10));
    assert_eq!(accept(&bench, &[]).await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_code_of_the_page_dies_too() {
    let bench = Bench::start().await;
    bench.user();
    let code = value(&accept(&bench, &[]).await, "code").unwrap();
    bench.clock.advance(minutes(2));
    assert_eq!(bench.exchange(&code, &[REDIRECTED]).await.error(), "invalid_code");
}

#[tokio::test]
async fn locations_are_listed() {
    let bench = Bench::start().await;
    bench.emulator.add_location("eu", "http://127.0.0.1:1");
    let info = bench.get("/oauth/serverinfo").await.json();
    assert_eq!(info["result"], "success");
    assert_eq!(
        info["locations"],
        json!({ "us": bench.emulator.url(), "eu": "http://127.0.0.1:1" })
    );
}

async fn begin(bench: &Bench) -> (String, String) {
    let form = [
        ("grant_type", "device_request"),
        ("client_id", CLIENT_ID),
        ("scope", SCOPE),
        ("access_type", "offline"),
    ];
    let reply = bench.post("/oauth/v3/device/code", &form).await;
    assert_eq!(reply.json()["interval"], 30);
    assert_eq!(reply.json()["expires_in"], 300);
    (reply.token("device_code"), reply.token("user_code"))
}

async fn poll(bench: &Bench, code: &str) -> Answer {
    let form = [
        ("grant_type", "device_token"),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("code", code),
    ];
    bench.post("/oauth/v3/device/token", &form).await
}

#[tokio::test]
async fn a_device_waits_for_its_user() {
    let bench = Bench::start().await;
    bench.user();
    let interval = 30_000 * MILLISECOND;
    let (device, user) = begin(&bench).await;
    assert_eq!(poll(&bench, &device).await.error(), "authorization_pending");
    assert_eq!(poll(&bench, &device).await.error(), "slow_down");
    let page = bench.get(&format!("/oauth/v3/device?user_code={user}")).await;
    assert!(page.text.contains(&user));
    let body = json!({ "user_code": user, "email": EMAIL });
    assert_eq!(bench.post_json("/emulator/device/accept", &body).await.status, StatusCode::OK);
    bench.clock.advance(interval);
    let reply = poll(&bench, &device).await;
    reply.token("refresh_token");
    assert!(bench.works(&reply.token("access_token")).await);
    assert_eq!(poll(&bench, &device).await.error(), "invalid_code");

    let (device, user) = begin(&bench).await;
    let form = [("user_code", user.as_str()), ("decision", "refuse")];
    assert_eq!(bench.post("/emulator/device/accept", &form).await.status, StatusCode::OK);
    assert_eq!(poll(&bench, &device).await.error(), "access_denied");

    let (device, user) = begin(&bench).await;
    bench.clock.advance(minutes(5));
    assert!(!bench.emulator.decide_device(&user, Some(EMAIL)));
    assert_eq!(poll(&bench, &device).await.error(), "expired");
}
