//! [`SecretsManagerConfig`]: what a store is opened with.

use std::{str::FromStr, sync::Arc, time::Duration};

use aws_sdk_secretsmanager::Client;
use tokenkeep_core::{Clock, Operation, StoreError, StoreErrorKind, SystemClock};

use super::{
    secrets::{Run, Secrets},
    store::SecretsManagerStore,
};
use crate::{
    AwsAccess,
    url::{self, StoreUrl},
};

/// The longest name has 512 letters, and ours end with a kind and twelve letters.
const MAX_PREFIX: usize = 480;

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
    prefix: String,
    access: AwsAccess,
    kms_key: Option<String>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl SecretsManagerConfig {
    /// The store whose secrets' names begin with `prefix` and `/`. The first save makes it, if
    /// there is none.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            access: AwsAccess::new(),
            kms_key: None,
            timeout: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
        }
    }

    /// What a URL says: `aws-secretsmanager:PREFIX?region=…&profile=…&role=…&endpoint=…`, and
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

    /// The key that encrypts the secrets that are made; the account's `aws/secretsmanager` unless said.
    pub fn kms_key(mut self, key: impl Into<String>) -> Self {
        self.kms_key = Some(key.into());
        self
    }

    /// How long an operation may take: 10 seconds unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The clock by which leases end: the machine's unless said.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the store, and reads its index once.
    ///
    /// # Errors
    ///
    /// - Unavailable if AWS cannot be reached, or the store's root is scheduled for deletion.
    /// - PermissionDenied if these credentials are not known or may not read it.
    /// - Corrupt if the secrets hold something else.
    /// - Invalid if the prefix cannot be one, or the region is not known.
    pub async fn open(&self) -> Result<SecretsManagerStore, StoreError> {
        let store = self.store().await.map_err(|error| error.during(Operation::Open))?;
        let read = |mut run: Run| async move { run.index().await.map(drop) };
        store.secrets.read(Operation::Open, read).await?;
        Ok(store)
    }

    async fn store(&self) -> Result<SecretsManagerStore, StoreError> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        let prefix = self.prefix.trim_end_matches('/');
        if !(1..=MAX_PREFIX).contains(&prefix.len()) || !prefix.bytes().all(named) {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                format!("the prefix must be 1 to {MAX_PREFIX} letters, digits and /_+=.@-"),
            ));
        }
        let config = Box::pin(self.access.load(self.timeout)).await?;
        let secrets = Secrets::new(
            Client::new(&config),
            prefix.to_owned(),
            self.kms_key.clone(),
            self.timeout,
            Arc::clone(&self.clock),
        );
        Ok(SecretsManagerStore { secrets: Arc::new(secrets) })
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
        assert_eq!((&*config.prefix, config.kms_key.as_deref()), ("prod/tokens", Some("alias/x")));
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
