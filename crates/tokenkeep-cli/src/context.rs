//! [`Context`]: what every verb works with.

use std::{fs, path::Path, sync::Arc};

use etcetera::BaseStrategy as _;
use tokenkeep::{
    Clock, OpenedStore, StoreErrorKind, StoreUrl, SystemClock, TokenManager, TokenManagerBuilder,
    TokenStore, stores::sqlite::SqliteConfig,
};

use crate::{args::Global, error::Failure, exit, output::Printer, server};

/// What every verb works with: the common options, the printer, the clock.
pub(crate) struct Context {
    global: Global,
    pub(crate) printer: Printer,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Context {
    pub(crate) fn new(global: Global, printer: Printer) -> Self {
        Self { global, printer, clock: Arc::new(SystemClock) }
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
        let mut builder = TokenManager::builder(store).clock(Arc::clone(&self.clock));
        if let Some(server) = self.accounts_server()? {
            builder = builder.accounts_server(server);
        }
        if let Some(url) = &self.global.api_domain {
            builder = builder.api_domain(server::api_domain(url)?);
        }
        Ok(settings(builder).build()?)
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

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
