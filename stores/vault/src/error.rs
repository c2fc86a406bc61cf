//! What Vault refuses, in our own words: its texts may repeat what was sent.

use std::time::Duration;

use tokenkeep_core::{Outcome, StoreError, StoreErrorKind};

use crate::client::Reply;

/// Why a request did not do what it was made for.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) error: StoreError,
    pub(crate) then: Then,
    /// Whether Vault said so, rather than nothing.
    pub(crate) is_answer: bool,
}

/// What may be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: it was refused.
    GiveUp,
    /// Nothing was done; the same request may work, after this time if the server names one.
    TryAgain(Option<Duration>),
    /// It may have been done or not.
    Doubt,
}

impl Fault {
    pub(crate) fn final_(error: StoreError) -> Self {
        Self { error, then: Then::GiveUp, is_answer: true }
    }

    fn new(kind: StoreErrorKind, message: &str, hint: &str, then: Then) -> Self {
        Self { error: StoreError::new(kind, message).with_hint(hint), then, is_answer: true }
    }

    /// No complete answer came.
    pub(crate) fn transport(error: reqwest::Error) -> Self {
        let connecting = error.is_connect();
        let message = if connecting && is_certificate(&error) {
            "Vault's certificate is not trusted, or is for another name"
        } else if connecting {
            "Vault cannot be reached"
        } else if error.is_timeout() {
            "Vault did not answer in time"
        } else {
            "the connection to Vault broke"
        };
        let hint = if connecting && is_certificate(&error) {
            "name the certificate of its authority with ?ca=PATH, and the host as it is there"
        } else {
            "see whether the address is right and Vault is running"
        };
        let error = StoreError::new(StoreErrorKind::Unavailable, message)
            .with_hint(hint)
            .with_source(error.without_url());
        let then = if connecting { Then::TryAgain(None) } else { Then::Doubt };
        Self { error, then, is_answer: false }
    }

    /// An answer that says no.
    pub(crate) fn of(reply: &Reply) -> Self {
        use StoreErrorKind as Kind;

        match reply.status {
            403 => Self::new(
                Kind::PermissionDenied,
                "Vault denies permission",
                "the Vault token may have ended, or its policy lacks a path: see the store's \
                 documentation for the policy it needs, and look at the namespace",
                Then::GiveUp,
            ),
            404 => Self::new(
                Kind::Unavailable,
                "Vault has no secrets engine at that mount",
                "look at the mount and the namespace in the address; `vault secrets list` shows them",
                Then::GiveUp,
            ),
            405 => Self::new(
                Kind::Unsupported,
                "the mount does not have this operation",
                "it must be a KV secrets engine of version 2",
                Then::GiveUp,
            ),
            412 => Self::new(
                Kind::Unavailable,
                "this node of Vault is behind the others",
                "try again",
                Then::TryAgain(reply.retry_after),
            ),
            413 => Self::new(
                Kind::Full,
                "this is larger than Vault's storage takes",
                "keep fewer tokens in one store, or raise max_entry_size in Vault's storage",
                Then::GiveUp,
            ),
            429 => Self::new(
                Kind::Busy,
                "Vault limits the rate of requests",
                "try again later, or raise the quota",
                Then::TryAgain(reply.retry_after),
            ),
            300..=399 | 472 | 473 => Self::new(
                Kind::Unavailable,
                "this node of Vault is a standby that sends elsewhere, where the token is not sent",
                "name the active node or a load balancer in front of it",
                Then::TryAgain(None),
            ),
            503 if reply.says("sealed") => Self::new(
                Kind::Unavailable,
                "Vault is sealed",
                "unseal it: `vault operator unseal`",
                Then::TryAgain(reply.retry_after),
            ),
            500..=599 => Self::new(
                Kind::Unavailable,
                &format!("Vault failed with status {}", reply.status),
                "see Vault's log",
                Then::Doubt,
            ),
            status => Self::new(
                Kind::Other,
                &format!("Vault refused with status {status}"),
                "see Vault's audit log",
                Then::GiveUp,
            ),
        }
    }

    /// An answer that is not what Vault says.
    pub(crate) fn garbled() -> Self {
        Self::new(
            StoreErrorKind::Unavailable,
            "what answers there does not speak as Vault does",
            "look at the address: is it Vault, or a proxy's page?",
            Then::Doubt,
        )
    }

    /// The error, where whatever was asked for changes nothing.
    pub(crate) fn harmless(self) -> StoreError {
        match self.then {
            Then::GiveUp => self.error,
            Then::TryAgain(_) | Then::Doubt => self.error.with_outcome(Outcome::NotApplied),
        }
    }
}

/// Whether the connection failed over a certificate.
fn is_certificate(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("certificate") {
            return true;
        }
        source = error.source();
    }
    false
}

/// A mount of version 1 has neither versions nor check-and-set.
pub(crate) fn version_1() -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, "the mount is a KV secrets engine of version 1")
        .with_hint(
            "it must be version 2: `vault kv enable-versioning MOUNT`, or mount another one with \
             `vault secrets enable -path=MOUNT kv-v2`",
        )
}
