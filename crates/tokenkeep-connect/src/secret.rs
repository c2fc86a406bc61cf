//! [`Secret`]: a password or a token, or where it is.

use std::{env, fmt, fs, io, path::PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use tokenkeep_core::{StoreError, StoreErrorKind};

use crate::invalid;

/// A password or a token, or the file that has it. `Debug` shows the file and not the secret.
#[derive(Clone)]
pub struct Secret(Place);

#[derive(Clone)]
enum Place {
    Here(SecretString),
    File(PathBuf),
}

impl Secret {
    /// The secret itself.
    pub fn value(text: impl Into<String>) -> Self {
        Self(Place::Here(text.into().into()))
    }

    /// What this file holds, whenever it is read. A line break at its end does not belong to it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// What this environment variable holds now.
    ///
    /// # Errors
    ///
    /// Invalid if it is not set or no text. Its name is told, unless that may be the secret itself,
    /// by mistake.
    pub fn variable(name: &str) -> Result<Self, StoreError> {
        #[expect(clippy::disallowed_methods, reason = "the configuration says which variable")]
        env::var(name).map(Self::value).map_err(|_absent_or_not_text| {
            let is_name =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            let name = if name.bytes().all(is_name) { name } else { "that the URL names" };
            invalid(format!("the environment variable {name} is not set"))
                .with_hint("set it to the secret, or say in the URL where that is: …-env, …-file")
        })
    }

    /// The secret, out of its file if it is in one.
    ///
    /// # Errors
    ///
    /// PermissionDenied or Unavailable if the file cannot be read.
    pub fn read(&self) -> Result<SecretString, StoreError> {
        let path = match &self.0 {
            Place::Here(secret) => return Ok(secret.clone()),
            Place::File(path) => path,
        };
        let text: SecretString = fs::read_to_string(path).map(Into::into).map_err(|error| {
            let kind = if error.kind() == io::ErrorKind::PermissionDenied {
                StoreErrorKind::PermissionDenied
            } else {
                StoreErrorKind::Unavailable
            };
            StoreError::new(kind, format!("the secret in {} cannot be read", path.display()))
                .with_hint("it should be a file with the secret and nothing else")
                .with_source(io::Error::from(error.kind()))
        })?;
        Ok(text.expose_secret().trim_end_matches(['\r', '\n']).into())
    }
}

/// Without the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Here(_) => f.write_str("Secret([redacted])"),
            Place::File(path) => write!(f, "Secret(in {})", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", Some(Secret::value("test-secret")));
        assert_eq!(shown, "Some(Secret([redacted]))");
    }

    #[test]
    fn a_file_is_read_each_time_without_its_last_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let secret = Secret::file(&path);
        let error = secret.read().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        for (written, read) in [("test-1\n", "test-1"), ("test-2 \r\n", "test-2 "), ("", "")] {
            #[expect(clippy::disallowed_methods, reason = "a test's file")]
            fs::write(&path, written).unwrap();
            assert_eq!(secret.read().unwrap().expose_secret(), read);
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_unless_it_may_be_the_secret() {
        let error = Secret::variable("TOKENKEEP_TEST_NOT_SET").unwrap_err();
        assert!(error.to_string().contains("TOKENKEEP_TEST_NOT_SET"), "{error}");
        let error = Secret::variable("test-secret").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("test-secret"), "{error:?}");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
    }
}
