//! HTTP as the accounts servers need it: no redirects, no retries, bodies that are zeroized and
//! bounded, errors without anything that was sent or received.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
    redirect,
};
use tokenkeep_core::AccessToken;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::OAuthClientBuilder;
use crate::{OAuthError, OAuthErrorKind, reply};

/// The HTTP clients, and what they are made from.
#[derive(Clone)]
pub(super) struct Transport(Arc<Clients>);

struct Clients {
    settings: OAuthClientBuilder,
    /// Plain http to this machine. It needs no certificates, so that it works where none are
    /// installed.
    plain: reqwest::Client,
    /// Https to this machine, and without a proxy to all. Made when first needed: that is when
    /// the system's certificates are read.
    direct: OnceLock<reqwest::Client>,
    /// Https to elsewhere through the proxy.
    proxied: OnceLock<reqwest::Client>,
}

impl Transport {
    pub(super) fn new(settings: OAuthClientBuilder) -> Result<Self, OAuthError> {
        if HeaderValue::from_str(&settings.user_agent).is_err() {
            return Err(OAuthError::new(
                OAuthErrorKind::InvalidInput,
                "the user agent has characters that a header cannot have",
            ));
        }
        let plain = finish(common(&settings).tls_certs_only([]))?;
        let clients =
            Clients { settings, plain, direct: OnceLock::new(), proxied: OnceLock::new() };
        Ok(Self(Arc::new(clients)))
    }

    pub(super) fn has_proxy(&self) -> bool {
        self.0.settings.proxy.is_some()
    }

    /// Starts a request. `url` is made from a checked origin, which is on this machine or not.
    pub(super) fn request(
        &self,
        loopback: bool,
        method: Method,
        url: &str,
    ) -> Result<RequestBuilder, OAuthError> {
        let Clients { settings, plain, direct, proxied } = &*self.0;
        let client = if loopback && url.starts_with("http://") {
            plain
        } else {
            let proxy = settings.proxy.as_ref().filter(|_| !loopback);
            let slot = if proxy.is_some() { proxied } else { direct };
            match slot.get() {
                Some(client) => client,
                None => {
                    let mut builder = common(settings).https_only(true);
                    if let Some(proxy) = proxy {
                        builder = builder.proxy(proxy.clone());
                    }
                    let client = finish(builder)?;
                    slot.get_or_init(|| client)
                }
            }
        };
        Ok(client.request(method, url).header(ACCEPT, "application/json"))
    }
}

/// What all clients have in common.
fn common(settings: &OAuthClientBuilder) -> reqwest::ClientBuilder {
    // `localhost` is this machine whatever a resolver says.
    let here = [([127, 0, 0, 1], 0).into(), ([0_u16, 0, 0, 0, 0, 0, 0, 1], 0).into()];
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .resolve_to_addrs("localhost", &here)
        .timeout(settings.timeout)
        .connect_timeout(settings.connect_timeout)
        .user_agent(&settings.user_agent)
}

fn finish(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, OAuthError> {
    builder.build().map_err(|error| {
        OAuthError::new(OAuthErrorKind::Setup, "the HTTPS client could not be set up")
            .with_source(error.without_url())
            .with_hint("check that the system has root certificates, for example ca-certificates")
    })
}

/// Reads the URL of a proxy.
pub(super) fn proxy(url: &str) -> Result<reqwest::Proxy, OAuthError> {
    let invalid = || {
        OAuthError::new(OAuthErrorKind::InvalidInput, "that is not the URL of a proxy")
            .with_hint("write it like http://proxy.example.com:3128")
    };
    let parsed = Url::parse(url).map_err(|_may_echo| invalid())?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(invalid());
    }
    reqwest::Proxy::all(parsed).map_err(|_may_echo| invalid())
}

