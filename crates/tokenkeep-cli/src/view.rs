//! Tokens as they are shown: what scripts rely on, and no secret.

use std::time::Duration;

use serde::Serialize;
use tokenkeep::{
    DataCenter, Environment, Field, OAuthToken, StoreError, Timestamp, TokenMeta, TokenState,
    TokenStatus, TokenStore,
};

use crate::{output, time};

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "********";

const PAGE: usize = 1_000;

/// The window in which the provider counts refreshes.
const WINDOW: Duration = tokenkeep::oauth::THROTTLE_WINDOW;

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
    /// When the refresh was begun whose answer is not stored.
    in_flight_since: Option<String>,
    /// When the provider refused the grant for good, and which accounts server did.
    refused_at: Option<String>,
    refused_by: Option<String>,
    /// When the provider was asked to refresh it, in the window that it counts.
    asked_at: Vec<String>,
    #[serde(skip)]
    events: Vec<(&'static str, String)>,
}

/// What has happened to a token of late and is not over, for a person.
fn events(state: &TokenState, asked: &[Timestamp], now: Timestamp) -> Vec<(&'static str, String)> {
    let mut events = Vec::new();
    if let Some(until) = state.throttled_until.filter(|until| *until > now) {
        events.push(("throttled", format!("until {}", time::show(until))));
    }
    if let Some(in_flight) = &state.in_flight {
        let since = time::show(in_flight.since);
        events.push(("refresh", format!("begun {since}, its answer is not stored")));
    }
    if let Some(refused) = &state.refused {
        events.push(("refused", format!("{} by {}", time::show(refused.at), refused.by)));
    }
    if let Some(last) = asked.iter().max() {
        let times =
            if asked.len() == 1 { "once".to_owned() } else { format!("{} times", asked.len()) };
        let window = WINDOW.as_secs().div_ceil(60);
        let last = time::show(*last);
        events.push(("asked", format!("{times} in the last {window} minutes, last {last}")));
    }
    events
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
        let asked: Vec<_> =
            state.asked_at.iter().copied().filter(|at| *at > now.minus(WINDOW)).collect();
        Some(Self {
            row: Row::of(&meta, now),
            events: events(&state, &asked, now),
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
            in_flight_since: state.in_flight.map(|in_flight| time::column(in_flight.since)),
            refused_at: state.refused.as_ref().map(|refused| time::column(refused.at)),
            refused_by: state.refused.map(|refused| refused.by),
            asked_at: asked.into_iter().map(time::column).collect(),
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
        lines.extend(self.events.iter().cloned());
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
    fn what_is_going_on_with_a_token_is_shown_as_long_as_it_matters() {
        let at = |seconds: i64| Timestamp::from_millis(1_764_000_000_000 + seconds * 1_000);
        let token = token(true, 1, true).with_id(id());
        let grant = tokenkeep::Fingerprint::of_grant(&token).unwrap();
        let mut state = TokenState::default();
        assert!(Detail::of(&token, Some(state.clone()), at(0)).unwrap().events.is_empty());
        state.asked_at = vec![at(0), at(590), at(599)];
        state.throttled_until = Some(at(700));
        state.in_flight = Some(tokenkeep::InFlight::new(grant.clone(), at(599), 3));
        let server = "https://accounts.zoho.eu";
        state.refused = Some(tokenkeep::RefusedGrant::new(grant, server, at(500)));
        let detail = Detail::of(&token, Some(state.clone()), at(600)).unwrap();
        let table = detail.table();
        for line in [
            "throttled        until 2025-11-24T16:11:40Z",
            "refresh          begun 2025-11-24T16:09:59Z, its answer is not stored",
            "refused          2025-11-24T16:08:20Z by https://accounts.zoho.eu",
            "asked            2 times in the last 10 minutes, last 2025-11-24T16:09:59Z",
        ] {
            assert!(table.contains(line), "{line}\n{table}");
        }
        let json = serde_json::to_value(&detail).unwrap();
        assert_eq!(json["asked_at"], serde_json::json!(["1764000590000", "1764000599000"]));
        assert_eq!(json["in_flight_since"], "1764000599000");
        assert_eq!(
            (&json["refused_at"], &json["refused_by"]),
            (&"1764000500000".into(), &server.into())
        );
        let later = Detail::of(&token, Some(state), at(10_000)).unwrap().table();
        assert!(!later.contains("asked") && !later.contains("throttled"), "{later}");
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
