//! What the answers of the accounts servers and of `users?type=CurrentUser` mean.
//!
//! Pure functions over a status, a content type and a body. Zoho refuses with HTTP 200 and
//! `{"error":"invalid_code"}` most of the time, with 400 at others, and its proxies answer with
//! HTML: so the **body** decides. The status is looked at only where the body says nothing.

mod device;
mod json;
mod refusal;
mod user;

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Deserialize;
use tokenkeep_core::{AccessToken, RefreshToken};

pub use self::device::{
    DEFAULT_DEVICE_LIFETIME, DEFAULT_POLL_INTERVAL, DevicePoll, parse_device_authorization,
    parse_device_poll,
};
use self::json::{NotAnObject, Scalar, object};
pub(crate) use self::refusal::refusal;
pub use self::user::{CurrentUser, MAX_USERS_REPLY, parse_current_user};
use crate::{AccountsServer, ApiDomain, OAuthError, OAuthErrorKind, THROTTLE_WINDOW};

/// The longest answer of an accounts server that is read.
pub const MAX_ACCOUNTS_REPLY: usize = 64 * 1024;

/// How long an access token lives where the answer does not say: what Zoho documents.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// The longest life of an access token that is believed. A number above it is not seconds.
pub const MAX_LIFETIME: Duration = Duration::from_secs(86_400);

/// What a token was asked for with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Grant {
    /// The code of a login.
    Code,
    /// A refresh token.
    RefreshToken,
    /// The code of a device.
    Device,
}

/// New tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenReply {
    /// What API calls are authorised with.
    pub access_token: AccessToken,
    /// The refresh token, after the exchange of an offline login's code. The answer to a refresh
    /// has none at Zoho: then the one that was used stays good. If there is one, it replaces that.
    pub refresh_token: Option<RefreshToken>,
    /// How long the access token lives from now; see [`parse_token_reply`] for how it is read.
    pub expires_in: Duration,
    /// Whether the answer says how long; if not, `expires_in` is [`DEFAULT_LIFETIME`]. See
    /// [`expires_in_or`](Self::expires_in_or).
    pub names_lifetime: bool,
    /// Where API calls go: https, or http on loopback. It may not be that of the token's
    /// environment: a configured environment wins.
    pub api_domain: Option<String>,
    /// What the token may do, where the answer says so.
    pub scopes: Vec<String>,
}

impl TokenReply {
    /// How long the access token lives from now, by the answer, or `default` where it does not say:
    /// see [`ProviderRules::default_lifetime`](crate::ProviderRules::default_lifetime).
    #[must_use]
    pub fn expires_in_or(&self, default: Duration) -> Duration {
        if self.names_lifetime { self.expires_in } else { default }
    }
}

#[derive(Deserialize)]
struct TokenFields<'a> {
    #[serde(borrow, default)]
    access_token: Scalar<'a>,
    #[serde(borrow, default)]
    refresh_token: Scalar<'a>,
    #[serde(borrow, default)]
    expires_in: Scalar<'a>,
    #[serde(borrow, default)]
    expires_in_sec: Scalar<'a>,
    #[serde(borrow, default)]
    api_domain: Scalar<'a>,
    #[serde(borrow, default)]
    scope: Scalar<'a>,
    #[serde(borrow, default)]
    error: Scalar<'a>,
    #[serde(borrow, default)]
    error_description: Scalar<'a>,
    #[serde(borrow, default)]
    code: Scalar<'a>,
}

