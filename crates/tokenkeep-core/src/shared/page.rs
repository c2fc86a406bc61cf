use crate::{Field, OAuthToken, Timestamp, TokenId, TokenState};

/// A stored token without its secrets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenMeta {
    /// The store's name for it.
    pub id: TokenId,
    /// Whose token it is.
    pub user_name: Option<String>,
    /// The client it was given to.
    pub client_id: Option<String>,
    /// Where its API calls go.
    pub api_domain: Option<String>,
    /// When its access token expires.
    pub expiry_time: Option<Timestamp>,
    /// Whether it has an access token.
    pub has_access_token: bool,
    /// Whether it has a refresh token.
    pub has_refresh_token: bool,
    /// Whether it has a grant token.
    pub has_grant_token: bool,
    /// Whether it has its client's secret.
    pub has_client_secret: bool,
    /// What else is known of it.
    pub state: Option<TokenState>,
}

impl TokenMeta {
    /// The metadata of a stored token; `None` if it has no id.
    #[must_use]
    pub fn of(token: &OAuthToken, state: Option<TokenState>) -> Option<Self> {
        Some(Self {
            id: token.id()?.clone(),
            user_name: token.user_name().map(str::to_owned),
            client_id: token.client_id().map(str::to_owned),
            api_domain: token.api_domain().map(str::to_owned),
            expiry_time: token.expiry_time(),
            has_access_token: token.has(Field::AccessToken),
            has_refresh_token: token.has(Field::RefreshToken),
            has_grant_token: token.has(Field::GrantToken),
            has_client_secret: token.has(Field::ClientSecret),
            state,
        })
    }
}

/// Some tokens in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The tokens.
    pub tokens: Vec<TokenMeta>,
    /// Where the next page begins: pass it as `after`. `None` when this is the last.
    pub next: Option<TokenId>,
    /// What is stored but cannot be read, for a person: where it stands and what is wrong with
    /// it, without its content. On the first page only.
    pub damage: Vec<String>,
}

impl Page {
    /// A page of these tokens.
    #[must_use]
    pub fn new(tokens: Vec<TokenMeta>, next: Option<TokenId>) -> Self {
        Self { tokens, next, damage: Vec::new() }
    }

    /// With what could not be read.
    #[must_use]
    pub fn with_damage(mut self, damage: Vec<String>) -> Self {
        self.damage = damage;
        self
    }
}
