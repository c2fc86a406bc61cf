//! The way to the emulator, on which requests and replies get lost.

use std::{future::pending, sync::Arc};

use serde_json::Value;
use tokenkeep_emulator::InProcess;
use tokenkeep_oauth::{
    HttpReply, HttpRequest, OAuthClient, Transport, TransportError, TransportErrorKind, async_trait,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    plan::{Mishap, Place, Plan},
    process::Agent,
};

/// Requests of one process to the emulator: function calls, with what can befall them.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    emulator: InProcess,
    agent: Agent,
    latency: std::time::Duration,
}

impl Way {
    pub(crate) fn client(
        emulator: &InProcess,
        agent: &Agent,
        latency: std::time::Duration,
    ) -> OAuthClient {
        let (emulator, agent) = (emulator.clone(), agent.clone());
        let way = Self { emulator, agent, latency };
        OAuthClient::builder().transport(Arc::new(way)).build().unwrap()
    }

    /// The emulator's answer: what it has done is done when this returns, and takes no time.
    async fn effect(&self, request: &Sent) -> HttpReply {
        let headers: Vec<_> =
            request.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let call = self.emulator.call(request.method, &request.url, &headers, &request.body);
        let reply = call.await.unwrap();
        if let Some((access, refresh)) = issued(&reply.body) {
            let refresh = refresh.as_deref();
            self.agent.ledger.issued(self.agent.who, &request.refresh_token, &access, refresh);
        }
        let mut given = HttpReply::new(reply.status, reply.body);
        given.content_type = reply.content_type;
        given.retry_after = reply.retry_after;
        given
    }

    /// The reply arrives, if there is anyone left.
    async fn arrive(&self, reply: HttpReply) -> Result<HttpReply, TransportError> {
        self.agent.stall().await;
        if let Some((access, refresh)) = issued(&reply.body) {
            self.agent.ledger.given(self.agent.who, &access, refresh.as_deref());
        }
        Ok(reply)
    }
}

/// The access token and the refresh token of a reply.
fn issued(body: &[u8]) -> Option<(String, Option<String>)> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
    Some((text("access_token")?, text("refresh_token")))
}

struct Sent {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    refresh_token: String,
}

fn html(status: u16) -> HttpReply {
    HttpReply::new(status, b"<html>test</html>".to_vec()).with_content_type("text/html")
}

#[async_trait]
impl Transport for Way {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, TransportError> {
        let body = request.body().unwrap_or_default().to_vec();
        let text = String::from_utf8(body.clone()).unwrap();
        let refresh_token = text.split('&').find_map(|pair| pair.strip_prefix("refresh_token="));
        let refresh_token = refresh_token.unwrap_or_default().to_owned();
        let own = |text: &str| text.to_owned();
        let headers = request.headers().map(|it| (own(it.name), own(it.value))).collect();
        let (method, url) = (request.method().as_str(), own(request.url()));
        let sent = Sent { method, url, headers, body, refresh_token };

        let began = Instant::now();
        let mishap = self.agent.step(Place::Provider, "request").await;
        // What is answered with an error is not counted by those who ask.
        let counts = !matches!(
            mishap,
            Some(Mishap::FailBefore | Mishap::FailAfter | Mishap::Refuse | Mishap::Garbage)
        );
        self.agent.ledger.sent(&sent.refresh_token, counts);
        let broken = || TransportError::new(TransportErrorKind::Network, "the connection broke");
        let too_late = || TransportError::new(TransportErrorKind::Timeout, "no reply in time");
        let give_up = began + Plan::REQUEST_TIMEOUT;
        match mishap {
            None | Some(Mishap::FreezeBefore | Mishap::CrashBefore) => {
                sleep(self.latency / 2).await;
                let reply = self.effect(&sent).await;
                sleep(self.latency / 2).await;
                self.arrive(reply).await
            }
            Some(mishap) => match mishap {
                Mishap::FailBefore => self.arrive(html(503)).await,
                Mishap::FailAfter => {
                    self.effect(&sent).await;
                    self.arrive(html(502)).await
                }
                Mishap::Refuse => {
                    let reply = HttpReply::new(429, b"{}".to_vec()).with_retry_after("30");
                    self.arrive(reply.with_content_type("application/json")).await
                }
                Mishap::DropBefore => Err(broken()),
                Mishap::DropAfter => {
                    self.effect(&sent).await;
                    Err(broken())
                }
                Mishap::Garbage => {
                    self.effect(&sent).await;
                    self.arrive(html(200)).await
                }
                Mishap::ShortBefore | Mishap::LongBefore => {
                    let short = mishap == Mishap::ShortBefore;
                    sleep(if short { Plan::SHORT } else { Plan::LONG }).await;
                    self.agent.stall().await;
                    let reply = self.effect(&sent).await;
                    self.arrive(reply).await
                }
                Mishap::ShortAfter | Mishap::LongAfter => {
                    let reply = self.effect(&sent).await;
                    let short = mishap == Mishap::ShortAfter;
                    sleep(if short { Plan::SHORT } else { Plan::LONG }).await;
                    self.arrive(reply).await
                }
                Mishap::HangBefore => {
                    sleep_until(give_up).await;
                    Err(too_late())
                }
                Mishap::HangAfter => {
                    self.effect(&sent).await;
                    sleep_until(give_up).await;
                    Err(too_late())
                }
                Mishap::Late => {
                    let way = self.clone();
                    drop(tokio::spawn(async move {
                        sleep(Plan::LATE).await;
                        way.effect(&sent).await;
                    }));
                    sleep_until(give_up).await;
                    Err(too_late())
                }
                Mishap::FreezeAfter => {
                    let reply = self.effect(&sent).await;
                    self.arrive(reply).await
                }
                Mishap::CrashAfter | Mishap::FreezeBefore | Mishap::CrashBefore => {
                    self.effect(&sent).await;
                    pending().await
                }
            },
        }
    }
}