/// Reads the answer of `POST {accounts}/oauth/v2/token`.
///
/// The life of the access token is `expires_in_sec` in seconds, else `expires_in` in seconds, or
/// in milliseconds if it is more than 86 400 (an older form of the answer has both fields, with
/// milliseconds in the second). Each may be a number or text. It is always between one second and
/// a day: what is missing, not a number, or less than one second (zero, negative) counts as
/// [`DEFAULT_LIFETIME`]; what is still more than a day, for example ten years, as
/// [`MAX_LIFETIME`]. A wrong guess costs one 401 and one refresh.
///
/// **No value of these two fields costs the tokens**, and neither does one of `scope`,
/// `api_domain` or `token_type`: as long as the body is a JSON object with an access token, this is
/// not an error.
///
/// `token_type` is not looked at. An API domain that is neither https nor loopback is left out.
///
/// ```
/// use tokenkeep_oauth::{OAuthErrorKind, reply::{Grant, parse_token_reply}};
///
/// let json = Some("application/json");
/// let body = br#"{"access_token":"test-access-token","expires_in":3600}"#;
/// let reply = parse_token_reply(Grant::RefreshToken, 200, json, body)?;
/// assert_eq!(reply.expires_in.as_secs(), 3600);
///
/// let error = parse_token_reply(Grant::RefreshToken, 200, json, br#"{"error":"invalid_code"}"#)
///     .unwrap_err();
/// assert_eq!(error.kind(), OAuthErrorKind::NeedsLogin);
/// # Ok::<(), tokenkeep_oauth::OAuthError>(())
/// ```
///
/// # Errors
///
/// What the provider says, by its `error` and `error_description`;
/// [`Malformed`](OAuthErrorKind::Malformed) if it says nothing that can be read, or there is no
/// access token. See [`OAuthError::maybe_applied`].
pub fn parse_token_reply(
    grant: Grant,
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<TokenReply, OAuthError> {
    let fields: TokenFields<'_> = read(status, content_type, body, MAX_ACCOUNTS_REPLY)?;
    let access_token = fields.access_token.text();
    if fields.error.says_something() || (access_token.is_none() && fields.code.says_something()) {
        let error = if fields.error.says_something() { &fields.error } else { &fields.code };
        let refused =
            refusal(grant, error.text().unwrap_or_default(), fields.error_description.text());
        let error = by_status(refused, status);
        // A refusal with a token in it: something was done.
        let applied = error.maybe_applied() || access_token.is_some();
        return Err(error.applied(applied));
    }
    // It goes into a header: what cannot is not a token.
    let access_token = access_token
        .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
        .and_then(|token| AccessToken::new(token).ok())
        .ok_or_else(|| malformed(status, body.len(), "a JSON object without an access token"))?;
    let named = lifetime(&fields.expires_in_sec, &fields.expires_in);
    Ok(TokenReply {
        access_token,
        refresh_token: fields.refresh_token.text().and_then(|token| RefreshToken::new(token).ok()),
        expires_in: named.unwrap_or(DEFAULT_LIFETIME),
        names_lifetime: named.is_some(),
        api_domain: api_domain(&fields.api_domain),
        scopes: fields.scope.text().map(scopes).unwrap_or_default(),
    })
}

fn lifetime(expires_in_sec: &Scalar<'_>, expires_in: &Scalar<'_>) -> Option<Duration> {
    let usable = |seconds: &f64| *seconds >= 1.0;
    let max = MAX_LIFETIME.as_secs_f64();
    let plain = || {
        let number = expires_in.number()?;
        Some(if number > max { number / 1000.0 } else { number }).filter(usable)
    };
    let seconds = expires_in_sec.number().filter(usable).or_else(plain);
    seconds.map(|seconds| Duration::from_secs_f64(seconds.min(max)))
}

fn api_domain(field: &Scalar<'_>) -> Option<String> {
    let text = field.text()?;
    match ApiDomain::parse(text) {
        Ok(domain) => Some(domain.as_str().to_owned()),
        Err(error) => {
            tracing::warn!(%error, "the API domain of a token reply is left out");
            None
        }
    }
}

/// Scopes stand between blanks or commas. What is not visible ASCII is none.
fn scopes(text: &str) -> Vec<String> {
    text.split([' ', ','])
        .filter(|scope| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(str::to_owned)
        .collect()
}

/// What became of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Revocation {
    /// The token was revoked, and its access tokens with it.
    Done,
    /// The server does not know the token. There is no telling why: an accounts server answers the
    /// same for
    ///
    /// - a token that was revoked before, or ended by itself: nothing is left to do;
    /// - a token of **another data centre**, which is alive there. Zoho's servers know nothing of
    ///   each other's tokens and say `invalid_code`, as they do for a text that never was a token.
    ///
    /// So this is only as good as the knowledge that the server is the token's own, for example
    /// because it has refreshed there. Where that is not known, do not forget the token on account
    /// of this answer.
    AlreadyGone,
}

#[derive(Deserialize)]
struct StatusFields<'a> {
    #[serde(borrow, default)]
    status: Scalar<'a>,
    #[serde(borrow, default)]
    error: Scalar<'a>,
    #[serde(borrow, default)]
    error_description: Scalar<'a>,
    #[serde(borrow, default)]
    code: Scalar<'a>,
}