/// The header that authorises an API call; marked as a secret, so that nothing prints it.
pub(super) fn authorization(access_token: &AccessToken) -> Result<HeaderValue, OAuthError> {
    let text = Zeroizing::new(format!("Zoho-oauthtoken {}", access_token.expose_secret()));
    let mut value = HeaderValue::from_str(&text).map_err(|_may_echo| {
        OAuthError::new(
            OAuthErrorKind::InvalidInput,
            "the access token has characters that a header cannot have",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A form to send in a body; zeroized when it has been sent.
pub(super) struct Form(Zeroizing<Vec<u8>>);

impl Form {
    pub(super) fn new(fields: &[(&str, &str)]) -> Self {
        // An escaped byte is three long; a name and its two signs fit in what is left. Room for
        // all of it, so that no copy is left behind when it grows.
        let room = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
        let mut text = Zeroizing::new(String::with_capacity(room));
        form_urlencoded::Serializer::new(&mut *text).extend_pairs(fields);
        Self(Zeroizing::new(std::mem::take(&mut *text).into_bytes()))
    }

    pub(super) fn in_body_of(self, request: RequestBuilder) -> RequestBuilder {
        request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from_owner(self.0))
    }
}

/// An answer, complete.
pub(super) struct Answer {
    pub(super) status: u16,
    content_type: Option<String>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(super) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Sends a request and reads an answer of at most `limit` bytes.
pub(super) async fn send(request: RequestBuilder, limit: usize) -> Result<Answer, OAuthError> {
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let announced = response.content_length().unwrap_or(0);
    let expected = usize::try_from(announced).ok().filter(|length| *length <= limit);
    let Some(expected) = expected else { return Err(reply::too_long(status, limit)) };

    let mut body = Zeroizing::new(Vec::with_capacity(expected.max(4096)));
    while let Some(chunk) =
        response.chunk().await.map_err(|error| failed(error).with_status(status))?
    {
        let length = body.len() + chunk.len();
        if length > limit {
            return Err(reply::too_long(status, limit));
        }
        if length > body.capacity() {
            // Not `reserve`, which would leave a copy behind that nobody zeroizes.
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * length).min(limit)));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, content_type, body })
}

/// Why there is no complete answer. Where the connection was never made, nothing was sent.
fn failed(error: reqwest::Error) -> OAuthError {
    let connecting = error.is_connect();
    let (kind, message) = if error.is_builder() {
        (OAuthErrorKind::InvalidInput, "the request could not be made")
    } else if error.is_timeout() && connecting {
        (OAuthErrorKind::Timeout, "no connection in time")
    } else if error.is_timeout() {
        (OAuthErrorKind::Timeout, "no complete answer in time")
    } else if error.is_dns() {
        (OAuthErrorKind::Network, "the server's name could not be resolved")
    } else if connecting {
        (OAuthErrorKind::Network, "could not connect")
    } else {
        (OAuthErrorKind::Network, "the connection broke before the answer was complete")
    };
    let sent = !connecting && !error.is_builder();
    OAuthError::new(kind, message)
        .applied(sent)
        .with_source(error.without_url())
        .with_hint("check the network, the server's URL and the proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_escaped_and_never_grows() {
        let secret = "test secret&=+%\u{e9}/".repeat(50);
        let form = Form::new(&[("client_secret", &secret), ("code", "1000.a-b_c"), ("x", "")]);
        let read: Vec<_> = form_urlencoded::parse(&form.0).into_owned().collect();
        assert_eq!(read[0].1, secret);
        assert_eq!(read[1].1, "1000.a-b_c");
        assert_eq!(read[2], ("x".to_owned(), String::new()));
        let worst = "\u{1f600}".repeat(10);
        let form = Form::new(&[(&worst, &worst)]);
        assert!(form.0.len() <= 3 * 2 * worst.len() + 2);
    }

    #[test]
    fn an_authorization_header_is_masked() {
        let token = AccessToken::new("test-access-token").unwrap();
        let header = authorization(&token).unwrap();
        assert_eq!(header.to_str().unwrap(), "Zoho-oauthtoken test-access-token");
        assert!(!format!("{header:?}").contains("test-access"));
        let token = AccessToken::new("test-access\r\nX: y").unwrap();
        let error = authorization(&token).unwrap_err();
        assert!(!format!("{error:?}").contains("test-access"));
    }

    #[test]
    fn a_proxy_that_is_none_is_refused_and_not_shown() {
        for url in
            ["", "proxy:test-password", "socks5://u:test-password@p:1", "http://u:test-password@"]
        {
            let error = proxy(url).unwrap_err();
            assert_eq!(error.kind(), OAuthErrorKind::InvalidInput);
            assert!(!format!("{error} {error:?}").contains("test-password"), "{url}");
        }
        assert!(proxy("http://u:test-password@proxy.example.com:3128").is_ok());
    }
}
