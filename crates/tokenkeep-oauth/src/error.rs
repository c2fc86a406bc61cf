//! What can go wrong with an accounts server, and what the caller may do about it.

use std::{error::Error, fmt, time::Duration};

use crate::{AccountsServer, ApiDomain, DataCenter, UnknownDataCenter};

/// How long Zoho refuses to refresh a token after the tenth time in this time.
///
/// Asking again earlier prolongs it.
pub const THROTTLE_WINDOW: Duration = Duration::from_secs(600);

/// The longest wait that a server is believed when it says `Retry-After`.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OAuthErrorKind {
    /// The server does not know the client id; at Zoho also what a wrong data centre says.
    WrongClient,
    /// The client secret is not the client's, at this data centre.
    WrongClientSecret,
    /// The redirect URL is not the registered one, or not the one of the login.
    WrongRedirectUrl,
    /// The login belongs to another data centre, and it is known to which: see the hint.
    WrongDataCenter,
    /// The code of a login has expired, was used before, or belongs to another client or data
    /// centre.
    CodeExpiredOrUsed,
    /// The refresh token is not good any more: the user must log in again.
    NeedsLogin,
    /// The user refused, or may not do this.
    AccessDenied,
    /// The API does not take this access token: expired, revoked, or pushed out by newer ones.
    AccessTokenRefused,
    /// Too many requests: wait for [`OAuthError::retry_after`].
    Throttled,
    /// The token lacks a scope, or a scope that was asked for does not exist. No refresh helps.
    ScopeMismatch,
    /// The grant needs an organisation and none was named.
    MissingOrg,
    /// Any other refusal by the provider; [`OAuthError::code`] has its word for it.
    Provider,
    /// The server could not be reached, or the connection broke.
    Network,
    /// No complete answer in time.
    Timeout,
    /// The answer is not one: HTML, empty, cut off, too long, a redirect, or without what it must
    /// have.
    Malformed,
    /// What the caller gave cannot be right; nothing was sent.
    InvalidInput,
    /// The redirect does not belong to the login that was begun. Nothing was sent.
    StateMismatch,
    /// The redirect names a server that is not on the list. Nothing was sent.
    UntrustedServer,
    /// What this machine must provide is not there: random numbers, or TLS.
    Setup,
}

/// A failure at or on the way to an accounts server: what went wrong, whether the same request may
/// work later, and what to do.
///
/// It never contains a token, a secret, a body, a header or a URL's query. What the provider said
/// is shown only if it is a short code, see [`code`](Self::code).
pub struct OAuthError(Box<Inner>);

