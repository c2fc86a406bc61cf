//! [`SharedStore`]: what a store adds that coordinates several processes.

pub mod lease;
mod page;

use std::time::Duration;

use async_trait::async_trait;

pub use self::{
    lease::{Lease, LeaseAttempt},
    page::{Page, TokenMeta},
};
use crate::{OAuthToken, StoreError, StoreErrorKind, TokenId, TokenState};

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

/// What became of a [`replace_state`](SharedStore::replace_state).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StateReplaced {
    /// It was written.
    Written,
    /// Nothing was changed, because what is stored is not what was expected any more. Here is what
    /// is.
    Changed(Option<Box<TokenState>>),
    /// There is no such token.
    NoToken,
}

/// Says whether a store has been changed since: two marks of one open store that differ mean that
/// something in it may have been changed in between, two that are equal that nothing was.
///
/// What it is made of is the store's business. Marks of two stores, or of one that was opened
/// twice, say nothing about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChangeMark(u64, u64);

impl ChangeMark {
    /// A mark of these two numbers.
    #[must_use]
    pub const fn new(one: u64, other: u64) -> Self {
        Self(one, other)
    }
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

    /// Writes what is known of the token `id`, if what is stored still is `expected`: `None` for
    /// nothing, which is also what counts as stored if it cannot be read.
    ///
    /// [`update_state`] reads, changes and writes, again if others write meanwhile.
    ///
    /// # Errors
    ///
    /// What keeps the store from writing. Losing is not an error, see [`StateReplaced`].
    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError>;

    /// A mark of what is stored now, rows and what is beside them. It is cheap enough to be asked
    /// for each second, and much cheaper than a find over a network. Reading does not change it,
    /// and after a change none comes again that was there before.
    ///
    /// A change is seen if it was complete before this was called, whoever made it: another
    /// process, an official SDK, this store itself. A store that cannot tell cheaply gives another
    /// mark each time, none of them twice: who asks reads then.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering.
    async fn change_mark(&self) -> Result<ChangeMark, StoreError>;

    /// The next at most `limit` tokens after `after` in the order of ids: metadata, no secrets.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering.
    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError>;
}

/// How often [`update_state`] reads again because another one has written meanwhile.
const WRITERS_MEANWHILE: u32 = 64;

/// Changes what is known of the token `id`: reads it, applies `change`, writes it if nobody else
/// has meanwhile, and begins again if somebody has. What others have written stays.
///
/// `change` may run several times. The answer is the state as written, or `None` if there is no
/// such token. If the future is dropped, the change has been made or not.
///
/// # Errors
///
/// Busy if others write again and again; otherwise what keeps the store from answering.
pub async fn update_state(
    shared: &dyn SharedStore,
    id: &TokenId,
    change: impl Fn(&mut TokenState) + Send,
) -> Result<Option<TokenState>, StoreError> {
    let mut expected = match shared.state(id).await {
        // What cannot be read counts as nothing, and is written anew.
        Err(error) if error.kind() == StoreErrorKind::Corrupt => None,
        read => read?,
    };
    for _ in 0..WRITERS_MEANWHILE {
        let mut state = expected.clone().unwrap_or_default();
        change(&mut state);
        if expected.as_ref() == Some(&state) {
            return Ok(expected);
        }
        match shared.replace_state(id, expected.as_ref(), &state).await? {
            StateReplaced::Written => return Ok(Some(state)),
            StateReplaced::Changed(stored) => expected = stored.map(|state| *state),
            StateReplaced::NoToken => return Ok(None),
        }
    }
    Err(StoreError::new(
        StoreErrorKind::Busy,
        format!("what is known of token {id} was changed by others again and again"),
    )
    .with_hint("try again"))
}
