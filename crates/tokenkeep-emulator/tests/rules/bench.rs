//! A client of the emulator, and a clock that is moved by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Method, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use tokenkeep_core::{Clock, Timestamp};
use tokenkeep_emulator::{
    ConnectionDropped, Emulator, EmulatorBuilder, InProcess, InProcessReply, NewUser,
};
use tokio::time::Instant;

pub(crate) const CLIENT_ID: &str = "1000.TESTCLIENT";
pub(crate) const CLIENT_SECRET: &str = "test-client-secret";
pub(crate) const EMAIL: &str = "ada@example.com";
pub(crate) const REDIRECT: &str = "http://127.0.0.1:9/callback";

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// An emulator, its clock, and a client that follows no redirects.
pub(crate) struct Bench {
    pub(crate) emulator: Emulator,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) client: Client,
}

/// A status, a `Location` and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// What `error` says in the body.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// What `code` says in the body of a CRM error.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn token(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("a {name} in the reply")).to_owned()
    }
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_764_000_000_000)));
        let shared: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let emulator = Emulator::builder().clock(shared).start().await.unwrap();
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        Self { emulator, clock, client }
    }

    pub(crate) fn user(&self) -> NewUser {
        self.emulator.add_user(EMAIL, CLIENT_ID, CLIENT_SECRET)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.emulator.url())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let reply = request.send().await?;
        let location = reply.headers().get("location").map(|it| it.to_str().unwrap().to_owned());
        Ok(Answer { status: reply.status(), location, text: reply.text().await? })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path))).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.try_post(path, form).await.unwrap()
    }

    pub(crate) async fn try_post(
        &self,
        path: &str,
        form: &[(&str, &str)],
    ) -> reqwest::Result<Answer> {
        self.send(self.client.post(self.url(path)).form(form)).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let request = self.client.post(self.url(path)).body(body.to_string());
        self.send(request.header("content-type", "application/json")).await.unwrap()
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/oauth/v2/token", &refresh_form(token)).await
    }

    pub(crate) async fn exchange(&self, code: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
            ("code", code),
        ];
        form.extend(more);
        self.post("/oauth/v2/token", &form).await
    }

    pub(crate) async fn crm(
        &self,
        method: Method,
        path: &str,
        access: &str,
        body: Value,
    ) -> Answer {
        let mut request = self
            .client
            .request(method, self.url(path))
            .header("authorization", format!("Zoho-oauthtoken {access}"));
        if !body.is_null() {
            request = request.body(body.to_string()).header("content-type", "application/json");
        }
        self.send(request).await.unwrap()
    }

    pub(crate) async fn read(&self, path: &str, access: &str) -> Answer {
        self.crm(Method::GET, path, access, Value::Null).await
    }

    /// Whether an access token works.
    pub(crate) async fn works(&self, access: &str) -> bool {
        let answer = self.read("/crm/v8/users?type=CurrentUser", access).await;
        if answer.status != StatusCode::OK {
            assert_eq!(answer.code(), "INVALID_TOKEN");
        }
        answer.status == StatusCode::OK
    }

    /// A user's access token, fresh from a refresh.
    pub(crate) async fn access(&self) -> String {
        let user = self.user();
        self.refresh(&user.refresh_token).await.token("access_token")
    }

    /// Leads named `Lead 0` and so on.
    pub(crate) async fn leads(&self, access: &str, count: usize) {
        let names: Vec<Value> =
            (0..count).map(|i| json!({ "Last_Name": format!("Lead {i}") })).collect();
        for chunk in names.chunks(100) {
            let body = json!({ "data": chunk });
            let answer = self.crm(Method::POST, "/crm/v8/Leads", access, body).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        }
    }
}

pub(crate) fn refresh_form(token: &str) -> [(&str, &str); 4] {
    [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("refresh_token", token),
    ]
}

pub(crate) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

/// A clock that goes by Tokio's, and so stands still where that one is paused.
#[derive(Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000).plus(self.0.elapsed())
    }
}

/// An emulator without a port, and a user with a client.
pub(crate) struct Local {
    pub(crate) server: InProcess,
    pub(crate) user: NewUser,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self::of(Emulator::builder().seed(1))
    }

    pub(crate) fn of(builder: EmulatorBuilder) -> Self {
        let server = builder.clock(Arc::new(TokioClock(Instant::now()))).in_process();
        let user = server.add_user(EMAIL, CLIENT_ID, CLIENT_SECRET);
        Self { server, user }
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
    ) -> Result<InProcessReply, ConnectionDropped> {
        let body: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.server.call("POST", path, &headers, body.join("&").as_bytes()).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<InProcessReply, ConnectionDropped> {
        self.post("/oauth/v2/token", &refresh_form(token)).await
    }

    /// The body of the reply to a refresh.
    pub(crate) async fn refreshed(&self, token: &str) -> Value {
        json_of(&self.refresh(token).await.unwrap())
    }
}

pub(crate) fn json_of(reply: &InProcessReply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

pub(crate) fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_else(|| panic!("a {name} in {body}")).to_owned()
}
