//! [`Transport`]: how requests travel, for those who want another way than the built-in one.

use std::{error::Error, fmt};

use async_trait::async_trait;
use tokenkeep_core::AccessToken;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{OAuthError, OAuthErrorKind, reply};

/// Carries the requests of an [`OAuthClient`](crate::OAuthClient): HTTP and nothing else.
///
/// What is in a request and what a reply means is decided above it. The built-in transport speaks
/// https; set another one with [`OAuthClientBuilder::transport`](crate::OAuthClientBuilder::transport)
/// to go through an HTTP stack of your own, or to answer in a test without a socket.
///
/// # What an implementation guarantees
///
/// - A request is sent **once**. It is never tried again, whatever happens: a refresh token that
///   rotates, or a code, is used up by the first one.
/// - A redirect is not followed. It is a reply like any other.
/// - The reply is read whole, up to [`HttpRequest::max_reply`] bytes; more is
///   [`TooLong`](TransportErrorKind::TooLong).
/// - An error says whether the request may have reached the server, and says yes where that is not
///   known. See [`TransportError::not_sent`].
/// - There is an end: a request that is not answered in some time is a
///   [`Timeout`](TransportErrorKind::Timeout).
/// - Nothing of a request or a reply is logged, and none of it is in an error or its source.
///
/// If the future is dropped, the request may have been sent.
///
/// ```
/// use std::sync::Arc;
/// use tokenkeep_core::{ClientCredentials, ClientSecret, RefreshToken};
/// use tokenkeep_oauth::{
///     AccountsServer, HttpReply, HttpRequest, OAuthClient, Transport, TransportError, async_trait,
/// };
///
/// #[derive(Debug)]
/// struct Canned;
///
/// #[async_trait]
/// impl Transport for Canned {
///     async fn send(&self, request: HttpRequest) -> Result<HttpReply, TransportError> {
///         assert_eq!(request.url(), "https://accounts.zoho.eu/oauth/v2/token");
///         let body = r#"{"access_token":"test-access-token","expires_in":3600}"#;
///         Ok(HttpReply::new(200, body.as_bytes().to_vec()).with_content_type("application/json"))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = OAuthClient::builder().transport(Arc::new(Canned)).build()?;
/// let app = ClientCredentials::new("test-client", ClientSecret::new("test-secret")?)?;
/// let server = AccountsServer::parse("https://accounts.zoho.eu")?;
/// let reply = client.refresh(&server, &app, &RefreshToken::new("test-refresh")?).await?;
/// assert_eq!(reply.access_token.expose_secret(), "test-access-token");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends one request, once, and reads its reply whole.
    ///
    /// # Errors
    ///
    /// If there is no whole reply. Any status is one.
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, TransportError>;
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a transport has to know all of them")]
pub enum HttpMethod {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
}

impl HttpMethod {
    /// As it is written in a request: `GET` or `POST`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// One header of a request. `Debug` does not show a secret value.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HttpHeader<'a> {
    /// The name, in lower case.
    pub name: &'a str,
    /// The value.
    pub value: &'a str,
    /// Whether the value holds a token. Mark it as sensitive where that can be done.
    pub is_secret: bool,
}

impl fmt::Debug for HttpHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.is_secret { "[redacted]" } else { self.value };
        f.debug_struct("HttpHeader").field("name", &self.name).field("value", &value).finish()
    }
}

struct Header {
    name: &'static str,
    value: Zeroizing<String>,
    is_secret: bool,
}

/// One request. Headers and body are zeroized when it is dropped; `Debug` shows neither, and no
/// query.
pub struct HttpRequest {
    method: HttpMethod,
    url: String,
    loopback: bool,
    headers: Vec<Header>,
    body: Option<Zeroizing<Vec<u8>>>,
    max_reply: usize,
}

impl HttpRequest {
    /// A request to `url`, which is made from a checked origin; `loopback`: it is on this machine.
    pub(crate) fn new(method: HttpMethod, url: String, loopback: bool, max_reply: usize) -> Self {
        let request = Self { method, url, loopback, headers: Vec::new(), body: None, max_reply };
        request.with_header("accept", Zeroizing::new("application/json".to_owned()), false)
    }

    fn with_header(mut self, name: &'static str, value: Zeroizing<String>, secret: bool) -> Self {
        self.headers.push(Header { name, value, is_secret: secret });
        self
    }

