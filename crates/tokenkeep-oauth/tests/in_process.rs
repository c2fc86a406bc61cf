//! The client against the emulator without a socket, under paused time: a rotating provider, and
//! replies that get lost.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as tests do")]

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{ClientCredentials, ClientSecret, RefreshToken};
use tokenkeep_emulator::{Config, DropWhen, Emulator, Fault, InProcess};
use tokenkeep_oauth::{
    AccountsServer, HttpReply, HttpRequest, OAuthClient, OAuthError, OAuthErrorKind, TokenReply,
    Transport, TransportError, TransportErrorKind, async_trait,
};
use tokio::time::{Instant, timeout};

/// Requests that are function calls. As on a wire, a client does not learn how far a request had
/// come when its connection broke.
#[derive(Debug)]
struct Calls {
    server: InProcess,
    timeout: Duration,
}

#[async_trait]
impl Transport for Calls {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, TransportError> {
        let headers: Vec<_> = request.headers().map(|it| (it.name, it.value)).collect();
        let body = request.body().unwrap_or_default();
        let call = self.server.call(request.method().as_str(), request.url(), &headers, body);
        let reply = timeout(self.timeout, call)
            .await
            .map_err(|_late| TransportError::new(TransportErrorKind::Timeout, "no reply in time"))?
            .map_err(|dropped| {
                let kind = TransportErrorKind::Network;
                TransportError::new(kind, "the connection broke").with_source(dropped)
            })?;
        let mut given = HttpReply::new(reply.status, reply.body);
        given.content_type = reply.content_type;
        given.retry_after = reply.retry_after;
        Ok(given)
    }
}

struct Login {
    emulator: InProcess,
    first: RefreshToken,
    client: OAuthClient,
}

impl Login {
    /// At a provider that rotates, with a grace of ten seconds.
    fn new(seed: u64) -> Self {
        let emulator = Emulator::builder().seed(seed).in_process();
        emulator.configure(Config::new().rotate_refresh_tokens(true).grace_ms(10_000));
        let user = emulator.add_user("ada@example.com", "test-client", "test-secret");
        let calls = Calls { server: emulator.clone(), timeout: Duration::from_secs(30) };
        let client = OAuthClient::builder().transport(Arc::new(calls)).build().unwrap();
        Self { emulator, first: RefreshToken::new(user.refresh_token).unwrap(), client }
    }

    fn play(&self, fault: Fault) {
        self.emulator.configure(Config::new().fail_next([fault]));
    }

    async fn refresh(&self, token: &RefreshToken) -> Result<TokenReply, OAuthError> {
        let secret = ClientSecret::new("test-secret").unwrap();
        let app = ClientCredentials::new("test-client", secret).unwrap();
        let server = AccountsServer::parse(self.emulator.url()).unwrap();
        self.client.refresh(&server, &app, token).await
    }
}

const TOKEN: &str = "/oauth/v2/token";

#[tokio::test(start_paused = true)]
async fn a_refresh_rotates_and_is_the_same_each_time() {
    let (login, twin) = (Login::new(7), Login::new(7));
    let reply = login.refresh(&login.first).await.unwrap();
    let same = twin.refresh(&twin.first).await.unwrap();
    assert_eq!(
        (&reply.access_token, &reply.refresh_token),
        (&same.access_token, &same.refresh_token)
    );
    assert!(login.emulator.is_live_access_token(reply.access_token.expose_secret()));
    let newest = login.emulator.newest_refresh_token("ada@example.com").unwrap();
    assert_eq!(reply.refresh_token, Some(RefreshToken::new(newest).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_can_be_had_again_within_the_grace() {
    for (fault, kind, granted) in [
        (Fault::dropping(TOKEN, DropWhen::Before), OAuthErrorKind::Network, 0),
        (Fault::dropping(TOKEN, DropWhen::After), OAuthErrorKind::Network, 1),
        (Fault::delaying(TOKEN).delay_after_ms(30_001), OAuthErrorKind::Timeout, 1),
        (Fault::answering(TOKEN, 504, "<html>").effect(true), OAuthErrorKind::Malformed, 1),
    ] {
        let login = Login::new(7);
        login.emulator.configure(Config::new().grace_ms(60_000));
        login.play(fault);
        let error = login.refresh(&login.first).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.maybe_applied() && error.is_transient(), "{error:?}");
        assert_eq!(login.emulator.stats().refreshes_granted, granted);
        let reply = login.refresh(&login.first).await.unwrap();
        let stats = login.emulator.stats();
        assert_eq!((stats.refreshes_granted, stats.refreshes_replayed), (1, granted));
        let newest = login.emulator.newest_refresh_token("ada@example.com");
        assert_eq!(reply.refresh_token.unwrap().expose_secret(), newest.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttle_says_how_long_to_wait_and_nothing_was_done() {
    let login = Login::new(7);
    login.play(Fault::answering(TOKEN, 429, "").retry_after_s(17).delay_before_ms(500));
    let began = Instant::now();
    let error = login.refresh(&login.first).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_millis(500));
    assert_eq!(error.kind(), OAuthErrorKind::Throttled);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    assert!(!error.maybe_applied());
    assert_eq!(login.emulator.minted_with(login.first.expose_secret()), 0);
}
