//! What goes wrong between a store and AWS: connections that are cut, answers that are lost,
//! throttling, failures inside, and credentials that are not taken. Played on moto, through proxies.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod answers;
mod damage;
mod refusals;
mod wire;
mod work;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokenkeep_core::{OAuthToken, StoreError};
use tokenkeep_servers::{Kind, Trials};
use tokenkeep_store_aws::{
    AwsAccess, dynamodb::DynamoDbConfig, secretsmanager::SecretsManagerConfig,
};

fn main() -> ExitCode {
    Trials::new()
        .needs(Kind::Moto, "dynamodb_claims_are_true_when_connections_are_cut", |moto| {
            wire::dynamodb(moto[0].port)
        })
        .needs(Kind::Moto, "secretsmanager_claims_are_true_when_connections_are_cut", |moto| {
            wire::secretsmanager(moto[0].port)
        })
        .needs(Kind::Moto, "throttling_and_failures_are_waited_out", |moto| {
            refusals::waited_out(moto[0].port)
        })
        .needs(Kind::Moto, "each_request_of_secretsmanager_may_be_refused_once", |moto| {
            refusals::each(moto[0].port)
        })
        .needs(Kind::Moto, "a_damaged_secret_costs_no_other_token", |moto| {
            damage::of_a_token(moto[0].port)
        })
        .needs(Kind::Moto, "a_store_without_its_root_or_index_is_not_empty", |moto| {
            damage::of_the_index(moto[0].port)
        })
        .needs(Kind::Moto, "no_name_and_no_tag_shows_whose_tokens_they_are", |moto| {
            damage::documented(moto[0].port)
        })
        .needs(Kind::Moto, "endless_throttling_is_told_in_time", |moto| {
            refusals::endless(moto[0].port)
        })
        .needs(Kind::Moto, "refusals_are_told_with_a_hint_and_no_secret", |moto| {
            refusals::told(moto[0].port)
        })
        .needs(Kind::Moto, "a_table_is_what_the_documentation_says", |moto| {
            refusals::documented(moto[0].port)
        })
        .plain("an_address_where_nobody_is_was_not_reached", refusals::unreachable)
        .run()
}

fn access(port: u16) -> AwsAccess {
    let access = AwsAccess::new().region("eu-central-1");
    let access = access.endpoint(format!("http://127.0.0.1:{port}"));
    access.keys("test-key-id", "test-secret-key")
}

fn table(name: &str, port: u16) -> DynamoDbConfig {
    DynamoDbConfig::new(name).access(access(port)).timeout(Duration::from_secs(20))
}

fn secret(name: &str, port: u16) -> SecretsManagerConfig {
    SecretsManagerConfig::new(name).access(access(port)).timeout(Duration::from_secs(20))
}

/// A name that no other test has.
fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-fault-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn token(user: &str, access: &str) -> OAuthToken {
    let token = OAuthToken::builder().user_name(user).client("test-client", "test-client-secret");
    let token = token.refresh_token(format!("test-refresh-{user}"));
    token.access_token(format!("test-access-{access}")).build().expect("a token")
}

/// Fails if the error, or what is underneath, shows a value or has no hint.
fn check_shown(error: &StoreError) {
    assert!(error.hint().is_some(), "{error:?}");
    let mut shown = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        shown.push_str(&format!("{error} {error:?}"));
        source = error.source();
    }
    for value in ["test-key", "test-secret", "test-access", "test-refresh", "test-client"] {
        assert!(!shown.contains(value), "{shown}");
    }
}
