//! What a save leaves: merging, clearing, and one token where the user becomes known later.

use tokenkeep_core::{
    AccessToken, Field, GrantToken, OAuthToken, RefreshToken, StoreErrorKind, Timestamp, TokenQuery,
};

use super::{ALICE, BOB, check_holds, found, full, id, id_of, of, refused, user};
use crate::conformance::{
    Case, CaseResult, Context,
    case::{case, check, check_eq, check_same},
};

pub(super) const CASES: &[Case] = &[
    case!(absent_fields_stay),
    case!(cleared_fields_go),
    case!(a_save_may_only_clear),
    case!(clearing_what_is_not_stored_is_nothing_to_store),
    case!(an_identical_save_changes_nothing).baseline(&["F10"]),
    case!(saving_what_was_found_changes_nothing).baseline(&["F10"]),
    case!(a_users_token_is_updated_under_its_own_id).baseline(&["F10"]),
    case!(an_id_of_another_user_is_a_conflict).baseline(&["F05"]),
    case!(an_updated_token_is_found_by_its_new_values_only),
    case!(the_name_is_learnt_later_with_the_id),
    case!(the_name_is_learnt_later_by_refresh_token),
    case!(the_name_is_learnt_later_by_grant_token),
    case!(the_name_is_learnt_later_by_access_token),
    case!(a_nameless_record_folds_into_the_users_token),
    case!(a_nameless_record_folds_by_id_and_keeps_its_refresh_token),
    case!(a_nameless_record_of_another_client_is_not_folded),
    case!(a_later_login_replaces_the_earlier_one),
];

async fn absent_fields_stay(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    let refreshed = OAuthToken::builder()
        .user_name(ALICE)
        .access_token("test-access-2")
        .expiry_time(Timestamp::from_millis(1_764_000_003_600))
        .build()?;
    let merged = store.save_token(&refreshed).await?;
    check_same("the merged token", &merged, &saved.merged_with(&refreshed))?;
    check_eq!(merged.refresh_token(), saved.refresh_token());
    check_holds(&*store, &[merged]).await
}

async fn cleared_fields_go(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for field in Field::ALL.into_iter().skip(2) {
        let saved = store.save_token(&full(ALICE)?).await?;
        check!(saved.has(field), "{field} was not stored");
        let cleared = store.save_token(&saved.clone().clear(field)).await?;
        check!(!cleared.has(field), "{field} was not cleared");
        check_same("the cleared token", &cleared, &saved.merged_with(&saved.clone().clear(field)))?;
        check_holds(&*store, &[cleared]).await?;
    }
    Ok(())
}

async fn a_save_may_only_clear(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    store.save_token(&full(ALICE)?).await?;
    let clear = OAuthToken::builder().user_name(ALICE).build()?.clear(Field::AccessToken);
    let saved = store.save_token(&clear).await?;
    check_eq!(saved.access_token(), None);
    check!(saved.has(Field::RefreshToken), "the refresh token went too");
    check_holds(&*store, &[saved]).await
}

async fn clearing_what_is_not_stored_is_nothing_to_store(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let clear = OAuthToken::builder().user_name(ALICE).build()?.clear(Field::AccessToken);
    refused(
        store.save_token(&clear).await,
        StoreErrorKind::Invalid,
        "clearing what is not stored",
    )?;
    check_holds(&*store, &[]).await
}

async fn an_identical_save_changes_nothing(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let token = full(ALICE)?;
    let saved = store.save_token(&token).await?;
    for _ in 0..3 {
        check_eq!(store.save_token(&token).await?, saved);
    }
    check_holds(&*store, &[saved]).await
}

async fn saving_what_was_found_changes_nothing(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    store.save_token(&full(BOB)?).await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    let given = found(&*store, &user(ALICE)?).await?;
    check_eq!(store.save_token(&given).await?, saved);
    check_eq!(store.save_token(&saved).await?, saved);
    check_eq!(store.get_tokens().await?.len(), 2);
    Ok(())
}

async fn a_users_token_is_updated_under_its_own_id(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    let renamed = full(ALICE)?.with_id(id("17")?);
    let again = store.save_token(&renamed).await?;
    check_eq!(again.id(), saved.id());
    check_holds(&*store, &[saved]).await
}

async fn an_id_of_another_user_is_a_conflict(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let alice = store.save_token(&full(ALICE)?).await?;
    for intruder in [
        full(BOB)?,
        of(ALICE).client_id("test-client-2").build()?,
        OAuthToken::builder().client_id("test-client-2").access_token("test-access-2").build()?,
    ] {
        let intruder = intruder.with_id(id_of(&alice)?);
        let saving = store.save_token(&intruder).await;
        refused(saving, StoreErrorKind::Conflict, "taking another's id")?;
        check_holds(&*store, std::slice::from_ref(&alice)).await?;
    }
    Ok(())
}

