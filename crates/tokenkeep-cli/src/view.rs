//! Tokens as they are shown: what scripts rely on, and no secret.

use serde::Serialize;
use tokenkeep::{
    DataCenter, Environment, Field, OAuthToken, StoreError, Timestamp, TokenMeta, TokenState,
    TokenStatus, TokenStore,
};

use crate::{output, time};

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "********";

const PAGE: usize = 1_000;

/// What a token is good for right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Its access token can be used.
    Valid,
    /// Its access token has to be refreshed before it is used.
    Expired,
    /// The user must log in again.
    NeedsLogin,
    /// It was revoked here.
    Revoked,
}

impl Status {
    fn of(meta: &TokenMeta, now: Timestamp) -> Self {
        match meta.state.as_ref().map(|state| state.status) {
            Some(TokenStatus::Revoked) => Self::Revoked,
            Some(TokenStatus::NeedsLogin) => Self::NeedsLogin,
            _ if meta.has_access_token && meta.expiry_time.is_none_or(|expiry| expiry > now) => {
                Self::Valid
            }
            _ if meta.has_refresh_token || meta.has_grant_token => Self::Expired,
            _ => Self::NeedsLogin,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::NeedsLogin => "needs_login",
            Self::Revoked => "revoked",
        }
    }
}

/// A token in a list.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) user_name: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) api_domain: Option<String>,
    pub(crate) data_center: Option<String>,
    /// The default of a login where nothing says otherwise.
    pub(crate) environment: Environment,
    /// Milliseconds since the epoch as decimal digits, as in the SDKs' column.
    pub(crate) expiry_time: Option<String>,
    pub(crate) status: Status,
    pub(crate) has_access_token: bool,
    pub(crate) has_refresh_token: bool,
    pub(crate) has_grant_token: bool,
    pub(crate) sealed: bool,
    #[serde(skip)]
    expires_at: Option<Timestamp>,
}

impl Row {
    pub(crate) fn of(meta: &TokenMeta, now: Timestamp) -> Self {
        let state = meta.state.as_ref();
        let domain = meta.api_domain.as_deref().and_then(DataCenter::of_api_domain);
        Self {
            id: meta.id.to_string(),
            user_name: meta.user_name.clone(),
            client_id: meta.client_id.clone(),
            api_domain: meta.api_domain.clone(),
            data_center: state
                .and_then(|state| state.data_center.clone())
                .or_else(|| domain.map(|(data_center, _)| data_center.code().to_owned())),
            environment: state
                .and_then(|state| state.environment)
                .or(domain.map(|(_, environment)| environment))
                .unwrap_or(Environment::Production),
            expiry_time: meta.expiry_time.map(time::column),
            status: Status::of(meta, now),
            has_access_token: meta.has_access_token,
            has_refresh_token: meta.has_refresh_token,
            has_grant_token: meta.has_grant_token,
            sealed: false,
            expires_at: meta.expiry_time,
        }
    }

    fn expires(&self) -> String {
        self.expires_at.map(time::show).unwrap_or_default()
    }
}

/// One token with all that may be shown of it: the ten fields with masks for its secrets, and
/// what is known beyond them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Detail {
    #[serde(flatten)]
    pub(crate) row: Row,
    client_secret: Option<&'static str>,
    refresh_token: Option<&'static str>,
    access_token: Option<&'static str>,
    grant_token: Option<&'static str>,
    redirect_url: Option<String>,
    accounts_server: Option<String>,
    org_id: Option<String>,
    scopes: Vec<String>,
    refreshed_at: Option<String>,
    throttled_until: Option<String>,
}

impl Detail {
    /// The detail of a stored token; `None` if it has no id.
    pub(crate) fn of(
        token: &OAuthToken,
        state: Option<TokenState>,
        now: Timestamp,
    ) -> Option<Self> {
        let meta = TokenMeta::of(token, state)?;
        let mask = |field| token.has(field).then_some(MASK);
        let state = meta.state.clone().unwrap_or_default();
        Some(Self {
            row: Row::of(&meta, now),
            client_secret: mask(Field::ClientSecret),
            refresh_token: mask(Field::RefreshToken),
            access_token: mask(Field::AccessToken),
            grant_token: mask(Field::GrantToken),
            redirect_url: token.redirect_url().map(str::to_owned),
            accounts_server: state.accounts_server,
            org_id: state.org_id,
            scopes: state.scopes,
            refreshed_at: state.refreshed_at.map(time::column),
            throttled_until: state.throttled_until.map(time::column),
        })
    }

    /// The detail of `token` in `store`.
    pub(crate) async fn load(
        store: &dyn TokenStore,
        token: &OAuthToken,
        now: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        let state = match (store.shared(), token.id()) {
            (Some(shared), Some(id)) => shared.state(id).await?,
            _ => None,
        };
        Ok(Self::of(token, state, now))
    }

