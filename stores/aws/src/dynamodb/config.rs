//! [`DynamoDbConfig`]: what a store is opened with.

use std::{str::FromStr, sync::Arc, time::Duration};

use aws_sdk_dynamodb::Client;
use tokenkeep_core::{Clock, Operation, StoreError, StoreErrorKind, SystemClock};

use super::{
    create,
    items::{META, number_of},
    store::DynamoDbStore,
    table::Table,
};
use crate::{
    AwsAccess,
    url::{self, StoreUrl},
};

/// What a [`DynamoDbStore`] is opened with.
///
/// ```
/// use tokenkeep_store_aws::{AwsAccess, dynamodb::DynamoDbConfig};
///
/// let config = DynamoDbConfig::new("tokens").access(AwsAccess::new().region("eu-central-1"));
/// let same: DynamoDbConfig = "dynamodb:tokens?region=eu-central-1".parse()?;
/// # let _unused = (config, same);
/// # Ok::<(), tokenkeep_core::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct DynamoDbConfig {
    table: String,
    access: AwsAccess,
    timeout: Duration,
    expire_after: Option<Duration>,
    clock: Arc<dyn Clock>,
    create: bool,
    marks: u32,
}

/// The most counters of changes that one answer can bring.
const MAX_MARKS: u32 = 100;

impl DynamoDbConfig {
    /// The table of this name.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            access: AwsAccess::new(),
            timeout: Duration::from_secs(10),
            expire_after: None,
            clock: Arc::new(SystemClock),
            create: false,
            marks: 16,
        }
    }

    /// What a URL says: `dynamodb:TABLE?region=…&profile=…&role=…&endpoint=…`, and
    /// `timeout=SECONDS`, `create=true`, `marks=NUMBER`, `expire-after=DAYS`. It may begin with
    /// `aws-dynamodb:` as well. Keys never stand in it.
    ///
    /// # Errors
    ///
    /// Invalid if it is another one; its text is not repeated.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        Self::parse(url).map_err(|error| error.during(Operation::Open))
    }

    fn parse(url: &str) -> Result<Self, StoreError> {
        let StoreUrl { name, access, timeout, mut parameters } =
            StoreUrl::parse(url, &["dynamodb", "aws-dynamodb"])?;
        let mut config = Self::new(name).access(access);
        config.timeout = timeout.unwrap_or(config.timeout);
        config.create = parameters.flag("create")?.unwrap_or(config.create);
        config.marks = parameters.number("marks")?.unwrap_or(config.marks);
        let days = parameters.number::<u32>("expire-after")?;
        config.expire_after = days.map(|days| Duration::from_secs(86_400) * days);
        url::finish(parameters)?;
        Ok(config)
    }

    /// Where AWS is and who asks.
    pub fn access(mut self, access: AwsAccess) -> Self {
        self.access = access;
        self
    }

    /// How long an operation may take: 10 seconds unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The clock that leases and expiry go by; the machine's unless said.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whether the table is made when it is opened and there is none. It is not unless said: a
    /// wrong name or region would make an empty one.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How many counters of changes a table gets that is made: 16 unless said, at most 100. It
    /// counts when the table is made, and not later.
    ///
    /// With 0, a write costs a half or less, and managers read a token again at each look instead
    /// of asking whether anything was changed: right for a table in which something always is.
    pub fn marks(mut self, marks: u32) -> Self {
        self.marks = marks;
        self
    }

    /// Lets DynamoDB remove a token for which nothing was written for so long; never unless said.
    ///
    /// The table has to have its time to live on the attribute `expire_at`, as one has that was
    /// made with this.
    pub fn expire_after(mut self, time: Duration) -> Self {
        self.expire_after = Some(time);
        self
    }

    /// Makes the table, with on-demand billing, and waits until it can be used. One that is there
    /// is left as it is.
    ///
    /// # Errors
    ///
    /// PermissionDenied if these credentials may not, Invalid if the name cannot be one;
    /// otherwise what keeps AWS from answering.
    pub async fn create_table(&self) -> Result<(), StoreError> {
        let make = async {
            let table = self.table().await?;
            create::create(&table, self.marks).await
        };
        make.await.map_err(|error: StoreError| error.during(Operation::Open))
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// - Unavailable if there is no such table, or AWS cannot be reached.
    /// - PermissionDenied if these credentials are not known or may not read it.
    /// - Invalid if the table is none of tokenkeep's, or the region is not known.
    pub async fn open(&self) -> Result<DynamoDbStore, StoreError> {
        self.open_table().await.map_err(|error| error.during(Operation::Open))
    }

    async fn open_table(&self) -> Result<DynamoDbStore, StoreError> {
        let mut table = self.table().await?;
        if self.create {
            create::create(&table, self.marks).await?;
        }
        let meta = Arc::new(table);
        let read = |mut run: super::table::Run| async move { run.item(META).await };
        let item = meta.read(Operation::Open, read).await?;
        table = Arc::into_inner(meta).ok_or_else(|| other("the table is still being opened"))?;
        let item = item.ok_or_else(|| {
            StoreError::new(StoreErrorKind::Invalid, "the table is not one of tokenkeep's")
                .with_hint("make one with create_table() or ?create=true, or name another")
        })?;
        match (number_of(&item, "format"), number_of(&item, "marks")) {
            (Some(create::FORMAT), Some(marks)) => {
                table.marks = u32::try_from(marks).unwrap_or(MAX_MARKS).min(MAX_MARKS);
            }
            _ => {
                return Err(StoreError::new(
                    StoreErrorKind::Unsupported,
                    "the table was made by a newer version",
                )
                .with_hint("use that version"));
            }
        }
        Ok(DynamoDbStore { table: Arc::new(table) })
    }

    async fn table(&self) -> Result<Table, StoreError> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let is_name = (3..=255).contains(&self.table.len()) && self.table.bytes().all(named);
        // A table of another account has an ARN.
        if !is_name && !self.table.starts_with("arn:") {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                "the table's name must be 3 to 255 letters, digits, _, - and .",
            ));
        }
        if self.marks > MAX_MARKS {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                "a table has at most 100 counters of changes",
            ));
        }
        let config = Box::pin(self.access.load(self.timeout)).await?;
        let client = Client::new(&config);
        let (name, clock) = (self.table.clone(), Arc::clone(&self.clock));
        Ok(Table::new(client, name, self.timeout, self.expire_after, clock))
    }
}

impl FromStr for DynamoDbConfig {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        Self::from_url(url)
    }
}

fn other(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Other, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_it_all() {
        let url = "dynamodb:tokens?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1%3A1\
                   &timeout=3&create=true&marks=0&expire-after=90";
        let config: DynamoDbConfig = url.parse().unwrap();
        assert_eq!((&*config.table, config.create, config.marks), ("tokens", true, 0));
        assert_eq!(config.timeout, Duration::from_secs(3));
        assert_eq!(config.expire_after, Some(Duration::from_secs(90 * 86_400)));
        assert!(format!("{config:?}").contains("http://127.0.0.1:1"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let error = DynamoDbConfig::from_url("dynamodb:t?kms-key=test-key").unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert_eq!(error.operation(), Some(Operation::Open));
        assert!(error.hint().unwrap().contains("create, marks and expire-after"), "{error:?}");
        for url in ["dynamodb:t?create=1", "dynamodb:t?marks=-1", "aws-secretsmanager:t"] {
            assert!(DynamoDbConfig::from_url(url).is_err(), "{url}");
        }
        assert_eq!(DynamoDbConfig::from_url("aws-dynamodb:tokens").unwrap().table, "tokens");
    }
}
