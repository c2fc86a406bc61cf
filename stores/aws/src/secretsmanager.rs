//! Tokens in one secret of AWS Secrets Manager: the store for few tokens.
#![doc = include_str!("../docs/secretsmanager.md")]

mod config;
mod document;
mod secret;
mod store;

pub use self::{config::SecretsManagerConfig, store::SecretsManagerStore};
