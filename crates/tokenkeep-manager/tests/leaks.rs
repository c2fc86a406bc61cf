//! No secret shows in a trace at any level, in an error, in `Debug`, or in a panic message.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::clone_on_ref_ptr, reason = "the method form turns into a trait object")]
#![expect(clippy::future_not_send, reason = "all of it runs on one thread")]

use std::{
    collections::HashSet,
    panic,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokenkeep_core::{
    ClientCredentials, ClientSecret, Field, GrantToken, ListStore, OAuthToken, Operation,
    RefreshToken, StoreErrorKind, Timestamp, TokenStore,
};
use tokenkeep_emulator::{Config, DropWhen, Emulator, Fault};
use tokenkeep_manager::{FileSpool, Login, ManagerError, TokenHandle, TokenManager};
use tokenkeep_oauth::{AccountsServer, ApiDomain};
use tokenkeep_testkit::{FaultyStore, LeakCanary, ManualClock, When};

const HOUR: Duration = Duration::from_secs(3600);

/// Everything that a manager does, and every way in which it fails.
struct Walk {
    canary: LeakCanary,
    clock: Arc<ManualClock>,
    emulator: Emulator,
    store: Arc<FaultyStore<ListStore>>,
    manager: TokenManager,
    _spool: tempfile::TempDir,
    client_secret: String,
    watched: Mutex<HashSet<String>>,
}

impl Walk {
    async fn new(canary: LeakCanary) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_764_000_000_000)));
        let emulator = Emulator::builder().clock(clock.clone()).start().await.unwrap();
        let store = Arc::new(FaultyStore::new(ListStore::with_clock(clock.clone())));
        let spool = tempfile::tempdir().unwrap();
        let manager = TokenManager::builder(Arc::clone(&store))
            .clock(clock.clone())
            .timeout(Duration::from_secs(2))
            .on_event({
                let canary = canary.clone();
                move |event| canary.capture(&format!("event: {event:?} {event:#?}"))
            })
            .spool(FileSpool::in_directory(spool.path().join("spool")).unwrap())
            .accounts_server(AccountsServer::parse(emulator.url()).unwrap())
            .api_domain(ApiDomain::parse(emulator.url()).unwrap())
            .build()
            .unwrap();
        let client_secret = canary.mark("client-secret");
        let watched = Mutex::default();
        Self { canary, clock, emulator, store, manager, _spool: spool, client_secret, watched }
    }

    fn client(&self, id: &str) -> ClientCredentials {
        let secret = ClientSecret::new(self.client_secret.clone()).unwrap();
        ClientCredentials::new(id, secret).unwrap()
    }

    /// A login of a new user; watches for its secrets.
    fn login(&self, email: &str) -> Login {
        let user = self.emulator.add_user(email, "test-client-id", self.client_secret.clone());
        self.canary.watch("grant-token", &user.grant_token);
        self.canary.watch("refresh-token", &user.refresh_token);
        let code = GrantToken::new(user.grant_token).unwrap();
        Login::grant_token(self.client("test-client-id"), code)
    }

    /// Shows `thing` in every way, and watches for the secrets of what is stored.
    async fn show(&self, thing: &dyn std::fmt::Debug) {
        self.canary.capture(&format!("{thing:?} {thing:#?}"));
        for token in self.store.inner().get_tokens().await.unwrap() {
            self.watch(&token);
            self.canary.capture(&format!("{token:?}"));
        }
    }

    fn watch(&self, token: &OAuthToken) {
        for (field, value) in Field::ALL.into_iter().zip(token.expose_columns()) {
            if let Some(value) = value.filter(|_| field.is_secret())
                && self.watched.lock().unwrap().insert(value.clone().into_owned())
            {
                self.canary.watch(field.name(), &value);
            }
        }
    }

    async fn show_error(&self, error: &ManagerError) {
        self.show(error).await;
        self.canary.capture(&format!("{error} {:?}", error.hint()));
        if let Some(token) = error.unsaved_token() {
            self.watch(token);
        }
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            self.canary.capture(&format!("{error} {error:?}"));
            source = error.source();
        }
    }

    async fn everything(&self) {
        let logged_in = self.manager.log_in(self.login("alice@example.com")).await.unwrap();
        self.show(&logged_in).await;
        let alice = logged_in.handle;
        self.show(&(&self.manager, &alice, self.store.clone())).await;
        self.emulator.configure(Config::new().rotate_refresh_tokens(true).grace_ms(0));
        self.clock.advance(HOUR);
        self.show(&alice.access_token().await.unwrap()).await;
        self.provider_fails(&alice).await;
        self.store_fails(&alice).await;
        self.logins_fail().await;
        self.show(&self.manager.revoke(alice.id()).await.unwrap()).await;
        self.show_error(&alice.access_token().await.unwrap_err()).await;
    }

    /// Every kind of bad answer, with secrets of ours in it where a server could echo them.
    async fn provider_fails(&self, alice: &TokenHandle) {
        let echo = self.client_secret.clone();
        let bodies = [
            format!("<html>{echo}</html>"),
            format!(r#"{{"access_token":"{echo}","expires_in":["{echo}"]}}"#),
            format!(r#"{{"access_token":{{"{echo}":1}}}}"#),
            format!(r#"{{"error":"{echo}","error_description":"{echo}"}}"#),
            format!(r#"{{"access_token":"{echo}"#),
            String::new(),
        ];
        let mut faults: Vec<_> =
            bodies.into_iter().map(|body| Fault::answering("/oauth/v2/token", 200, body)).collect();
        faults.push(Fault::dropping("/oauth/v2/token", DropWhen::Before));
        for fault in faults {
            self.clock.advance(HOUR);
            self.emulator.configure(Config::new().fail_next([fault]));
            match alice.access_token().await {
                Ok(live) => self.show(&live).await,
                Err(error) => self.show_error(&error).await,
            }
        }
    }

    async fn store_fails(&self, alice: &TokenHandle) {
        for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Full, StoreErrorKind::Corrupt] {
            for when in [When::Before, When::After] {
                for operation in [
                    Operation::ReplaceToken,
                    Operation::ReplaceState,
                    Operation::State,
                    Operation::Lease,
                    Operation::FindTokenById,
                ] {
                    self.clock.advance(HOUR);
                    self.store.fail_all(operation, when, kind);
                    match alice.access_token().await {
                        Ok(live) => self.show(&live).await,
                        Err(error) => self.show_error(&error).await,
                    }
                    self.store.heal(operation);
                    self.clock.advance(HOUR);
                    self.show(&alice.access_token().await.unwrap()).await;
                }
            }
        }
    }

    async fn logins_fail(&self) {
        let unknown_code = GrantToken::new(self.canary.mark("code")).unwrap();
        let unknown_refresh = RefreshToken::new(self.canary.mark("refresh")).unwrap();
        let logins = [
            Login::grant_token(self.client("test-client-id"), unknown_code.clone()),
            Login::grant_token(self.client("test-unknown-client"), unknown_code),
            Login::refresh_token(self.client("test-client-id"), unknown_refresh),
        ];
        for login in logins {
            self.show(&login).await;
            self.show_error(&self.manager.log_in(login).await.unwrap_err()).await;
        }
        self.store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
        let error = self.manager.log_in(self.login("bob@example.com")).await.unwrap_err();
        self.show_error(&error).await;
        self.store.heal(Operation::ReplaceToken);
    }
}

#[test]
fn no_secret_shows_anywhere() {
    let canary = LeakCanary::new();
    tracing::subscriber::set_global_default(canary.subscriber()).unwrap();
    let panics = canary.clone();
    panic::set_hook(Box::new(move |info| panics.capture(&info.to_string())));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let walked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        runtime.block_on(async { Walk::new(canary.clone()).await.everything().await });
    }));
    // A panic whose message shows a token: as much as `Debug` shows.
    let token = OAuthToken::builder().refresh_token(canary.mark("panic")).build().unwrap();
    let panicked = panic::catch_unwind(|| panic!("unexpected: {token:?}"));
    drop(panic::take_hook());

    assert!(walked.is_ok(), "{}", canary.captured());
    assert!(panicked.is_err());
    let captured = canary.captured();
    assert!(captured.contains("refreshed"), "the traces were captured");
    assert!(captured.contains("event: Event"), "the events were captured");
    assert!(captured.contains("unexpected: "), "the panic was captured");
    canary.assert_clean([captured]);
}
