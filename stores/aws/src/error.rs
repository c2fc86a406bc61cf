//! How what AWS answers becomes [`StoreError`]s.
//!
//! AWS repeats values of the request in its messages now and then: only its codes are told.

use std::{error::Error, fmt};

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokenkeep_core::{StoreError, StoreErrorKind};

/// Why a request did not get done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It will not be done, however often it is made.
    Final(StoreError),
    /// It was not done, and may be next time.
    Passing(StoreError),
    /// It may have been done: no answer came.
    Lost(StoreError),
}

/// What kept a request from being answered as hoped. `what` is what was asked for: a table, a
/// secret.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is left was not sent")]
pub(crate) fn fault<E>(error: &SdkError<E, HttpResponse>, what: &str) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            answered(context.err().code().unwrap_or_default(), status, what)
        }
        SdkError::ResponseError(_) => Fault::Lost(unavailable("AWS gave an answer nobody reads")),
        SdkError::TimeoutError(_) => Fault::Lost(unavailable("AWS gave no answer in time")),
        SdkError::DispatchFailure(failure) => {
            let source = failure.as_connector_error().map(|error| error as &(dyn Error + 'static));
            not_answered(source)
        }
        _ => match of_credentials(error.source()) {
            Some(error) => Fault::Final(error),
            None => Fault::Final(StoreError::new(
                StoreErrorKind::Other,
                "the request to AWS could not be made",
            )),
        },
    }
}

/// A request that did not get to an answer.
fn not_answered(source: Option<&(dyn Error + 'static)>) -> Fault {
    if let Some(error) = of_credentials(source) {
        return Fault::Final(error);
    }
    let never_sent = chain(source).any(|error| {
        let refused = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        let text = error.to_string();
        refused
            || text == "client error (Connect)"
            || text.starts_with("HTTP connect timeout")
            || text.contains("dns error")
    });
    if never_sent {
        Fault::Passing(
            unavailable("AWS cannot be reached")
                .with_hint("see the region, the endpoint and the network"),
        )
    } else {
        Fault::Lost(unavailable("the connection to AWS broke"))
    }
}

/// An error and what is underneath.
fn chain<'a>(
    source: Option<&'a (dyn Error + 'static)>,
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(source, |error| (*error).source())
}