async fn an_updated_token_is_found_by_its_new_values_only(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let value = |text: &str| {
        OAuthToken::builder()
            .user_name(ALICE)
            .access_token(format!("test-access-{text}"))
            .grant_token(format!("test-grant-{text}"))
            .refresh_token(format!("test-refresh-{text}"))
            .build()
    };
    let queries = |text: &str| {
        Ok::<_, tokenkeep_core::FieldError>([
            TokenQuery::access_token(AccessToken::new(format!("test-access-{text}"))?),
            TokenQuery::grant_token(GrantToken::new(format!("test-grant-{text}"))?),
            TokenQuery::refresh_token(RefreshToken::new(format!("test-refresh-{text}"))?),
        ])
    };
    store.save_token(&value("old")?).await?;
    let saved = store.save_token(&value("new")?).await?;
    for query in queries("old")? {
        check_eq!(store.find_token(&query).await?, None);
    }
    for query in queries("new")? {
        check_same("the token found", &found(&*store, &query).await?, &saved)?;
    }
    Ok(())
}

fn nameless() -> tokenkeep_core::OAuthTokenBuilder {
    OAuthToken::builder().client("test-client-1", "test-client-secret-1")
}

async fn the_name_is_learnt_later_with_the_id(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let first = store.save_token(&nameless().refresh_token("test-refresh-1").build()?).await?;
    let named = store.save_token(&first.clone().with_user_name(ALICE)?).await?;
    check_eq!(named.id(), first.id());
    check_holds(&*store, &[named]).await
}

async fn the_name_is_learnt_later_by_refresh_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let first = store.save_token(&nameless().refresh_token("test-refresh-1").build()?).await?;
    let token = nameless().user_name(ALICE).refresh_token("test-refresh-1");
    let named = store.save_token(&token.access_token("test-access-1").build()?).await?;
    check_eq!(named.id(), first.id());
    check_holds(&*store, &[named]).await
}

async fn the_name_is_learnt_later_by_grant_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let first = store.save_token(&nameless().grant_token("test-grant-1").build()?).await?;
    let exchanged = nameless().grant_token("test-grant-1").refresh_token("test-refresh-1");
    let exchanged = store.save_token(&exchanged.build()?).await?;
    check_eq!(exchanged.id(), first.id());
    let named = nameless().user_name(ALICE).grant_token("test-grant-1");
    let named = store.save_token(&named.build()?).await?;
    check_eq!(named.id(), first.id());
    check_eq!(named.refresh_token(), exchanged.refresh_token());
    check_holds(&*store, &[named]).await
}

async fn the_name_is_learnt_later_by_access_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let first = OAuthToken::builder().access_token("test-access-1").build()?;
    let first = store.save_token(&first).await?;
    let named = OAuthToken::builder().user_name(ALICE).access_token("test-access-1").build()?;
    let named = store.save_token(&named).await?;
    check_eq!(named.id(), first.id());
    check_holds(&*store, &[named]).await
}

async fn a_nameless_record_folds_into_the_users_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let earlier = store.save_token(&full(ALICE)?).await?;
    let bob = store.save_token(&full(BOB)?).await?;
    let login = store.save_token(&nameless().refresh_token("test-refresh-2").build()?).await?;
    let token = nameless().user_name(ALICE).refresh_token("test-refresh-2");
    let named = store.save_token(&token.access_token("test-access-2").build()?).await?;
    check_eq!(named.id(), earlier.id());
    check_eq!(store.find_token_by_id(&id_of(&login)?).await?, None);
    check_holds(&*store, &[named, bob]).await
}

async fn a_nameless_record_folds_by_id_and_keeps_its_refresh_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let earlier = store.save_token(&full(ALICE)?).await?;
    let login = store.save_token(&nameless().refresh_token("test-refresh-2").build()?).await?;
    let name = OAuthToken::builder()
        .id(id_of(&login)?)
        .user_name(ALICE)
        .access_token("test-access-2")
        .build()?;
    let named = store.save_token(&name).await?;
    check_eq!(named.id(), earlier.id());
    let refresh_token = named.refresh_token().map(RefreshToken::expose_secret);
    check!(
        refresh_token == Some("test-refresh-2"),
        "the refresh token of the login that was folded in is lost"
    );
    check_eq!(named.redirect_url(), earlier.redirect_url());
    check_holds(&*store, &[named]).await
}

async fn a_nameless_record_of_another_client_is_not_folded(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let earlier = store.save_token(&full(ALICE)?).await?;
    let login = OAuthToken::builder()
        .client("test-client-2", "test-client-secret-2")
        .refresh_token("test-refresh-2")
        .build()?;
    let login = store.save_token(&login).await?;
    let token = OAuthToken::builder().user_name(ALICE).refresh_token("test-refresh-2").build()?;
    let named = store.save_token(&token).await?;
    check_eq!(named.id(), login.id());
    check_holds(&*store, &[earlier, named]).await
}

async fn a_later_login_replaces_the_earlier_one(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let earlier = store.save_token(&full(ALICE)?).await?;
    let login = full(ALICE)?
        .with_refresh_token(RefreshToken::new("test-refresh-2")?)
        .clear(Field::GrantToken);
    let later = store.save_token(&login).await?;
    check_eq!(later.id(), earlier.id());
    check_eq!(later.grant_token(), None);
    let old = TokenQuery::refresh_token(RefreshToken::new(format!("test-refresh-of-{ALICE}"))?);
    check_eq!(store.find_token(&old).await?, None);
    check_holds(&*store, &[later]).await
}
