//! [`Login`]: how a token of Vault is got.

use std::{fs, io, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};
use tokenkeep_core::{StoreError, StoreErrorKind};

/// How a token of Vault is got.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    /// It is given.
    Token(Secret),
    /// An application's role logs in.
    AppRole { mount: String, role_id: String, secret_id: Option<Secret> },
}

/// A secret, or the file that has it. A file is read again when the secret is needed again.
#[derive(Clone, Debug)]
pub(crate) enum Secret {
    Value(SecretString),
    File(PathBuf),
}

impl Secret {
    pub(crate) fn value(text: impl Into<String>) -> Self {
        Self::Value(text.into().into())
    }

    /// The secret itself, without the line's end.
    pub(crate) fn read(&self) -> Result<SecretString, StoreError> {
        let text = match self {
            Self::Value(secret) => secret.clone(),
            Self::File(path) => fs::read_to_string(path)
                .map_err(|error| {
                    let kind = if error.kind() == io::ErrorKind::PermissionDenied {
                        StoreErrorKind::PermissionDenied
                    } else {
                        StoreErrorKind::Unavailable
                    };
                    let message = format!("{} cannot be read", path.display());
                    StoreError::new(kind, message)
                        .with_hint("it should hold the secret for Vault, and nothing else")
                        .with_source(error)
                })?
                .into(),
        };
        let trimmed = text.expose_secret().trim();
        if trimmed.is_empty() {
            let error = StoreError::new(StoreErrorKind::Invalid, "the secret for Vault is empty");
            return Err(error.with_hint("look at the variable or the file that should have it"));
        }
        Ok(trimmed.to_owned().into())
    }
}
