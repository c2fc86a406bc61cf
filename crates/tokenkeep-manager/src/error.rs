//! What can keep a caller from a token, and what to do about it.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use tokenkeep_core::{FieldError, OAuthToken, Outcome, StoreError, Timestamp, TokenId};
use tokenkeep_oauth::{OAuthError, OAuthErrorKind};

/// Why there is no usable token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManagerErrorKind {
    /// The configuration or an argument is wrong.
    Invalid,
    /// The user must log in again: the grant was revoked, has been used, or was never complete.
    NeedsLogin,
    /// The provider could not be reached, or its answer did not arrive.
    Network,
    /// The store has no such token.
    NoToken,
    /// The provider answered with an error.
    Provider,
    /// The token lacks a scope; refreshing does not help.
    Scope,
    /// The store failed.
    Store,
    /// The API refuses tokens that were just issued, one after another: no more are asked for
    /// until [`ManagerError::retry_at`].
    Rejected,
    /// The work ended without an answer: a panic, or the runtime was shut down.
    Stopped,
    /// The provider refuses to issue tokens until [`ManagerError::retry_at`], or would if it were
    /// asked.
    Throttled,
    /// It took longer than the deadline; the work goes on in the background.
    Timeout,
    /// The provider does not know the client, its secret or its redirect URL at this data centre.
    WrongClient,
}

/// A failure of the manager. Cheap to clone: all callers who waited for one refresh get it.
///
/// It contains no secret in `Display` or `Debug`.
#[derive(Clone)]
pub struct ManagerError(Arc<Inner>);

struct Inner {
    kind: ManagerErrorKind,
    message: String,
    hint: Option<String>,
    retry_at: Option<Timestamp>,
    source: Option<Source>,
    unsaved: Option<OAuthToken>,
}

enum Source {
    Store(StoreError),
    OAuth(OAuthError),
}

impl ManagerError {
    pub(crate) fn new(kind: ManagerErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            retry_at: None,
            source: None,
            unsaved: None,
        }))
    }

    fn edit(self, change: impl FnOnce(&mut Inner)) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(mut inner) => {
                change(&mut inner);
                Self(Arc::new(inner))
            }
            Err(shared) => Self(shared),
        }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        self.edit(|inner| inner.hint = Some(hint.into()))
    }

    /// With the token that could not be saved, so that the caller can.
    pub(crate) fn with_unsaved(self, token: OAuthToken) -> Self {
        self.edit(|inner| inner.unsaved = Some(token))
    }

    pub(crate) fn no_token(what: impl fmt::Display) -> Self {
        Self::new(ManagerErrorKind::NoToken, format!("the store has no token {what}"))
            .with_hint("log in first, or look at what is stored")
    }

    pub(crate) fn needs_login(id: &TokenId, why: &str) -> Self {
        Self::new(ManagerErrorKind::NeedsLogin, format!("token {id}: {why}"))
            .with_hint("the user must log in again")
    }

    pub(crate) fn throttled(id: &TokenId, until: Timestamp) -> Self {
        Self::new(
            ManagerErrorKind::Throttled,
            format!("token {id}: the provider refuses to issue more access tokens for now"),
        )
        .with_hint("try again later; asking earlier makes the wait longer")
        .edit(|inner| inner.retry_at = Some(until))
    }

    /// The provider's limit is reached: it was not asked, because that would make the wait longer.
    pub(crate) fn budget(id: &TokenId, refreshes: u32, window: Duration, until: Timestamp) -> Self {
        Self::new(
            ManagerErrorKind::Throttled,
            format!(
                "token {id}: it was refreshed {refreshes} times in {} minutes, which is all that the \
                 provider allows; it was not asked again",
                window.as_secs().div_ceil(60)
            ),
        )
        .with_hint("try again later; see what refreshes so often")
        .edit(|inner| inner.retry_at = Some(until))
    }

    /// A refresh token was sent, and its answer is not stored yet; the provider takes it only once.
    pub(crate) fn unanswered(id: &TokenId, until: Timestamp) -> Self {
        Self::new(
            ManagerErrorKind::Network,
            format!("token {id}: a refresh of it is not answered yet, or its answer is not stored"),
        )
        .with_hint("try again later; asking the provider once more now could end the login")
        .edit(|inner| inner.retry_at = Some(until))
    }

    /// The provider refused a refresh token that was sent before, and whose answer never came.
    pub(crate) fn answer_lost(id: &TokenId, since: Timestamp, error: OAuthError) -> Self {
        let when = since.as_millis();
        Self::from(error).edit(|inner| {
            inner.message = format!(
                "token {id}: the answer to a refresh begun at {when} ms was lost, and the provider \
                 has replaced the refresh token since: {}",
                inner.message
            );
        })
    }

    pub(crate) fn rejected(id: &TokenId, until: Timestamp) -> Self {
        Self::new(
            ManagerErrorKind::Rejected,
            format!("token {id}: the API refuses tokens that were just issued"),
        )
        .with_hint("check the API domain, the organisation's settings and the token's scopes")
        .edit(|inner| inner.retry_at = Some(until))
    }

    /// Why there is no usable token.
    #[must_use]
    pub fn kind(&self) -> ManagerErrorKind {
        self.0.kind
    }

    /// What the reader can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| match &self.0.source {
            Some(Source::Store(error)) => error.hint(),
            Some(Source::OAuth(error)) => error.hint(),
            None => None,
        })
    }

    /// When it makes sense to try again, where that is known.
    #[must_use]
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.0.retry_at
    }

    /// The store's error, where that is the cause.
    #[must_use]
    pub fn store_error(&self) -> Option<&StoreError> {
        match &self.0.source {
            Some(Source::Store(error)) => Some(error),
            Some(Source::OAuth(_)) | None => None,
        }
    }

    /// The provider's error, where that is the cause.
    #[must_use]
    pub fn oauth_error(&self) -> Option<&OAuthError> {
        match &self.0.source {
            Some(Source::OAuth(error)) => Some(error),
            Some(Source::Store(_)) | None => None,
        }
    }

    /// The token that was got and could not be stored: the only copy, if a login ended this way.
    #[must_use]
    pub fn unsaved_token(&self) -> Option<&OAuthToken> {
        self.0.unsaved.as_ref()
    }

    /// Whether the same call may work later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            ManagerErrorKind::Network
            | ManagerErrorKind::Rejected
            | ManagerErrorKind::Stopped
            | ManagerErrorKind::Throttled
            | ManagerErrorKind::Timeout => true,
            ManagerErrorKind::Provider => self.oauth_error().is_some_and(OAuthError::is_transient),
            ManagerErrorKind::Store => {
                self.store_error().is_some_and(|error| error.outcome() != Outcome::Final)
            }
            ManagerErrorKind::Invalid
            | ManagerErrorKind::NeedsLogin
            | ManagerErrorKind::NoToken
            | ManagerErrorKind::Scope
            | ManagerErrorKind::WrongClient => false,
        }
    }
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("hint", &self.hint())
            .field("retry_at", &self.0.retry_at)
            .field("source", &self.source())
            .field("unsaved", &self.0.unsaved)
            .finish()
    }
}

