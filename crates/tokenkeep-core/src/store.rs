//! [`TokenStore`]: the six operations of the SDKs, all that a custom store must implement.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;

use crate::{OAuthToken, SharedStore, StoreError, TokenId, TokenQuery};

/// Keeps tokens.
///
/// # Contract
///
/// - **Matching** follows the rules in [`matching`](crate::matching); call its functions inside
///   your transaction, and no two stores disagree.
/// - **Atomic.** A save or delete happens wholly or not at all, whatever else runs, and two saves
///   for one user at the same time leave one token.
/// - **Durable.** When a save has returned, the token survives the end of the process, and if the
///   store is persistent, of the machine.
/// - **Exact.** What is read is byte for byte what was saved. A value that the store would cut or
///   change is refused with [`Invalid`](crate::StoreErrorKind::Invalid) before anything is
///   written.
/// - **Absence is not an error.** What is not there is `None`, `false` or `0`; an error never
///   means absence.
/// - **Errors** say by [`outcome`](StoreError::outcome) whether the change was made, and contain
///   no value of a token.
/// - **Cancelling.** If a future is dropped, its change has been made wholly or not at all.
/// - **Ids** are given by number, and a store does not give one again.
///
/// The conformance suite in `tokenkeep-testkit` checks all this on any store.
#[async_trait]
pub trait TokenStore: Debug + Send + Sync + 'static {
    /// The token that `query` means.
    ///
    /// # Errors
    ///
    /// Ambiguous if several match; otherwise what keeps the store from answering.
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError>;

    /// The token with this id, and no other.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering.
    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError>;

    /// Saves `token` over the one it matches, or as a new one; returns it as stored, with its id.
    ///
    /// Absent fields stay as they were; [cleared](OAuthToken::clear) ones go.
    ///
    /// # Errors
    ///
    /// Invalid, ambiguous or conflict if the token cannot be saved as given (see
    /// [`plan_save`](crate::matching::plan_save)), full if the store takes no more tokens; otherwise
    /// what keeps the store from saving.
    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError>;

    /// All tokens, in the order of their ids.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering; a list that would lack a token is an error.
    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError>;

    /// Removes the token with this id; `false` if it was not there.
    ///
    /// # Errors
    ///
    /// What keeps the store from deleting.
    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError>;

    /// Removes all tokens; says how many there were.
    ///
    /// # Errors
    ///
    /// What keeps the store from deleting.
    async fn delete_tokens(&self) -> Result<u64, StoreError>;

    /// Coordination across processes, where the store has it. Without it, a manager coordinates
    /// the callers of its own process only.
    fn shared(&self) -> Option<&dyn SharedStore> {
        None
    }
}

/// Forwards every operation to what a pointer points at.
macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<S: TokenStore + ?Sized> TokenStore for $pointer<S> {
            async fn find_token(
                &self,
                query: &TokenQuery,
            ) -> Result<Option<OAuthToken>, StoreError> {
                (**self).find_token(query).await
            }

            async fn find_token_by_id(
                &self,
                id: &TokenId,
            ) -> Result<Option<OAuthToken>, StoreError> {
                (**self).find_token_by_id(id).await
            }

            async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
                (**self).save_token(token).await
            }

            async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
                (**self).get_tokens().await
            }

            async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
                (**self).delete_token(id).await
            }

            async fn delete_tokens(&self) -> Result<u64, StoreError> {
                (**self).delete_tokens().await
            }

            fn shared(&self) -> Option<&dyn SharedStore> {
                (**self).shared()
            }
        }
    };
}

forward!(Arc);
forward!(Box);
