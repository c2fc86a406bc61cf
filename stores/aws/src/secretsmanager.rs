//! Tokens in AWS Secrets Manager, each in a secret of its own: the store for hundreds of tokens.
#![doc = include_str!("../docs/secretsmanager.md")]

mod config;
mod directory;
mod document;
mod index;
mod save;
mod secrets;
mod shared;
mod store;
mod tidy;
mod tokens;

pub use self::{config::SecretsManagerConfig, store::SecretsManagerStore};
