//! [`SecretsManagerConfig`]: what a store is opened with.

use std::{str::FromStr, sync::Arc, time::Duration};

use aws_sdk_secretsmanager::Client;
use tokenkeep_core::{Operation, StoreError, StoreErrorKind};

use super::{secret::Secret, store::SecretsManagerStore};
use crate::{
    AwsAccess,
    url::{self, StoreUrl},
};

/// What a [`SecretsManagerStore`] is opened with.
///
/// ```
/// use tokenkeep_store_aws::secretsmanager::SecretsManagerConfig;
///
/// let config: SecretsManagerConfig = "aws-secretsmanager:prod/tokens?region=eu-central-1".parse()?;
/// # let _unused = config;
/// # Ok::<(), tokenkeep_core::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SecretsManagerConfig {
    name: String,
    access: AwsAccess,
    kms_key: Option<String>,
    timeout: Duration,
}

impl SecretsManagerConfig {
    /// The secret of this name or ARN. It is made by the first save, if there is none.
    pub fn new(name: impl Into<String>) -> Self {
        let timeout = Duration::from_secs(10);
        Self { name: name.into(), access: AwsAccess::new(), kms_key: None, timeout }
    }

    /// What a URL says: `aws-secretsmanager:NAME?region=…&profile=…&role=…&endpoint=…`, and
    /// `timeout=SECONDS`, `kms-key=ID`.
    ///
    /// # Errors
    ///
    /// Invalid if it is another one; its text is not repeated.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        Self::parse(url).map_err(|error| error.during(Operation::Open))
    }

    fn parse(url: &str) -> Result<Self, StoreError> {
        let StoreUrl { name, access, timeout, mut parameters } =
            StoreUrl::parse(url, &["aws-secretsmanager"])?;
        let mut config = Self::new(name).access(access);
        config.timeout = timeout.unwrap_or(config.timeout);
        config.kms_key = parameters.text("kms-key")?;
        url::finish(parameters)?;
        Ok(config)
    }

    /// Where AWS is and who asks.
    pub fn access(mut self, access: AwsAccess) -> Self {
        self.access = access;
        self
    }

    /// The key that encrypts a secret which is made; the account's `aws/secretsmanager` unless said.
    pub fn kms_key(mut self, key: impl Into<String>) -> Self {
        self.kms_key = Some(key.into());
        self
    }

    /// How long an operation may take: 10 seconds unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens the store, and reads it once.
    ///
    /// # Errors
    ///
    /// - Unavailable if AWS cannot be reached, or the secret is scheduled for deletion.
    /// - PermissionDenied if these credentials are not known or may not read it.
    /// - Corrupt if the secret holds something else.
    /// - Invalid if the name cannot be one, or the region is not known.
    pub async fn open(&self) -> Result<SecretsManagerStore, StoreError> {
        let store = self.store().await.map_err(|error| error.during(Operation::Open))?;
        store.secret.read(Operation::Open).await?;
        Ok(store)
    }

    async fn store(&self) -> Result<SecretsManagerStore, StoreError> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        let is_name = (1..=512).contains(&self.name.len()) && self.name.bytes().all(named);
        if !is_name && !self.name.starts_with("arn:") {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                "a secret's name must be 1 to 512 letters, digits and /_+=.@-",
            ));
        }
        let config = Box::pin(self.access.load(self.timeout)).await?;
        let secret = Secret {
            client: Client::new(&config),
            name: self.name.clone(),
            kms_key: self.kms_key.clone(),
            timeout: self.timeout,
            turn: tokio::sync::Mutex::new(()),
        };
        Ok(SecretsManagerStore { secret: Arc::new(secret) })
    }
}

impl FromStr for SecretsManagerConfig {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        Self::from_url(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_it_all() {
        let url = "aws-secretsmanager:prod/tokens?region=eu-west-1&kms-key=alias/x&timeout=3";
        let config: SecretsManagerConfig = url.parse().unwrap();
        assert_eq!((&*config.name, config.kms_key.as_deref()), ("prod/tokens", Some("alias/x")));
        assert_eq!(config.timeout, Duration::from_secs(3));
        assert!(format!("{config:?}").contains("eu-west-1"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let error = SecretsManagerConfig::from_url("aws-secretsmanager:t?marks=0").unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert_eq!(error.operation(), Some(Operation::Open));
        assert!(error.hint().unwrap().contains("timeout and kms-key"), "{error:?}");
    }
}
