//! An emulator, a store and a manager that go by one clock.

use std::{path::Path, sync::Arc, time::Duration};

use tokenkeep_core::{
    ClientCredentials, ClientSecret, Clock, ListStore, OAuthToken, RefreshToken, Timestamp,
    TokenId, TokenState, TokenStore,
};
use tokenkeep_emulator::{Emulator, InProcess, NewUser};
use tokenkeep_manager::{
    FileSpool, LiveToken, Login, ManagerError, TokenHandle, TokenManager, TokenManagerBuilder,
};
use tokenkeep_oauth::{AccountsServer, ApiDomain};
use tokenkeep_testkit::{FaultyStore, Gate, ManualClock};
use tokio::task::JoinHandle;

use crate::calls::client_of;

pub(crate) const CLIENT_ID: &str = "test-client-id";
pub(crate) const CLIENT_SECRET: &str = "test-client-secret";
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// Longer than a lease lives.
pub(crate) const LEASE: Duration = Duration::from_secs(11);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Where tokens are asked for.
pub(crate) const TOKEN: &str = "/oauth/v2/token";
pub(crate) const START: Timestamp = Timestamp::from_millis(1_764_000_000_000);

/// A store that fails where a test wants.
pub(crate) type Faulty = Arc<FaultyStore<ListStore>>;

pub(crate) struct Scene {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) emulator: InProcess,
    pub(crate) store: Arc<dyn TokenStore>,
    pub(crate) manager: TokenManager,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let store = ListStore::with_clock(clock.clone());
        Self::with_store(clock, Arc::new(store))
    }

    pub(crate) fn with_store(clock: Arc<ManualClock>, store: Arc<dyn TokenStore>) -> Self {
        let emulator = Emulator::builder().clock(clock.clone()).in_process();
        let manager = manager(&emulator, Arc::clone(&store), &clock).build().unwrap();
        Self { clock, emulator, store, manager }
    }

    /// With a store that fails where the test wants.
    pub(crate) fn faulty() -> (Self, Faulty) {
        Self::faulty_and(true)
    }

    /// The same; unless it is `shared`, the store is one of six methods.
    pub(crate) fn faulty_and(shared: bool) -> (Self, Faulty) {
        let clock = Arc::new(ManualClock::new(START));
        let store = FaultyStore::new(ListStore::with_clock(clock.clone()));
        let store = Arc::new(if shared { store } else { store.without_shared() });
        (Self::with_store(clock, store.clone()), store)
    }

    /// The same, with a user whose token has expired.
    pub(crate) async fn expired(shared: bool) -> (Self, Faulty, TokenHandle) {
        let (scene, store) = Self::faulty_and(shared);
        let alice = scene.user("alice@example.com").await;
        scene.clock.advance(HOUR);
        (scene, store, alice)
    }

    /// A second manager on the same store, as another process would have.
    pub(crate) fn another_manager(&self) -> TokenManager {
        manager(&self.emulator, Arc::clone(&self.store), &self.clock).build().unwrap()
    }

    /// One that knows no server but Zoho's, for logins that name another.
    pub(crate) fn manager_of_zoho(&self) -> TokenManagerBuilder {
        TokenManager::builder(Arc::clone(&self.store))
            .clock(self.clock.clone())
            .oauth_client(client_of(&self.emulator))
    }

    pub(crate) fn new_user(&self, email: &str) -> NewUser {
        self.emulator.add_user(email, CLIENT_ID, CLIENT_SECRET)
    }

    /// A user who is logged in by refresh token.
    pub(crate) async fn user(&self, email: &str) -> TokenHandle {
        let user = self.new_user(email);
        let refresh_token = RefreshToken::new(user.refresh_token).unwrap();
        let login = Login::refresh_token(client(), refresh_token);
        self.manager.log_in(login).await.unwrap().handle
    }

    pub(crate) async fn stored(&self, id: &TokenId) -> OAuthToken {
        self.store.find_token_by_id(id).await.unwrap().unwrap()
    }

    pub(crate) async fn state(&self, id: &TokenId) -> TokenState {
        self.store.shared().unwrap().state(id).await.unwrap().unwrap()
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.emulator.stats().token_requests_of("refresh_token")
    }
}

/// A manager that sends everything to the emulator.
pub(crate) fn manager(
    emulator: &InProcess,
    store: Arc<dyn TokenStore>,
    clock: &Arc<ManualClock>,
) -> TokenManagerBuilder {
    TokenManager::builder(store)
        .clock(clock.clone())
        .oauth_client(client_of(emulator))
        .accounts_server(AccountsServer::parse(emulator.url()).unwrap())
        .api_domain(ApiDomain::parse(emulator.url()).unwrap())
}

pub(crate) fn client() -> ClientCredentials {
    ClientCredentials::new(CLIENT_ID, ClientSecret::new(CLIENT_SECRET).unwrap()).unwrap()
}

/// A spool in this directory, in a directory of its own.
pub(crate) fn spool(dir: &Path) -> FileSpool {
    FileSpool::in_directory(dir.join("spool")).unwrap()
}

/// Asks for a token, in a task.
pub(crate) fn ask(handle: &TokenHandle) -> JoinHandle<Result<Arc<LiveToken>, ManagerError>> {
    let handle = handle.clone();
    tokio::spawn(async move { handle.access_token().await })
}

/// Waits until the call has arrived at the gate: a call that never comes fails the test.
pub(crate) async fn reached(gate: &Gate) {
    tokio::time::timeout(Duration::from_secs(10), gate.reached()).await.unwrap();
}
