//! What the answers of the device flow mean.

use std::time::Duration;

use serde::Deserialize;
use url::{Host, Url};

use super::{
    Grant, MAX_ACCOUNTS_REPLY, Scalar, TokenReply, by_status, is_location, malformed,
    parse_token_reply, read, refusal,
};
use crate::{DeviceAuthorization, DeviceCode, OAuthError};

/// How long a device's code waits for its user where the answer does not say: what Zoho documents.
pub const DEFAULT_DEVICE_LIFETIME: Duration = Duration::from_secs(300);

/// How long to wait between two polls where the answer does not say: what Zoho documents.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The longest life of a device's code that is believed. A number above it is not seconds.
const MAX_DEVICE_LIFETIME: f64 = 3600.0;

/// The longest wait between two polls that is believed. A number above it is not seconds.
const MAX_POLL_INTERVAL: f64 = 600.0;

#[derive(Deserialize)]
struct DeviceFields<'a> {
    #[serde(borrow, default)]
    user_code: Scalar<'a>,
    #[serde(borrow, default)]
    device_code: Scalar<'a>,
    #[serde(borrow, default)]
    verification_url: Scalar<'a>,
    #[serde(borrow, default)]
    verification_uri: Scalar<'a>,
    #[serde(borrow, default)]
    verification_uri_complete: Scalar<'a>,
    #[serde(borrow, default)]
    expires_in: Scalar<'a>,
    #[serde(borrow, default)]
    interval: Scalar<'a>,
    #[serde(borrow, default)]
    error: Scalar<'a>,
    #[serde(borrow, default)]
    error_description: Scalar<'a>,
}

