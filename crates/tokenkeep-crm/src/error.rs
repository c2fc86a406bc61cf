//! What can go wrong between a program and the CRM, and what to do about it.

use std::{error::Error, fmt, time::Duration};

use reqwest::{Method, StatusCode};
use tokenkeep_core::Outcome;
use tokenkeep_manager::ManagerError;

use crate::{CrmResponse, request::What};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CrmErrorKind {
    /// An argument or the configuration is wrong; nothing was sent.
    Invalid,
    /// The CRM's answer cannot be read.
    Malformed,
    /// Somebody else changed the record (412, `RECORD_MODIFIED`).
    Modified,
    /// The CRM could not be reached, or its answer did not arrive.
    Network,
    /// The user may not do this (403).
    NoPermission,
    /// Too many requests (429); see [`CrmError::retry_after`].
    RateLimited,
    /// The CRM refused the request for another reason, which [`CrmError::code`] names.
    Refused,
    /// The token lacks a scope, and only a new login can add it; see [`CrmError::scope`].
    ScopeMismatch,
    /// The CRM failed (5xx).
    Server,
    /// It took longer than the client's timeout.
    Timeout,
    /// There is no usable token; [`CrmError::manager_error`] says why.
    Token,
    /// The answer is larger than the client's limit.
    TooLarge,
    /// The CRM refuses to authenticate (401), with a new token too.
    Unauthorized,
}

/// A request to the CRM that failed.
///
/// `Display` and `Debug` show method, path, status and the CRM's code: no query, no token, no body.
/// The body of a refusal can be read by [`response`](Self::response).
pub struct CrmError(Box<Inner>);

struct Inner {
    kind: CrmErrorKind,
    outcome: Outcome,
    what: Option<What>,
    /// What follows method and path.
    message: String,
    hint: Option<String>,
    status: Option<StatusCode>,
    code: Option<String>,
    field: Option<String>,
    scope: Option<&'static str>,
    retry_after: Option<Duration>,
    response: Option<CrmResponse>,
    source: Option<Source>,
}

enum Source {
    Manager(ManagerError),
    Http(reqwest::Error),
}

impl CrmError {
    /// `message` must not contain what somebody else wrote.
    pub(crate) fn new(kind: CrmErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            outcome: Outcome::Final,
            what: None,
            message: message.into(),
            hint: None,
            status: None,
            code: None,
            field: None,
            scope: None,
            retry_after: None,
            response: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(CrmErrorKind::Invalid, message)
    }

    /// An answer that came, and that is not what was to be expected.
    pub(crate) fn malformed(what: &What, message: impl Into<String>) -> Self {
        Self::new(CrmErrorKind::Malformed, message).lost(what)
    }

    pub(crate) fn token(what: &What, error: ManagerError) -> Self {
        let outcome = if error.is_transient() { Outcome::NotApplied } else { Outcome::Final };
        let mut this = Self::new(CrmErrorKind::Token, "no usable token").at(what);
        this.0.outcome = outcome;
        this.0.source = Some(Source::Manager(error));
        this
    }

    /// A failure of the HTTP client, while a request was made or its answer was read.
    pub(crate) fn http(what: &What, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let this = if error.is_builder() {
            Self::invalid("the request cannot be made").at(what)
        } else if error.is_connect() {
            let (kind, message) = if error.is_timeout() {
                (CrmErrorKind::Timeout, "connecting took too long")
            } else {
                (CrmErrorKind::Network, "the CRM cannot be reached")
            };
            let mut this = Self::new(kind, message).at(what);
            this.0.outcome = Outcome::NotApplied;
            this
        } else if error.is_timeout() {
            Self::new(CrmErrorKind::Timeout, "no answer in time").lost(what)
        } else {
            Self::new(CrmErrorKind::Network, "the answer did not arrive").lost(what)
        };
        this.with_http(error)
    }

    /// The HTTP client cannot be made as configured.
    pub(crate) fn configuration(message: &str, error: reqwest::Error) -> Self {
        Self::invalid(message).with_http(error.without_url())
    }

    fn with_http(mut self, error: reqwest::Error) -> Self {
        self.0.source = Some(Source::Http(error));
        self
    }

    /// With the request that it is about.
    pub(crate) fn at(mut self, what: &What) -> Self {
        self.0.what = Some(what.clone());
        self
    }

