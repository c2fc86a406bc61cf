//! [`AccountsServer`], [`ApiDomain`] and [`AllowedServers`]: which servers may see a secret.

use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};

use url::{Host, Url};

use crate::{DataCenter, OAuthError, OAuthErrorKind};

/// A scheme, a host and perhaps a port: https anywhere, or plain http on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Origin {
    text: Cow<'static, str>,
    loopback: bool,
}

impl Origin {
    /// Why `text` is none. Says the rule and never the text, which may hold a password.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let after_scheme = strip_scheme(text).ok_or("must begin with `https://`")?;
        // What a browser would quietly mend is refused: what is checked must be what is used.
        if text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
            return Err("must not contain blanks, backslashes or control characters");
        }
        let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err("must not contain a user name or password");
        }
        let url = Url::parse(text).map_err(|_may_echo| "is not a URL with a host")?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a path, a query or a fragment");
        }
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err("is not a URL with a host"),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err("must be https; plain http is for loopback addresses only"),
            _ => return Err("must begin with `https://`"),
        }
        Ok(Self { text: Cow::Owned(url.origin().ascii_serialization()), loopback })
    }
}

fn strip_scheme(text: &str) -> Option<&str> {
    ["https://", "http://"].into_iter().find_map(|scheme| {
        let (head, tail) = text.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(tail)
    })
}

/// Defines a server type over [`Origin`].
macro_rules! server {
    ($(#[$doc:meta])* $name:ident, $what:literal, $example:literal) => {
        $(#[$doc])*
        ///
        /// Https only, except plain http to `127.0.0.0/8`, `::1` and `localhost`. No user name,
        /// password, path, query or fragment. Two values are equal if they are the same origin.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Origin);

        impl $name {
            #[doc = concat!("Reads a URL such as `", $example, "`.")]
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](OAuthErrorKind::InvalidInput), which says what is wrong without
            /// the text.
            pub fn parse(text: &str) -> Result<Self, OAuthError> {
                Origin::parse(text).map(Self).map_err(|rule| {
                    OAuthError::new(OAuthErrorKind::InvalidInput, format!(concat!("the URL of the ", $what, " {}"), rule))
                        .with_hint(concat!("write it like ", $example))
                })
            }

            /// A URL of the table, which is known to be right.
            pub(crate) const fn of_table(url: &'static str) -> Self {
                Self(Origin { text: Cow::Borrowed(url), loopback: false })
            }

            /// Scheme, host and port, without a slash at the end.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0.text
            }

            /// Whether it is on this machine.
            #[must_use]
            pub fn is_loopback(&self) -> bool {
                self.0.loopback
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
            }
        }

        impl FromStr for $name {
            type Err = OAuthError;

            fn from_str(text: &str) -> Result<Self, OAuthError> {
                Self::parse(text)
            }
        }
    };
}

server! {
    /// Where users log in, and where their tokens are got, refreshed and revoked.
    AccountsServer, "accounts server", "https://accounts.zoho.eu"
}
server! {
    /// Where API calls go.
    ApiDomain, "API domain", "https://www.zohoapis.eu"
}

impl AccountsServer {
    /// One of Zoho's own accounts servers, named by somebody who is not trusted.
    ///
    /// # Errors
    ///
    /// As [`AllowedServers::check`].
    pub fn known(text: &str) -> Result<Self, OAuthError> {
        AllowedServers::zoho().check(text)
    }
}

/// The accounts servers that a redirect may name.
///
/// The `accounts-server` of a redirect comes through the user's browser, so anybody may have
/// written it, and the client's secret and the code are sent there next. It is therefore compared
/// with a list: exact host, https, no port, nothing else in the URL.
///
/// ```
/// use tokenkeep_oauth::{AccountsServer, AllowedServers};
///
/// let allowed = AllowedServers::zoho();
/// assert!(allowed.check("https://accounts.zoho.eu").is_ok());
/// assert!(allowed.check("https://accounts.zoho.eu.evil.example").is_err());
///
/// let allowed = allowed.allow(AccountsServer::parse("http://127.0.0.1:8080")?);
/// assert!(allowed.check("http://127.0.0.1:8080").is_ok());
/// # Ok::<(), tokenkeep_oauth::OAuthError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedServers(BTreeSet<AccountsServer>);

impl AllowedServers {
    /// Zoho's own: those of [`DataCenter::all`].
    #[must_use]
    pub fn zoho() -> Self {
        Self(DataCenter::all().iter().map(DataCenter::accounts_server).collect())
    }

    /// None but those that you [allow](Self::allow).
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// And this one.
    #[must_use]
    pub fn allow(mut self, server: AccountsServer) -> Self {
        self.0.insert(server);
        self
    }

    /// Whether `server` is on the list.
    #[must_use]
    pub fn contains(&self, server: &AccountsServer) -> bool {
        self.0.contains(server)
    }

    /// The server of the list that `text` is the URL of.
    ///
    /// The comparison is of text: apart from the case of ASCII letters and one slash at the end,
    /// nothing is normalised.
    ///
    /// # Errors
    ///
    /// [`UntrustedServer`](OAuthErrorKind::UntrustedServer) if it is not on the list. The text is
    /// not shown.
    pub fn check(&self, text: &str) -> Result<AccountsServer, OAuthError> {
        let bare = text.strip_suffix('/').unwrap_or(text);
        self.0.iter().find(|server| server.as_str().eq_ignore_ascii_case(bare)).cloned().ok_or_else(
            || {
                OAuthError::new(
                    OAuthErrorKind::UntrustedServer,
                    "the redirect names an accounts server that is not on the list of known ones",
                )
                .with_hint(
                    "do not go on with this login unless you know why; if the server is yours, \
                     allow it by name",
                )
            },
        )
    }
}

impl Default for AllowedServers {
    fn default() -> Self {
        Self::zoho()
    }
}

#[cfg(test)]
mod tests;
