//! Everything the emulator knows, behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokenkeep_core::Clock;

use crate::{
    clients::{Client, GrantCode, User},
    config::{Config, Fault},
    crm::Crm,
    device::DeviceCode,
    mint::Mint,
    rules,
    stats::Stats,
    tokens::{AccessToken, Family, RefreshToken},
};

/// What does not change while the emulator runs.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// The data centre, as in `location=us`.
    pub(crate) location: String,
    /// Base of API calls in token replies, unless configured.
    pub(crate) api_domain: String,
    /// `production`, `sandbox` or `developer`.
    pub(crate) environment: String,
    /// The organisation's number.
    pub(crate) zgid: String,
}

impl Site {
    pub(crate) fn new(
        url: String,
        location: String,
        api_domain: Option<String>,
        environment: String,
    ) -> Self {
        // The same organisation at each start, another one in each data centre and environment.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in location.bytes().chain(environment.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let zgid = (600_000_000 + hash % 100_000_000).to_string();
        Self {
            api_domain: api_domain.unwrap_or_else(|| url.clone()),
            url,
            location,
            environment,
            zgid,
        }
    }
}

/// What [`Config`] sets.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) access_token_lifetime_s: u64,
    pub(crate) token_latency_ms: u64,
    pub(crate) rotate_refresh_tokens: bool,
    pub(crate) grace_ms: u64,
    pub(crate) revoke_family_on_reuse: bool,
    pub(crate) enforce_limits: bool,
    pub(crate) device_interval_s: u64,
    pub(crate) api_domain: String,
}

impl Settings {
    fn new(site: &Site) -> Self {
        Self {
            access_token_lifetime_s: rules::ACCESS_LIFETIME_S,
            token_latency_ms: 0,
            rotate_refresh_tokens: false,
            grace_ms: 0,
            revoke_family_on_reuse: false,
            enforce_limits: true,
            device_interval_s: rules::DEVICE_INTERVAL_S,
            api_domain: site.api_domain.clone(),
        }
    }
}

/// Clients, users, tokens, records and counters. No `Debug`: it is full of tokens.
pub(crate) struct State {
    pub(crate) site: Site,
    pub(crate) settings: Settings,
    pub(crate) stats: Stats,
    pub(crate) faults: VecDeque<Fault>,
    /// Accounts servers of other data centres by location.
    pub(crate) locations: BTreeMap<String, String>,
    /// Clients by id.
    pub(crate) clients: BTreeMap<String, Client>,
    /// Users by e-mail.
    pub(crate) users: BTreeMap<String, User>,
    /// Pairs of client and user for which the page gave a refresh token.
    pub(crate) consents: BTreeSet<(String, String)>,
    pub(crate) grant_codes: HashMap<String, GrantCode>,
    pub(crate) device_codes: HashMap<String, DeviceCode>,
    /// Refresh tokens with their access tokens, by age.
    pub(crate) families: BTreeMap<u64, Family>,
    /// The families of a client and a user, the oldest first.
    pub(crate) families_of: BTreeMap<(String, String), VecDeque<u64>>,
    pub(crate) refresh_tokens: HashMap<String, RefreshToken>,
    /// How many access tokens each refresh token minted, also one that is gone.
    pub(crate) minted: HashMap<String, u64>,
    pub(crate) access_tokens: HashMap<String, AccessToken>,
    /// So many access tokens make it worth while to look for expired ones.
    pub(crate) sweep_at: usize,
    pub(crate) crm: Crm,
    mint: Mint,
    next_number: u64,
}

impl State {
    pub(crate) fn new(site: Site, mint: Mint) -> Self {
        Self {
            mint,
            settings: Settings::new(&site),
            crm: Crm::new(&site.zgid),
            site,
            stats: Stats::default(),
            faults: VecDeque::new(),
            locations: BTreeMap::new(),
            clients: BTreeMap::new(),
            users: BTreeMap::new(),
            consents: BTreeSet::new(),
            grant_codes: HashMap::new(),
            device_codes: HashMap::new(),
            families: BTreeMap::new(),
            families_of: BTreeMap::new(),
            refresh_tokens: HashMap::new(),
            minted: HashMap::new(),
            access_tokens: HashMap::new(),
            sweep_at: 0,
            next_number: 0,
        }
    }

    /// Forgets everything but where it is. A seeded one begins anew.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.site.clone(), self.mint.restarted());
    }

    pub(crate) fn configure(&mut self, config: Config) {
        let Config {
            access_token_lifetime_s,
            token_latency_ms,
            rotate_refresh_tokens,
            grace_ms,
            revoke_family_on_reuse,
            enforce_limits,
            device_interval_s,
            api_domain,
            fail_next,
        } = config;
        let settings = &mut self.settings;
        set(&mut settings.access_token_lifetime_s, access_token_lifetime_s);
        set(&mut settings.token_latency_ms, token_latency_ms);
        set(&mut settings.rotate_refresh_tokens, rotate_refresh_tokens);
        set(&mut settings.grace_ms, grace_ms);
        set(&mut settings.revoke_family_on_reuse, revoke_family_on_reuse);
        set(&mut settings.enforce_limits, enforce_limits);
        set(&mut settings.device_interval_s, device_interval_s);
        set(&mut settings.api_domain, api_domain);
        set(&mut self.faults, fail_next.map(VecDeque::from));
    }

    /// A number that was not given before; greater than those before it.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A token that was not given before, in the shape of Zoho's.
    pub(crate) fn new_token(&mut self) -> String {
        self.mint.token()
    }

    /// 32 hexadecimal digits that were not given before.
    pub(crate) fn new_hex(&mut self) -> String {
        self.mint.hex()
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// The state, shared by all requests, and the clock.
#[derive(Clone)]
pub(crate) struct Shared {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

impl Shared {
    pub(crate) fn new(site: Site, clock: Arc<dyn Clock>, mint: Mint) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(site, mint))), clock }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the epoch, by the clock that was given.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }
}

/// A user of a client, with what a client needs to begin. `Debug` masks the tokens.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewUser {
    /// The user's e-mail.
    pub email: String,
    /// The user's id in the CRM.
    pub user_id: String,
    /// The client.
    pub client_id: String,
    /// A self-client code: to be exchanged once, without a redirect URI.
    pub grant_token: String,
    /// How long `grant_token` may be exchanged, in seconds.
    pub grant_token_expires_in: u64,
    /// A refresh token that is alive at once.
    pub refresh_token: String,
    /// What both may do.
    pub scope: String,
    /// Base of API calls.
    pub api_domain: String,
    /// Base of the accounts server.
    pub accounts_server: String,
    /// The data centre.
    pub location: String,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser")
            .field("email", &self.email)
            .field("user_id", &self.user_id)
            .field("client_id", &self.client_id)
            .field("scope", &self.scope)
            .field("accounts_server", &self.accounts_server)
            .finish_non_exhaustive()
    }
}