    /// With the request that it is about, of which nobody knows whether it took effect.
    pub(crate) fn lost(self, what: &What) -> Self {
        let mut this = self.at(what);
        let read = matches!(what.method, Method::GET | Method::HEAD | Method::OPTIONS);
        this.0.outcome = if read { Outcome::NotApplied } else { Outcome::Unknown };
        this
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_code(mut self, code: Option<String>, field: Option<String>) -> Self {
        self.0.code = code;
        self.0.field = field;
        self
    }

    pub(crate) fn with_scope(mut self, scope: Option<&'static str>) -> Self {
        self.0.scope = scope;
        self
    }

    pub(crate) fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    pub(crate) fn with_response(mut self, response: CrmResponse) -> Self {
        self.0.status = Some(response.status());
        self.0.response = Some(response);
        self
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> CrmErrorKind {
        self.0.kind
    }

    /// What holds now: a write that failed was not made (`NotApplied`: try again later; `Final`:
    /// change something first), or it may have been made (`Unknown`: read before you write again).
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The method of the request, if there was one.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        self.0.what.as_ref().map(|what| &what.method)
    }

    /// The path of the request, without its query.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.0.what.as_ref().map(|what| &*what.path)
    }

    /// The status of the answer, if one came.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// The CRM's word for it, such as `INVALID_DATA`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The field or parameter that the CRM finds fault with.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The scope that would do, where it is known: `ZohoCRM.modules.READ`.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope
    }

    /// How long the CRM asks to be left alone, where it says so. Zoho does not promise to.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What the reader can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| self.manager_error().and_then(ManagerError::hint))
    }

    /// The CRM's answer, where it refused the request. Its body may hold what was sent.
    #[must_use]
    pub fn response(&self) -> Option<&CrmResponse> {
        self.0.response.as_ref()
    }

    /// The manager's error, where that is the cause.
    #[must_use]
    pub fn manager_error(&self) -> Option<&ManagerError> {
        match &self.0.source {
            Some(Source::Manager(error)) => Some(error),
            Some(Source::Http(_)) | None => None,
        }
    }

    /// Whether the same request may work later without anybody doing anything, and may be made
    /// again without harm.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.outcome == Outcome::NotApplied
    }
}

impl fmt::Display for CrmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(what) = &inner.what {
            write!(f, "{} {}: ", what.method, what.path)?;
        }
        f.write_str(&inner.message)?;
        if let Some(status) = inner.status {
            write!(f, " ({}", status.as_u16())?;
            if let Some(code) = &inner.code {
                write!(f, " {code}")?;
            }
            if let Some(field) = &inner.field {
                write!(f, ", `{field}`")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CrmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("CrmError")
            .field("kind", &inner.kind)
            .field("outcome", &inner.outcome)
            .field("message", &format_args!("{self}"))
            .field("hint", &self.hint())
            .field("scope", &inner.scope)
            .field("retry_after", &inner.retry_after)
            .field("source", &self.source())
            .finish_non_exhaustive()
    }
}

impl Error for CrmError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.source {
            Some(Source::Manager(error)) => Some(error),
            Some(Source::Http(error)) => Some(error),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(method: Method) -> What {
        What { method, path: "/crm/v8/Leads".into() }
    }

    #[test]
    fn a_refusal_is_shown_with_its_code_and_field() {
        let error = CrmError::new(CrmErrorKind::Refused, "the CRM refused it")
            .at(&what(Method::POST))
            .with_status(StatusCode::BAD_REQUEST)
            .with_code(Some("MANDATORY_NOT_FOUND".to_owned()), Some("Last_Name".to_owned()));
        assert_eq!(
            error.to_string(),
            "POST /crm/v8/Leads: the CRM refused it (400 MANDATORY_NOT_FOUND, `Last_Name`)"
        );
        assert_eq!(error.method(), Some(&Method::POST));
        assert_eq!(error.path(), Some("/crm/v8/Leads"));
    }

    #[test]
    fn a_lost_answer_matters_to_a_write_only() {
        let error = CrmError::malformed(&what(Method::GET), "no JSON");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        let error = CrmError::malformed(&what(Method::PUT), "no JSON");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(!error.is_transient());
    }
}
