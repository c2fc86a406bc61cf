//! What is wrong with tokens: there twice, misplaced, or of no use any more.

use std::collections::BTreeMap;

use tokenkeep::{ApiDomain, Field, OAuthToken, Timestamp, TokenMeta, TokenStore};

use super::{Check, Verdict, all_tokens};
use crate::view::{Row, Status};

/// An expiry before this (in 2001) was most likely written in seconds.
const SECONDS: Timestamp = Timestamp::from_millis(1_000_000_000_000);

pub(super) async fn examine(
    store: &dyn TokenStore,
    metas: &[TokenMeta],
    now: Timestamp,
    checks: &mut Vec<Check>,
) {
    checks.push(duplicates(metas));
    checks.push(misplaced(&all_tokens(store).await));
    checks.push(logins(metas, now));
}

fn duplicates(metas: &[TokenMeta]) -> Check {
    let mut by_owner: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for meta in metas {
        if let Some(user) = &meta.user_name {
            let domain = meta.api_domain.as_deref().map(|d| d.trim_end_matches('/').to_lowercase());
            by_owner.entry((user, &meta.client_id, domain)).or_default().push(meta.id.to_string());
        }
    }
    let twice: Vec<String> = by_owner
        .into_values()
        .filter(|ids| ids.len() > 1)
        .map(|ids| format!("ids {}", ids.join(", ")))
        .collect();
    if twice.is_empty() {
        return Check::new(
            "duplicates",
            Verdict::Ok,
            "every user, client and API domain is there once",
        );
    }
    Check::new(
        "duplicates",
        Verdict::Failed,
        format!("one user with one client and API domain: {}", twice.join("; ")),
    )
    .hint("delete all but the newest with `tokenkeep delete ID`; finds by this user are ambiguous")
}

/// Values that look as if they stood in the wrong field.
fn misplaced(tokens: &[OAuthToken]) -> Check {
    let mut found = Vec::new();
    for token in tokens {
        let id = token.id().map(ToString::to_string).unwrap_or_default();
        found.extend(mistakes(token).into_iter().map(|mistake| format!("id {id}: {mistake}")));
    }
    if found.is_empty() {
        return Check::new("fields", Verdict::Ok, "no value looks misplaced");
    }
    Check::new("fields", Verdict::Warning, found.join("; "))
        .hint("log these users in again, or import their tokens with the values in their places")
}

fn mistakes(token: &OAuthToken) -> Vec<String> {
    let mut mistakes = Vec::new();
    let columns = token.expose_columns();
    let secrets = [Field::ClientSecret, Field::RefreshToken, Field::AccessToken, Field::GrantToken];
    for (at, first) in secrets.iter().enumerate() {
        for second in &secrets[at + 1..] {
            let value = |field: Field| columns[field as usize].as_deref();
            if value(*first).is_some() && value(*first) == value(*second) {
                mistakes.push(format!("{first} and {second} are the same"));
            }
        }
    }
    if token.refresh_token().is_some() && token.client().is_none() {
        mistakes.push("a refresh_token without client_id and client_secret".to_owned());
    }
    if token.expiry_time().is_some_and(|expiry| expiry < SECONDS) {
        mistakes.push("expiry_time looks like seconds; it is in milliseconds".to_owned());
    }
    if token.api_domain().is_some_and(|domain| ApiDomain::parse(domain).is_err()) {
        mistakes.push("api_domain is not an https URL without a path".to_owned());
    }
    mistakes
}

fn logins(metas: &[TokenMeta], now: Timestamp) -> Check {
    let lost: Vec<String> = metas
        .iter()
        .map(|meta| Row::of(meta, now))
        .filter(|row| row.status == Status::NeedsLogin)
        .map(|row| row.id)
        .collect();
    if lost.is_empty() {
        return Check::new("logins", Verdict::Ok, "no user needs to log in again");
    }
    Check::new("logins", Verdict::Warning, format!("must log in again: ids {}", lost.join(", ")))
        .hint("log in with `tokenkeep login`, or delete them")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> tokenkeep::OAuthTokenBuilder {
        OAuthToken::builder().user_name("alice@example.com").client("test-client", "test-secret")
    }

    #[test]
    fn a_sound_token_has_no_mistakes() {
        let token = token()
            .refresh_token("test-refresh")
            .access_token("test-access")
            .expiry_time(Timestamp::from_millis(1_764_000_000_000))
            .api_domain("https://www.zohoapis.eu")
            .build()
            .unwrap();
        assert!(mistakes(&token).is_empty());
    }

    #[test]
    fn misplaced_values_are_named_by_their_fields() {
        let token = token()
            .refresh_token("test-same")
            .access_token("test-same")
            .expiry_time(Timestamp::from_millis(1_764_000_000))
            .api_domain("www.zohoapis.eu")
            .build()
            .unwrap();
        let found = mistakes(&token).join("; ");
        assert!(found.contains("refresh_token and access_token are the same"), "{found}");
        assert!(found.contains("expiry_time") && found.contains("api_domain"), "{found}");
        assert!(!found.contains("test-same"), "{found}");
    }
}
