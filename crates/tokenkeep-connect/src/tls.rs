//! How a connection is protected, and what a server's certificate is held against.

use std::{path::Path, str::FromStr};

use tokenkeep_core::StoreError;

use crate::invalid;

/// How a connection is protected, and how far the server has to prove who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tls {
    /// No TLS: who can read the network reads tokens.
    Disable,
    /// TLS where the server has it, without looking at its certificate: it keeps nobody out who can
    /// change what is sent.
    #[default]
    Prefer,
    /// TLS, without looking at the server's certificate.
    Require,
    /// TLS; the certificate has to be signed by an authority that is trusted, for whatever host.
    VerifyCa,
    /// TLS; the certificate has to be signed by an authority that is trusted, for this host.
    VerifyIdentity,
}

impl Tls {
    const ALL: [Self; 5] =
        [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyIdentity];

    /// As it is written in a URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyIdentity => "verify-identity",
        }
    }

    /// Whether the server's certificate is looked at.
    #[must_use]
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }

    /// That an authority is named only where a certificate is looked at.
    ///
    /// # Errors
    ///
    /// Invalid if it is otherwise: who names one expects it to count.
    pub fn check_ca(self, ca: Option<&Path>) -> Result<(), StoreError> {
        if ca.is_none() || self.verifies() {
            return Ok(());
        }
        Err(invalid("a ca is named, but the certificate is not looked at")
            .with_hint("say tls=verify-identity or tls=verify-ca, or leave the ca out"))
    }
}

impl FromStr for Tls {
    type Err = StoreError;

    /// Reads a [name](Self::name); `verify-full`, as libpq calls it, is `verify-identity`.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let text = if text == "verify-full" { "verify-identity" } else { text };
        Self::ALL.into_iter().find(|tls| tls.name() == text).ok_or_else(|| {
            invalid("there is no such kind of TLS")
                .with_hint(format!("there are {}", Self::ALL.map(Self::name).join(", ")))
        })
    }
}

#[cfg(feature = "tls")]
pub use rustls_config::client_config;

#[cfg(feature = "tls")]
mod rustls_config;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_by_its_name() {
        for tls in Tls::ALL {
            assert_eq!(tls.name().parse::<Tls>().unwrap(), tls);
        }
        assert_eq!("verify-full".parse::<Tls>().unwrap(), Tls::VerifyIdentity);
        let error = "test-secret".parse::<Tls>().unwrap_err();
        assert!(!format!("{error:?}").contains("test-secret"), "{error:?}");
        assert!(error.hint().unwrap().ends_with("verify-ca, verify-identity"));
    }

    #[test]
    fn an_authority_that_would_not_count_is_refused() {
        let ca = Some(Path::new("/x/ca.pem"));
        for tls in Tls::ALL {
            assert_eq!(tls.check_ca(ca).is_ok(), tls.verifies(), "{tls:?}");
            tls.check_ca(None).unwrap();
        }
    }
}
