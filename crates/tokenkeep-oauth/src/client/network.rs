//! The transport that is used unless another one is set: reqwest, without redirects and retries, set
//! up for https, or plain http to this machine.

use std::{fmt, sync::OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{
    RequestBuilder,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use url::Url;
use zeroize::Zeroizing;

use super::OAuthClientBuilder;
use crate::{
    HttpMethod, HttpReply, HttpRequest, OAuthError, OAuthErrorKind, Transport, TransportError,
    TransportErrorKind,
};

/// The HTTP clients, and what they are made from.
pub(super) struct Network {
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

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("proxy", &self.settings.proxy.is_some()).finish()
    }
}

impl Network {
    pub(super) fn new(settings: OAuthClientBuilder) -> Result<Self, OAuthError> {
        if HeaderValue::from_str(&settings.user_agent).is_err() {
            return Err(OAuthError::new(
                OAuthErrorKind::InvalidInput,
                "the user agent has characters that a header cannot have",
            ));
        }
        let plain = finish(common(&settings).tls_certs_only([]));
        let plain = plain.map_err(|error| error.into_oauth_error(0))?;
        Ok(Self { settings, plain, direct: OnceLock::new(), proxied: OnceLock::new() })
    }

    /// The client for a request: its URL is on this machine or not, plain or not.
    fn client(&self, request: &HttpRequest) -> Result<&reqwest::Client, TransportError> {
        let Self { settings, plain, direct, proxied } = self;
        if request.is_loopback() && request.url().starts_with("http://") {
            return Ok(plain);
        }
        let proxy = settings.proxy.as_ref().filter(|_| !request.is_loopback());
        let slot = if proxy.is_some() { proxied } else { direct };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let mut builder = common(settings).https_only(true);
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy.clone());
        }
        let client = finish(builder)?;
        Ok(slot.get_or_init(|| client))
    }
}

#[async_trait]
impl Transport for Network {
    async fn send(&self, request: HttpRequest) -> Result<HttpReply, TransportError> {
        let limit = request.max_reply();
        let request = prepare(self.client(&request)?, request)?;
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let text = |name: &HeaderName| {
            let value = response.headers().get(name);
            value.and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (content_type, retry_after) = (text(&CONTENT_TYPE), text(&RETRY_AFTER));
        let too_long = || {
            let kind = TransportErrorKind::TooLong;
            TransportError::new(kind, "the answer is too long").with_status(status)
        };
        let announced = response.content_length().unwrap_or(0);
        let expected = usize::try_from(announced).ok().filter(|length| *length <= limit);
        let Some(expected) = expected else { return Err(too_long()) };

        let mut body = Zeroizing::new(Vec::with_capacity(expected.max(4096)));
        while let Some(chunk) =
            response.chunk().await.map_err(|error| failed(error).with_status(status))?
        {
            let length = body.len() + chunk.len();
            if length > limit {
                return Err(too_long());
            }
            if length > body.capacity() {
                // Not `reserve`, which would leave a copy behind that nobody zeroizes.
                let mut larger = Zeroizing::new(Vec::with_capacity((2 * length).min(limit)));
                larger.extend_from_slice(&body);
                body = larger;
            }
            body.extend_from_slice(&chunk);
        }
        let mut reply = HttpReply::new(status, body);
        reply.content_type = content_type;
        reply.retry_after = retry_after;
        Ok(reply)
    }
}

/// The request, as the HTTP client takes it.
fn prepare(
    client: &reqwest::Client,
    request: HttpRequest,
) -> Result<RequestBuilder, TransportError> {
    let mut builder = match request.method() {
        HttpMethod::Get => client.get(request.url()),
        HttpMethod::Post => client.post(request.url()),
    };
    for header in request.headers() {
        let mut value = HeaderValue::from_str(header.value).map_err(|_may_echo| {
            let kind = TransportErrorKind::InvalidInput;
            TransportError::new(kind, "a header has characters that it cannot have")
        })?;
        value.set_sensitive(header.is_secret);
        builder = builder.header(header.name, value);
    }
    Ok(match request.into_body() {
        Some(body) => builder.body(Bytes::from_owner(body)),
        None => builder,
    })
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

fn finish(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, TransportError> {
    builder.build().map_err(|error| {
        TransportError::new(TransportErrorKind::Setup, "the HTTPS client could not be set up")
            .with_source(error.without_url())
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

/// Why there is no complete answer. Where the connection was never made, nothing was sent.
fn failed(error: reqwest::Error) -> TransportError {
    use TransportErrorKind as Kind;

    let connecting = error.is_connect();
    let (kind, message) = if error.is_builder() {
        (Kind::InvalidInput, "the request could not be made")
    } else if error.is_timeout() && connecting {
        (Kind::Timeout, "no connection in time")
    } else if error.is_timeout() {
        (Kind::Timeout, "no complete answer in time")
    } else if error.is_dns() {
        (Kind::Network, "the server's name could not be resolved")
    } else if connecting {
        (Kind::Network, "could not connect")
    } else {
        (Kind::Network, "the connection broke before the answer was complete")
    };
    let failed = TransportError::new(kind, message).with_source(error.without_url());
    if connecting { failed.not_sent() } else { failed }
}

#[cfg(test)]
mod tests {
    use super::*;

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
