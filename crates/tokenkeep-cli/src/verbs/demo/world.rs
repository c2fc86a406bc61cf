//! Who plays Zoho, the browser and the time in the demo.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokenkeep::{
    AccountsServer, AllowedServers, Authorization, AuthorizationRequest, Callback,
    ClientCredentials, ClientSecret, Clock, SystemClock, Timestamp,
};
use tokenkeep_emulator::{Config, Emulator, NewUser, Stats};

use crate::error::Failure;

/// Where the browser is sent back to. Nobody listens there: the demo reads the redirect itself.
pub(super) const REDIRECT: &str = "http://127.0.0.1:8000/callback";

const CLIENT_ID: &str = "1000.DEMO";
const CLIENT_SECRET: &str = "demo-client-secret";

/// The client that all users log in to.
pub(super) fn client() -> Result<ClientCredentials, Failure> {
    Ok(ClientCredentials::new(CLIENT_ID, ClientSecret::new(CLIENT_SECRET)?)?)
}

/// The machine's clock, and what it was moved by: an hour passes when the story says so.
#[derive(Debug, Default)]
pub(super) struct MovableClock {
    moved_ms: AtomicI64,
}

impl MovableClock {
    pub(super) fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.moved_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_millis();
        Timestamp::from_millis(now.saturating_add(self.moved_ms.load(Ordering::Relaxed)))
    }
}

/// Two data centres.
pub(super) struct World {
    pub(super) us: Place,
    pub(super) eu: Place,
}

impl World {
    pub(super) async fn start(clock: &Arc<MovableClock>) -> Result<Self, Failure> {
        Ok(Self { us: Place::start("us", clock).await?, eu: Place::start("eu", clock).await? })
    }

    /// How many token requests of this grant type both data centres have had.
    pub(super) fn sum(&self, grant_type: &str) -> u64 {
        self.us.count(grant_type) + self.eu.count(grant_type)
    }

    /// How often a user was asked to log in.
    pub(super) fn pages_shown(&self) -> u64 {
        [&self.us, &self.eu].map(|place| place.pages.load(Ordering::Relaxed)).iter().sum()
    }
}

/// One data centre: its emulator, and a browser for those who log in there.
pub(super) struct Place {
    emulator: Emulator,
    browser: reqwest::Client,
    pages: AtomicU64,
}

impl Place {
    async fn start(location: &str, clock: &Arc<MovableClock>) -> Result<Self, Failure> {
        let clock: Arc<MovableClock> = Arc::clone(clock);
        let emulator = Emulator::builder()
            .location(location)
            .clock(clock)
            .start()
            .await
            .map_err(|error| Failure::failed(format!("{error}: {}", error.source)))?;
        emulator.add_client(CLIENT_ID, CLIENT_SECRET, [REDIRECT]);
        let browser = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .build()
            .map_err(browser_failed)?;
        Ok(Self { emulator, browser, pages: AtomicU64::new(0) })
    }

    pub(super) fn server(&self) -> Result<AccountsServer, Failure> {
        Ok(AccountsServer::parse(self.emulator.url())?)
    }

    /// The login that a program begins here.
    pub(super) fn authorization(&self) -> Result<Authorization, Failure> {
        let scopes = ["ZohoCRM.modules.ALL", "ZohoCRM.users.READ"];
        let request = AuthorizationRequest::new(&self.server()?, CLIENT_ID, REDIRECT, scopes);
        Ok(request.offline().build()?)
    }

    /// Opens the login page, accepts as `user`, and comes back with the redirect.
    pub(super) async fn browse(
        &self,
        authorization: &Authorization,
        user: &str,
    ) -> Result<Callback, Failure> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        let mut url = authorization.url.clone();
        url.query_pairs_mut().append_pair("emulator_accept", user);
        let answer = self.browser.get(url).send().await.map_err(browser_failed)?;
        let redirect = answer
            .headers()
            .get(reqwest::header::LOCATION)
            .and_then(|location| location.to_str().ok())
            .ok_or_else(|| Failure::failed("the login page did not send the browser back"))?;
        let allowed = AllowedServers::none().allow(self.server()?);
        Ok(Callback::parse(redirect, &authorization.state, &allowed)?)
    }

    /// A user of another program, who has a refresh token already.
    pub(super) fn add_user(&self, user: &str) -> NewUser {
        self.emulator.add_user(user, CLIENT_ID, CLIENT_SECRET)
    }

    /// Makes the token endpoint slow.
    pub(super) fn answer_tokens_after(&self, latency: Duration) {
        let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.emulator.configure(Config::new().token_latency_ms(millis));
    }

    pub(super) fn stats(&self) -> Stats {
        self.emulator.stats()
    }

    /// How many token requests of this grant type came.
    pub(super) fn count(&self, grant_type: &str) -> u64 {
        self.stats().token_requests_of(grant_type)
    }

    /// How many API requests came.
    pub(super) fn calls(&self) -> u64 {
        self.stats().api_requests
    }
}

/// The URL of a login has its state, and stays out of the message.
fn browser_failed(error: reqwest::Error) -> Failure {
    Failure::failed(format!("the demo's browser failed: {}", error.without_url()))
}