    /// Names and values, for a person.
    pub(crate) fn table(&self) -> String {
        let row = &self.row;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let mask = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let mut lines = vec![
            ("id", row.id.clone()),
            ("user_name", text(&row.user_name)),
            ("status", row.status.name().to_owned()),
            ("expires", row.expires()),
            ("data_center", text(&row.data_center)),
            ("environment", row.environment.to_string()),
            ("api_domain", text(&row.api_domain)),
            ("accounts_server", text(&self.accounts_server)),
            ("client_id", text(&row.client_id)),
            ("client_secret", mask(self.client_secret)),
            ("refresh_token", mask(self.refresh_token)),
            ("access_token", mask(self.access_token)),
            ("grant_token", mask(self.grant_token)),
            ("redirect_url", text(&self.redirect_url)),
        ];
        if !self.scopes.is_empty() {
            lines.push(("scopes", self.scopes.join(" ")));
        }
        if let Some(org) = &self.org_id {
            lines.push(("org_id", org.clone()));
        }
        output::pairs(lines)
    }
}

/// The tokens of a list, for a person.
pub(crate) fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "The store is empty.".to_owned();
    }
    output::columns(
        ["ID", "USER", "DC", "ENV", "STATUS", "EXPIRES", "REFRESH TOKEN", "CLIENT"],
        rows.iter().map(|row| {
            [
                row.id.clone(),
                row.user_name.clone().unwrap_or_default(),
                row.data_center.clone().unwrap_or_default(),
                row.environment.to_string(),
                row.status.name().to_owned(),
                row.expires(),
                if row.has_refresh_token { "yes" } else { "no" }.to_owned(),
                row.client_id.clone().unwrap_or_default(),
            ]
        }),
    )
}

/// What a store holds, without secrets.
pub(crate) struct Contents {
    pub(crate) tokens: Vec<TokenMeta>,
    /// What could not be read, for a person.
    pub(crate) damage: Vec<String>,
}

/// Lists a store by pages where it has them, so that no secret is read.
pub(crate) async fn contents(store: &dyn TokenStore) -> Result<Contents, StoreError> {
    let Some(shared) = store.shared() else {
        let tokens = store.get_tokens().await?;
        let tokens = tokens.iter().filter_map(|token| TokenMeta::of(token, None)).collect();
        return Ok(Contents { tokens, damage: Vec::new() });
    };
    let first = shared.page(None, PAGE).await?;
    let (mut tokens, damage, mut next) = (first.tokens, first.damage, first.next);
    while let Some(after) = next {
        let page = shared.page(Some(&after), PAGE).await?;
        tokens.extend(page.tokens);
        next = page.next;
    }
    Ok(Contents { tokens, damage })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(token: &OAuthToken, state: TokenStatus) -> Status {
        let mut known = TokenState::default();
        known.status = state;
        let meta = TokenMeta::of(&token.clone().with_id(id()), Some(known)).unwrap();
        Status::of(&meta, Timestamp::from_millis(1_000))
    }

    fn id() -> tokenkeep::TokenId {
        tokenkeep::TokenId::from_number(1)
    }

    fn token(access: bool, expiry: i64, refresh: bool) -> OAuthToken {
        let mut builder = OAuthToken::builder()
            .user_name("alice@example.com")
            .expiry_time(Timestamp::from_millis(expiry));
        if access {
            builder = builder.access_token("test-access");
        }
        if refresh {
            builder = builder.refresh_token("test-refresh");
        }
        builder.build().unwrap()
    }

    #[test]
    fn status_is_what_the_token_is_good_for() {
        let active = TokenStatus::Active;
        assert_eq!(status(&token(true, 1_001, true), active), Status::Valid);
        assert_eq!(status(&token(true, 1_000, true), active), Status::Expired);
        assert_eq!(status(&token(false, 9_999, true), active), Status::Expired);
        assert_eq!(status(&token(true, 1_000, false), active), Status::NeedsLogin);
        assert_eq!(status(&token(true, 1_001, true), TokenStatus::NeedsLogin), Status::NeedsLogin);
        assert_eq!(status(&token(true, 1_001, true), TokenStatus::Revoked), Status::Revoked);
    }

    #[test]
    fn a_detail_shows_masks_only() {
        let token = token(true, 1_001, true).with_id(id());
        let detail = Detail::of(&token, None, Timestamp::from_millis(0)).unwrap();
        let json = serde_json::to_string(&detail).unwrap();
        for shown in [json, detail.table(), format!("{detail:?}")] {
            assert!(!shown.contains("test-"), "{shown}");
            assert!(shown.contains(MASK));
        }
    }
}
