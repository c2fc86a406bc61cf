use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use tokenkeep_core::{BulkStore, Clock, Field, OAuthToken, StoreError, StoreErrorKind, TokenStore};

/// What keeps a fixture from preparing a space: no directory, no database, no server.
pub type SetupError = Box<dyn Error + Send + Sync>;

/// How the suite gets at a store.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// The store's name in the report: `sqlite`, `file`, `list`.
    fn name(&self) -> &str;

    /// Somewhere new and empty to keep tokens: a temporary directory, a database. It is dropped
    /// at the end of the case, and what it holds with it.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being prepared; the case fails then.
    async fn space(&self) -> Result<Box<dyn Space>, SetupError>;

    /// Why this store cannot be tried here: it has no server. Its cases are shown as ignored then,
    /// and fail under `TOKENKEEP_REQUIRE=all`. A server that is there and does not work is no
    /// reason.
    fn missing(&self) -> Option<String> {
        None
    }

    /// What the store can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
    }

    /// Opens, in a child process, the space whose [address](Space::address) this is.
    ///
    /// # Errors
    ///
    /// What keeps the store from being opened; Unsupported unless implemented.
    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        let (_address, _clock) = (address, clock);
        Err(StoreError::new(StoreErrorKind::Unsupported, "this fixture has no child processes"))
    }
}

/// Somewhere to keep tokens for the time of one case.
#[async_trait]
pub trait Space: Send + Sync {
    /// Opens the space. Opening it again gives a second, independent instance on the same data
    /// if the store is persistent, and otherwise the same store.
    ///
    /// # Errors
    ///
    /// What keeps the store from being opened.
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError>;

    /// Opens the space as [`open`](Self::open) does, as a store whose tokens can be moved many at
    /// a time; `None` if it is not one.
    ///
    /// # Errors
    ///
    /// What keeps the store from being opened.
    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        let _clock = clock;
        Ok(None)
    }

    /// A text by which a child process opens the same space, where that is possible.
    fn address(&self) -> Option<String> {
        None
    }

    /// Puts `tokens`, each with its id, into the empty space at one go, before it is opened.
    /// `false` if there is no such way: the suite saves them one by one then.
    ///
    /// # Errors
    ///
    /// What keeps them from being written.
    async fn preload(&self, tokens: &[OAuthToken]) -> Result<bool, SetupError> {
        let _tokens = tokens;
        Ok(false)
    }
}

/// What a store can do. The suite runs the cases that fit, and a store that says too little or too
/// much of itself fails.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// Tokens outlive the instance, and two instances can have one space open.
    pub persistent: bool,
    /// Several processes can have one space open; needs [`Space::address`] and
    /// [`Fixture::open_address`].
    pub processes: bool,
    /// The store has [`shared`](TokenStore::shared).
    pub shared: bool,
    /// The tokens can be moved many at a time; needs [`Space::open_bulk`].
    pub bulk_store: bool,
    /// Each [change mark](tokenkeep_core::SharedStore::change_mark) is another one, because the
    /// store cannot see cheaply what others write. Each has to be, then.
    pub marks_differ: bool,
    /// Which values the store may refuse because its format cannot hold them; an id among them has
    /// to be refused. Any other refusal is a failure.
    pub refuses: fn(Field, &str) -> bool,
    /// The most tokens that the store takes. One more has to be refused as Full.
    pub most: Option<usize>,
    /// How many tokens the case with many tokens loads.
    pub bulk_tokens: usize,
    /// How many of these the case saves one by one, where the rest can be
    /// [preloaded](Space::preload).
    pub bulk_saves: usize,
}

impl Capabilities {
    /// A store in the memory of one process that takes every value.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            persistent: false,
            processes: false,
            shared: false,
            bulk_store: false,
            marks_differ: false,
            refuses: |_field, _value| false,
            most: None,
            bulk_tokens: 10_000,
            bulk_saves: 10_000,
        }
    }

    /// The store is persistent.
    #[must_use]
    pub const fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }

    /// Several processes can have one space open.
    #[must_use]
    pub const fn processes(self) -> Self {
        Self { processes: true, ..self }
    }

    /// The store has [`shared`](TokenStore::shared).
    #[must_use]
    pub const fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// The tokens can be moved many at a time.
    #[must_use]
    pub const fn bulk_store(self) -> Self {
        Self { bulk_store: true, ..self }
    }

    /// Each change mark is another one, because the store cannot see cheaply what others write.
    #[must_use]
    pub const fn marks_differ(self) -> Self {
        Self { marks_differ: true, ..self }
    }

    /// The store takes no more tokens than these.
    #[must_use]
    pub const fn most(self, most: usize) -> Self {
        Self { most: Some(most), ..self }
    }

    /// The store may refuse these values.
    #[must_use]
    pub const fn refusing(self, refuses: fn(Field, &str) -> bool) -> Self {
        Self { refuses, ..self }
    }

    /// The case with many tokens loads `tokens`, of which it saves `saves` one by one.
    #[must_use]
    pub const fn bulk(self, tokens: usize, saves: usize) -> Self {
        Self { bulk_tokens: tokens, bulk_saves: saves, ..self }
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new()
    }
}
