//! What tests of tokenkeep, and of stores for it, are made with.
//!
//! - [`conformance`] is the suite that every token store has to pass, yours too.
//! - [`ManualClock`] stands still until a test moves it.
//! - [`FaultyStore`] fails or stops where a test wants; [`ChaosStore`] where a plan says so.
//! - [`LeakCanary`] finds secrets where they must not be.
//! - `VaultServer`, with the feature `vault`, speaks as HashiCorp Vault's KV version 2 does.
//!
//! # Running the suite on your own store
//!
//! Add a test without the standard harness:
//!
//! ```toml
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//!
//! and in `tests/conformance.rs` tell the suite how to get at your store, with a
//! [`Fixture`](conformance::Fixture) that prepares an empty [`Space`](conformance::Space) for each
//! case. Here it is for a store that is a [`ListStore`](tokenkeep_core::ListStore) behind a name of
//! its own:
//!
//! ```no_run
//! use std::{
//!     process::ExitCode,
//!     sync::{Arc, OnceLock},
//! };
//!
//! use async_trait::async_trait;
//! use tokenkeep_core::{Clock, ListStore, StoreError, TokenStore};
//! use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};
//!
//! struct MyStores;
//!
//! #[async_trait]
//! impl Fixture for MyStores {
//!     fn name(&self) -> &str {
//!         "mine"
//!     }
//!
//!     async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
//!         // A temporary directory, a new database …; here, a place in memory.
//!         Ok(Box::new(InMemory(OnceLock::new())))
//!     }
//!
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities::new()
//!             // .persistent()   what it keeps outlives the instance
//!             // .processes()    several processes can have it open
//!             // .refusing(f)    values that its format cannot hold
//!             .shared() //        it coordinates: `shared()` is there
//!     }
//! }
//!
//! struct InMemory(OnceLock<ListStore>);
//!
//! #[async_trait]
//! impl Space for InMemory {
//!     async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
//!         let store = self.0.get_or_init(|| ListStore::with_clock(clock));
//!         Ok(Arc::new(store.clone()))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     conformance::main(vec![Box::new(MyStores)])
//! }
//! ```
//!
//! `cargo test` then shows one line a case, `mine::a_new_space_is_empty … ok`, and takes a filter.
//! Cases that make no sense for the store's [`Capabilities`](conformance::Capabilities) are not
//! listed; none is ever skipped. A store that reads the clock (leases do) uses the one it is given,
//! because the suite moves it.
//!
//! In the source, `tests/own_store.rs` is a whole store of six methods with its fixture, and
//! `tests/broken.rs` is the proof of the suite: nearly forty stores with one fault each, and the
//! cases that catch it.
#![forbid(unsafe_code)]

mod canary;
mod chaos;
mod clock;
pub mod conformance;
mod faulty;
#[cfg(feature = "vault")]
mod vault;

#[cfg(feature = "vault")]
pub use self::vault::{VaultFault, VaultServer};
pub use self::{
    canary::{Leak, LeakCanary},
    chaos::{Chaos, ChaosStore, Fate},
    clock::ManualClock,
    faulty::{FaultyStore, Gate, When},
};
