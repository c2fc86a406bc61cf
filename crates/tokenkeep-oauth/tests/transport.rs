//! The client on a transport of somebody else's: what it is given, and what its replies and errors
//! become. Nothing listens anywhere, and nothing runs but the test.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as tests do")]

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokenkeep_core::{AccessToken, ClientCredentials, ClientSecret, RefreshToken};
use tokenkeep_oauth::{
    AccountsServer, ApiDomain, HttpMethod, HttpReply, HttpRequest, MAX_RETRY_AFTER, OAuthClient,
    OAuthError, OAuthErrorKind, THROTTLE_WINDOW, Transport, TransportError, TransportErrorKind,
    async_trait,
};

type Answer = Result<HttpReply, TransportError>;

/// Answers what it is told to, in that order, and keeps the requests.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<HttpRequest>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: HttpRequest) -> Answer {
        self.requests.lock().unwrap().push(request);
        self.answers.lock().unwrap().pop_front().expect("no more requests than answers")
    }
}

impl Script {
    fn client(answers: impl IntoIterator<Item = Answer>) -> (Arc<Self>, OAuthClient) {
        let script = Arc::new(Self::default());
        script.answers.lock().unwrap().extend(answers);
        let transport: Arc<dyn Transport> = Arc::<Self>::clone(&script);
        (script, OAuthClient::builder().transport(transport).build().unwrap())
    }
}

fn json(status: u16, body: &str) -> HttpReply {
    HttpReply::new(status, body.as_bytes().to_vec()).with_content_type("application/json")
}

fn server() -> AccountsServer {
    AccountsServer::parse("https://accounts.zoho.eu").unwrap()
}

async fn refresh(client: &OAuthClient) -> Result<AccessToken, OAuthError> {
    let secret = ClientSecret::new("test-secret&").unwrap();
    let app = ClientCredentials::new("test-client", secret).unwrap();
    let token = RefreshToken::new("test-refresh").unwrap();
    client.refresh(&server(), &app, &token).await.map(|reply| reply.access_token)
}

async fn refused(answer: Answer) -> OAuthError {
    let (script, client) = Script::client([answer]);
    let error = refresh(&client).await.unwrap_err();
    assert_eq!(script.requests.lock().unwrap().len(), 1, "a request is sent once");
    assert_eq!(error.server(), Some(&server()));
    error
}

