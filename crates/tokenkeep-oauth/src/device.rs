//! [`DeviceAuthorization`]: a login on a machine that has no browser.

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// A device flow that has begun, see [`OAuthClient::device_code`](crate::OAuthClient::device_code).
///
/// Show the user the [page](Self::verification_url) and the [code](Self::user_code), and poll with
/// [`OAuthClient::device_token`](crate::OAuthClient::device_token).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceAuthorization {
    /// What the user types in at the page: short, and no secret from those who watch the screen.
    pub user_code: String,
    /// Where the user decides, with any browser.
    pub verification_url: Url,
    /// The same page with the code filled in, where the answer has it.
    pub verification_url_complete: Option<Url>,
    /// What the tokens are asked for with.
    pub device_code: DeviceCode,
    /// How long the codes are good, from the answer on.
    pub expires_in: Duration,
    /// How long to wait before each poll.
    pub interval: Duration,
}

/// The code of a device: with it and the client's secret, whoever has it gets the user's tokens.
/// `Debug` does not show it.
#[derive(Clone)]
pub struct DeviceCode(SecretString);

impl DeviceCode {
    /// `None` if it is empty.
    pub(crate) fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(SecretString::from(text)))
    }

    /// The text itself.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceCode([redacted])")
    }
}
