//! What the stores on servers have in common, so that it is the same in all of them:
//!
//! - [`Parameters`] are what stands after the `?` of a store's URL;
//! - [`Secret`] is a password or a token, or the file that has it;
//! - [`Tls`] is how a connection is protected, and with the feature `tls` what rustls is told of it.
//!
//! Programs have no use for it. They open a store by its own type or by its URL.
#![forbid(unsafe_code)]

mod parameters;
mod secret;
mod tls;

pub use self::{
    parameters::{Parameters, decoded},
    secret::Secret,
    tls::Tls,
};

#[cfg(feature = "tls")]
pub use self::tls::client_config;

use tokenkeep_core::{StoreError, StoreErrorKind};

fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}
