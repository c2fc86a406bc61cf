//! [`AwsAccess`]: which region, which account, which credentials.

use std::{fmt, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use tokenkeep_core::{StoreError, StoreErrorKind};

/// How many times within the time of an operation a request without an answer is made.
const ATTEMPTS: u32 = 3;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// Where AWS is and who asks: region, profile, role, endpoint, keys.
///
/// What is not said is found as by every AWS SDK: environment variables, the files of the AWS
/// command line, the container's or the machine's role.
#[derive(Clone, Default)]
#[must_use]
pub struct AwsAccess {
    region: Option<String>,
    profile: Option<String>,
    role: Option<String>,
    endpoint: Option<String>,
    keys: Option<Credentials>,
}

impl AwsAccess {
    /// All as the environment says.
    pub fn new() -> Self {
        Self::default()
    }

    /// The region: `eu-central-1`.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The profile of the AWS command line's files.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// The ARN of a role that is taken with the credentials found otherwise.
    pub fn role(mut self, arn: impl Into<String>) -> Self {
        self.role = Some(arn.into());
        self
    }

    /// Another place than AWS itself: a VPC endpoint, or a server for tests.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// These keys, and no search for others.
    pub fn keys(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.keys = Some(Credentials::new(id, secret, None, None, "tokenkeep"));
        self
    }

    /// What a client is made with whose operations may take `timeout`. It makes each request once:
    /// making it again is up to us.
    pub(crate) async fn load(&self, timeout: Duration) -> Result<SdkConfig, StoreError> {
        let attempt = timeout / ATTEMPTS;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT.min(attempt))
            .operation_attempt_timeout(attempt);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(keys) = &self.keys {
            loader = loader.credentials_provider(keys.clone());
        }
        let config = Box::pin(loader.load()).await;
        if config.region().is_none() {
            return Err(StoreError::new(StoreErrorKind::Invalid, "no AWS region is known")
                .with_hint("name it: ?region=eu-central-1 in the URL, or AWS_REGION"));
        }
        let Some(role) = &self.role else { return Ok(config) };
        let role =
            AssumeRoleProvider::builder(role).session_name("tokenkeep").configure(&config).build();
        let credentials = SharedCredentialsProvider::new(Box::pin(role).await);
        Ok(config.into_builder().credentials_provider(credentials).build())
    }
}

/// Without the keys.
impl fmt::Debug for AwsAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsAccess")
            .field("region", &self.region)
            .field("profile", &self.profile)
            .field("role", &self.role)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_shown() {
        let access = AwsAccess::new().region("eu-west-1").keys("test-id", "test-secret-key");
        let shown = format!("{access:?}");
        assert!(shown.contains("eu-west-1") && !shown.contains("test-"), "{shown}");
    }
}
