//! One file a verb: its arguments with their help, and what it does.

pub(crate) mod add;
pub(crate) mod api;
pub(crate) mod completions;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod emulator;
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod import;
pub(crate) mod keep;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod migrate;
pub(crate) mod recover;
pub(crate) mod refresh;
pub(crate) mod revoke;
pub(crate) mod show;
pub(crate) mod token;

use tokenkeep::{OAuthToken, TokenId};

use crate::error::Failure;

/// The id of a token that came from a store.
fn id_of(token: &OAuthToken) -> Result<&TokenId, Failure> {
    token.id().ok_or_else(|| Failure::failed("the store gave a token without an id"))
}
