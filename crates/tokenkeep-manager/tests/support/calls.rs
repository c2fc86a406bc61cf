//! Requests to an emulator that are function calls: no socket, and nothing that depends on what
//! else the machine does.

use std::{sync::Arc, time::Duration};

use tokenkeep_emulator::InProcess;
use tokenkeep_oauth::{
    HttpReply, HttpRequest, OAuthClient, Transport, TransportError, TransportErrorKind, async_trait,
};
use tokio::time::timeout;

/// How long a reply is waited for.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Calls(InProcess);

/// A client whose requests all go to this emulator.
pub(crate) fn client_of(emulator: &InProcess) -> OAuthClient {
    OAuthClient::builder().transport(Arc::new(Calls(emulator.clone()))).build().unwrap()
}

#[async_trait]
impl Transport for Calls {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, TransportError> {
        let headers: Vec<_> = request.headers().map(|it| (it.name, it.value)).collect();
        let body = request.body().unwrap_or_default();
        let call = self.0.call(request.method().as_str(), request.url(), &headers, body);
        let reply = timeout(REQUEST_TIMEOUT, call)
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