/// Reads the answer of `POST {accounts}/oauth/v3/device/code`.
///
/// `expires_in` and `interval` are seconds, as numbers or text; a value that is too large to be
/// (more than an hour, more than ten minutes) counts as milliseconds, and a missing one as
/// [`DEFAULT_DEVICE_LIFETIME`] or [`DEFAULT_POLL_INTERVAL`]. The interval is one second at least.
///
/// ```
/// use tokenkeep_oauth::reply::parse_device_authorization;
///
/// let body = br#"{"user_code":"ABCD-1234","device_code":"test-device-code","interval":30,
///                 "verification_url":"https://accounts.zoho.eu/oauth/v3/device"}"#;
/// let device = parse_device_authorization(200, Some("application/json"), body)?;
/// assert_eq!(device.user_code, "ABCD-1234");
/// assert_eq!(device.interval.as_secs(), 30);
/// # Ok::<(), tokenkeep_oauth::OAuthError>(())
/// ```
///
/// # Errors
///
/// What the provider says; [`Malformed`](crate::OAuthErrorKind::Malformed) if a code is missing,
/// the user's has characters that cannot be typed, or the page is neither https nor on loopback.
pub fn parse_device_authorization(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<DeviceAuthorization, OAuthError> {
    let fields: DeviceFields<'_> = read(status, content_type, body, MAX_ACCOUNTS_REPLY)?;
    if fields.error.says_something() {
        let word = fields.error.text().unwrap_or_default();
        let refused = refusal(Grant::Device, word, fields.error_description.text());
        return Err(by_status(refused, status));
    }
    let without = |what: &str| {
        malformed(status, body.len(), format_args!("a JSON object without {what}")).applied(false)
    };
    let page = [&fields.verification_url, &fields.verification_uri];
    Ok(DeviceAuthorization {
        user_code: code(&fields.user_code)
            .filter(|code| code.len() <= 64)
            .ok_or_else(|| without("a code for the user"))?
            .to_owned(),
        device_code: code(&fields.device_code)
            .and_then(DeviceCode::new)
            .ok_or_else(|| without("a code for the device"))?,
        verification_url: page
            .into_iter()
            .find_map(web_page)
            .ok_or_else(|| without("the URL of a page for the user"))?,
        verification_url_complete: web_page(&fields.verification_uri_complete),
        expires_in: duration(&fields.expires_in, MAX_DEVICE_LIFETIME)
            .unwrap_or(DEFAULT_DEVICE_LIFETIME),
        interval: duration(&fields.interval, MAX_POLL_INTERVAL).unwrap_or(DEFAULT_POLL_INTERVAL),
    })
}

/// Visible ASCII in one piece.
fn code<'a>(field: &'a Scalar<'_>) -> Option<&'a str> {
    field.text().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// A page that a user may be sent to: https, or http on this machine.
fn web_page(field: &Scalar<'_>) -> Option<Url> {
    let url = Url::parse(field.text()?).ok()?;
    let loopback = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let safe = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    (safe && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// Seconds up to `max`, milliseconds above; one second at least.
fn duration(field: &Scalar<'_>, max: f64) -> Option<Duration> {
    let number = field.number().filter(|number| *number >= 0.0)?;
    let seconds = if number > max { number / 1000.0 } else { number };
    Some(Duration::from_secs_f64(seconds.clamp(1.0, max)))
}

/// What a poll for a device's tokens came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DevicePoll {
    /// The user has not decided yet: poll again after the interval.
    Pending,
    /// That was too early: make the interval longer, by five seconds, and poll again.
    SlowDown,
    /// The user is of another data centre, for example `eu`: poll at its accounts server from now
    /// on.
    OtherDataCenter(String),
    /// The user has accepted.
    Issued(TokenReply),
}

#[derive(Deserialize)]
struct PollFields<'a> {
    #[serde(borrow, default)]
    error: Scalar<'a>,
    #[serde(borrow, default)]
    user_location: Scalar<'a>,
}

/// Reads the answer of `POST {accounts}/oauth/v3/device/token`.
///
/// ```
/// use tokenkeep_oauth::reply::{DevicePoll, parse_device_poll};
///
/// let poll = parse_device_poll(200, None, br#"{"error":"authorization_pending"}"#)?;
/// assert!(matches!(poll, DevicePoll::Pending));
/// # Ok::<(), tokenkeep_oauth::OAuthError>(())
/// ```
///
/// # Errors
///
/// As [`parse_token_reply`]: [`AccessDenied`](crate::OAuthErrorKind::AccessDenied) if the user
/// refused, [`CodeExpiredOrUsed`](crate::OAuthErrorKind::CodeExpiredOrUsed) if nobody decided in
/// time, [`WrongDataCenter`](crate::OAuthErrorKind::WrongDataCenter) if the user's is another one
/// and it is not said which.
pub fn parse_device_poll(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<DevicePoll, OAuthError> {
    let fields: PollFields<'_> = read(status, content_type, body, MAX_ACCOUNTS_REPLY)?;
    let word = fields.error.text().unwrap_or_default().trim().to_ascii_lowercase();
    let location = fields.user_location.text().map(str::trim);
    match (&*word, location.filter(|code| is_location(code))) {
        ("authorization_pending", _) => Ok(DevicePoll::Pending),
        ("slow_down", _) => Ok(DevicePoll::SlowDown),
        ("other_dc", Some(location)) => {
            Ok(DevicePoll::OtherDataCenter(location.to_ascii_lowercase()))
        }
        _ => parse_token_reply(Grant::Device, status, content_type, body).map(DevicePoll::Issued),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OAuthErrorKind;

    fn authorization(body: &str) -> Result<DeviceAuthorization, OAuthError> {
        parse_device_authorization(200, Some("application/json"), body.as_bytes())
    }

    fn with(fields: &str) -> Result<DeviceAuthorization, OAuthError> {
        authorization(&format!(
            r#"{{"user_code":"ABCD-1234","device_code":"test-device",
                 "verification_url":"https://accounts.zoho.eu/device"{fields}}}"#
        ))
    }

    #[test]
    fn a_whole_answer_is_read() {
        let device = with(
            r#","verification_uri_complete":"https://accounts.zoho.eu/device?user_code=ABCD-1234",
               "expires_in":300,"interval":30,"unknown":[1]"#,
        )
        .unwrap();
        assert_eq!(device.user_code, "ABCD-1234");
        assert_eq!(device.device_code.expose_secret(), "test-device");
        assert_eq!(device.verification_url.as_str(), "https://accounts.zoho.eu/device");
        assert_eq!(
            device.verification_url_complete.as_ref().unwrap().query(),
            Some("user_code=ABCD-1234")
        );
        assert_eq!(device.expires_in.as_secs(), 300);
        assert_eq!(device.interval.as_secs(), 30);
        assert!(!format!("{device:?}").contains("test-device"));
    }

    #[test]
    fn times_are_read_in_every_form() {
        for (fields, expires_in, interval) in [
            ("", 300, 30),
            (r#","expires_in":600,"interval":5"#, 600, 5),
            (r#","expires_in":"600","interval":"5""#, 600, 5),
            (r#","expires_in":300000,"interval":30000"#, 300, 30),
            (r#","expires_in":0,"interval":0"#, 1, 1),
            (r#","expires_in":-1,"interval":null"#, 300, 30),
            (r#","expires_in":1e300,"interval":1e300"#, 3600, 600),
            (r#","expires_in":"soon","interval":{}"#, 300, 30),
        ] {
            let device = with(fields).unwrap();
            assert_eq!(device.expires_in.as_secs(), expires_in, "{fields}");
            assert_eq!(device.interval.as_secs(), interval, "{fields}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_no_answer() {
        let page = r#""verification_url":"https://a.example/d""#;
        for body in [
            "{}".to_owned(),
            format!(r#"{{"user_code":"A",{page}}}"#),
            format!(r#"{{"device_code":"test-d",{page}}}"#),
            r#"{"user_code":"A","device_code":"test-d"}"#.to_owned(),
            format!(r#"{{"user_code":"A\u001b[2J","device_code":"test-d",{page}}}"#),
            format!(r#"{{"user_code":"A","device_code":"test d",{page}}}"#),
            format!(r#"{{"user_code":"{}","device_code":"test-d",{page}}}"#, "A".repeat(65)),
            r#"{"user_code":"A","device_code":"d","verification_url":"http://a.example"}"#.into(),
            r#"{"user_code":"A","device_code":"d","verification_url":"javascript:1"}"#.into(),
            r#"{"user_code":"A","device_code":"d","verification_url":"https://u:p@a.example"}"#
                .into(),
            "<html>test-d</html>".to_owned(),
            String::new(),
        ] {
            let error = authorization(&body).unwrap_err();
            assert_eq!(error.kind(), OAuthErrorKind::Malformed, "{body}");
            assert!(!format!("{error} {error:?}").contains("test-d"), "{error:?}");
        }
        for page in ["http://127.0.0.1:9/d", "http://localhost/d", "http://[::1]:9/d"] {
            let body =
                format!(r#"{{"user_code":"A","device_code":"d","verification_uri":"{page}"}}"#);
            assert_eq!(authorization(&body).unwrap().verification_url.as_str(), page);
        }
    }

    #[test]
    fn a_refused_request_has_its_kind() {
        for (word, kind) in [
            ("invalid_client", OAuthErrorKind::WrongClient),
            ("invalid_scope", OAuthErrorKind::ScopeMismatch),
            ("other", OAuthErrorKind::Provider),
        ] {
            let error = authorization(&format!(r#"{{"error":"{word}"}}"#)).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(!error.maybe_applied());
        }
    }

    #[test]
    fn a_poll_is_read() {
        let poll = |body: &str| parse_device_poll(200, None, body.as_bytes());
        for (body, expected) in [
            (r#"{"error":"authorization_pending"}"#, "Pending"),
            (r#"{"error":"Authorization_Pending"}"#, "Pending"),
            (r#"{"error":"slow_down"}"#, "SlowDown"),
            (r#"{"error":"other_dc","user_location":"EU"}"#, "OtherDataCenter(\"eu\")"),
            (r#"{"error":"other_dc","user_location":" in "}"#, "OtherDataCenter(\"in\")"),
        ] {
            assert_eq!(format!("{:?}", poll(body).unwrap()), expected, "{body}");
        }
        let pending = parse_device_poll(400, None, br#"{"error":"authorization_pending"}"#);
        assert!(matches!(pending, Ok(DevicePoll::Pending)));
        for (body, kind) in [
            (r#"{"error":"access_denied"}"#, OAuthErrorKind::AccessDenied),
            (r#"{"error":"expired"}"#, OAuthErrorKind::CodeExpiredOrUsed),
            (r#"{"error":"expired_token"}"#, OAuthErrorKind::CodeExpiredOrUsed),
            (r#"{"error":"invalid_code"}"#, OAuthErrorKind::CodeExpiredOrUsed),
            (r#"{"error":"invalid_client"}"#, OAuthErrorKind::WrongClient),
            (r#"{"error":"other_dc"}"#, OAuthErrorKind::WrongDataCenter),
            (
                r#"{"error":"other_dc","user_location":"https://evil.example"}"#,
                OAuthErrorKind::WrongDataCenter,
            ),
            (r#"{"error":"something_new"}"#, OAuthErrorKind::Provider),
            ("{}", OAuthErrorKind::Malformed),
            ("<html>", OAuthErrorKind::Malformed),
        ] {
            assert_eq!(poll(body).unwrap_err().kind(), kind, "{body}");
        }
        let issued = r#"{"access_token":"test-a","refresh_token":"test-r","expires_in":3600}"#;
        let Ok(DevicePoll::Issued(reply)) = poll(issued) else { panic!("issued") };
        assert_eq!(reply.refresh_token.unwrap().expose_secret(), "test-r");
    }
}