/// No credentials, or none that could be got.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK adds some now and then")]
fn of_credentials(source: Option<&(dyn Error + 'static)>) -> Option<StoreError> {
    let found =
        chain(source).filter_map(|error| error.downcast_ref::<CredentialsError>()).next()?;
    let (kind, message) = match found {
        CredentialsError::CredentialsNotLoaded(_) => {
            (StoreErrorKind::PermissionDenied, "no AWS credentials are known")
        }
        CredentialsError::InvalidConfiguration(_) => {
            (StoreErrorKind::Invalid, "the AWS profile or role cannot be used as configured")
        }
        _ => (StoreErrorKind::PermissionDenied, "no AWS credentials could be got"),
    };
    Some(StoreError::new(kind, message).with_hint(
        "set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give the machine a role; see `?profile=` and \
         `?role=`",
    ))
}

/// A request that was answered with an error.
fn answered(code: &str, status: u16, what: &str) -> Fault {
    // Some have their model's name before it.
    let code = code.rsplit('#').next().unwrap_or(code);
    let source = AwsError { code: code.to_owned(), status };
    let error = |kind, message: &str, hint: &str| {
        let error = StoreError::new(kind, message.replace("{what}", what));
        error.with_hint(hint.replace("{what}", what)).with_source(source.clone())
    };
    match code {
        "ThrottlingException"
        | "Throttling"
        | "ThrottlingError"
        | "ProvisionedThroughputExceededException"
        | "ProvisionedThroughputExceeded"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "TransactionConflict"
        | "TransactionConflictException"
        | "PriorRequestNotComplete" => Fault::Passing(error(
            StoreErrorKind::Busy,
            "AWS throttles the requests",
            "try again later, or raise the limits",
        )),
        "TransactionInProgressException" => {
            Fault::Lost(error(StoreErrorKind::Busy, "the same request is under way", "try again"))
        }
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" => Fault::Final(error(
            StoreErrorKind::PermissionDenied,
            "AWS does not let these credentials do that with the {what}",
            "see which actions the store's documentation lists, and the policy of the role",
        )),
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "InvalidClientTokenId"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Fault::Final(error(
            StoreErrorKind::PermissionDenied,
            "AWS does not take these credentials",
            "check the keys, the profile and the region",
        )),
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => Fault::Final(error(
            StoreErrorKind::PermissionDenied,
            "the AWS credentials have expired, or the machine's clock is wrong",
            "log in again (`aws sso login`), or set the clock",
        )),
        "ResourceNotFoundException" | "TableNotFoundException" => Fault::Final(error(
            StoreErrorKind::Unavailable,
            "there is no such {what} in this account and region",
            "check its name and the region, or let it be created",
        )),
        "ItemCollectionSizeLimitExceededException" => {
            Fault::Final(error(StoreErrorKind::Full, "the {what} is full", "delete something"))
        }
        "DecryptionFailure"
        | "DecryptionFailureException"
        | "EncryptionFailure"
        | "EncryptionFailureException"
        | "KMSAccessDeniedException"
        | "KMSDisabledException" => Fault::Final(error(
            StoreErrorKind::PermissionDenied,
            "the key that encrypts the {what} may not be used",
            "see the policy of the KMS key, and whether it is enabled",
        )),
        "ValidationException"
        | "ValidationError"
        | "InvalidParameterException"
        | "SerializationException" => Fault::Final(error(
            StoreErrorKind::Invalid,
            "AWS does not take the request: the {what} is of another shape, or a value too large",
            "see whether it is one of tokenkeep's",
        )),
        _ if status >= 500 => Fault::Lost(error(
            StoreErrorKind::Unavailable,
            "AWS failed inside",
            "try again; see its health dashboard",
        )),
        _ => Fault::Final(error(StoreErrorKind::Other, "AWS refused the request", "see the code")),
    }
}

fn unavailable(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message)
        .with_hint("see the region, the endpoint and the network")
}

/// What is stored cannot be read; `what` names the place, not the content.
pub(crate) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what)
}

/// What AWS calls an error.
#[derive(Clone, Debug)]
struct AwsError {
    code: String,
    status: u16,
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if self.code.is_empty() { "no code" } else { &self.code };
        write!(f, "AWS says {code} (HTTP status {})", self.status)
    }
}

impl Error for AwsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_a_caller_can_act_on_is_told_apart() {
        for (code, status, kind) in [
            ("ThrottlingException", 400, StoreErrorKind::Busy),
            ("AccessDeniedException", 400, StoreErrorKind::PermissionDenied),
            ("x#UnrecognizedClientException", 400, StoreErrorKind::PermissionDenied),
            ("ResourceNotFoundException", 400, StoreErrorKind::Unavailable),
            ("ValidationException", 400, StoreErrorKind::Invalid),
            ("InternalServerError", 500, StoreErrorKind::Unavailable),
            ("Else", 400, StoreErrorKind::Other),
        ] {
            let fault = answered(code, status, "table");
            assert_eq!(matches!(fault, Fault::Passing(_)), kind == StoreErrorKind::Busy, "{code}");
            assert_eq!(matches!(fault, Fault::Lost(_)), status == 500, "{code}");
            let (Fault::Final(error) | Fault::Passing(error) | Fault::Lost(error)) = fault;
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.hint().is_some(), "{code}");
        }
    }

    #[test]
    fn a_broken_connection_may_have_carried_the_request() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(matches!(not_answered(Some(&refused)), Fault::Passing(_)));
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(matches!(not_answered(Some(&reset)), Fault::Lost(_)));
    }
}
