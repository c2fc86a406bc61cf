//! One request: authenticated, and made again once if that was refused.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
        RETRY_AFTER,
    },
};
use serde::Serialize;
use tokenkeep_core::Outcome;
use tokenkeep_manager::LiveToken;
use tracing::{Instrument, field::Empty};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    CrmClient, CrmError, CrmErrorKind, CrmResponse,
    path::Target,
    response::{self, Envelope},
    scope,
};

/// What errors name a request by.
#[derive(Clone, Debug)]
pub(crate) struct What {
    pub(crate) method: Method,
    pub(crate) path: Arc<str>,
}

/// A request to the CRM that was not sent yet. Made by [`CrmClient::request`].
///
/// ```no_run
/// # async fn example(crm: tokenkeep_crm::CrmClient) -> Result<(), tokenkeep_crm::CrmError> {
/// use tokenkeep_crm::Method;
///
/// let answer = crm
///     .request(Method::GET, "Leads/search")
///     .query(&[("criteria", "(Last_Name:equals:Byron)")])
///     .send()
///     .await?;
/// let found: serde_json::Value = answer.json()?;
/// # drop(found);
/// # Ok(())
/// # }
/// ```
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: CrmClient,
    method: Method,
    target: Result<Target, CrmError>,
    query: Vec<(String, String)>,
    headers: Result<HeaderMap, CrmError>,
    body: Option<Bytes>,
}

impl RequestBuilder {
    pub(crate) fn new(client: CrmClient, method: Method, path: &str) -> Self {
        let target = Target::parse(&client.shared.version, path);
        Self {
            client,
            method,
            target,
            query: Vec::new(),
            headers: Ok(HeaderMap::new()),
            body: None,
        }
    }

    /// Adds parameters to the query, which need not be encoded.
    pub fn query<K: AsRef<str>, V: AsRef<str>>(mut self, pairs: &[(K, V)]) -> Self {
        let own = |(name, value): &(K, V)| (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.query.extend(pairs.iter().map(own));
        self
    }

    /// Sets a header. Those that say who asks, and whom, are the client's: `Authorization`,
    /// `Proxy-Authorization` and `Host` are an error of [`send`](Self::send).
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers = self.headers.and_then(|mut headers| {
            let (name, value) = header(name, value)?;
            headers.insert(name, value);
            Ok(headers)
        });
        self
    }

    /// Sets the body to `value` as JSON.
    ///
    /// # Errors
    ///
    /// `Invalid` if it cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, CrmError> {
        // What serde says may quote the value.
        let json = serde_json::to_vec(value)
            .map_err(|_quotes| CrmError::invalid("the body cannot be written as JSON"))?;
        Ok(self.body(json))
    }

    /// Sets the body to JSON that is written already. With another `Content-Type`
    /// [header](Self::header) it may be anything.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it, and returns the answer if that is a success (2xx) or `304 Not Modified`.
    ///
    /// If the CRM refuses to authenticate it (`INVALID_TOKEN`, `AUTHENTICATION_FAILURE`), the
    /// token is renewed and the request is made once more. If the future is dropped, a request
    /// that was sent may take effect.
    ///
    /// # Errors
    ///
    /// `Invalid` if the request cannot be made; nothing was sent then. `Token` if there is no
    /// usable token. `Unauthorized` if the CRM refuses a new token too; if it refuses one new token
    /// after another, no more are asked for until a time that
    /// [the manager's error](CrmError::manager_error) names, and that is `Token`. `ScopeMismatch`,
    /// `NoPermission`, `RateLimited`, `Modified`, `Refused` or `Server` as the CRM answers.
    /// `Network` or `Timeout` if no answer arrived, `TooLarge` if one did that is larger than the
    /// client's limit, `Malformed` if it is a redirect, which is not followed.
    pub async fn send(self) -> Result<CrmResponse, CrmError> {
        let Self { client, method, target, query, headers, body } = self;
        let target = target?;
        let what = What { method, path: target.path.as_str().into() };
        let mut headers = headers.map_err(|error| error.at(&what))?;
        if body.is_some() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let call = Call { client: &client, what, target, query, headers, body };

        let live = client.handle.access_token().await;
        let live = live.map_err(|error| CrmError::token(&call.what, error))?;
        let first = call.attempt(1, &live).await?;
        if !first.is_token_refused() {
            return call.judge(first);
        }
        tracing::debug!(
            method = %call.what.method, path = %call.what.path, code = first.code.as_deref(),
            "the CRM refused the token: renewing it"
        );
        let live = client.handle.rejected(live.access_token()).await;
        let live = live.map_err(|error| CrmError::token(&call.what, error))?;
        let second = call.attempt(2, &live).await?;
        call.judge(second)
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("path", &self.target.as_ref().map(|target| &target.path))
            .finish_non_exhaustive()
    }
}

/// A request that is complete but for its token.
struct Call<'a> {
    client: &'a CrmClient,
    what: What,
    target: Target,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Option<Bytes>,
}

/// What was answered to one attempt.
struct Answer {
    attempt: u8,
    response: CrmResponse,
    /// The CRM's word for what it refused, and what it finds fault with.
    code: Option<String>,
    field: Option<String>,
}

