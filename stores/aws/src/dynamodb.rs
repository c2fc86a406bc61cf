//! Tokens in a DynamoDB table: the store for many tokens and many machines.
#![doc = include_str!("../docs/dynamodb.md")]

mod commit;
mod config;
mod create;
mod edits;
mod inspect;
mod items;
mod listing;
mod save;
mod shared;
mod store;
mod table;

pub use self::{config::DynamoDbConfig, inspect::Inspection, store::DynamoDbStore};
