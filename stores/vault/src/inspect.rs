//! [`Inspection`]: what a person wants to know of a store.

use serde::Deserialize;
use tokenkeep_core::{Operation, StoreError};

use reqwest::Method;

use crate::{VaultStore, client::Request, error::Fault};

/// What stands in a store, and what is wrong with it. No secrets.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Inspection {
    /// The server's version, as it says.
    pub server_version: Option<String>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// How many tokens there are.
    pub tokens: usize,
    /// How long the index is, in bytes of JSON. Vault's integrated storage takes 1 MiB unless its
    /// `max_entry_size` says otherwise.
    pub index_bytes: usize,
    /// Secrets with tokens that a crashed process left, which the next process that changes the
    /// store removes; `None` if they may not be listed.
    pub left_over: Option<usize>,
    /// Tokens that cannot be read, in words.
    pub damage: Vec<String>,
}

impl VaultStore {
    /// Looks the store over.
    ///
    /// # Errors
    ///
    /// What keeps it from being read.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        #[derive(Default, Deserialize)]
        struct Health {
            version: Option<String>,
        }
        let inspect = async {
            let deadline = self.engine.deadline();
            let kv = &self.engine.kv;
            let path = ["sys", "health"];
            let request = Request { method: Method::GET, path: &path, version: None, body: None };
            let reply = kv.session.ask(&request, deadline).await.map_err(Fault::harmless)?;
            let health: Health = reply.json().unwrap_or_default();
            let (snapshot, tokens) =
                self.engine.read(deadline, |catalog| catalog.ids().cloned().collect()).await?;
            let damage = tokens.into_iter().filter_map(Result::err);
            Ok(Inspection {
                server_version: health.version,
                tls: kv.session.is_encrypted(),
                tokens: snapshot.catalog.len(),
                index_bytes: snapshot.catalog.to_json()?.to_string().len(),
                left_over: self.engine.left_over(deadline).await.ok().map(|names| names.len()),
                damage: damage.map(|error| error.to_string()).collect(),
            })
        };
        inspect.await.map_err(|error: StoreError| error.during(Operation::Page))
    }
}
