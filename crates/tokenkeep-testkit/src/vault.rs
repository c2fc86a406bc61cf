//! [`VaultServer`]: a server on loopback that speaks as HashiCorp Vault and OpenBao do, as far as a
//! token store needs: the KV engine of versions 1 and 2, tokens, AppRole, namespaces, the seal.
//!
//! It follows the published contract of the HTTP API and keeps all in memory. That it agrees with
//! the real one is not shown by any test here.

mod api;
mod kv;
mod server;

pub use self::server::{VaultFault, VaultServer};
