//! A token store of one's own: the six operations, and nothing else.
//!
//! `custom_store.rs` hands it to a manager; `tests/custom_store.rs` runs the conformance suite on
//! it.
#![forbid(unsafe_code)]

mod vec_store;

pub use vec_store::VecStore;

/// The README's code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
