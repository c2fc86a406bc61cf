//! Compare-and-swap.

use tokenkeep_core::{Field, OAuthToken, Replaced, StoreErrorKind};

use super::{ALICE, BOB, check_holds, full, id_of, of, refused};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, check_same, shared},
};

pub(super) const CASES: &[Case] = &[
    case!(a_replacement_of_what_is_stored_is_saved).needs(Needs::SHARED),
    case!(the_second_of_two_replacements_loses).needs(Needs::SHARED).baseline(&["F20"]),
    case!(a_replacement_compares_all_ten_fields).needs(Needs::SHARED),
    case!(a_replacement_clears_fields).needs(Needs::SHARED),
    case!(a_replacement_does_not_bring_back_what_was_deleted)
        .needs(Needs::SHARED)
        .baseline(&["F20"]),
    case!(a_replacement_needs_an_id).needs(Needs::SHARED),
    case!(a_replacement_leaves_other_tokens_alone).needs(Needs::SHARED),
];

pub(super) fn access(value: &str) -> Result<OAuthToken, Failure> {
    Ok(OAuthToken::builder().access_token(value).build()?)
}

pub(super) fn saved(answer: Replaced) -> Result<OAuthToken, Failure> {
    let Replaced::Saved(token) = answer else {
        return Err(Failure::new(format!("the replacement was not saved: {answer:?}")));
    };
    Ok(token)
}

async fn a_replacement_of_what_is_stored_is_saved(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let mut expected = store.save_token(&full(ALICE)?).await?;
    for round in 0..3 {
        let token = access(&format!("test-access-{round}"))?;
        let answer = shared(&*store)?.replace_token(&expected, &token, None).await?;
        let stored = saved(answer)?;
        check_same("the replacement", &stored, &expected.merged_with(&token))?;
        check_holds(&*store, std::slice::from_ref(&stored)).await?;
        expected = stored;
    }
    Ok(())
}

async fn the_second_of_two_replacements_loses(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let expected = store.save_token(&full(ALICE)?).await?;
    let shared = shared(&*store)?;
    let winner = saved(shared.replace_token(&expected, &access("test-access-1")?, None).await?)?;
    let loser = shared.replace_token(&expected, &access("test-access-2")?, None).await?;
    check_eq!(loser, Replaced::Changed(Some(winner.clone())));
    check_holds(&*store, &[winner]).await
}

async fn a_replacement_compares_all_ten_fields(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let full = store.save_token(&full(ALICE)?).await?;
    for field in Field::ALL.into_iter().skip(1) {
        let mut columns = full.expose_columns().map(|column| column.map(String::from));
        columns[field as usize] = Some("7".to_owned());
        let other = OAuthToken::from_columns(columns.clone())?;
        columns[field as usize] = None;
        let lacking = OAuthToken::from_columns(columns)?;
        for expected in [other, lacking] {
            let token = access("test-access-2")?;
            let answer = shared(&*store)?.replace_token(&expected, &token, None).await?;
            check!(
                answer == Replaced::Changed(Some(full.clone())),
                "a difference in {field} is not seen: {answer:?}"
            );
        }
    }
    check_holds(&*store, std::slice::from_ref(&full)).await?;
    let sparse = store.save_token(&of(BOB).build()?).await?;
    let more = sparse.clone().with_api_domain(super::EU)?;
    let answer = shared(&*store)?.replace_token(&more, &access("test-access-2")?, None).await?;
    check_eq!(answer, Replaced::Changed(Some(sparse)));
    Ok(())
}

async fn a_replacement_clears_fields(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let expected = store.save_token(&full(ALICE)?).await?;
    let token = expected.clone().clear(Field::GrantToken).clear(Field::AccessToken);
    let stored = saved(shared(&*store)?.replace_token(&expected, &token, None).await?)?;
    check_eq!(stored.grant_token(), None);
    check_eq!(stored.access_token(), None);
    check_same("the replacement", &stored, &token)?;
    check_holds(&*store, &[stored]).await
}

async fn a_replacement_does_not_bring_back_what_was_deleted(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let expected = store.save_token(&full(ALICE)?).await?;
    store.delete_token(&id_of(&expected)?).await?;
    let answer = shared(&*store)?.replace_token(&expected, &expected, None).await?;
    check_eq!(answer, Replaced::Changed(None));
    check_holds(&*store, &[]).await
}

async fn a_replacement_needs_an_id(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let stored = store.save_token(&full(ALICE)?).await?;
    let answer = shared(&*store)?.replace_token(&full(ALICE)?, &full(ALICE)?, None).await;
    refused(answer, StoreErrorKind::Invalid, "replacing a token without an id")?;
    check_holds(&*store, &[stored]).await
}

async fn a_replacement_leaves_other_tokens_alone(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let alice = store.save_token(&full(ALICE)?).await?;
    let bob = store.save_token(&full(BOB)?).await?;
    let stored =
        saved(shared(&*store)?.replace_token(&alice, &access("test-access-2")?, None).await?)?;
    check_holds(&*store, &[stored, bob]).await
}
