//! What the tests of this store have in common.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of it")]

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{OAuthToken, TokenState, TokenStore};
use tokenkeep_store_vault::{VaultConfig, VaultStore};
use tokenkeep_testkit::{ManualClock, VaultServer};

pub(crate) const PREFIX: &str = "test/store";

pub(crate) fn config(server: &VaultServer) -> VaultConfig {
    VaultConfig::new(&server.url(), "secret", PREFIX).unwrap()
}

pub(crate) async fn open(server: &VaultServer) -> VaultStore {
    let clock = Arc::new(ManualClock::default());
    let config = config(server).token(VaultServer::ROOT).clock(clock);
    config.timeout(Duration::from_secs(30)).open().await.unwrap()
}

pub(crate) fn token(name: &str, access: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(name)
        .client("test-client", "test-client-secret")
        .refresh_token(format!("test-refresh-{name}"))
        .access_token(format!("test-access-{name}-{access}"))
        .build()
        .unwrap()
}

pub(crate) fn state(org_id: &str) -> TokenState {
    let mut state = TokenState::default();
    state.org_id = Some(org_id.to_owned());
    state
}

/// All that a store shows: tokens and their states.
pub(crate) async fn contents(store: &VaultStore) -> Vec<(OAuthToken, Option<TokenState>)> {
    let mut contents = Vec::new();
    for token in store.get_tokens().await.unwrap() {
        let state = store.shared().unwrap().state(token.id().unwrap()).await.unwrap();
        contents.push((token, state));
    }
    contents
}

/// The names of the secrets that are there.
pub(crate) fn secrets(server: &VaultServer) -> Vec<String> {
    let path = format!("secret/metadata/{PREFIX}/tokens");
    let (_status, body) = server.ask("LIST", &path, &serde_json::Value::Null);
    let keys = body["data"]["keys"].as_array().cloned().unwrap_or_default();
    keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}
