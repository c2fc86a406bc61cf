//! The emulator, called as a function: a provider that takes no socket and no time.

use std::sync::Arc;

use anyhow::Result;
use tokenkeep_core::{ClientCredentials, ClientSecret, RefreshToken, TokenStore};
use tokenkeep_emulator::{Emulator, InProcess};
use tokenkeep_manager::{Login, TokenHandle, TokenManager};
use tokenkeep_oauth::{
    AccountsServer, ApiDomain, HttpReply, HttpRequest, OAuthClient, Transport, TransportError,
    TransportErrorKind, async_trait,
};

use crate::ahead::Ahead;

const CLIENT_ID: &str = "1000.TESTCLIENT";
const CLIENT_SECRET: &str = "test-client-secret";
const USER: &str = "test-user@example.com";

/// A provider with one user.
#[derive(Debug)]
pub(crate) struct Provider {
    emulator: InProcess,
    clock: Arc<Ahead>,
    refresh_token: String,
    form: String,
}

impl Provider {
    pub(crate) fn new(clock: &Arc<Ahead>) -> Self {
        let emulator = Emulator::builder().clock(Arc::<Ahead>::clone(clock)).in_process();
        let refresh_token = emulator.add_user(USER, CLIENT_ID, CLIENT_SECRET).refresh_token;
        let form = format!(
            "grant_type=refresh_token&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}\
             &refresh_token={refresh_token}"
        );
        Self { emulator, clock: Arc::clone(clock), refresh_token, form }
    }

    /// A manager over `store` that asks this provider.
    pub(crate) fn manager(&self, store: Arc<dyn TokenStore>) -> Result<TokenManager> {
        let client =
            OAuthClient::builder().transport(Arc::new(Calls(self.emulator.clone()))).build()?;
        Ok(TokenManager::builder(store)
            .clock(Arc::<Ahead>::clone(&self.clock))
            .oauth_client(client)
            .accounts_server(AccountsServer::parse(self.emulator.url())?)
            .api_domain(ApiDomain::parse(self.emulator.url())?)
            .build()?)
    }

    /// Logs the user in.
    pub(crate) async fn log_in(&self, manager: &TokenManager) -> Result<TokenHandle> {
        log_in(manager, &self.refresh_token).await
    }

    /// Logs another user in.
    pub(crate) async fn log_in_as(
        &self,
        manager: &TokenManager,
        user: &str,
    ) -> Result<TokenHandle> {
        let added = self.emulator.add_user(user, CLIENT_ID, CLIENT_SECRET);
        log_in(manager, &added.refresh_token).await
    }

    /// A refresh with nothing around it; what the provider answered.
    pub(crate) async fn refresh(&self) -> Vec<u8> {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let reply = self
            .emulator
            .call("POST", "/oauth/v2/token", &headers, self.form.as_bytes())
            .await
            .expect("no fault is set");
        assert!(reply.status == 200, "the emulator answers {}", reply.status);
        reply.body
    }

    /// How often it was asked for a token.
    pub(crate) fn refreshes(&self) -> u64 {
        self.emulator.stats().token_requests_of("refresh_token")
    }
}

async fn log_in(manager: &TokenManager, refresh_token: &str) -> Result<TokenHandle> {
    let client = ClientCredentials::new(CLIENT_ID, ClientSecret::new(CLIENT_SECRET)?)?;
    let login = Login::refresh_token(client, RefreshToken::new(refresh_token)?);
    Ok(manager.log_in(login).await?.handle)
}

#[derive(Debug)]
struct Calls(InProcess);

#[async_trait]
impl Transport for Calls {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, TransportError> {
        let headers: Vec<_> = request.headers().map(|it| (it.name, it.value)).collect();
        let body = request.body().unwrap_or_default();
        let reply =
            self.0.call(request.method().as_str(), request.url(), &headers, body).await.map_err(
                |dropped| {
                    let kind = TransportErrorKind::Network;
                    TransportError::new(kind, "the connection broke").with_source(dropped)
                },
            )?;
        let mut given = HttpReply::new(reply.status, reply.body);
        given.content_type = reply.content_type;
        given.retry_after = reply.retry_after;
        Ok(given)
    }
}
