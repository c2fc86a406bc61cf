//! Moving the tokens of one store to another.
//!
//! A [`Migration`] reads the source page by page and saves each page at once, by the rules of
//! [`matching`](crate::matching). The source is only read.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tokenkeep::{ListStore, OAuthToken, TokenStore, migrate::Migration};
//!
//! let (from, to) = (ListStore::new(), ListStore::new());
//! from.save_token(&OAuthToken::builder().refresh_token("test-refresh").build()?).await?;
//! let report = Migration::new(&from, &to).run().await?;
//! assert!(report.is_complete());
//! assert_eq!(to.get_tokens().await?, from.get_tokens().await?);
//! # Ok(())
//! # }
//! ```
//!
//! # What becomes of a token
//!
//! - **It is new to the target:** it is saved, with all its fields and what is known of it (its
//!   [state](crate::TokenState), but for a refresh under way). It keeps its id, if the target can
//!   take that and nobody else has it; otherwise the report has [both](Report::renamed).
//! - **The target has it already:** nothing is done. So a migration that was stopped at any moment
//!   is finished by running it again, and running it twice makes nothing twice.
//! - **The target has another token of that user, client and API domain,** or one with a token in
//!   common: what is absent there is filled in, and what differs there stays. The report lists
//!   it as a [conflict](Report::conflicts), unless the migration may
//!   [overwrite](Migration::overwrite).
//! - **The source has it twice,** as the official SDKs leave it: the rows that by those rules are
//!   one token are merged into the first of them. In each field the value of the row that expires
//!   latest wins, if it has one. The report lists the [merges](Report::merged).
//! - **It cannot be read, or the target refuses it:** the report says so, and the others are moved.
//!
//! # How it is known to be right
//!
//! What the target has to hold (all that it held, with all that was saved) is summed up token by
//! token under a key that is drawn for each run. At the end the target is read back from the
//! beginning and must come to the same count and the same [sum](Verification). Nobody else should
//! write to the target meanwhile: that would be told as a difference.
//!
//! # How much it takes
//!
//! The memory of four pages and two filters of 16 MiB; what is listed in the report comes on top,
//! and tokens whose numbers are others' in the target wait in memory for the end.
//! Both stores are read twice at most.

mod digest;
mod group;
mod one_by_one;
mod report;
mod run;
mod survey;
mod target;

use std::fmt;

use tokenkeep_core::{BulkStore, StoreError};

pub use self::{
    one_by_one::OneByOne,
    report::{Conflict, Merged, Refused, Renamed, Report, Verification},
};

/// The tokens of one store, to be moved to another.
///
/// A store of six methods goes in as [`OneByOne`].
pub struct Migration<'a> {
    from: &'a dyn BulkStore,
    to: &'a dyn BulkStore,
    page_size: Option<usize>,
    dry_run: bool,
    overwrite: bool,
    progress: Option<Box<dyn Fn(Progress) + Send + Sync + 'a>>,
}

impl<'a> Migration<'a> {
    /// Everything that is in `from`, to `to`.
    #[must_use]
    pub fn new(from: &'a dyn BulkStore, to: &'a dyn BulkStore) -> Self {
        Self { from, to, page_size: None, dry_run: false, overwrite: false, progress: None }
    }

    /// Whether nothing is written, and only said what would be done. What the target refuses is
    /// not known then.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Whether the source's values replace those in the target that differ.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// How many tokens are read and saved at once: as many as [suit](BulkStore::page_size) the
    /// target, unless said. A store that is one file is written anew for each page, so a large one
    /// is filled faster with large pages.
    #[must_use]
    pub fn page_size(mut self, tokens: usize) -> Self {
        self.page_size = Some(tokens.max(1));
        self
    }

    /// Calls back after each page.
    #[must_use]
    pub fn on_progress(mut self, progress: impl Fn(Progress) + Send + Sync + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Moves the tokens, and reads the target back.
    ///
    /// If the future is dropped, or the process ends, each page has been saved wholly or not at
    /// all; run it again to finish.
    ///
    /// # Errors
    ///
    /// What keeps a store from answering. Some pages may have been saved then; run it again.
    pub async fn run(&self) -> Result<Report, MigrationError> {
        run::run(self).await
    }

    fn tell(&self, phase: Phase, done: u64, total: u64) {
        if let Some(progress) = &self.progress {
            progress(Progress { phase, done, total });
        }
    }
}

impl fmt::Debug for Migration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("page_size", &self.page_size)
            .field("dry_run", &self.dry_run)
            .field("overwrite", &self.overwrite)
            .finish_non_exhaustive()
    }
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// How many tokens it has done that with.
    pub done: u64,
    /// Of how many; 0 while that is not known.
    pub total: u64,
}

/// What a migration is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Looking through both stores.
    Survey,
    /// Moving tokens.
    Move,
    /// Reading the target back.
    Verify,
}

/// What keeps a migration from going on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// The store that is read.
    #[error("the source: {0}")]
    Source(#[source] StoreError),
    /// The store that is written.
    #[error("the target: {0}")]
    Target(#[source] StoreError),
    /// The machine gives no random numbers.
    #[error("this machine gives no random numbers")]
    NoRandomNumbers,
}
