//! Requests to Vault, without redirects, proxies and retries.

use std::{fmt, time::Duration};

use reqwest::{
    Certificate, Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenkeep_core::{StoreError, StoreErrorKind};
use url::Url;
use zeroize::Zeroizing;

use crate::error::Fault;

/// Where Vault is, and how it is reached.
pub(crate) struct Client {
    http: reqwest::Client,
    /// Up to and with `/v1`.
    base: Url,
    headers: HeaderMap,
}

/// What Vault answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    body: Zeroizing<Vec<u8>>,
}

/// What is asked for.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Below `/v1`.
    pub(crate) path: &'a [&'a str],
    pub(crate) version: Option<u64>,
    pub(crate) body: Option<&'a Value>,
}

/// Longer answers than Vault's largest are not read.
const LONGEST: usize = 64 << 20;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");

impl Client {
    pub(crate) fn new(
        base: Url,
        namespace: Option<&str>,
        ca: Option<&[u8]>,
    ) -> Result<Self, StoreError> {
        let invalid = |message: &str| StoreError::new(StoreErrorKind::Invalid, message);
        let mut headers = HeaderMap::new();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = namespace {
            let value = HeaderValue::from_str(namespace)
                .map_err(|_may_repeat| invalid("the namespace has characters it cannot have"))?;
            headers.insert("x-vault-namespace", value);
        }
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .https_only(base.scheme() == "https")
            .user_agent(concat!("tokenkeep/", env!("CARGO_PKG_VERSION")));
        if base.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        } else if let Some(pem) = ca {
            let certificates = Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| invalid("the file of certificates has none in PEM form"))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "the HTTPS client could not be set up")
                .with_source(error.without_url())
        })?;
        Ok(Self { http, base, headers })
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    pub(crate) async fn send(
        &self,
        request: &Request<'_>,
        token: Option<&HeaderValue>,
        limit: Duration,
    ) -> Result<Reply, Fault> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(request.path);
        }
        if let Some(version) = request.version {
            url.query_pairs_mut().append_pair("version", &version.to_string());
        }
        let mut builder = self
            .http
            .request(request.method.clone(), url)
            .headers(self.headers.clone())
            .timeout(limit);
        if let Some(token) = token {
            builder = builder.header(TOKEN, token);
        }
        if let Some(body) = request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut response = builder.send().await.map_err(Fault::transport)?;
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let status = response.status().as_u16();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(Fault::transport)? {
            if body.len() + chunk.len() > LONGEST {
                return Err(Fault::garbled());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, retry_after, body })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Reply {
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Whether there is no body, as after a write to a mount of version 1.
    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The body, read as JSON. Why it cannot be is not told: that may repeat a secret.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|_may_repeat| Fault::garbled())
    }

    /// Whether one of the errors it tells has these words in it.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.errors().iter().any(|error| error.contains(words))
    }

    /// What `{"errors": […]}` says, or `{"error": …}`. Not to be shown: it may repeat what was sent.
    pub(crate) fn errors(&self) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Errors {
            #[serde(default)]
            errors: Vec<String>,
            error: Option<String>,
        }
        let read: Result<Errors, Fault> = self.json();
        read.map_or_else(
            |_none| Vec::new(),
            |said| said.errors.into_iter().chain(said.error).collect(),
        )
    }
}