    /// With the header that authorises an API call.
    pub(crate) fn authorized(self, access_token: &AccessToken) -> Result<Self, OAuthError> {
        let token = access_token.expose_secret();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OAuthError::new(
                OAuthErrorKind::InvalidInput,
                "the access token has characters that a header cannot have",
            ));
        }
        let value = Zeroizing::new(format!("Zoho-oauthtoken {token}"));
        Ok(self.with_header("authorization", value, true))
    }

    /// With a form as its body.
    pub(crate) fn with_form(self, fields: &[(&str, &str)]) -> Self {
        let form = Zeroizing::new("application/x-www-form-urlencoded".to_owned());
        Self { body: Some(encoded(fields)), ..self.with_header("content-type", form, false) }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> HttpMethod {
        self.method
    }

    /// The URL: https, or plain http to this machine. It holds no secret.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the URL is on this machine, so that no proxy is to see the request.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The headers, those that describe the body included.
    pub fn headers(&self) -> impl Iterator<Item = HttpHeader<'_>> {
        self.headers.iter().map(|Header { name, value, is_secret }| HttpHeader {
            name,
            value,
            is_secret: *is_secret,
        })
    }

    /// The body, which holds secrets.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_ref().map(|body| body.as_slice())
    }

    /// The body, to be sent without a copy of it.
    #[must_use]
    pub fn into_body(self) -> Option<Zeroizing<Vec<u8>>> {
        self.body
    }

    /// How many bytes of body a reply may have.
    #[must_use]
    pub fn max_reply(&self) -> usize {
        self.max_reply
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &url)
            .field("max_reply", &self.max_reply)
            .finish_non_exhaustive()
    }
}

/// Form fields as a body.
fn encoded(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    // An escaped byte is three long; a name and its two signs fit in what is left. Room for all of
    // it, so that no copy is left behind when it grows.
    let room = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut text = Zeroizing::new(String::with_capacity(room));
    form_urlencoded::Serializer::new(&mut *text).extend_pairs(fields);
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

/// One reply, whole. Its body is zeroized when it is dropped; `Debug` does not show it.
#[non_exhaustive]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// The header `Content-Type`, where there is one.
    pub content_type: Option<String>,
    /// The header `Retry-After` as it came, where there is one.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

impl HttpReply {
    /// A reply without the headers that matter here.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self { status, content_type: None, retry_after: None, body: body.into() }
    }

    /// With the header `Content-Type`.
    #[must_use]
    pub fn with_content_type(mut self, value: impl Into<String>) -> Self {
        self.content_type = Some(value.into());
        self
    }

    /// With the header `Retry-After`.
    #[must_use]
    pub fn with_retry_after(mut self, value: impl Into<String>) -> Self {
        self.retry_after = Some(value.into());
        self
    }
}

impl fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReply")
            .field("status", &self.status)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The server could not be reached, or the connection broke.
    Network,
    /// Not in time: no connection, or no whole reply.
    Timeout,
    /// The reply is longer than [`HttpRequest::max_reply`].
    TooLong,
    /// The request cannot be sent as it is. Nothing was sent.
    InvalidInput,
    /// What this machine must provide is not there, for example root certificates. Nothing was
    /// sent.
    Setup,
}

