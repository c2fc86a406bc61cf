#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(any(feature = "dynamodb", feature = "secretsmanager")),
    expect(dead_code, reason = "it is for the stores")
)]

mod access;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
mod error;
mod pace;
#[cfg(feature = "secretsmanager")]
pub mod secretsmanager;
mod url;

pub use self::access::AwsAccess;
