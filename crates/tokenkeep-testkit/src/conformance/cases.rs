//! The table of cases.

mod bulk;
mod changes;
mod contention;
mod entries;
mod fencing;
mod ids;
mod instances;
mod leases;
mod matching;
mod merging;
mod operations;
mod pages;
mod processes;
mod races;
mod replacing;
mod state;
mod values;

use tokenkeep_core::{
    OAuthToken, OAuthTokenBuilder, StoreError, StoreErrorKind, TokenId, TokenQuery, TokenStore,
};

pub(super) use self::races::add_moment;
use super::{
    Case, CaseResult, Failure,
    case::{check, check_same},
};

/// All cases, in the order they are reported.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        operations::CASES,
        matching::CASES,
        merging::CASES,
        ids::CASES,
        values::CASES,
        bulk::CASES,
        entries::CASES,
        instances::CASES,
        races::CASES,
        contention::CASES,
        processes::CASES,
        replacing::CASES,
        leases::CASES,
        fencing::CASES,
        state::CASES,
        changes::CASES,
        pages::CASES,
    ]
    .concat()
}

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";
const EU: &str = "https://www.zohoapis.eu";
const US: &str = "https://www.zohoapis.com";

/// A user's token: name and refresh token.
fn of(user_name: &str) -> OAuthTokenBuilder {
    OAuthToken::builder().user_name(user_name).refresh_token(format!("test-refresh-of-{user_name}"))
}

/// A user's token with a value in every field but the id.
fn full(user_name: &str) -> Result<OAuthToken, Failure> {
    Ok(of(user_name)
        .client("test-client-1", "test-client-secret-1")
        .access_token(format!("test-access-of-{user_name}"))
        .grant_token(format!("test-grant-of-{user_name}"))
        .expiry_time(tokenkeep_core::Timestamp::from_millis(1_764_000_000_000))
        .redirect_url("https://example.com/callback?a=b&c=d")
        .api_domain(EU)
        .build()?)
}

fn user(name: &str) -> Result<TokenQuery, Failure> {
    Ok(TokenQuery::user(name)?)
}

fn id(text: &str) -> Result<TokenId, Failure> {
    Ok(TokenId::new(text)?)
}

/// The id that a stored token must have.
fn id_of(stored: &OAuthToken) -> Result<TokenId, Failure> {
    stored.id().cloned().ok_or_else(|| Failure::new("a stored token has no id"))
}

/// The ids of all tokens, as text, in the order the store gives them.
async fn ids(store: &dyn TokenStore) -> Result<Vec<String>, Failure> {
    store.get_tokens().await?.iter().map(|token| Ok(id_of(token)?.into())).collect()
}

/// The token that `query` means; a failure if there is none.
async fn found(store: &dyn TokenStore, query: &TokenQuery) -> Result<OAuthToken, Failure> {
    let token = store.find_token(query).await?;
    token.ok_or_else(|| Failure::new(format!("nothing is found by {query:?}")))
}

/// The error of this kind that `result` must be.
#[track_caller]
fn refused<T>(
    result: Result<T, StoreError>,
    kind: StoreErrorKind,
    what: &str,
) -> Result<StoreError, Failure> {
    match result {
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(Failure::new(format!("{what} gives {error:?}, not {kind:?}"))),
        Ok(_) => Err(Failure::new(format!("{what} works, and must be {kind:?}"))),
    }
}

/// Fails unless the store holds exactly these tokens, in this order.
async fn check_holds(store: &dyn TokenStore, expected: &[OAuthToken]) -> CaseResult {
    let tokens = store.get_tokens().await?;
    check!(
        tokens.len() == expected.len(),
        "the store holds {} tokens, not {}: {tokens:?}",
        tokens.len(),
        expected.len()
    );
    for (stored, expected) in tokens.iter().zip(expected) {
        check_same("a stored token", stored, expected)?;
    }
    Ok(())
}