/// There is no whole reply.
///
/// ```
/// use tokenkeep_oauth::{TransportError, TransportErrorKind};
///
/// let lost = TransportError::new(TransportErrorKind::Network, "the connection broke");
/// assert!(lost.maybe_applied());
/// let refused = TransportError::new(TransportErrorKind::Network, "could not connect").not_sent();
/// assert!(!refused.maybe_applied());
/// ```
#[derive(Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    message: &'static str,
    maybe_applied: bool,
    status: Option<u16>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl TransportError {
    /// A failure. Of all kinds but `InvalidInput` and `Setup` the request
    /// [may have been applied](Self::maybe_applied), unless it is said to be
    /// [not sent](Self::not_sent).
    #[must_use]
    pub fn new(kind: TransportErrorKind, message: &'static str) -> Self {
        let unsent = matches!(kind, TransportErrorKind::InvalidInput | TransportErrorKind::Setup);
        Self { kind, message, maybe_applied: !unsent, status: None, source: None }
    }

    /// It is certain that the server did not get the request: no connection was made.
    #[must_use]
    pub fn not_sent(mut self) -> Self {
        self.maybe_applied = false;
        self
    }

    /// With the status of the reply, of which the rest is missing.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// With the error underneath. Neither its `Display` nor its `Debug` may show a URL's query, a
    /// header, or anything of a body.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// Whether the server may have got the request, and done what it asks for.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        self.maybe_applied
    }

    /// As the error of a request whose reply may have had `max_reply` bytes.
    pub(crate) fn into_oauth_error(self, max_reply: usize) -> OAuthError {
        let (kind, hint) = match self.kind {
            TransportErrorKind::TooLong => {
                let error = reply::too_long(self.status, max_reply).applied(self.maybe_applied);
                return match self.source {
                    Some(source) => error.with_source(source),
                    None => error,
                };
            }
            TransportErrorKind::Setup => (
                OAuthErrorKind::Setup,
                "check that the system has root certificates, for example ca-certificates",
            ),
            TransportErrorKind::Network => (OAuthErrorKind::Network, CHECK_THE_NETWORK),
            TransportErrorKind::Timeout => (OAuthErrorKind::Timeout, CHECK_THE_NETWORK),
            TransportErrorKind::InvalidInput => (OAuthErrorKind::InvalidInput, CHECK_THE_NETWORK),
        };
        let mut error =
            OAuthError::new(kind, self.message).applied(self.maybe_applied).with_hint(hint);
        if let Some(status) = self.status {
            error = error.with_status(status);
        }
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

const CHECK_THE_NETWORK: &str = "check the network, the server's URL and the proxy";

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> HttpRequest {
        HttpRequest::new(HttpMethod::Post, url.to_owned(), false, 100)
    }

    #[test]
    fn a_form_is_escaped_and_never_grows() {
        let secret = "test secret&=+%\u{e9}/".repeat(50);
        let form = encoded(&[("client_secret", &secret), ("code", "1000.a-b_c"), ("x", "")]);
        let read: Vec<_> = form_urlencoded::parse(&form).into_owned().collect();
        assert_eq!(read[0].1, secret);
        assert_eq!(read[1].1, "1000.a-b_c");
        assert_eq!(read[2], ("x".to_owned(), String::new()));
        let worst = "\u{1f600}".repeat(10);
        assert!(encoded(&[(&worst, &worst)]).len() <= 3 * 2 * worst.len() + 2);
    }

    #[test]
    fn a_request_shows_no_secret() {
        let token = AccessToken::new("test-access-token").unwrap();
        let request = request("https://example.com/a?b=test-query")
            .with_form(&[("code", "test-code")])
            .authorized(&token)
            .unwrap();
        let headers: Vec<_> = request.headers().collect();
        assert_eq!(headers[2].value, "Zoho-oauthtoken test-access-token");
        let shown = format!("{request:?} {request:#?} {headers:?}");
        for secret in ["test-access", "test-code", "test-query"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("https://example.com/a"), "{shown}");
        let reply = HttpReply::new(200, b"test-body".to_vec()).with_content_type("test-body");
        assert!(!format!("{reply:?}").contains("test-body"));
    }

    #[test]
    fn a_token_that_no_header_can_have_is_refused_and_not_shown() {
        for token in ["test-access\r\nX: y", "test access", "test-acc\u{e9}ss"] {
            let token = AccessToken::new(token).unwrap();
            let error = request("https://example.com").authorized(&token).unwrap_err();
            assert_eq!(error.kind(), OAuthErrorKind::InvalidInput);
            assert!(!format!("{error:?}").contains("test"), "{error:?}");
        }
    }

    #[test]
    fn what_was_not_sent_was_not_applied() {
        use TransportErrorKind as Kind;
        for (kind, expected, sent) in [
            (Kind::Network, OAuthErrorKind::Network, true),
            (Kind::Timeout, OAuthErrorKind::Timeout, true),
            (Kind::TooLong, OAuthErrorKind::Malformed, true),
            (Kind::InvalidInput, OAuthErrorKind::InvalidInput, false),
            (Kind::Setup, OAuthErrorKind::Setup, false),
        ] {
            let new = || TransportError::new(kind, "a message").with_source("underneath");
            let error = new().into_oauth_error(100);
            assert_eq!((error.kind(), error.maybe_applied()), (expected, sent), "{kind:?}");
            assert!(error.source().is_some() && error.hint().is_some(), "{kind:?}");
            assert!(!new().not_sent().into_oauth_error(100).maybe_applied(), "{kind:?}");
            assert_eq!(new().with_status(503).into_oauth_error(1).status(), Some(503));
        }
    }
}
