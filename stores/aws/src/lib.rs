#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]

mod access;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
mod error;
mod pace;

pub use self::access::AwsAccess;
