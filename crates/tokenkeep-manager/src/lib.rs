//! Keeps OAuth tokens fresh: decides when a token is refreshed, who does it, and what is saved
//! before anyone uses it.
//!
//! - [`TokenManager`] works over any [`TokenStore`](tokenkeep_core::TokenStore); its
//!   [builder](TokenManagerBuilder) takes the place of the SDKs' `Initializer`.
//! - [`TokenHandle`] is one user's token, asked for before each API call.
//! - [`LiveToken`] is what it gives: an access token that can be used now, and where.
//! - [`Login`] is how a user's token gets into the store.
//!
//! ```no_run
//! use tokenkeep_core::{ClientCredentials, ClientSecret, GrantToken, ListStore};
//! use tokenkeep_manager::{Login, TokenManager};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = TokenManager::builder(ListStore::new()).build()?;
//! let client = ClientCredentials::new("client-id", ClientSecret::new(read_secret()?)?)?;
//! manager.log_in(Login::grant_token(client, GrantToken::new(read_code()?)?)).await?;
//!
//! let alice = manager.user("alice@example.com").await?;
//! let live = alice.access_token().await?; // from memory while it is fresh
//! println!("calls go to {} until {:?}", live.api_domain(), live.expires_at());
//! # Ok(())
//! # }
//! # fn read_secret() -> std::io::Result<String> { unimplemented!() }
//! # fn read_code() -> std::io::Result<String> { unimplemented!() }
//! ```
#![forbid(unsafe_code)]

mod budget;
mod builder;
mod error;
mod event;
mod flight;
mod freshness;
mod handle;
mod keeper;
mod known;
mod live;
mod login;
mod look;
mod manager;
mod memory;
pub mod metrics;
mod place;
mod refresh;
mod revoke;
mod slot;
mod spool;
mod subject;
mod sync;
mod timed;

pub use self::{
    builder::TokenManagerBuilder,
    error::{ManagerError, ManagerErrorKind},
    event::{Event, EventKind, EventStream, Missed, RecoveredFrom, RefreshReason},
    handle::TokenHandle,
    keeper::{Keeper, KeeperBuilder, KeeperStatus},
    live::LiveToken,
    login::Login,
    manager::{LoggedIn, TokenManager},
    refresh::Recovery,
    revoke::Revoked,
    spool::{FileSpool, Spool, SpoolKey, SpoolListing, Spooled},
};
