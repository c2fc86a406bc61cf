//! [`InProcess`]: the server, called as a function.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use thiserror::Error;
use tower::ServiceExt as _;

use crate::{config::DropWhen, state::Shared};

/// The server without a port: the same routes, rules, faults and counters, called as a function.
///
/// No socket, no thread and no task is involved: a [`call`](Self::call) does everything in the task
/// that awaits it, and what takes time goes by Tokio's clock. So with a
/// [seed](crate::EmulatorBuilder::seed), a clock that goes by Tokio's too and paused time, a test is
/// the same each time. Clones are the same server.
///
/// It is made by [`EmulatorBuilder::in_process`](crate::EmulatorBuilder::in_process).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tokenkeep_emulator::ConnectionDropped> {
/// use tokenkeep_emulator::{Config, Emulator};
///
/// let server = Emulator::builder().seed(7).in_process();
/// server.configure(Config::new().rotate_refresh_tokens(true));
/// let user = server.add_user("ada@example.com", "1000.CLIENT", "test-client-secret");
/// let form = format!(
///     "grant_type=refresh_token&client_id=1000.CLIENT&client_secret=test-client-secret\
///      &refresh_token={}",
///     user.refresh_token
/// );
/// let headers = [("content-type", "application/x-www-form-urlencoded")];
/// let reply = server.call("POST", "/oauth/v2/token", &headers, form.as_bytes()).await?;
/// assert_eq!(reply.status, 200);
/// assert_ne!(server.newest_refresh_token("ada@example.com"), Some(user.refresh_token));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct InProcess {
    url: Arc<str>,
    pub(crate) shared: Shared,
    router: Router,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("url", &self.url).finish_non_exhaustive()
    }
}

impl InProcess {
    pub(crate) fn new(url: String, shared: Shared, router: Router) -> Self {
        Self { url: url.into(), shared, router }
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Base of the accounts server and of API calls: `http://127.0.0.1:PORT`. In process nothing
    /// listens there, and without a [port](crate::EmulatorBuilder::port) it has none.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers a request. `target` is a path with its query, or such a URL of this server; the URL
    /// of another one is answered with 421, and what is no request with 400.
    ///
    /// If the future is dropped while the reply waits ([`Config::token_latency_ms`],
    /// [`Fault::delay_after_ms`]), what was asked is done, and only the reply is lost: as if the
    /// connection broke.
    ///
    /// # Errors
    ///
    /// If a [fault](crate::Fault) drops the connection. A client does not learn whether the server
    /// had done it by then; a test does.
    ///
    /// [`Config::token_latency_ms`]: crate::Config::token_latency_ms
    /// [`Fault::delay_after_ms`]: crate::Fault::delay_after_ms
    pub async fn call(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<InProcessReply, ConnectionDropped> {
        let path = target.strip_prefix(self.url()).unwrap_or(target);
        if !path.starts_with('/') {
            return Ok(InProcessReply::bare(StatusCode::MISDIRECTED_REQUEST));
        }
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let Ok(request) = request.body(Body::from(body.to_vec())) else {
            return Ok(InProcessReply::bare(StatusCode::BAD_REQUEST));
        };
        let response = match self.router().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if let Some(dropped) = response.extensions().get::<ConnectionDropped>() {
            return Err(*dropped);
        }
        let (head, body) = response.into_parts();
        // It is in memory: reading it does not fail.
        let read = to_bytes(body, usize::MAX).await;
        let body = read.map_err(|_in_memory| ConnectionDropped { when: DropWhen::After })?.to_vec();
        Ok(InProcessReply::new(head.status, &head.headers, body))
    }
}

/// The reply to a [call](InProcess::call). `Debug` shows neither headers nor body, which hold codes
/// and tokens.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InProcessReply {
    /// The status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The header `Location`.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl InProcessReply {
    fn new(status: StatusCode, headers: &HeaderMap, body: Vec<u8>) -> Self {
        let text = |name| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        Self {
            status: status.as_u16(),
            content_type: text(header::CONTENT_TYPE),
            retry_after: text(header::RETRY_AFTER),
            location: text(header::LOCATION),
            body,
        }
    }

    fn bare(status: StatusCode) -> Self {
        Self::new(status, &HeaderMap::new(), Vec::new())
    }
}

impl fmt::Debug for InProcessReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessReply")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A fault dropped the connection: there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection was dropped")]
#[non_exhaustive]
pub struct ConnectionDropped {
    /// On which side of the effect.
    pub when: DropWhen,
}
