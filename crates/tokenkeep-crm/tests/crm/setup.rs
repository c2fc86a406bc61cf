//! A user who is logged in, and a client for him.

use tokenkeep_core::{ClientCredentials, ClientSecret, ListStore, RefreshToken};
use tokenkeep_crm::{CrmClient, CrmError};
use tokenkeep_emulator::{Config, Emulator, Fault};
use tokenkeep_manager::{Login, TokenHandle, TokenManager};
use tokenkeep_oauth::AccountsServer;

pub(crate) const USER: &str = "ada@example.com";
const CLIENT: &str = "1000.TESTCLIENT";
const SECRET: &str = "test-client-secret";

pub(crate) struct Setup {
    pub(crate) emulator: Emulator,
    pub(crate) handle: TokenHandle,
    pub(crate) crm: CrmClient,
}

impl Setup {
    /// With all scopes.
    pub(crate) async fn new() -> Self {
        Self::with(None, None).await
    }

    pub(crate) async fn with_scope(scope: &str) -> Self {
        Self::with(Some(scope), None).await
    }

    /// With a token whose API domain is another server.
    pub(crate) async fn with_api_domain(url: &str) -> Self {
        Self::with(None, Some(url)).await
    }

    async fn with(scope: Option<&str>, api_domain: Option<&str>) -> Self {
        let emulator = Emulator::start().await.unwrap();
        if let Some(url) = api_domain {
            emulator.configure(Config::new().api_domain(url));
        }
        let user = match scope {
            Some(scope) => emulator.add_user_with_scope(USER, CLIENT, SECRET, scope),
            None => emulator.add_user(USER, CLIENT, SECRET),
        };
        let manager = TokenManager::builder(ListStore::new()).build().unwrap();
        let client = ClientCredentials::new(CLIENT, ClientSecret::new(SECRET).unwrap()).unwrap();
        let login = Login::refresh_token(client, RefreshToken::new(user.refresh_token).unwrap())
            .user_name(USER)
            .accounts_server(AccountsServer::parse(emulator.url()).unwrap());
        let handle = manager.log_in(login).await.unwrap().handle;
        let crm = CrmClient::new(handle.clone()).unwrap();
        Self { emulator, handle, crm }
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.emulator.stats().token_requests_of("refresh_token")
    }

    /// Answers the next requests to `path`, one after the other.
    pub(crate) fn answers(&self, path: &str, answers: &[(u16, &str)]) {
        let faults = answers.iter().map(|&(status, body)| Fault::answering(path, status, body));
        self.emulator.configure(Config::new().fail_next(faults));
    }
}

/// `Display`, `Debug`, hint and causes of an error.
pub(crate) fn shown(error: &CrmError) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}\n{:?}", error.hint());
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!("\n{cause}\n{cause:?}"));
        source = cause.source();
    }
    text
}
