//! The client and how it is made.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::Method;
use tokenkeep_manager::TokenHandle;

use crate::{
    CrmError, Org, Records, RequestBuilder, User, org,
    transport::{Settings, Transport},
};

const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 32 * 1024 * 1024;
const USER_AGENT: &str = concat!("tokenkeep/", env!("CARGO_PKG_VERSION"));

/// A client of Zoho CRM for one user.
///
/// It is cheap to clone; clones share connections. It must be used within a tokio runtime.
///
/// ```no_run
/// # async fn example(handle: tokenkeep_manager::TokenHandle) -> Result<(), tokenkeep_crm::CrmError> {
/// use std::time::Duration;
/// use tokenkeep_crm::CrmClient;
///
/// let crm = CrmClient::builder(handle).timeout(Duration::from_secs(20)).build()?;
/// let org = crm.org().await?;
/// println!("{} is {:?}", org.company_name, org.kind);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CrmClient {
    pub(crate) handle: TokenHandle,
    pub(crate) shared: Arc<Shared>,
}

/// What the clients of several users may share.
pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) version: String,
    pub(crate) max_body: usize,
}

impl CrmClient {
    /// A client that is made as [`builder`](Self::builder) says by default.
    ///
    /// # Errors
    ///
    /// `Invalid` if the HTTP client cannot be made.
    pub fn new(handle: TokenHandle) -> Result<Self, CrmError> {
        Self::builder(handle).build()
    }

    /// How a client shall be. It is made by [`CrmClientBuilder::build`].
    pub fn builder(handle: TokenHandle) -> CrmClientBuilder {
        CrmClientBuilder {
            handle,
            http: Settings {
                timeout: TIMEOUT,
                connect_timeout: CONNECT_TIMEOUT,
                proxy: None,
                user_agent: USER_AGENT.to_owned(),
            },
            version: "v8".to_owned(),
            max_body: MAX_BODY,
        }
    }

    /// A client for another user that shares connections and settings with this one.
    #[must_use]
    pub fn for_user(&self, handle: TokenHandle) -> Self {
        Self { handle, shared: Arc::clone(&self.shared) }
    }

    /// The handle that tokens come from.
    #[must_use]
    pub fn handle(&self) -> &TokenHandle {
        &self.handle
    }

    /// A request to any path of the API.
    ///
    /// `Leads/123` is below `{api_domain}/crm/v8`, `/crm/bulk/v8/read` below `{api_domain}`. A
    /// query may follow the path. A whole URL is taken only if it is at the API domain of the
    /// user's token: elsewhere the token would leak. What is wrong with the path is said by
    /// [`send`](RequestBuilder::send).
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, path)
    }

    /// The user whose token it is. Needs the scope `ZohoCRM.users.READ`.
    ///
    /// # Errors
    ///
    /// `ScopeMismatch` if the token lacks the scope, `Malformed` if the answer names nobody; and
    /// those of [`RequestBuilder::send`].
    pub async fn current_user(&self) -> Result<User, CrmError> {
        org::current_user(self).await
    }

    /// The organisation that the token is for. Needs the scope `ZohoCRM.org.READ`.
    ///
    /// # Errors
    ///
    /// `ScopeMismatch` if the token lacks the scope, `Malformed` if the answer names none; and
    /// those of [`RequestBuilder::send`].
    pub async fn org(&self) -> Result<Org, CrmError> {
        org::org(self).await
    }

    /// The records of a module, by its API name: `Leads`.
    ///
    /// A name that is none is an `Invalid` error of whatever is then asked.
    pub fn records(&self, module: &str) -> Records {
        Records::new(self.clone(), module)
    }
}

impl fmt::Debug for CrmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrmClient")
            .field("handle", &self.handle)
            .field("version", &self.shared.version)
            .finish_non_exhaustive()
    }
}

/// How a [`CrmClient`] shall be. Made by [`CrmClient::builder`].
#[derive(Clone)]
#[must_use]
pub struct CrmClientBuilder {
    handle: TokenHandle,
    http: Settings,
    version: String,
    max_body: usize,
}

impl CrmClientBuilder {
    /// How long one request may take, its answer included; 60 seconds by default. A request that
    /// is made again with a new token has as long once more.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.http.timeout = timeout;
        self
    }

    /// How long connecting may take; 10 seconds by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.http.connect_timeout = timeout;
        self
    }

    /// The proxy for all requests but those to loopback, as a URL. There is none by default: no
    /// environment variable is read.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.http.proxy = Some(url.into());
        self
    }

    /// What the client calls itself; `tokenkeep/` and its version by default.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.http.user_agent = name.into();
        self
    }

    /// The version of the API; `v8` by default.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// How many bytes an answer may have; 32 MiB by default.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// `Invalid` if the proxy's URL, the version or the user agent is none. The machine's
    /// certificates are read by the first request that needs them.
    pub fn build(self) -> Result<CrmClient, CrmError> {
        if !is_version(&self.version) {
            return Err(CrmError::invalid("the version of the API must be like `v8` or `v2.1`"));
        }
        let shared = Shared {
            transport: Transport::new(self.http)?,
            version: self.version,
            max_body: self.max_body,
        };
        Ok(CrmClient { handle: self.handle, shared: Arc::new(shared) })
    }
}

impl fmt::Debug for CrmClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The proxy's URL may hold a password.
        f.debug_struct("CrmClientBuilder")
            .field("handle", &self.handle)
            .field("timeout", &self.http.timeout)
            .field("connect_timeout", &self.http.connect_timeout)
            .field("proxy", &self.http.proxy.is_some())
            .field("user_agent", &self.http.user_agent)
            .field("version", &self.version)
            .field("max_body", &self.max_body)
            .finish()
    }
}

/// `v8`, `v2.1`.
fn is_version(text: &str) -> bool {
    let number = |part: &str| {
        (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.strip_prefix('v')
        .is_some_and(|numbers| numbers.split('.').count() <= 2 && numbers.split('.').all(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_v_and_numbers() {
        for good in ["v8", "v2.1", "v10"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "8", "v", "v8/..", "v8.", "v8.1.1", "V8", "v8?x", "v12345"] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
