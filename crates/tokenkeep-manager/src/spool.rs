//! [`Spool`]: where a token waits that was issued and could not be stored yet.

mod directory;
mod entry;
mod file;
mod seal;
mod timed;

use std::fmt::Debug;

use async_trait::async_trait;
use tokenkeep_core::{Fingerprint, OAuthToken, StoreError, Timestamp, TokenId};

pub(crate) use self::timed::TimedSpool;
pub use self::{file::FileSpool, seal::SpoolKey};

/// A token that was issued and is not in the store yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spooled {
    /// The stored token that it takes the place of.
    pub id: TokenId,
    /// The grant that is stored and that it was issued to.
    pub grant: Fingerprint,
    /// What is to be stored.
    pub token: OAuthToken,
    /// When it was issued.
    pub issued_at: Timestamp,
}

impl Spooled {
    /// `token`, issued at `issued_at` to the grant `grant` of the stored token `id`.
    #[must_use]
    pub fn new(id: TokenId, grant: Fingerprint, token: OAuthToken, issued_at: Timestamp) -> Self {
        Self { id, grant, token, issued_at }
    }
}

/// What waits in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolListing {
    /// What can be read, in the order of ids: the id and the grant, to [`get`](Spool::get) it by.
    pub entries: Vec<(TokenId, Fingerprint)>,
    /// What cannot be read, for a person: where it stands, what is wrong with it and what to do,
    /// without its content.
    pub damage: Vec<String>,
}

impl SpoolListing {
    /// These entries, and this that could not be read.
    #[must_use]
    pub fn new(entries: Vec<(TokenId, Fingerprint)>, damage: Vec<String>) -> Self {
        Self { entries, damage }
    }
}

/// Keeps tokens that were issued and could not be stored yet, so that they survive a restart.
///
/// # Contract
///
/// - **Keys.** An entry is found by the id of the stored token and the fingerprint of the grant
///   that was stored when it was issued. So an entry never matches a later login, and one spool
///   serves several stores.
/// - **Durable.** When a put has returned, the entry survives the end of the process and of the
///   machine.
/// - **Whole.** Whatever crashes, there is the old entry or the new one.
/// - **Exact.** What is got is what was put, with the fields that it [clears](OAuthToken::clears).
/// - **Absence is not an error**, and an error never means absence: an entry that cannot be read
///   stays, and is reported.
/// - **Cancelling.** If a future is dropped, its change has been made wholly, or is not made, or
///   is being made; what is called next on the same entry waits for it.
/// - **Errors** contain no value of a token.
#[async_trait]
pub trait Spool: Debug + Send + Sync + 'static {
    /// Keeps `entry`, in the place of an earlier one with the same id and grant.
    ///
    /// # Errors
    ///
    /// What keeps the spool from writing. By the [outcome](StoreError::outcome), an earlier entry
    /// is as it was, or (unknown) the new one may be there and may not last.
    async fn put(&self, entry: &Spooled) -> Result<(), StoreError>;

    /// The entry of this id and grant.
    ///
    /// # Errors
    ///
    /// What keeps the spool from reading: an entry is there and is damaged, sealed with another
    /// key, or written by a newer version.
    async fn get(&self, id: &TokenId, grant: &Fingerprint) -> Result<Option<Spooled>, StoreError>;

    /// Removes the entry of this id and grant, readable or not; `false` if there was none.
    ///
    /// # Errors
    ///
    /// What keeps the spool from removing.
    async fn remove(&self, id: &TokenId, grant: &Fingerprint) -> Result<bool, StoreError>;

    /// All entries, and what cannot be read.
    ///
    /// # Errors
    ///
    /// What keeps the spool from looking. A single bad entry is no error here, but
    /// [damage](SpoolListing::damage).
    async fn list(&self) -> Result<SpoolListing, StoreError>;
}
