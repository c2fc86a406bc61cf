//! The four secret fields of a token, each a type of its own.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{Field, FieldError};

/// Defines a secret: zeroized when dropped, masked `Debug`, no `Display`, no `Serialize`, no
/// `Deref`, compared in constant time, never empty.
macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $field:expr) => {
        $(#[$doc])*
        ///
        /// Its memory is zeroized when it is dropped, `Debug` shows a mask, it has neither
        /// `Display` nor `Serialize`, and two values are compared in constant time for their
        /// length. It is never empty.
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// Takes a secret value.
            ///
            /// # Errors
            ///
            /// [`FieldError`] if the value is empty: an empty string is not a value, it is the
            /// absence of one.
            pub fn new(value: impl Into<String>) -> Result<Self, FieldError> {
                let value = SecretString::from(value.into());
                if value.expose_secret().is_empty() {
                    return Err(FieldError::empty($field));
                }
                Ok(Self(value))
            }

            /// The secret itself.
            ///
            /// Do not log it, do not put it in an error, and do not keep a copy for longer than
            /// you need it.
            #[must_use]
            pub fn expose_secret(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    };
}

secret! {
    /// What an API call is authorised with; lives for an hour at Zoho.
    AccessToken, Field::AccessToken
}
secret! {
    /// What new access tokens are got with; lives until it is revoked.
    RefreshToken, Field::RefreshToken
}
secret! {
    /// The code of one login; lives for two minutes and works once at Zoho.
    GrantToken, Field::GrantToken
}
secret! {
    /// What a client proves its identity with.
    ClientSecret, Field::ClientSecret
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "test-value-not-a-real-token";

    #[test]
    fn debug_shows_a_mask() {
        for shown in [
            format!("{:?}", AccessToken::new(MARK).unwrap()),
            format!("{:#?}", RefreshToken::new(MARK).unwrap()),
            format!("{:?}", Some(GrantToken::new(MARK).unwrap())),
            format!("{:?}", [ClientSecret::new(MARK).unwrap()]),
        ] {
            assert!(!shown.contains(MARK), "{shown}");
            assert!(shown.contains("[redacted]"), "{shown}");
        }
    }

    #[test]
    fn an_empty_secret_names_its_field() {
        let error = RefreshToken::new("").unwrap_err();
        assert_eq!(error.field(), Field::RefreshToken);
        assert_eq!(
            error.to_string(),
            "refresh_token: must not be empty; leave it out where there is none"
        );
    }

    #[test]
    fn comparison_is_exact() {
        let a = AccessToken::new("test-token-a").unwrap();
        assert_eq!(a, AccessToken::new("test-token-a").unwrap());
        assert_ne!(a, AccessToken::new("test-token-A").unwrap());
        assert_ne!(a, AccessToken::new("test-token-a ").unwrap());
    }
}
