//! What tokenkeep is about, without any I/O: the token of ten fields that the official Zoho CRM
//! SDKs store, its secrets as types, the rules by which a find or a save means a stored token, and
//! the contracts of a store.
//!
//! - [`OAuthToken`] is one stored grant of one user; [`AccessToken`], [`RefreshToken`],
//!   [`GrantToken`] and [`ClientSecret`] are its secrets.
//! - [`TokenQuery`] is what a find is matched by; [`matching`] has the rules.
//! - [`TokenStore`] is the six operations that a store must have, [`SharedStore`] what it adds to
//!   coordinate several processes: compare-and-swap, [leases](Lease), [state](TokenState), pages.
//! - [`BulkStore`] is a store whose tokens can be moved, many at a time.
//! - [`ListStore`] keeps tokens in memory and is the reference; [`TokenTable`] and [`Sidecar`] are
//!   what it is made of.
//! - [`Catalog`] is what a store keeps that has each token as a secret of its own.
//! - [`StoreError`] says what went wrong and what the caller may do.
//! - [`Clock`] tells the time to whoever needs it.
#![forbid(unsafe_code)]

mod bulk;
mod catalog;
mod clock;
mod error;
mod field;
mod fingerprint;
mod list;
pub mod matching;
mod query;
mod secret;
pub mod shared;
mod sidecar;
mod state;
mod store;
mod table;
mod token;

pub use self::{
    bulk::{BulkStore, Columns, Entries, Entry, Look},
    catalog::{Catalog, Changes, Draft},
    clock::{Clock, SystemClock, Timestamp},
    error::{Operation, Outcome, StoreError, StoreErrorKind},
    field::{Field, FieldError},
    fingerprint::Fingerprint,
    list::ListStore,
    query::{QueryKey, TokenQuery},
    secret::{AccessToken, ClientSecret, GrantToken, RefreshToken},
    shared::{
        ChangeMark, Lease, LeaseAttempt, Page, Replaced, SharedStore, StateReplaced, TokenMeta,
        update_state,
    },
    sidecar::{Sidecar, SidecarEntry, plan_replace},
    state::{Environment, InFlight, RefusedGrant, TokenState, TokenStatus},
    store::TokenStore,
    table::{MAX_ID, Saved, TokenTable, next_id},
    token::{ClientCredentials, OAuthToken, OAuthTokenBuilder, TokenId},
};
