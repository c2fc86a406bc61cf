//! [`Context`]: what every verb works with.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use etcetera::BaseStrategy as _;
use tokenkeep::{
    Clock, LiveToken, OpenedStore, StoreErrorKind, StoreUrl, SystemClock, TokenManager,
    TokenManagerBuilder, TokenStore, stores::sqlite::SqliteConfig,
};

use crate::{
    args::Global,
    error::Failure,
    exit,
    output::Printer,
    secrets, server,
    spool::{CommandSpool, Unsaved},
};

/// How long a token is waited for, where `--deadline` does not say.
const DEADLINE: Duration = Duration::from_secs(60);
/// For how long a server that is down is asked again: somebody waits for the command.
const RETRY_FOR: Duration = Duration::from_secs(3);
/// How long one request to an accounts server may take, and one operation of the store.
const REQUEST: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
const STORE: Duration = Duration::from_secs(10);
/// A request that began in time ends at the deadline. So long it may take then until that is noted
/// and the lease is given back, because nothing goes on when the command ends.
const TO_THE_END: Duration = Duration::from_secs(2);

/// What every verb works with: the common options, the printer, the clock.
pub(crate) struct Context {
    global: Global,
    pub(crate) printer: Printer,
    pub(crate) clock: Arc<dyn Clock>,
    spool: OnceLock<Option<CommandSpool>>,
    unsaved: Unsaved,
}

impl Context {
    pub(crate) fn new(global: Global, printer: Printer) -> Self {
        Self {
            global,
            printer,
            clock: Arc::new(SystemClock),
            spool: OnceLock::new(),
            unsaved: Unsaved::default(),
        }
    }

    /// The store's URL: as given, or the default one in the user's data directory.
    pub(crate) fn store_url(&self) -> Result<StoreUrl, Failure> {
        match &self.global.store {
            Some(url) => Ok(url.parse()?),
            None => default_store(),
        }
    }

    /// Opens the store by its own type.
    pub(crate) async fn open(&self) -> Result<OpenedStore, Failure> {
        Ok(self.store_url()?.open().await?)
    }

    /// Opens the store.
    pub(crate) async fn store(&self) -> Result<Arc<dyn TokenStore>, Failure> {
        Ok(self.open().await?.into_store())
    }

    /// Opens the store for a verb that only reads: a database that may not be written is then
    /// opened read-only.
    pub(crate) async fn store_to_read(&self) -> Result<Arc<dyn TokenStore>, Failure> {
        let url = self.store_url()?;
        match (url.open().await, url) {
            (Err(error), StoreUrl::Sqlite(path))
                if error.kind() == StoreErrorKind::PermissionDenied =>
            {
                let store = SqliteConfig::new(path).read_only(true).open();
                // Why it cannot be read says less than why it cannot be written.
                let store = store.map_err(|_worse| {
                    Failure::from(error).hint(
                        "give this user write permission for the database and its directory: \
                         SQLite needs the latter even to read",
                    )
                })?;
                tracing::info!("the database is opened read-only");
                Ok(Arc::new(store))
            }
            (opened, _) => Ok(opened?.into_store()),
        }
    }

    /// Opens the store and puts a manager over it.
    pub(crate) async fn manager(&self) -> Result<TokenManager, Failure> {
        // What is wrong with an address is said before a store is made.
        self.check_servers()?;
        self.manager_with(self.store().await?, |builder| builder)
    }

