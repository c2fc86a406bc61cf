//! [`SharedStore`]: what a store adds that coordinates several processes.

pub mod lease;
mod page;

use std::time::Duration;

use async_trait::async_trait;

pub use self::{
    lease::{Lease, LeaseAttempt},
    page::{Page, TokenMeta},
};
use crate::{OAuthToken, StoreError, TokenId, TokenState};

/// What became of a [`replace_token`](SharedStore::replace_token).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Replaced {
    /// It was saved; here it is as stored.
    Saved(OAuthToken),
    /// Nothing was changed, because the stored token is not the expected one any more. Here is
    /// what is stored now; `None` if it was deleted.
    Changed(Option<OAuthToken>),
    /// Nothing was changed, because the lease has passed to somebody else. Here is what is stored
    /// now.
    LeaseLost(Option<OAuthToken>),
}

/// Coordination across processes: compare-and-swap, leases, state, pages.
///
/// There are no default methods: a store has all of it, or none.
///
/// # Contract
///
/// Each operation is one transaction of the store, seen by every process that has it open. State
/// and leases end with the token they belong to. Time comes from the store's clock; the processes
/// that share a store are expected to agree on it within the time a lease lives.
#[async_trait]
pub trait SharedStore: Send + Sync {
    /// Saves `token` in the place of `expected`, if that is still what is stored.
    ///
    /// `expected` is a token as this store returned it, and is compared with all ten fields as
    /// they are stored now, because an official SDK may have written in between. The absent
    /// fields of `token` stay as they were. With `fence`, the write also needs that lease to be
    /// the newest one of the token.
    ///
    /// # Errors
    ///
    /// Invalid if `expected` has no id or `token` cannot be stored; otherwise what keeps the
    /// store from answering. Losing is not an error, see [`Replaced`].
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError>;

    /// Takes the lease of the token `id` for `holder` until `ttl` from now, if nobody has it.
    ///
    /// A lease that is granted has a generation above all earlier ones of the token. `holder`
    /// must be unique to the attempt's owner; whoever holds the lease already does not get it a
    /// second time.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering.
    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError>;

    /// Moves the end of `lease` to `ttl` from now; `None` if it has passed to somebody else.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering.
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError>;

    /// Gives `lease` back; `false` if it had passed to somebody else.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering.
    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError>;

    /// What is known of the token `id`; `None` if there is no such token or nothing was written.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering.
    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError>;

    /// Writes what is known of the token `id`; `false` if there is no such token.
    ///
    /// # Errors
    ///
    /// What keeps the store from writing.
    async fn write_state(&self, id: &TokenId, state: &TokenState) -> Result<bool, StoreError>;

    /// The next at most `limit` tokens after `after` in the order of ids: metadata, no secrets.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering.
    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError>;
}
