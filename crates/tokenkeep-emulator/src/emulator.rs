//! Starting, steering and stopping an emulator.

use std::{fmt, io, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, middleware};
use serde_json::json;
use thiserror::Error;
use tokenkeep_core::{Clock, SystemClock};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    accounts,
    clients::Registration,
    config::Config,
    control, crm, faults,
    listener::{Connection, Loopback},
    reply::Reply,
    state::{NewUser, Shared, Site},
    stats::Stats,
};

/// How long [`Emulator::stop`] lets requests in flight finish.
const PATIENCE: Duration = Duration::from_secs(2);

/// An emulator that listens on 127.0.0.1 until it is dropped or [stopped](Self::stop).
///
/// Dropping it closes the port and idle connections; requests in flight are still answered.
pub struct Emulator {
    shared: Shared,
    url: String,
    port: u16,
    shutdown: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
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

    /// `http://127.0.0.1:PORT`: base of the accounts server and of API calls.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it counted: `GET /emulator/stats`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats.clone()
    }

    /// The number of its organisation, as in `soid=ZohoCRM.{zgid}`.
    #[must_use]
    pub fn zgid(&self) -> String {
        self.shared.lock().site.zgid.clone()
    }

    /// Registers a client and a user, who gets a self-client code and a refresh token with all
    /// scopes: `POST /emulator/users`. A client that is known gets the secret that is given here.
    pub fn add_user(
        &self,
        email: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> NewUser {
        self.register(email.into(), client_id.into(), client_secret.into(), None)
    }

    /// [`add_user`](Self::add_user) with no more than these scopes, separated by commas.
    pub fn add_user_with_scope(
        &self,
        email: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        scope: impl Into<String>,
    ) -> NewUser {
        self.register(email.into(), client_id.into(), client_secret.into(), Some(scope.into()))
    }

    fn register(
        &self,
        email: String,
        client_id: String,
        client_secret: String,
        scope: Option<String>,
    ) -> NewUser {
        let registration =
            Registration { email, client_id, client_secret, scope, redirect_uris: Vec::new() };
        self.shared.lock().register(self.shared.now(), registration)
    }

    /// Registers a client without a user, as the API console does. Without `redirect_uris` codes
    /// may be sent to any `http` or `https` address.
    pub fn add_client<'a>(
        &self,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        redirect_uris: impl IntoIterator<Item = &'a str>,
    ) {
        let mut state = self.shared.lock();
        let client = state.clients.entry(client_id.into()).or_default();
        client.secret = client_secret.into();
        client.redirect_uris = redirect_uris.into_iter().map(ToOwned::to_owned).collect();
    }

    /// Accepts (`Some(email)`) or refuses (`None`) a device: `POST /emulator/device/accept`.
    /// `false` if no device waits with this code.
    pub fn decide_device(&self, user_code: &str, email: Option<&str>) -> bool {
        self.shared.lock().decide_device(self.shared.now(), user_code, email)
    }

    /// Changes what `config` names: `POST /emulator/config`.
    pub fn configure(&self, config: Config) {
        self.shared.lock().configure(config);
    }

    /// Names another data centre's accounts server in `/oauth/serverinfo`.
    pub fn add_location(&self, location: impl Into<String>, accounts_server: impl Into<String>) {
        self.shared.lock().locations.insert(location.into(), accounts_server.into());
    }

    /// Expires every access token on the server's side: `POST /emulator/expire`.
    pub fn expire_access_tokens(&self) {
        self.shared.lock().expire_access_tokens();
    }

    /// Forgets everything, settings and counters included: `POST /emulator/reset`.
    pub fn reset(&self) {
        self.shared.lock().reset();
    }

    /// Closes the port and waits until requests in flight are answered, two seconds at most.
    pub async fn stop(mut self) {
        self.shutdown.take();
        if let Some(mut server) = self.server.take()
            && timeout(PATIENCE, &mut server).await.is_err()
        {
            server.abort();
        }
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("url", &self.url).finish_non_exhaustive()
    }
}

/// How an emulator shall be. Made by [`Emulator::builder`].
#[derive(Clone, Debug)]
pub struct EmulatorBuilder {
    clock: Arc<dyn Clock>,
    port: u16,
    location: String,
    api_domain: Option<String>,
    environment: String,
}

impl EmulatorBuilder {
    /// The clock that codes, tokens and limits go by. The machine's, unless set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The port on 127.0.0.1; 0, the default, takes a free one.
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

    /// Binds the port and serves in a task of the current Tokio runtime.
    ///
    /// If this future is dropped, nothing was started.
    ///
    /// # Errors
    ///
    /// If the port cannot be had.
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        let Self { clock, port, location, api_domain, environment } = self;
        let (listener, port) =
            Loopback::bind(port).await.map_err(|source| EmulatorError { port, source })?;
        let url = format!("http://127.0.0.1:{port}");
        let shared = Shared::new(Site::new(url.clone(), location, api_domain, environment), clock);
        let service = router(shared.clone()).into_make_service_with_connect_info::<Connection>();
        let (shutdown, closed) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stop = async {
                // Nothing is ever sent: the other end is dropped.
                drop(closed.await);
            };
            if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
                tracing::warn!(%error, "the emulator stopped serving");
            }
        });
        tracing::debug!(%url, "emulator listens");
        Ok(Emulator { shared, url, port, shutdown: Some(shutdown), server: Some(server) })
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
