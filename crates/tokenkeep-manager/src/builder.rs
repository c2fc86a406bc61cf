use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokenkeep_core::{Clock, Environment, SystemClock, TokenStore};
use tokenkeep_oauth::{AccountsServer, ApiDomain, DataCenter, OAuthClient, ProviderRules};

use crate::{
    Event, ManagerError, ManagerErrorKind, Spool, TokenManager,
    event::{Callback, Events},
    look::Marks,
    manager::Inner,
    spool::TimedSpool,
    timed::TimedStore,
};

/// What a [`TokenManager`] goes by: the place of the SDKs' `Initializer`, without global state.
///
/// Everything has a default; a store is all that must be given. Logs go to [`tracing`].
#[must_use]
pub struct TokenManagerBuilder {
    store: Arc<dyn TokenStore>,
    clock: Arc<dyn Clock>,
    oauth: Option<OAuthClient>,
    timeout: Duration,
    connect_timeout: Duration,
    store_timeout: Duration,
    proxy: Option<String>,
    holder: Option<String>,
    callbacks: Vec<Callback>,
    settings: Settings,
}

/// The settings that the work goes by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) accounts_server: Option<AccountsServer>,
    pub(crate) api_domain: Option<ApiDomain>,
    pub(crate) data_center: &'static DataCenter,
    pub(crate) environment: Option<Environment>,
    pub(crate) margin: Duration,
    pub(crate) deadline: Duration,
    pub(crate) lease: Duration,
    pub(crate) retry_for: Duration,
    pub(crate) coherence: Duration,
    pub(crate) rules: ProviderRules,
    pub(crate) spool: Option<Arc<dyn Spool>>,
    pub(crate) find_user: bool,
}

