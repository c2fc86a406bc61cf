//! Starting and stopping an emulator.

use std::{fmt, io, ops::Deref, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, middleware};
use serde_json::json;
use thiserror::Error;
use tokenkeep_core::{Clock, SystemClock};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    accounts, control, crm, faults,
    in_process::InProcess,
    listener::{Connection, Loopback},
    mint::Mint,
    reply::Reply,
    state::{Shared, Site},
};

/// How long [`Emulator::stop`] lets requests in flight finish.
const PATIENCE: Duration = Duration::from_secs(2);

/// An emulator that listens on 127.0.0.1 until it is dropped or [stopped](Self::stop).
///
/// What it can be told and asked is in [`InProcess`], which it dereferences to: that is the server
/// without its port.
///
/// Dropping it closes the port and idle connections; requests in flight are still answered.
pub struct Emulator {
    server: InProcess,
    port: u16,
    shutdown: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

impl Emulator {
    /// How an emulator shall be. It starts with [`EmulatorBuilder::start`].
    #[must_use]
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder {
            clock: Arc::new(SystemClock),
            port: 0,
            location: "us".to_owned(),
            api_domain: None,
            environment: "production".to_owned(),
            seed: None,
        }
    }

    /// Starts one on a free port, with the machine's clock, as the US data centre.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub async fn start() -> Result<Self, EmulatorError> {
        Self::builder().start().await
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes the port and waits until requests in flight are answered, two seconds at most.
    pub async fn stop(mut self) {
        self.shutdown.take();
        if let Some(mut serving) = self.serving.take()
            && timeout(PATIENCE, &mut serving).await.is_err()
        {
            serving.abort();
        }
    }
}

impl Deref for Emulator {
    type Target = InProcess;

    fn deref(&self) -> &InProcess {
        &self.server
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("url", &self.url()).finish_non_exhaustive()
    }
}

/// How an emulator shall be. Made by [`Emulator::builder`], and made into one by
/// [`start`](Self::start) or [`in_process`](Self::in_process).
#[derive(Clone, Debug)]
pub struct EmulatorBuilder {
    clock: Arc<dyn Clock>,
    port: u16,
    location: String,
    api_domain: Option<String>,
    environment: String,
    seed: Option<u64>,
}

impl EmulatorBuilder {
    /// The clock that codes, tokens and limits go by. The machine's, unless set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The port on 127.0.0.1; 0, the default, takes a free one. In process it is a part of the URL
    /// and nothing else, so that two of them have two URLs.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The data centre: `us` unless set.
    #[must_use]
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = location.into();
        self
    }

    /// Base of API calls that token replies name: the emulator's own URL unless set.
    #[must_use]
    pub fn api_domain(mut self, url: impl Into<String>) -> Self {
        self.api_domain = Some(url.into());
        self
    }

    /// What `GET /crm/v8/org` says the organisation is: `production` unless set.
    #[must_use]
    pub fn environment(mut self, environment: impl Into<String>) -> Self {
        self.environment = environment.into();
        self
    }

    /// Makes all tokens, codes and ids from this seed, so that they are the same each time: as long as
    /// the same things are asked for in the same order. From chance, unless set.
    ///
    /// Whoever knows the seed knows the tokens: for tests alone.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The server without a port, a socket or a task. Nothing has to run for it, and with
    /// a [seed](Self::seed), a [clock](Self::clock) that goes by Tokio's time and paused time it does
    /// the same each time.
    #[must_use]
    pub fn in_process(self) -> InProcess {
        let url = match self.port {
            // 80 is what a URL without a port means, and clients leave it out.
            0 | 80 => "http://127.0.0.1".to_owned(),
            port => format!("http://127.0.0.1:{port}"),
        };
        self.serve_at(url)
    }

    fn serve_at(self, url: String) -> InProcess {
        let Self { clock, port: _, location, api_domain, environment, seed } = self;
        let site = Site::new(url.clone(), location, api_domain, environment);
        let shared = Shared::new(site, clock, Mint::new(seed));
        InProcess::new(url, shared.clone(), router(shared))
    }

    /// Binds the port and serves in a task of the current Tokio runtime.
    ///
    /// If this future is dropped, nothing was started.
    ///
    /// # Errors
    ///
    /// If the port cannot be had.
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        let port = self.port;
        let (listener, port) =
            Loopback::bind(port).await.map_err(|source| EmulatorError { port, source })?;
        let server = self.serve_at(format!("http://127.0.0.1:{port}"));
        let service = server.router().into_make_service_with_connect_info::<Connection>();
        let (shutdown, closed) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stop = async {
                // Nothing is ever sent: the other end is dropped.
                drop(closed.await);
            };
            if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
                tracing::warn!(%error, "the emulator stopped serving");
            }
        });
        tracing::debug!(url = server.url(), "emulator listens");
        Ok(Emulator { server, port, shutdown: Some(shutdown), serving: Some(serving) })
    }
}

/// The emulator could not start.
#[derive(Debug, Error)]
#[error("cannot listen on 127.0.0.1:{port}")]
#[non_exhaustive]
pub struct EmulatorError {
    /// The port that was asked for; 0 stands for any free one.
    pub port: u16,
    /// Why.
    pub source: io::Error,
}

fn router(shared: Shared) -> Router {
    Router::new()
        .merge(accounts::routes())
        .merge(control::routes())
        .merge(crm::routes())
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(shared.clone(), faults::play))
        .with_state(shared)
}

async fn not_found() -> Reply {
    Reply::new(StatusCode::NOT_FOUND, json!({ "error": "not_found" }))
}
