//! [`Failure`]: what a verb ends with when it does not end well.

use std::{error::Error, io};

use tokenkeep::{
    FieldError, ManagerError, ManagerErrorKind, OAuthError, Operation, StoreError, StoreErrorKind,
    StoreUrlError,
    crm::{CrmError, CrmErrorKind},
};

use crate::{exit, time};

/// A message for a person, what to do about it, and the exit code. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// It failed: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(exit::FAILED, message)
    }

    /// The command was not given right: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// There is no such token: exit code 3.
    pub(crate) fn no_token(message: impl Into<String>) -> Self {
        Self::new(exit::NO_TOKEN, message).hint("`tokenkeep list` shows what is stored")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint: &String| !hint.is_empty());
        self
    }

    /// The message, then its causes where they say something new, then `hint:` on its own line.
    pub(crate) fn report(&self) -> String {
        match &self.hint {
            Some(hint) => format!("error: {}\nhint: {hint}", self.message),
            None => format!("error: {}", self.message),
        }
    }
}

/// The message of an error with those causes that it does not repeat itself.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::new(store_code(&error), with_causes(&error));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn store_code(error: &StoreError) -> u8 {
    if error.operation() == Some(Operation::Open) {
        return exit::STORE;
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is about what was asked for")]
    match error.kind() {
        StoreErrorKind::Busy
        | StoreErrorKind::Corrupt
        | StoreErrorKind::PermissionDenied
        | StoreErrorKind::Unavailable => exit::STORE,
        _ => exit::FAILED,
    }
}

impl From<StoreUrlError> for Failure {
    fn from(error: StoreUrlError) -> Self {
        Self::usage(error.to_string()).hint(error.way_out())
    }
}

impl From<FieldError> for Failure {
    fn from(error: FieldError) -> Self {
        Self::usage(format!("{}: {}", error.field(), error.rule())).hint(error.way_out())
    }
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        Self::from(ManagerError::from(error))
    }
}

impl From<ManagerError> for Failure {
    fn from(error: ManagerError) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "what has no code of its own is 1")]
        let code = match error.kind() {
            ManagerErrorKind::NoToken => exit::NO_TOKEN,
            ManagerErrorKind::NeedsLogin => exit::NEEDS_LOGIN,
            ManagerErrorKind::Throttled => exit::THROTTLED,
            ManagerErrorKind::Store => error.store_error().map_or(exit::FAILED, store_code),
            _ => exit::FAILED,
        };
        let mut message = if error.kind() == ManagerErrorKind::Timeout {
            // That it goes on is not true of a command that ends.
            "getting the token takes longer than the deadline".to_owned()
        } else {
            with_causes(&error)
        };
        if let Some(at) = error.retry_at() {
            message = format!("{message} (until {})", time::show(at));
        }
        let failure = Self::new(code, message);
        match (code, error.hint()) {
            (exit::NEEDS_LOGIN, _) => failure.hint("log in again with `tokenkeep login`"),
            (_, Some(hint)) => failure.hint(hint),
            (_, None) if error.kind() == ManagerErrorKind::Timeout => {
                failure.hint("try again, or wait longer with `--deadline SECONDS`")
            }
            (_, None) => failure,
        }
    }
}

impl From<CrmError> for Failure {
    fn from(error: CrmError) -> Self {
        if let Some(cause) = error.manager_error() {
            return Self::from(cause.clone());
        }
        let throttled = error.kind() == CrmErrorKind::RateLimited;
        let code = if throttled { exit::THROTTLED } else { exit::FAILED };
        Self::new(code, with_causes(&error)).hint(error.hint().unwrap_or_default())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_does_not_answer_is_5_and_a_wrong_request_is_1() {
        let code =
            |kind, operation| Failure::from(StoreError::new(kind, "no").during(operation)).code;
        assert_eq!(code(StoreErrorKind::Corrupt, Operation::GetTokens), exit::STORE);
        assert_eq!(code(StoreErrorKind::Other, Operation::Open), exit::STORE);
        assert_eq!(code(StoreErrorKind::Ambiguous, Operation::FindToken), exit::FAILED);
        assert_eq!(code(StoreErrorKind::Full, Operation::SaveToken), exit::FAILED);
    }

    #[test]
    fn causes_are_said_once() {
        let source = io::Error::other("the disk is full");
        let error = StoreError::new(StoreErrorKind::Full, "cannot write: the disk is full")
            .with_source(source);
        assert_eq!(with_causes(&error), "cannot write: the disk is full");
        let error = StoreError::new(StoreErrorKind::Full, "cannot write")
            .with_source(io::Error::other("the disk is full"));
        assert_eq!(with_causes(&error), "cannot write: the disk is full");
    }
}
