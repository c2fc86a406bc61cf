//! What is known of a token beyond its ten fields.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Fingerprint, Timestamp};

/// The kind of organisation a token works in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Environment {
    /// The real data.
    #[default]
    Production,
    /// A copy for trying things out.
    Sandbox,
    /// A developer's organisation.
    Developer,
}

impl Environment {
    /// All environments.
    pub const ALL: [Self; 3] = [Self::Production, Self::Sandbox, Self::Developer];

    /// Its name in commands, files and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
            Self::Developer => "developer",
        }
    }
}

impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a token can still be refreshed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenStatus {
    /// As far as is known, yes.
    #[default]
    Active,
    /// The provider refused the refresh token: the user must log in again.
    NeedsLogin,
    /// It was revoked here.
    Revoked,
}

/// A refresh that was begun: recorded before the provider is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InFlight {
    /// What was sent to the provider.
    pub grant: Fingerprint,
    /// When.
    pub since: Timestamp,
    /// The generation of the lease it was sent under.
    pub generation: u64,
}

impl InFlight {
    /// A refresh with `grant`, begun at `since` under the lease of `generation`.
    #[must_use]
    pub fn new(grant: Fingerprint, since: Timestamp, generation: u64) -> Self {
        Self { grant, since, generation }
    }
}

/// A grant that an accounts server refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefusedGrant {
    /// What was refused.
    pub grant: Fingerprint,
    /// The accounts server that refused it: another one may know it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl RefusedGrant {
    /// `grant`, refused by the accounts server `by` at this moment.
    #[must_use]
    pub fn new(grant: Fingerprint, by: impl Into<String>, at: Timestamp) -> Self {
        Self { grant, by: by.into(), at }
    }
}

/// What is known of a token beyond the ten fields of the official layout.
///
/// It holds no secret. Stores keep it beside the token, as JSON with a version; fields that a
/// newer version wrote are kept when an older one writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TokenState {
    /// The data centre's code, for example `eu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_center: Option<String>,
    /// The accounts server that refreshes it, for example `https://accounts.zoho.eu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts_server: Option<String>,
    /// The environment it works in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The organisation it works in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// What it may do, as the provider named it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Whether it can still be refreshed.
    pub status: TokenStatus,
    /// When it was last refreshed or exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<Timestamp>,
    /// The refresh under way, whose answer is not stored yet. Who finds it under a lease of its
    /// own knows that the answer was lost, or is with a process that has died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// When the provider was asked to refresh it of late, by whatever process: what a budget
    /// counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked_at: Vec<Timestamp>,
    /// Until when the provider refuses to refresh it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_until: Option<Timestamp>,
    /// When it said so. Later than now: by a clock that was set back since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_at: Option<Timestamp>,
    /// The grant that the provider refused for good. Another grant in the token's record is not
    /// meant by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedGrant>,
    /// What a newer version knows and this one does not.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_this() {
        let state = TokenState {
            data_center: Some("eu".to_owned()),
            accounts_server: Some("https://accounts.zoho.eu".to_owned()),
            environment: Some(Environment::Sandbox),
            scopes: vec!["ZohoCRM.modules.ALL".to_owned()],
            status: TokenStatus::NeedsLogin,
            refreshed_at: Some(Timestamp::from_millis(1_764_000_000_000)),
            ..TokenState::default()
        };
        assert_eq!(
            serde_json::to_string(&state).unwrap(),
            r#"{"data_center":"eu","accounts_server":"https://accounts.zoho.eu","environment":"sandbox","scopes":["ZohoCRM.modules.ALL"],"status":"needs_login","refreshed_at":1764000000000}"#
        );
    }

    #[test]
    fn an_older_version_keeps_what_a_newer_one_wrote() {
        let newer = r#"{"status":"active","colour":"blue"}"#;
        let state: TokenState = serde_json::from_str(newer).unwrap();
        assert_eq!(serde_json::to_string(&state).unwrap(), newer);
    }
}