    /// A manager over `store` that goes by the common options, and by what `settings` adds.
    pub(crate) fn manager_with(
        &self,
        store: Arc<dyn TokenStore>,
        settings: impl FnOnce(TokenManagerBuilder) -> TokenManagerBuilder,
    ) -> Result<TokenManager, Failure> {
        let (deadline, unsaved) = (self.deadline(), self.unsaved.clone());
        let mut builder = TokenManager::builder(store)
            .clock(Arc::clone(&self.clock))
            .deadline(deadline + TO_THE_END)
            .timeout(REQUEST.min(deadline))
            .connect_timeout(CONNECT.min(deadline))
            .store_timeout(STORE.min(deadline))
            .retry_for(RETRY_FOR.min(deadline))
            .on_event(move |event| unsaved.learn(event));
        if let Some(spool) = self.spool()? {
            builder = builder.spool(spool.clone());
        }
        if let Some(server) = self.accounts_server()? {
            builder = builder.accounts_server(server);
        }
        if let Some(url) = &self.global.api_domain {
            builder = builder.api_domain(server::api_domain(url)?);
        }
        Ok(settings(builder).build()?)
    }

    /// How long a token is waited for.
    pub(crate) fn deadline(&self) -> Duration {
        self.global.deadline.map_or(DEADLINE, Duration::from_secs)
    }

    /// Where a new token waits that cannot be stored; `None` with `--no-spool`, and where nobody
    /// knows what the user's state directory is.
    pub(crate) fn spool(&self) -> Result<Option<&CommandSpool>, Failure> {
        if let Some(spool) = self.spool.get() {
            return Ok(spool.as_ref());
        }
        let global = &self.global;
        let directory = match &global.spool {
            _ if global.no_spool => None,
            Some(given) => Some(given.clone()),
            None => default_spool(),
        };
        let key = match &global.spool_key_file {
            Some(path) if directory.is_some() => Some(secrets::spool_key(path)?),
            Some(_) | None => None,
        };
        let spool = directory.map(|directory| CommandSpool::new(directory, key));
        Ok(self.spool.get_or_init(|| spool).as_ref())
    }

    /// Notes a token that is used: whether it is stored is said at the end.
    pub(crate) fn uses(&self, live: &LiveToken) {
        self.unsaved.look_at(live);
    }

    /// Says which new tokens could not be stored, and what to do about it.
    pub(crate) fn tell_what_is_unsaved(&self) {
        let (warnings, notes) = self.unsaved.report(self.spool.get().and_then(Option::as_ref));
        for warning in warnings {
            self.printer.warn(&warning);
        }
        for note in notes {
            self.printer.note(&note);
        }
    }

    /// `--accounts-server`, where given.
    pub(crate) fn accounts_server(&self) -> Result<Option<tokenkeep::AccountsServer>, Failure> {
        self.global.accounts_server.as_deref().map(server::accounts_server).transpose()
    }

    /// `--api-domain`, where given, as it was written.
    pub(crate) fn api_domain(&self) -> Option<&str> {
        self.global.api_domain.as_deref()
    }

    /// Whether `--accounts-server` and `--api-domain` are addresses that may be used.
    pub(crate) fn check_servers(&self) -> Result<(), Failure> {
        self.accounts_server()?;
        self.global.api_domain.as_deref().map(server::api_domain).transpose()?;
        Ok(())
    }
}

/// `tokens.db` under the user's data directory, whose own directory is made for this user alone.
fn default_store() -> Result<StoreUrl, Failure> {
    let base = etcetera::choose_base_strategy().map_err(|error| {
        Failure::new(exit::STORE, format!("the user's data directory is not known: {error}"))
            .hint("name a store with `--store sqlite:PATH` or TOKENKEEP_STORE")
    })?;
    let dir = base.data_dir().join("tokenkeep");
    make_private_dir(&dir).map_err(|error| {
        Failure::new(exit::STORE, format!("cannot make {}: {error}", dir.display()))
            .hint("name a store elsewhere with `--store sqlite:PATH` or TOKENKEEP_STORE")
    })?;
    Ok(StoreUrl::Sqlite(dir.join("tokens.db")))
}

/// `tokenkeep/spool` under the user's state directory. It is made when something goes there.
fn default_spool() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    let state = base.state_dir().unwrap_or_else(|| base.data_dir());
    Some(state.join("tokenkeep").join("spool"))
}

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