#[tokio::test]
async fn a_transport_is_given_the_whole_request() {
    let user = r#"{"users":[{"id":"1","email":"ada@example.com"}]}"#;
    let (script, client) =
        Script::client([Ok(json(200, r#"{"access_token":"test-access"}"#)), Ok(json(200, user))]);
    let access = refresh(&client).await.unwrap();
    let api = ApiDomain::parse("http://127.0.0.1:9").unwrap();
    assert_eq!(client.current_user(&api, &access).await.unwrap().id, "1");

    let requests = script.requests.lock().unwrap();
    let [post, get] = &requests[..] else { panic!("two requests") };
    assert_eq!((post.method(), post.method().as_str()), (HttpMethod::Post, "POST"));
    assert_eq!(post.url(), "https://accounts.zoho.eu/oauth/v2/token");
    assert!(!post.is_loopback() && post.max_reply() == 65_536);
    let form = "grant_type=refresh_token&client_id=test-client&client_secret=test-secret%26\
                &refresh_token=test-refresh";
    assert_eq!(post.body(), Some(form.as_bytes()));
    let headers: Vec<_> = post.headers().map(|it| (it.name, it.value, it.is_secret)).collect();
    assert_eq!(
        headers,
        [
            ("accept", "application/json", false),
            ("content-type", "application/x-www-form-urlencoded", false)
        ]
    );
    assert_eq!((get.method(), get.method().as_str()), (HttpMethod::Get, "GET"));
    assert_eq!(get.url(), "http://127.0.0.1:9/crm/v8/users?type=CurrentUser");
    assert!(get.is_loopback() && get.body().is_none());
    let headers: Vec<_> = get.headers().map(|it| (it.name, it.value, it.is_secret)).collect();
    assert_eq!(headers[1], ("authorization", "Zoho-oauthtoken test-access", true));
    let shown = format!("{client:?} {requests:?}");
    assert!(!shown.contains("test-"), "{shown}");
}

#[tokio::test]
async fn an_error_of_a_transport_keeps_what_it_says() {
    use TransportErrorKind as Kind;
    for (kind, becomes, transient) in [
        (Kind::Network, OAuthErrorKind::Network, true),
        (Kind::Timeout, OAuthErrorKind::Timeout, true),
        (Kind::TooLong, OAuthErrorKind::Malformed, false),
        (Kind::InvalidInput, OAuthErrorKind::InvalidInput, false),
        (Kind::Setup, OAuthErrorKind::Setup, false),
    ] {
        let new = || TransportError::new(kind, "as the transport says");
        for failure in [new(), new().not_sent()] {
            let applied = failure.maybe_applied();
            let error = refused(Err(failure)).await;
            assert_eq!((error.kind(), error.maybe_applied()), (becomes, applied), "{kind:?}");
            assert_eq!(error.is_transient(), transient, "{kind:?}");
        }
        let (_, client) = Script::client([Err(new())]);
        let token = AccessToken::new("test-access").unwrap();
        let api = ApiDomain::parse("https://www.zohoapis.eu").unwrap();
        let error = client.current_user(&api, &token).await.unwrap_err();
        assert!(!error.maybe_applied(), "asking who it is changes nothing");
    }
}

#[tokio::test]
async fn a_reply_that_a_transport_should_have_cut_is_refused() {
    let body = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(65_536));
    let error = refused(Ok(json(200, &body))).await;
    assert_eq!(error.kind(), OAuthErrorKind::Malformed);
    assert!(error.to_string().contains("longer than 65536 bytes"), "{error}");
}

#[tokio::test]
async fn the_time_to_wait_is_read() {
    let throttle = r#"{"error":"Access Denied","error_description":"too many requests"}"#;
    let maintenance = "<html>back soon</html>";
    let secs = Duration::from_secs;
    for (status, body, header, wait) in [
        (429, "", None, Some(THROTTLE_WINDOW)),
        (429, "", Some("30"), Some(secs(30))),
        (429, r#"{"error":"slow_down_please"}"#, Some(" 7 "), Some(secs(7))),
        (200, throttle, Some("1200"), Some(secs(1200))),
        (200, throttle, None, Some(THROTTLE_WINDOW)),
        (503, maintenance, Some("120"), Some(secs(120))),
        (503, maintenance, None, None),
        (500, r#"{"error":"general_error"}"#, Some("5"), Some(secs(5))),
        // Not seconds, or none to believe.
        (429, "", Some("Wed, 21 Oct 2026 07:28:00 GMT"), Some(THROTTLE_WINDOW)),
        (429, "", Some("-5"), Some(THROTTLE_WINDOW)),
        (429, "", Some("1.5"), Some(THROTTLE_WINDOW)),
        (429, "", Some(""), Some(THROTTLE_WINDOW)),
        (429, "", Some("0"), Some(secs(1))),
        (429, "", Some("99999999"), Some(MAX_RETRY_AFTER)),
        (429, "", Some("99999999999999999999999999"), Some(MAX_RETRY_AFTER)),
        // It will not work later.
        (400, r#"{"error":"invalid_code"}"#, Some("30"), None),
    ] {
        let mut reply = HttpReply::new(status, body.as_bytes().to_vec());
        if let Some(header) = header {
            reply = reply.with_retry_after(header);
        }
        let error = refused(Ok(reply)).await;
        assert_eq!(error.retry_after(), wait, "{status} {body} {header:?}");
    }
}
