use tokenkeep_core::{AccessToken, Timestamp, TokenId};

/// An access token that can be used now, and where.
#[derive(Clone, Debug)]
pub struct LiveToken {
    pub(crate) id: TokenId,
    pub(crate) access_token: AccessToken,
    pub(crate) api_domain: String,
    pub(crate) issued_at: Option<Timestamp>,
    pub(crate) expires_at: Timestamp,
    pub(crate) renew_at: Timestamp,
    pub(crate) saved: bool,
    /// Whether this manager had it issued.
    pub(crate) ours: bool,
}

impl LiveToken {
    /// The store's name for the token.
    #[must_use]
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What to authorise an API call with.
    #[must_use]
    pub fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    /// Where API calls with it go: an origin such as `https://www.zohoapis.eu`, no trailing slash.
    #[must_use]
    pub fn api_domain(&self) -> &str {
        &self.api_domain
    }

    /// When the provider will refuse it, by this machine's clock. The end of time if nothing is
    /// known of its end.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When it is renewed, while it is still served.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        self.renew_at
    }

    /// Whether it is in the store. `false` after a save that failed for good: the token is used,
    /// kept in memory and, if one is configured, in the [spool](crate::Spool), and saved as soon as
    /// the store takes it.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saved
    }
}