impl Error for ManagerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.source {
            Some(Source::Store(error)) => Some(error),
            Some(Source::OAuth(error)) => Some(error),
            None => None,
        }
    }
}

impl From<StoreError> for ManagerError {
    fn from(error: StoreError) -> Self {
        Self::new(ManagerErrorKind::Store, error.to_string())
            .edit(|inner| inner.source = Some(Source::Store(error)))
    }
}

impl From<OAuthError> for ManagerError {
    fn from(error: OAuthError) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is the provider's")]
        let kind = match error.kind() {
            OAuthErrorKind::WrongClient
            | OAuthErrorKind::WrongDataCenter
            | OAuthErrorKind::WrongClientSecret
            | OAuthErrorKind::WrongRedirectUrl => ManagerErrorKind::WrongClient,
            OAuthErrorKind::NeedsLogin
            | OAuthErrorKind::CodeExpiredOrUsed
            | OAuthErrorKind::AccessDenied => ManagerErrorKind::NeedsLogin,
            OAuthErrorKind::Throttled => ManagerErrorKind::Throttled,
            OAuthErrorKind::ScopeMismatch => ManagerErrorKind::Scope,
            OAuthErrorKind::Network | OAuthErrorKind::Timeout => ManagerErrorKind::Network,
            OAuthErrorKind::InvalidInput
            | OAuthErrorKind::Setup
            | OAuthErrorKind::StateMismatch
            | OAuthErrorKind::UntrustedServer => ManagerErrorKind::Invalid,
            _ => ManagerErrorKind::Provider,
        };
        Self::new(kind, error.to_string()).edit(|inner| inner.source = Some(Source::OAuth(error)))
    }
}

impl From<FieldError> for ManagerError {
    fn from(error: FieldError) -> Self {
        Self::new(ManagerErrorKind::Invalid, format!("{}: {}", error.field(), error.rule()))
            .with_hint(error.way_out())
    }
}
