//! [`Inspection`]: what a person wants to know of a store.

use tokenkeep_core::{Operation, StoreError};

use crate::KeyringStore;

/// What stands in a store, and what is wrong with it. No secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The name that the keyring shows the entries under.
    pub service: String,
    /// How many tokens there are.
    pub tokens: usize,
    /// How long the index is, in bytes of JSON.
    pub index_bytes: usize,
    /// Entries with tokens that a killed process left, which the next process that changes the
    /// store removes.
    pub left_over: usize,
    /// Tokens that cannot be read, in words.
    pub damage: Vec<String>,
}

impl KeyringStore {
    /// Looks the store over, under its lock. Nothing is written to the keyring.
    ///
    /// # Errors
    ///
    /// What keeps it from being read.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        let inspect = async {
            let (read, left_over) = self.engine.survey().await?;
            let damage = read.tokens.iter().filter_map(|token| token.as_ref().err());
            Ok(Inspection {
                service: self.engine.service().to_owned(),
                tokens: read.catalog.len(),
                index_bytes: read.catalog.to_json()?.to_string().len(),
                left_over,
                damage: damage.map(ToString::to_string).collect(),
            })
        };
        inspect.await.map_err(|error: StoreError| error.during(Operation::Page))
    }
}