/// Reads the answer of `POST {accounts}/oauth/v2/token/revoke`: `{"status":"success"}`, or an
/// error.
///
/// # Errors
///
/// As [`parse_token_reply`]; a token that the server does not know is not an error, see
/// [`Revocation::AlreadyGone`].
pub fn parse_revocation(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Revocation, OAuthError> {
    let fields: StatusFields<'_> = read(status, content_type, body, MAX_ACCOUNTS_REPLY)?;
    let error = [&fields.error, &fields.code].into_iter().find(|field| field.says_something());
    if let Some(error) = error {
        let word = error.text().unwrap_or_default();
        let canonical = word.trim().to_ascii_lowercase().replace(' ', "_");
        if matches!(&*canonical, "invalid_code" | "invalid_token" | "invalid_oauthtoken") {
            return Ok(Revocation::AlreadyGone);
        }
        let refused = refusal(Grant::RefreshToken, word, fields.error_description.text());
        return Err(by_status(refused, status));
    }
    match fields.status.text() {
        Some(text) if text.eq_ignore_ascii_case("success") => Ok(Revocation::Done),
        Some(_) => Err(by_status(refusal(Grant::RefreshToken, "", None), status)),
        None => Err(malformed(status, body.len(), "a JSON object that does not say what was done")),
    }
}

#[derive(Deserialize)]
struct ServerInfoFields<'a> {
    #[serde(borrow, default)]
    locations: Option<BTreeMap<String, Scalar<'a>>>,
}

/// Reads the answer of `GET {accounts}/oauth/serverinfo`: data centres by location. What is not
/// an https (or loopback) server is left out.
///
/// # Errors
///
/// [`Malformed`](OAuthErrorKind::Malformed) if there are no locations.
pub fn parse_server_info(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<BTreeMap<String, AccountsServer>, OAuthError> {
    let read = read::<ServerInfoFields<'_>>(status, content_type, body, MAX_ACCOUNTS_REPLY);
    let fields = read.map_err(|error| error.applied(false))?;
    let locations = fields.locations.ok_or_else(|| {
        malformed(status, body.len(), "a JSON object without locations").applied(false)
    })?;
    Ok(locations
        .into_iter()
        .filter(|(code, _)| is_location(code))
        .filter_map(|(code, url)| Some((code, AccountsServer::parse(url.text()?).ok()?)))
        .collect())
}

/// Whether this may be the code of a data centre, also of one that is not known here.
fn is_location(code: &str) -> bool {
    (1..=8).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Reads a JSON object; what is none is described.
fn read<'a, T: Deserialize<'a>>(
    status: u16,
    content_type: Option<&str>,
    body: &'a [u8],
    limit: usize,
) -> Result<T, OAuthError> {
    if body.len() > limit {
        return Err(too_long(Some(status), limit));
    }
    if (300..400).contains(&status) {
        return Err(malformed(status, body.len(), "a redirect, which is not followed")
            .with_hint("check the server's URL"));
    }
    object(content_type, body).map_err(|NotAnObject { what, cut_off }| {
        let error = malformed(status, body.len(), what);
        if cut_off { error.transient(true) } else { error }
    })
}

/// An answer that is none: says its status, its length and what it is, never what it contains.
fn malformed(status: u16, length: usize, what: impl fmt::Display) -> OAuthError {
    if status == 429 {
        return throttled().with_status(status);
    }
    OAuthError::new(
        OAuthErrorKind::Malformed,
        format!("the answer (status {status}, {length} bytes) is {what}"),
    )
    .with_status(status)
    .transient(status >= 500 || status == 408)
    .applied(true)
    .with_hint(
        "if it stays so, check the server's URL and what stands in between: a proxy, a login page",
    )
}

/// An answer of more than `limit` bytes.
pub(crate) fn too_long(status: Option<u16>, limit: usize) -> OAuthError {
    let said = status.map(|status| format!(" (status {status})")).unwrap_or_default();
    let error = OAuthError::new(
        OAuthErrorKind::Malformed,
        format!("the answer{said} is longer than {limit} bytes"),
    )
    .applied(true)
    .with_hint("check the server's URL and what stands in between: a proxy, a login page");
    match status {
        Some(status) => error.with_status(status).transient(status >= 500),
        None => error,
    }
}

fn throttled() -> OAuthError {
    OAuthError::new(OAuthErrorKind::Throttled, "too many token requests: refused for a while")
        .with_retry_after(THROTTLE_WINDOW)
        .with_hint("wait for ten minutes before the next token request; asking earlier prolongs it")
}

/// What the status adds to a refusal that the body does not explain.
fn by_status(error: OAuthError, status: u16) -> OAuthError {
    if error.kind() != OAuthErrorKind::Provider {
        return error.with_status(status);
    }
    if status == 429 {
        return throttled().with_status(status);
    }
    let failed = status >= 500;
    let (transient, applied) = (error.is_transient() || failed, error.maybe_applied() || failed);
    error.with_status(status).transient(transient).applied(applied)
}

#[cfg(test)]
mod tests;