impl Answer {
    fn is_token_refused(&self) -> bool {
        self.response.status() == StatusCode::UNAUTHORIZED
            && matches!(self.code.as_deref(), Some("INVALID_TOKEN" | "AUTHENTICATION_FAILURE"))
    }
}

impl Call<'_> {
    async fn attempt(&self, attempt: u8, live: &LiveToken) -> Result<Answer, CrmError> {
        // Before anything is logged: a URL of another host is not the CRM's business.
        let (mut url, loopback) = self.target.at(live.api_domain())?;
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        let span = tracing::debug_span!(
            "crm_request", method = %self.what.method, path = %self.what.path, attempt,
            status = Empty
        );
        // On the heap: the futures of the HTTP client are large.
        let response =
            Box::pin(self.exchange(live, url, loopback)).instrument(span.clone()).await?;
        span.record("status", response.status().as_u16());
        let refused = response.status().is_client_error() || response.status().is_server_error();
        let Envelope { code, field } =
            if refused { Envelope::of(response.body()) } else { Envelope::default() };
        span.in_scope(|| {
            tracing::debug!(bytes = response.body().len(), code = code.as_deref(), "answered");
        });
        Ok(Answer { attempt, response, code, field })
    }

    async fn exchange(
        &self,
        live: &LiveToken,
        url: Url,
        loopback: bool,
    ) -> Result<CrmResponse, CrmError> {
        let client = self.client.shared.transport.client(&url, loopback);
        let mut request = client
            .map_err(|error| error.at(&self.what))?
            .request(self.what.method.clone(), url)
            .headers(self.headers.clone())
            .header(AUTHORIZATION, self.authorization(live)?);
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let answer = request.send().await.map_err(|error| CrmError::http(&self.what, error))?;
        response::read(&self.what, answer, self.client.shared.max_body).await
    }

    fn authorization(&self, live: &LiveToken) -> Result<HeaderValue, CrmError> {
        let text =
            Zeroizing::new(format!("Zoho-oauthtoken {}", live.access_token().expose_secret()));
        let mut value = HeaderValue::from_str(&text).map_err(|_its_text| {
            CrmError::invalid("the access token has characters that no header can have")
                .at(&self.what)
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The answer, or the error that it is.
    fn judge(&self, answer: Answer) -> Result<CrmResponse, CrmError> {
        let Answer { attempt, response, code, field } = answer;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let what = &self.what;
        let error = match (status.as_u16(), code.as_deref()) {
            (400..=499, Some("OAUTH_SCOPE_MISMATCH")) => scope_mismatch(what),
            (401, _) => CrmError::new(
                CrmErrorKind::Unauthorized,
                if attempt == 1 {
                    "the CRM refuses to authenticate"
                } else {
                    "the CRM refuses to authenticate, with a new token too"
                },
            )
            .with_hint(
                "look whether the data centre and the environment of the token are those of its \
                 API domain; if they are, the user must log in again",
            ),
            (403, _) => CrmError::new(CrmErrorKind::NoPermission, "the user may not do this")
                .with_hint(
                    "an administrator of the CRM can change what the user's profile permits",
                ),
            (412, _) => CrmError::new(CrmErrorKind::Modified, "the record was changed meanwhile")
                .with_hint("read the record again, then decide what to write"),
            (429, _) | (400..=499, Some("TOO_MANY_REQUESTS")) => {
                CrmError::new(CrmErrorKind::RateLimited, "too many requests")
                    .with_outcome(Outcome::NotApplied)
                    .with_retry_after(retry_after(response.headers()))
                    .with_hint("make fewer requests at a time, or wait: credits last for 24 hours")
            }
            (400..=499, _) => CrmError::new(CrmErrorKind::Refused, "the CRM refused it"),
            (500..=599, _) => CrmError::new(CrmErrorKind::Server, "the CRM failed").lost(what),
            _ => CrmError::malformed(what, "the answer is a redirect, which is not followed"),
        };
        Err(error.at(what).with_code(code, field).with_response(response))
    }
}

fn scope_mismatch(what: &What) -> CrmError {
    let scope = scope::needed(&what.method, &what.path);
    let hint = match scope {
        Some(scope) => format!(
            "the user must log in again with the scope {scope} too; a refresh adds no scope"
        ),
        None => "the user must log in again with the scope too; a refresh adds no scope".to_owned(),
    };
    CrmError::new(CrmErrorKind::ScopeMismatch, "the token lacks a scope")
        .with_scope(scope)
        .with_hint(hint)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), CrmError> {
    let name = HeaderName::try_from(name)
        .map_err(|_its_text| CrmError::invalid("the name of a header is not one"))?;
    if [AUTHORIZATION, PROXY_AUTHORIZATION, HOST].contains(&name) {
        return Err(CrmError::invalid(format!("the header `{name}` is set by the client")));
    }
    let value = HeaderValue::try_from(value).map_err(|_its_text| {
        CrmError::invalid(format!("the value of the header `{name}` cannot be sent"))
    })?;
    Ok((name, value))
}
