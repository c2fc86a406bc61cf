//! What can go wrong in a store, and what the caller may do about it.

use std::{error::Error, fmt};

use crate::{FieldError, TokenId};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Several stored tokens match; [`StoreError::ids`] lists them.
    Ambiguous,
    /// Another process or task holds the store and did not let go in time.
    Busy,
    /// The id belongs to another user's or another client's token.
    Conflict,
    /// What is stored cannot be read: damaged, or not a token store.
    Corrupt,
    /// The disk or the quota is full.
    Full,
    /// The token or query cannot be stored or looked up as given.
    Invalid,
    /// Permissions forbid it, or the store is read-only.
    PermissionDenied,
    /// The store cannot be reached or opened.
    Unavailable,
    /// The store does not have this operation.
    Unsupported,
    /// Anything else; the source says what.
    Other,
}

/// What holds after the failure, and so what the caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was changed, and trying again will not help until something else changes.
    Final,
    /// Nothing was changed; the same call may work later.
    NotApplied,
    /// The change may or may not have been made: load before you write again.
    Unknown,
}

/// What the store was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening the store.
    Open,
    /// `find_token`
    FindToken,
    /// `find_token_by_id`
    FindTokenById,
    /// `save_token`
    SaveToken,
    /// `get_tokens`
    GetTokens,
    /// `delete_token`
    DeleteToken,
    /// `delete_tokens`
    DeleteTokens,
    /// `replace_token`
    ReplaceToken,
    /// `try_lease`
    Lease,
    /// `renew_lease`
    RenewLease,
    /// `release_lease`
    ReleaseLease,
    /// `state`
    State,
    /// `replace_state`
    ReplaceState,
    /// `change_mark`
    ChangeMark,
    /// Listing by pages.
    Page,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open the store",
            Self::FindToken => "find a token",
            Self::FindTokenById => "find a token by id",
            Self::SaveToken => "save a token",
            Self::GetTokens => "get the tokens",
            Self::DeleteToken => "delete a token",
            Self::DeleteTokens => "delete the tokens",
            Self::ReplaceToken => "replace a token",
            Self::Lease => "take the lease of a token",
            Self::RenewLease => "renew the lease of a token",
            Self::ReleaseLease => "release the lease of a token",
            Self::State => "read a token's state",
            Self::ReplaceState => "write a token's state",
            Self::ChangeMark => "see whether anything was changed",
            Self::Page => "list the tokens",
        })
    }
}

/// A failed store operation: what went wrong, what holds now, and what to do.
///
/// It never contains a field's value, a connection string or a query text.
pub struct StoreError(Box<Inner>);

struct Inner {
    kind: StoreErrorKind,
    outcome: Outcome,
    operation: Option<Operation>,
    message: String,
    hint: Option<String>,
    ids: Vec<TokenId>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// A failure of this kind. `message` must not contain a value of a token, a connection string
    /// or a query text.
    ///
    /// The outcome follows from the kind where it can: what is busy, unavailable or full may work
    /// later, the rest is final; say otherwise with [`with_outcome`](Self::with_outcome).
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        let outcome = match kind {
            StoreErrorKind::Busy | StoreErrorKind::Full | StoreErrorKind::Unavailable => {
                Outcome::NotApplied
            }
            StoreErrorKind::Ambiguous
            | StoreErrorKind::Conflict
            | StoreErrorKind::Corrupt
            | StoreErrorKind::Invalid
            | StoreErrorKind::PermissionDenied
            | StoreErrorKind::Unsupported
            | StoreErrorKind::Other => Outcome::Final,
        };
        Self(Box::new(Inner {
            kind,
            outcome,
            operation: None,
            message: message.into(),
            hint: None,
            ids: Vec::new(),
            source: None,
        }))
    }

    /// With another outcome than the kind's usual one.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// With what the store was asked to do. The first one said stays.
    #[must_use]
    pub fn during(mut self, operation: Operation) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// With what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// With the error underneath. It must not show a secret in `Display` or `Debug`.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Several tokens match.
    #[must_use]
    pub fn ambiguous(mut ids: Vec<TokenId>) -> Self {
        ids.sort();
        let list = ids.iter().map(TokenId::as_str).collect::<Vec<_>>().join(", ");
        let mut error =
            Self::new(StoreErrorKind::Ambiguous, format!("{} tokens match: ids {list}", ids.len()))
                .with_hint("name the client or the API domain too, or use the id");
        error.0.ids = ids;
        error
    }

    pub(crate) fn nothing_to_store() -> Self {
        Self::new(StoreErrorKind::Invalid, "there is nothing to store")
            .with_hint("give the token an access, refresh or grant token")
    }

    pub(crate) fn id_taken(id: &TokenId) -> Self {
        Self::new(
            StoreErrorKind::Conflict,
            format!("id {id} belongs to another user's or another client's token"),
        )
        .with_hint("save the token without an id, or delete that one first")
    }

    pub(crate) fn would_be_the_same(one: TokenId, other: TokenId) -> Self {
        let mut ids = vec![one, other];
        ids.sort();
        let mut error = Self::new(
            StoreErrorKind::Conflict,
            format!("tokens {} and {} of one user would become the same", ids[0], ids[1]),
        )
        .with_hint("let them differ in client or API domain, or delete one of them");
        error.0.ids = ids;
        error
    }

    pub(crate) fn stored_without_id() -> Self {
        Self::new(StoreErrorKind::Corrupt, "a stored token has no id")
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
    }

    /// What holds now.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// What the store was asked to do, where known.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// What the reader can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The tokens in question: all that match, where the kind is
    /// [`Ambiguous`](StoreErrorKind::Ambiguous); where it is a
    /// [`Conflict`](StoreErrorKind::Conflict) of two, both.
    #[must_use]
    pub fn ids(&self) -> &[TokenId] {
        &self.0.ids
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.operation {
            Some(operation) => write!(f, "could not {operation}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.0.kind)
            .field("outcome", &self.0.outcome)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("hint", &self.0.hint)
            .field("ids", &self.0.ids)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<FieldError> for StoreError {
    fn from(error: FieldError) -> Self {
        Self::new(StoreErrorKind::Invalid, format!("{}: {}", error.field(), error.rule()))
            .with_hint(error.way_out())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_and_debug_has_everything() {
        let error = StoreError::new(StoreErrorKind::Busy, "another process holds the lock")
            .during(Operation::SaveToken)
            .during(Operation::Lease)
            .with_hint("try again");
        assert_eq!(error.to_string(), "could not save a token: another process holds the lock");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(format!("{error:?}").contains("try again"));
    }

    #[test]
    fn ambiguity_lists_the_ids_by_number() {
        let error = StoreError::ambiguous([10, 9].map(TokenId::from_number).to_vec());
        assert_eq!(error.to_string(), "2 tokens match: ids 9, 10");
        assert_eq!(error.ids().len(), 2);
    }
}
