//! [`Login`]: how a token of Vault is got.

use secrecy::{ExposeSecret, SecretString};
use tokenkeep_connect::Secret;
use tokenkeep_core::{StoreError, StoreErrorKind};

/// How a token of Vault is got.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    /// It is given.
    Token(Secret),
    /// An application's role logs in.
    AppRole { mount: String, role_id: String, secret_id: Option<Secret> },
}

/// The secret itself, without blanks around it.
pub(crate) fn read(secret: &Secret) -> Result<SecretString, StoreError> {
    let text = secret.read()?;
    let trimmed = text.expose_secret().trim();
    if trimmed.is_empty() {
        let error = StoreError::new(StoreErrorKind::Invalid, "the secret for Vault is empty");
        return Err(error.with_hint("look at the variable or the file that should have it"));
    }
    Ok(trimmed.into())
}