impl TokenManagerBuilder {
    pub(crate) fn new(store: Arc<dyn TokenStore>, data_center: &'static DataCenter) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock),
            oauth: None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            store_timeout: Duration::from_secs(10),
            proxy: None,
            holder: None,
            callbacks: Vec::new(),
            settings: Settings {
                accounts_server: None,
                api_domain: None,
                data_center,
                environment: None,
                margin: Duration::from_secs(60),
                deadline: Duration::from_secs(60),
                lease: Duration::from_secs(10),
                retry_for: Duration::from_secs(10),
                coherence: Duration::from_secs(1),
                rules: ProviderRules::zoho(),
                spool: None,
                find_user: true,
            },
        }
    }

    /// The clock that expiry is judged by; the machine's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The client for accounts servers. [`timeout`](Self::timeout),
    /// [`connect_timeout`](Self::connect_timeout) and [`proxy`](Self::proxy) do not touch it.
    pub fn oauth_client(mut self, client: OAuthClient) -> Self {
        self.oauth = Some(client);
        self
    }

    /// How long one request to an accounts server may take; 30 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long connecting to an accounts server may take; 10 seconds by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The proxy for requests to accounts servers, as a URL.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// One accounts server for all tokens, whatever is known of them: an emulator, a test.
    pub fn accounts_server(mut self, server: AccountsServer) -> Self {
        self.settings.accounts_server = Some(server);
        self
    }

    /// One API domain for all tokens, whatever is known of them: an emulator, a test.
    pub fn api_domain(mut self, domain: ApiDomain) -> Self {
        self.settings.api_domain = Some(domain);
        self
    }

    /// The data centre of tokens of which none is known; `us` by default.
    pub fn data_center(mut self, data_center: &'static DataCenter) -> Self {
        self.settings.data_center = data_center;
        self
    }

    /// The environment of new logins. Said here, it wins over the API domain that the provider
    /// names in its answer.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.settings.environment = Some(environment);
        self
    }

    /// How long before its end a token is renewed; 60 seconds by default, and never more than half
    /// its life. Up to another margin, or a tenth of its life if that is less, comes before that,
    /// another part for each token and process, so that they do not all come at the same moment.
    ///
    /// The present token is served while it is renewed, and if that fails, until its end.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.settings.margin = margin;
        self
    }

    /// How long a caller waits for a refresh; 60 seconds by default. The refresh itself goes on.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long a lease lives unless renewed; 10 seconds by default. It is renewed while its
    /// holder works, so this is how long others wait when the holder's process has died.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// For how long a request is sent again that failed for a passing reason; 10 seconds by
    /// default. Callers are answered at the deadline at the latest, and told of the failure.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.settings.retry_for = time;
        self
    }

    /// How long one operation of the store or the spool may take; 10 seconds by default. A write
    /// that takes longer may have been made; it is read back.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
        self
    }

    /// For how long a token may still be served here after another process has replaced or
    /// revoked it; 1 second by default. Half of it is how often, at most, a store is asked whether
    /// it was changed, and only while tokens are asked for.
    ///
    /// In a store of six methods, which cannot say so, it has no effect: there a token is served
    /// until it is renewed.
    pub fn coherence(mut self, bound: Duration) -> Self {
        self.settings.coherence = bound;
        self
    }

    /// What the provider allows: how often a token may be refreshed, and whether a refresh token
    /// may be sent again whose answer was lost. [Zoho's](ProviderRules::zoho) by default.
    pub fn provider_rules(mut self, rules: ProviderRules) -> Self {
        self.settings.rules = rules;
        self
    }

    /// Where a token goes that was issued and cannot be stored, so that it survives a restart.
    /// None by default: such a token is kept in memory only. One whose refresh token was replaced
    /// goes there before it is stored, so that no crash in between costs the login.
    pub fn spool(mut self, spool: impl Spool) -> Self {
        self.settings.spool = Some(Arc::new(spool));
        self
    }

    /// Calls `callback` for each [`Event`], in the task whose work it is: it must be quick. What
    /// it panics with is logged. More than one can be added;
    /// [`TokenManager::events`] is the same as a stream.
    pub fn on_event(mut self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// A name for this process among all that share the store, by which it holds leases; a random
    /// one by default. No two processes may have the same one. It decides too how much earlier
    /// than the others' its tokens are renewed, see [`margin`](Self::margin).
    pub fn holder_name(mut self, name: impl Into<String>) -> Self {
        self.holder = Some(name.into());
        self
    }

    /// Whether a login asks the provider for the user's name where none was given; yes by
    /// default.
    pub fn find_user(mut self, find_user: bool) -> Self {
        self.settings.find_user = find_user;
        self
    }

    /// The manager.
    ///
    /// # Errors
    ///
    /// Invalid if the proxy's URL is not one, a time (except the margin) or the provider's budget
    /// is zero, or the machine has no source of random numbers.
    pub fn build(self) -> Result<TokenManager, ManagerError> {
        for (name, time) in [
            ("lease", self.settings.lease),
            ("deadline", self.settings.deadline),
            ("store timeout", self.store_timeout),
            ("coherence bound", self.settings.coherence),
        ] {
            if time.is_zero() {
                return Err(ManagerError::new(
                    ManagerErrorKind::Invalid,
                    format!("the {name} is zero, and nothing can succeed in no time"),
                ));
            }
        }
        if self.settings.rules.budget.is_some_and(|budget| budget.refreshes == 0) {
            let what = "with a budget of no refreshes, no token can be renewed";
            return Err(ManagerError::new(ManagerErrorKind::Invalid, what));
        }
        let oauth = match self.oauth {
            Some(client) => client,
            None => {
                let mut client = OAuthClient::builder()
                    .timeout(self.timeout)
                    .connect_timeout(self.connect_timeout);
                if let Some(proxy) = &self.proxy {
                    client = client.proxy(proxy)?;
                }
                client.build()?
            }
        };
        let mut settings = self.settings;
        settings.spool = settings.spool.map(|spool| -> Arc<dyn Spool> {
            Arc::new(TimedSpool::new(spool, self.store_timeout))
        });
        Ok(TokenManager(Arc::new(Inner {
            timed: TimedStore::new(Arc::clone(&self.store), self.store_timeout),
            marks: Marks::default(),
            writes: tokio::sync::Mutex::new(()),
            events: Events::new(self.callbacks),
            store: self.store,
            clock: self.clock,
            oauth,
            settings,
            holder: self.holder.map_or_else(holder, Ok)?,
            keepers: Mutex::default(),
            slots: Mutex::default(),
        })))
    }
}

impl fmt::Debug for TokenManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManagerBuilder")
            .field("store", &self.store)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A name for this manager among all that may hold a lease: the process and a random number.
fn holder() -> Result<String, ManagerError> {
    let random = getrandom::u64().map_err(|error| {
        ManagerError::new(
            ManagerErrorKind::Invalid,
            format!("the machine gives no random numbers: {error}"),
        )
    })?;
    Ok(format!("{}-{random:016x}", std::process::id()))
}
