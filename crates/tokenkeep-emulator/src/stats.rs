//! What the emulator counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the emulator did since it started or was reset.
///
/// A request is counted once, when it takes effect, and whether or not anybody gets to read the reply.
/// One that an injected fault kept from taking effect is not counted under its own name, only in [`faults`](Self::faults).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests to the token endpoints by grant type, failed ones included.
    pub token_requests: BTreeMap<String, u64>,
    /// Refreshes that minted an access token.
    #[serde(default)]
    pub refreshes_granted: u64,
    /// Refreshes with a rotated refresh token within its grace, which got the same reply again. They
    /// minted nothing.
    #[serde(default)]
    pub refreshes_replayed: u64,
    /// Families of tokens that ended because a rotated refresh token came again after its grace, see
    /// [`Config::revoke_family_on_reuse`](crate::Config::revoke_family_on_reuse).
    #[serde(default)]
    pub families_revoked: u64,
    /// Token requests that were refused because too many came.
    pub throttled: u64,
    /// Tokens that a client revoked.
    pub revocations: u64,
    /// Requests to the CRM, refused ones included.
    pub api_requests: u64,
    /// Requests to the CRM that were answered with 401.
    pub api_unauthorized: u64,
    /// Faults that were played, see [`Config::fail_next`](crate::Config::fail_next).
    #[serde(default)]
    pub faults: u64,
}

impl Stats {
    /// How many requests of one grant type came, for example `refresh_token`.
    #[must_use]
    pub fn token_requests_of(&self, grant_type: &str) -> u64 {
        self.token_requests.get(grant_type).copied().unwrap_or(0)
    }

    pub(crate) fn count_token_request(&mut self, grant_type: &str) {
        *self.token_requests.entry(grant_type.to_owned()).or_default() += 1;
    }
}