struct Inner {
    kind: OAuthErrorKind,
    message: String,
    /// Whom `Display` names: the accounts server or the API domain that was asked.
    place: Option<String>,
    server: Option<AccountsServer>,
    code: Option<String>,
    status: Option<u16>,
    hint: Option<String>,
    retry_after: Option<Duration>,
    transient: bool,
    maybe_applied: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl OAuthError {
    /// A failure of this kind. `message` must not contain anything that came from outside.
    pub(crate) fn new(kind: OAuthErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            place: None,
            server: None,
            code: None,
            status: None,
            hint: None,
            retry_after: None,
            transient: matches!(
                kind,
                OAuthErrorKind::Network | OAuthErrorKind::Timeout | OAuthErrorKind::Throttled
            ),
            maybe_applied: false,
            source: None,
        }))
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_code(mut self, code: Option<String>) -> Self {
        self.0.code = code;
        self
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(crate) fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// With what the header `Retry-After` says of a failure that may pass.
    ///
    /// Seconds only: a date would need to be compared with a clock that nobody has checked.
    pub(crate) fn told_to_wait(mut self, header: Option<&str>) -> Self {
        let seconds = header
            .map(str::trim)
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(text) = seconds
            && self.0.transient
        {
            // More digits than fit are more than the longest wait.
            let wait = text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs);
            self.0.retry_after = Some(wait.clamp(Duration::from_secs(1), MAX_RETRY_AFTER));
        }
        self
    }

    pub(crate) fn transient(mut self, transient: bool) -> Self {
        self.0.transient = transient;
        self
    }

    pub(crate) fn applied(mut self, maybe: bool) -> Self {
        self.0.maybe_applied = maybe;
        self
    }

    /// With the error underneath, which must show no secret: not a deserialiser's, and a
    /// client's only without its URL.
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// With the server that was asked; says which others to try where that may be the mistake.
    pub(crate) fn at(mut self, server: &AccountsServer) -> Self {
        let elsewhere = || {
            let codes = DataCenter::codes_without(server).join(", ");
            format!("the data centre may be the wrong one: try another with --dc ({codes})")
        };
        let kind = self.0.kind;
        let hint = if kind == OAuthErrorKind::WrongClient {
            Some(format!("check the client id, or {}", elsewhere()))
        } else if kind == OAuthErrorKind::WrongClientSecret {
            Some(format!(
                "check the client secret, which is another one in each data centre unless the API \
                 console says otherwise; {}",
                elsewhere()
            ))
        } else if kind == OAuthErrorKind::CodeExpiredOrUsed {
            Some(format!(
                "a code works once and for two minutes: get a new one; if it was new, {}",
                elsewhere()
            ))
        } else if kind == OAuthErrorKind::NeedsLogin {
            Some(format!(
                "the user must log in again; if the refresh token should be good, {}",
                elsewhere()
            ))
        } else {
            None
        };
        if let Some(hint) = hint {
            self.0.hint = Some(hint);
        }
        self.0.place = Some(server.to_string());
        self.0.server = Some(server.clone());
        self
    }

    /// With the API domain that was asked.
    pub(crate) fn at_api(mut self, domain: &ApiDomain) -> Self {
        self.0.place = Some(domain.to_string());
        self
    }

    /// Removes the provider's code if it holds one of `secrets`, which were in the request.
    pub(crate) fn without_echo(mut self, secrets: &[&str]) -> Self {
        let echoes = |code: &String| {
            secrets.iter().any(|secret| code.contains(secret) || secret.contains(code.as_str()))
        };
        if self.0.code.as_ref().is_some_and(echoes) {
            self.0.code = None;
        }
        self
    }

    /// With what is known of the login: the server that its redirect named, or that its token is
    /// stored with.
    ///
    /// Where another server was asked, a refusal that a wrong data centre would explain becomes
    /// [`WrongDataCenter`](OAuthErrorKind::WrongDataCenter), with the hint which is the right one.
    #[must_use]
    pub fn with_known_server(mut self, known: &AccountsServer) -> Self {
        let explains = matches!(
            self.0.kind,
            OAuthErrorKind::WrongClient
                | OAuthErrorKind::WrongClientSecret
                | OAuthErrorKind::CodeExpiredOrUsed
                | OAuthErrorKind::NeedsLogin
                | OAuthErrorKind::WrongDataCenter
        );
        if explains && self.0.server.as_ref().is_some_and(|asked| asked != known) {
            self.0.kind = OAuthErrorKind::WrongDataCenter;
            "the login belongs to another data centre".clone_into(&mut self.0.message);
            self.0.hint = Some(match DataCenter::of_accounts_server(known) {
                Some(right) => format!("it belongs to {known}: use --dc {}", right.code()),
                None => format!("it belongs to {known}"),
            });
        }
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> OAuthErrorKind {
        self.0.kind
    }

    /// The accounts server that was asked, where one was.
    #[must_use]
    pub fn server(&self) -> Option<&AccountsServer> {
        self.0.server.as_ref()
    }

    /// What the reader can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The provider's word for it, for example `invalid_code`.
    ///
    /// Only if it is at most 64 letters, digits, underscores, hyphens and blanks, in words too
    /// short for a token, and holds nothing secret that was sent: a server that echoes a secret
    /// does not get it shown.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The HTTP status of the answer, where there was one. Zoho refuses with 200 too.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Whether the same request may work later, without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// How long to wait before any further request for this token, where the provider throttles or
    /// says so: asking earlier prolongs it.
    ///
    /// A throttled answer of an accounts server always has one: what its header `Retry-After` says,
    /// else [`THROTTLE_WINDOW`], which is Zoho's. Any other
    /// [transient](Self::is_transient) failure has one if the header was there, such as a 503 of
    /// a server under maintenance. It is between one second and [`MAX_RETRY_AFTER`]. A header with
    /// a date, and not a number of seconds, is not read.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the server may have done what it was asked although there is no good answer.
    ///
    /// A code may then be used up, and a provider that rotates refresh tokens may have sent a new
    /// one that is lost.
    ///
    /// | what happened | maybe applied |
    /// |---|---|
    /// | no connection; the request could not be made | no |
    /// | the connection broke, or no complete answer in time | yes |
    /// | an answer that cannot be read, with any status but 429 | yes |
    /// | the provider failed: `general_error`, `server_error`, `internal_error` | yes |
    /// | a refusal of no known meaning with a status of 500 and more | yes |
    /// | a refusal together with a token | yes |
    /// | any other refusal; throttled, 429 included | no |
    ///
    /// Asking whose token it is, and for the list of servers, changes nothing: never.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        self.0.maybe_applied
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)?;
        match &self.0.code {
            Some(code) => write!(f, " ({code})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("place", &self.0.place)
            .field("code", &self.0.code)
            .field("status", &self.0.status)
            .field("hint", &self.0.hint)
            .field("retry_after", &self.0.retry_after)
            .field("transient", &self.0.transient)
            .field("maybe_applied", &self.0.maybe_applied)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for OAuthError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<UnknownDataCenter> for OAuthError {
    fn from(error: UnknownDataCenter) -> Self {
        Self::new(OAuthErrorKind::InvalidInput, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: OAuthErrorKind) -> OAuthError {
        let us = DataCenter::by_code("us").unwrap().accounts_server();
        OAuthError::new(kind, "the refresh token is not good any more")
            .with_code(Some("invalid_code".to_owned()))
            .at(&us)
    }

    #[test]
    fn display_names_the_server_and_the_code() {
        assert_eq!(
            refusal(OAuthErrorKind::NeedsLogin).to_string(),
            "https://accounts.zoho.com: the refresh token is not good any more (invalid_code)"
        );
    }

    #[test]
    fn the_hint_lists_the_other_data_centres() {
        for kind in [
            OAuthErrorKind::WrongClient,
            OAuthErrorKind::WrongClientSecret,
            OAuthErrorKind::CodeExpiredOrUsed,
            OAuthErrorKind::NeedsLogin,
        ] {
            let error = refusal(kind);
            let hint = error.hint().unwrap();
            assert!(hint.contains("--dc (eu, in, au, cn, jp, ca, sa, uk, ae)"), "{hint}");
        }
        assert_eq!(refusal(OAuthErrorKind::AccessDenied).hint(), None);
    }

    #[test]
    fn a_known_server_tells_which_data_centre_is_right() {
        let eu = DataCenter::by_code("eu").unwrap().accounts_server();
        let error = refusal(OAuthErrorKind::WrongClient).with_known_server(&eu);
        assert_eq!(error.kind(), OAuthErrorKind::WrongDataCenter);
        assert_eq!(error.hint(), Some("it belongs to https://accounts.zoho.eu: use --dc eu"));

        let us = DataCenter::by_code("us").unwrap().accounts_server();
        let error = refusal(OAuthErrorKind::WrongClient).with_known_server(&us);
        assert_eq!(error.kind(), OAuthErrorKind::WrongClient);
        let error = refusal(OAuthErrorKind::Throttled).with_known_server(&eu);
        assert_eq!(error.kind(), OAuthErrorKind::Throttled);
    }

    #[test]
    fn a_code_that_echoes_a_secret_is_not_shown() {
        let error = refusal(OAuthErrorKind::Provider).with_code(Some("test-refresh".to_owned()));
        assert_eq!(error.without_echo(&["other", "test-refresh-token"]).code(), None);
        let error = refusal(OAuthErrorKind::Provider).without_echo(&["test-refresh-token"]);
        assert_eq!(error.code(), Some("invalid_code"));
    }
}
