//! The client against servers that misbehave: raw TCP on loopback, one script a connection.
//!
//! Time is stopped once a request has arrived, so that a timeout of half a minute passes at once.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as tests do")]

use std::{error::Error, net::SocketAddr, time::Duration};

use tokenkeep_core::{AccessToken, ClientCredentials, ClientSecret, GrantToken, RefreshToken};
use tokenkeep_oauth::{
    AccountsServer, ApiDomain, CodeExchange, OAuthClient, OAuthError, OAuthErrorKind, PkceVerifier,
    Revocation,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a server does once it has read a request.
enum Then {
    /// Writes this and closes.
    Write(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Writes this, stops the clock and keeps the connection open.
    Hang(Vec<u8>),
    /// Writes for as long as somebody reads.
    Flood(Vec<u8>),
}

struct Server {
    address: SocketAddr,
    task: JoinHandle<String>,
}

impl Server {
    /// A server for one request; gives it back when joined.
    async fn start(then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            match then {
                Then::Write(bytes) => {
                    stream.write_all(&bytes).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
                Then::Reset => stream.set_zero_linger().unwrap(),
                Then::Hang(bytes) => {
                    stream.write_all(&bytes).await.unwrap();
                    tokio::time::pause();
                    // Ends when the client has given up.
                    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
                }
                Then::Flood(head) => {
                    stream.write_all(&head).await.unwrap();
                    while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
                }
            }
            request
        });
        Self { address, task }
    }

    async fn answering(status: &str, body: &str) -> Self {
        let json = "Content-Type: application/json;charset=UTF-8";
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{json}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        Self::start(Then::Write(answer.into_bytes())).await
    }

    fn accounts(&self) -> AccountsServer {
        AccountsServer::parse(&format!("http://{}", self.address)).unwrap()
    }

    fn api(&self) -> ApiDomain {
        ApiDomain::parse(&format!("http://{}", self.address)).unwrap()
    }

    async fn request(self) -> String {
        self.task.await.unwrap()
    }
}

/// Reads a request with its body.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |text| text.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0, "the client went away in the middle of its request");
        bytes.extend_from_slice(&chunk[..read]);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn form(request: &str) -> Vec<(String, String)> {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(header(head, "content-type"), Some("application/x-www-form-urlencoded"));
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn pairs<const N: usize>(fields: [(&str, &str); N]) -> Vec<(String, String)> {
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

const SECRETS: [&str; 5] =
    ["test-secret+&", "test-refresh", "test-code", "test-access", "test-proxy-password"];

fn app() -> ClientCredentials {
    ClientCredentials::new("test-client", ClientSecret::new("test-secret+&").unwrap()).unwrap()
}

fn refresh_token() -> RefreshToken {
    RefreshToken::new("test-refresh").unwrap()
}

fn client() -> OAuthClient {
    OAuthClient::builder().build().unwrap()
}

async fn refresh(server: &Server) -> OAuthError {
    let result = client().refresh(&server.accounts(), &app(), &refresh_token()).await;
    let error = result.expect_err("the server does not answer with a token");
    assert_silent(&error);
    assert_eq!(error.server(), Some(&server.accounts()));
    error
}

/// Nothing that was sent or received is in the error, its hint, or what is underneath.
fn assert_silent(error: &OAuthError) {
    let mut shown = format!("{error} {error:?} {:?}", error.hint());
    let mut source = error.source();
    while let Some(inner) = source {
        shown.push_str(&format!(" {inner} {inner:?}"));
        source = inner.source();
    }
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!shown.contains("/oauth/v2"), "{shown}");
}

#[tokio::test]
async fn a_refresh_sends_this() {
    let body =
        r#"{"access_token":"test-access","expires_in":3600,"api_domain":"http://127.0.0.1:1"}"#;
    let server = Server::answering("200 OK", body).await;
    let reply = client().refresh(&server.accounts(), &app(), &refresh_token()).await.unwrap();
    assert_eq!(reply.access_token, AccessToken::new("test-access").unwrap());
    assert_eq!(reply.api_domain.as_deref(), Some("http://127.0.0.1:1"));
    let request = server.request().await;
    assert!(request.starts_with("POST /oauth/v2/token HTTP/1.1\r\n"), "{request}");
    assert_eq!(
        form(&request),
        pairs([
            ("grant_type", "refresh_token"),
            ("client_id", "test-client"),
            ("client_secret", "test-secret+&"),
            ("refresh_token", "test-refresh"),
        ])
    );
    assert_eq!(header(&request, "accept"), Some("application/json"));
    assert!(header(&request, "user-agent").unwrap().starts_with("tokenkeep/"));
    assert_eq!(header(&request, "authorization"), None);
}

#[tokio::test]
async fn an_exchange_sends_this() {
    let verifier = PkceVerifier::random().unwrap();
    for (redirect_url, pkce) in
        [(None, None), (Some("https://app.example.com/cb?a=b"), Some(&verifier))]
    {
        let server = Server::answering("200 OK", r#"{"access_token":"test-access"}"#).await;
        let code = GrantToken::new("test-code").unwrap();
        let exchange = CodeExchange { client: &app(), code: &code, redirect_url, pkce };
        client().exchange_code(&server.accounts(), &exchange).await.unwrap();
        let request = server.request().await;
        assert!(request.starts_with("POST /oauth/v2/token HTTP/1.1\r\n"), "{request}");
        let mut fields = pairs([
            ("grant_type", "authorization_code"),
            ("client_id", "test-client"),
            ("client_secret", "test-secret+&"),
            ("code", "test-code"),
        ]);
        if let Some(url) = redirect_url {
            fields.extend(pairs([("redirect_uri", url)]));
            fields.extend(pairs([("code_verifier", verifier.expose_secret())]));
        }
        assert_eq!(form(&request), fields);
        let shown = format!("{exchange:?}");
        assert!(!shown.contains("test-code") && !shown.contains("test-secret"), "{shown}");
    }
}

#[tokio::test]
async fn a_revocation_sends_this() {
    let server = Server::answering("200 OK", r#"{"status":"success"}"#).await;
    let revocation = client().revoke(&server.accounts(), &refresh_token()).await.unwrap();
    assert_eq!(revocation, Revocation::Done);
    let request = server.request().await;
    assert!(request.starts_with("POST /oauth/v2/token/revoke HTTP/1.1\r\n"), "{request}");
    assert_eq!(form(&request), pairs([("token", "test-refresh")]));
}

#[tokio::test]
async fn asking_for_the_user_sends_this() {
    let body = r#"{"users":[{"id":"1","email":"ada@example.com"}]}"#;
    let server = Server::answering("200 OK", body).await;
    let token = AccessToken::new("test-access").unwrap();
    let user = client().current_user(&server.api(), &token).await.unwrap();
    assert_eq!(user.email, "ada@example.com");
    let request = server.request().await;
    assert!(request.starts_with("GET /crm/v8/users?type=CurrentUser HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "authorization"), Some("Zoho-oauthtoken test-access"));
}

#[tokio::test]
async fn localhost_is_this_machine() {
    let server = Server::answering("200 OK", r#"{"access_token":"test-access"}"#).await;
    let url = format!("http://localhost:{}", server.address.port());
    let localhost = AccountsServer::parse(&url).unwrap();
    client().refresh(&localhost, &app(), &refresh_token()).await.unwrap();
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let server = Server::answering("200 OK", r#"{"error":"invalid_code"}"#).await;
    let error = refresh(&server).await;
    assert_eq!(error.kind(), OAuthErrorKind::NeedsLogin);
    assert_eq!(error.code(), Some("invalid_code"));
    assert!(!error.is_transient() && !error.maybe_applied());
    assert!(error.hint().unwrap().contains("--dc"), "{error:?}");
}

#[tokio::test]
async fn an_error_that_echoes_what_was_sent_is_not_shown() {
    for echo in ["test-refresh", "test-secret", "echo test-refresh echo"] {
        let server = Server::answering("400 Bad", &format!(r#"{{"error":"{echo}"}}"#)).await;
        let error = refresh(&server).await;
        assert_eq!(error.kind(), OAuthErrorKind::Provider);
        assert_eq!(error.code(), None);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = elsewhere.local_addr().unwrap();
        let answer = format!(
            "HTTP/1.1 {status}\r\nLocation: http://{target}/oauth/v2/token?test-code\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let server = Server::start(Then::Write(answer.clone().into_bytes())).await;
        let error = refresh(&server).await;
        assert_eq!(error.kind(), OAuthErrorKind::Malformed, "{status}");
        assert!(error.to_string().contains("a redirect, which is not followed"), "{error}");
        assert!(error.maybe_applied());

        let server = Server::start(Then::Write(answer.into_bytes())).await;
        let token = AccessToken::new("test-access").unwrap();
        let error = client().current_user(&server.api(), &token).await.unwrap_err();
        assert_eq!(error.kind(), OAuthErrorKind::Malformed, "{status}");
        assert_silent(&error);

        let nobody_came = tokio::time::timeout(Duration::ZERO, elsewhere.accept()).await;
        assert!(nobody_came.is_err(), "{status}: the redirect was followed");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_leaves_doubt() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"test-access\"",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n{\"access_token\":\"test-access\"}\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
    ] {
        let server = Server::start(Then::Write(answer.as_bytes().to_vec())).await;
        let error = refresh(&server).await;
        assert_eq!(error.kind(), OAuthErrorKind::Network, "{answer}");
        assert!(error.maybe_applied() && error.is_transient(), "{answer}");
    }
}

#[tokio::test]
async fn a_json_that_is_cut_off_leaves_doubt() {
    let server = Server::answering("200 OK", r#"{"access_token":"test-access"#).await;
    let error = refresh(&server).await;
    assert_eq!(error.kind(), OAuthErrorKind::Malformed);
    assert!(error.maybe_applied() && error.is_transient());
}

#[tokio::test]
async fn an_answer_that_is_no_http_leaves_doubt() {
    let server = Server::start(Then::Write(b"test-access test-refresh\r\n\r\n".to_vec())).await;
    let error = refresh(&server).await;
    assert_eq!(error.kind(), OAuthErrorKind::Network);
    assert!(error.maybe_applied());
}

#[tokio::test]
async fn a_connection_that_is_reset_leaves_doubt() {
    let server = Server::start(Then::Reset).await;
    let error = refresh(&server).await;
    assert_eq!(error.kind(), OAuthErrorKind::Network);
    assert!(error.maybe_applied() && error.is_transient());
}

#[tokio::test]
async fn a_connection_that_is_refused_leaves_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = AccountsServer::parse(&url).unwrap();
    let error = client().refresh(&server, &app(), &refresh_token()).await.unwrap_err();
    assert_silent(&error);
    assert_eq!(error.kind(), OAuthErrorKind::Network);
    assert_eq!(error.to_string(), format!("{url}: could not connect"));
    assert!(!error.maybe_applied() && error.is_transient());
    assert!(error.source().is_some());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    for written in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"test-access\"",
    ] {
        let server = Server::start(Then::Hang(written.as_bytes().to_vec())).await;
        let began = tokio::time::Instant::now();
        let error = refresh(&server).await;
        assert_eq!(error.kind(), OAuthErrorKind::Timeout, "{written}");
        assert!(error.maybe_applied() && error.is_transient(), "{written}");
        let waited = began.elapsed();
        assert!((29..=35).contains(&waited.as_secs()), "{waited:?}");
        server.request().await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn another_timeout_can_be_set() {
    let server = Server::start(Then::Hang(Vec::new())).await;
    let client = OAuthClient::builder().timeout(Duration::from_secs(300)).build().unwrap();
    let began = tokio::time::Instant::now();
    let error = client.refresh(&server.accounts(), &app(), &refresh_token()).await.unwrap_err();
    assert_eq!(error.kind(), OAuthErrorKind::Timeout);
    let waited = began.elapsed();
    assert!((299..=305).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_cut() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"access_token\":\"test-access",
    ] {
        let server = Server::start(Then::Flood(head.as_bytes().to_vec())).await;
        let error = refresh(&server).await;
        assert_eq!(error.kind(), OAuthErrorKind::Malformed, "{head}");
        assert!(error.to_string().contains("longer than 65536 bytes"), "{error}");
        assert!(error.maybe_applied());
        server.request().await;
    }
}

#[tokio::test]
async fn an_html_page_is_described() {
    let answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 24\r\n\r\n\
                  <html>test-access</html>";
    let server = Server::start(Then::Write(answer.as_bytes().to_vec())).await;
    let error = refresh(&server).await;
    assert_eq!(error.kind(), OAuthErrorKind::Malformed);
    assert_eq!(error.status(), Some(502));
    assert!(
        error.to_string().ends_with("(status 502, 24 bytes) is an HTML or XML page"),
        "{error}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn the_time_to_wait_is_read_from_the_header() {
    let answer = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 42\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start(Then::Write(answer.as_bytes().to_vec())).await;
    let error = refresh(&server).await;
    assert_eq!(error.kind(), OAuthErrorKind::Throttled);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(42)));
    assert!(error.is_transient() && !error.maybe_applied());
}

fn through(proxy: &Server) -> OAuthClient {
    let url = format!("http://user:test-proxy-password@{}", proxy.address);
    let client = OAuthClient::builder().proxy(&url).unwrap();
    assert!(!format!("{client:?}").contains("test-proxy-password"));
    let client = client.build().unwrap();
    assert!(!format!("{client:?}").contains("test-proxy-password"));
    client
}

#[tokio::test]
async fn a_proxy_sees_the_servers_name_and_nothing_else() {
    let answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
    let proxy = Server::start(Then::Write(answer.to_vec())).await;
    let client = through(&proxy);
    let zoho = AccountsServer::known("https://accounts.zoho.eu").unwrap();
    let error = client.refresh(&zoho, &app(), &refresh_token()).await.unwrap_err();
    assert_silent(&error);
    assert_eq!(error.kind(), OAuthErrorKind::Network);
    assert!(!error.maybe_applied());
    let request = proxy.request().await;
    assert!(request.starts_with("CONNECT accounts.zoho.eu:443 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Basic") || request.contains("basic"), "{request}");
    for secret in SECRETS {
        assert!(!request.contains(secret), "{request}");
    }
}

#[tokio::test]
async fn a_proxy_sees_nothing_of_this_machine() {
    let proxy = Server::start(Then::Reset).await;
    let server = Server::answering("200 OK", r#"{"access_token":"test-access"}"#).await;
    through(&proxy).refresh(&server.accounts(), &app(), &refresh_token()).await.unwrap();
    assert!(!proxy.task.is_finished());
    proxy.task.abort();
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    for builder in [
        OAuthClient::builder().timeout(Duration::ZERO),
        OAuthClient::builder().connect_timeout(Duration::ZERO),
        OAuthClient::builder().user_agent("a\r\nb"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), OAuthErrorKind::InvalidInput);
    }
}
