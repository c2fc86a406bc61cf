//! What a case is, and what it is given.

use std::{
    error::Error,
    fmt::{self, Debug},
    panic::Location,
    pin::Pin,
    sync::Arc,
};

use tokenkeep_core::{BulkStore, Clock, Field, OAuthToken, SharedStore, StoreError, TokenStore};

use super::{Capabilities, Fixture, SetupError, Space};
use crate::ManualClock;

/// What a case answers.
pub type CaseResult = Result<(), Failure>;

type Run = for<'a> fn(&'a Context) -> Pin<Box<dyn Future<Output = CaseResult> + Send + 'a>>;

/// One thing that every store has to do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// What the store does, as an identifier.
    pub name: &'static str,
    /// What a store must be capable of for the case to make sense.
    pub needs: Needs,
    /// Which findings on the official SDKs' stores it stands for.
    pub baseline: &'static [&'static str],
    /// Runs it.
    pub run: Run,
}

impl Case {
    pub(super) const fn new(name: &'static str, run: Run) -> Self {
        Self { name, needs: Needs::NOTHING, baseline: &[], run }
    }

    pub(super) const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    pub(super) const fn baseline(self, baseline: &'static [&'static str]) -> Self {
        Self { baseline, ..self }
    }

    /// Whether it makes sense for a store of these capabilities.
    #[must_use]
    pub fn fits(&self, capabilities: Capabilities) -> bool {
        (capabilities.persistent || !self.needs.persistent)
            && (capabilities.processes || !self.needs.processes)
            && (capabilities.shared || !self.needs.shared)
            && (capabilities.bulk_store || !self.needs.bulk_store)
    }
}

/// What a store must be capable of for a case to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// See [`Capabilities::persistent`].
    pub persistent: bool,
    /// See [`Capabilities::processes`].
    pub processes: bool,
    /// See [`Capabilities::shared`].
    pub shared: bool,
    /// See [`Capabilities::bulk_store`].
    pub bulk_store: bool,
}

impl Needs {
    /// Every store.
    pub const NOTHING: Self =
        Self { persistent: false, processes: false, shared: false, bulk_store: false };
    /// Stores whose tokens outlive the instance.
    pub const PERSISTENT: Self = Self { persistent: true, ..Self::NOTHING };
    /// Stores that several processes can have open.
    pub const PROCESSES: Self = Self { processes: true, ..Self::PERSISTENT };
    /// Stores that coordinate.
    pub const SHARED: Self = Self { shared: true, ..Self::NOTHING };
    /// Stores that coordinate and outlive the instance.
    pub const SHARED_PERSISTENT: Self = Self { shared: true, ..Self::PERSISTENT };
    /// Stores that coordinate processes.
    pub const SHARED_PROCESSES: Self = Self { shared: true, ..Self::PROCESSES };
    /// Stores whose tokens can be moved many at a time.
    pub const BULK: Self = Self { bulk_store: true, ..Self::NOTHING };
    /// Stores that coordinate and whose tokens can be moved many at a time.
    pub const SHARED_BULK: Self = Self { shared: true, ..Self::BULK };
}

/// Lists cases by the names of their functions.
macro_rules! case {
    ($name:ident) => {
        $crate::conformance::Case::new(stringify!($name), |cx| Box::pin($name(cx)))
    };
}

/// Fails the case unless the condition holds.
macro_rules! check {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::conformance::Failure::new(format!($($message)+)));
        }
    };
}

/// Fails the case unless both sides are equal.
macro_rules! check_eq {
    ($left:expr, $right:expr) => {
        match (&$left, &$right) {
            (left, right) => $crate::conformance::case::check!(
                left == right,
                "{} is\n  {left:?}\nnot\n  {right:?}",
                stringify!($left)
            ),
        }
    };
}

pub(super) use {case, check, check_eq};

/// What a case is given: an empty space of its own, and a clock that it moves by hand.
pub struct Context {
    fixture: Arc<dyn Fixture>,
    space: Box<dyn Space>,
    clock: Arc<ManualClock>,
}

impl Context {
    pub(super) async fn new(fixture: Arc<dyn Fixture>) -> Result<Self, Failure> {
        let space = fixture.space().await.map_err(Failure::setup)?;
        Ok(Self { fixture, space, clock: Arc::default() })
    }

    /// Opens the space: see [`Space::open`].
    ///
    /// # Errors
    ///
    /// A failure, if it cannot be opened.
    pub async fn open(&self) -> Result<Arc<dyn TokenStore>, Failure> {
        let clock = Arc::clone(&self.clock);
        Ok(self.space.open(clock as Arc<dyn Clock>).await?)
    }

    /// Opens the space: see [`Space::open_bulk`].
    pub(super) async fn open_bulk(&self) -> Result<Arc<dyn BulkStore>, Failure> {
        let clock = Arc::clone(&self.clock);
        let opened = self.space.open_bulk(clock as Arc<dyn Clock>).await?;
        opened.ok_or_else(|| Failure::new("open_bulk() is None"))
    }

    pub(super) fn clock(&self) -> &ManualClock {
        &self.clock
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.fixture.capabilities()
    }

    pub(super) fn fixture(&self) -> &dyn Fixture {
        &*self.fixture
    }

    pub(super) fn space(&self) -> &dyn Space {
        &*self.space
    }
}

impl Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("fixture", &self.fixture.name()).finish_non_exhaustive()
    }
}

/// The store's coordinating side; a failure if it has none.
pub(super) fn shared(store: &dyn TokenStore) -> Result<&dyn SharedStore, Failure> {
    store.shared().ok_or_else(|| Failure::new("shared() is None"))
}

/// Fails unless both are the same in all ten fields; names the fields that differ.
pub(super) fn check_same(what: &str, left: &OAuthToken, right: &OAuthToken) -> CaseResult {
    let (lefts, rights) = (left.expose_columns(), right.expose_columns());
    let differ: Vec<_> =
        Field::ALL.into_iter().filter(|f| lefts[*f as usize] != rights[*f as usize]).collect();
    check!(differ.is_empty(), "{what}: these fields differ: {differ:?}\n  {left:?}\n  {right:?}");
    Ok(())
}

/// Why a case failed, and where.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure at the caller's place.
    #[track_caller]
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(format!("{}\n  at {}", message.into(), Location::caller()))
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
    pub(super) fn setup(error: SetupError) -> Self {
        Self::new(format!("the fixture failed: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error + 'static> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        let message = match (&error as &dyn Error).downcast_ref::<StoreError>() {
            Some(error) => format!("unexpected error: {error:?}"),
            None => format!("unexpected error: {error}"),
        };
        Self::new(message)
    }
}
