//! Tokens outlive the instance, and instances on one space see each other's changes.

use tokenkeep_core::OAuthToken;

use super::{ALICE, BOB, check_holds, found, full, id_of, ids, of, user};
use crate::conformance::{
    Case, CaseResult, Context, Needs,
    case::{case, check, check_eq, check_same},
};

pub(super) const CASES: &[Case] = &[
    case!(tokens_are_there_after_reopening).needs(Needs::PERSISTENT).baseline(&["F02"]),
    case!(an_emptied_space_opens_again).needs(Needs::PERSISTENT).baseline(&["F02"]),
    case!(two_instances_see_each_others_changes).needs(Needs::PERSISTENT),
    case!(two_instances_give_distinct_ids).needs(Needs::PERSISTENT),
    case!(two_instances_update_one_token).needs(Needs::PERSISTENT),
];

async fn tokens_are_there_after_reopening(cx: &Context) -> CaseResult {
    let mut expected = Vec::new();
    for name in [ALICE, BOB, "carol@example.com"] {
        let store = cx.open().await?;
        check_holds(&*store, &expected).await?;
        expected.push(store.save_token(&full(name)?).await?);
    }
    let store = cx.open().await?;
    check_holds(&*store, &expected).await?;
    let again = store.save_token(&full(ALICE)?).await?;
    check_eq!(again.id(), expected[0].id());
    check_holds(&*store, &expected).await
}

async fn an_emptied_space_opens_again(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    store.save_token(&full(ALICE)?).await?;
    check_eq!(store.delete_tokens().await?, 1);
    drop(store);
    let store = cx.open().await?;
    check_holds(&*store, &[]).await?;
    let saved = store.save_token(&full(BOB)?).await?;
    check_holds(&*store, &[saved]).await
}

async fn two_instances_see_each_others_changes(cx: &Context) -> CaseResult {
    let (one, two) = (cx.open().await?, cx.open().await?);
    let saved = one.save_token(&full(ALICE)?).await?;
    check_same("seen by the other", &found(&*two, &user(ALICE)?).await?, &saved)?;
    let update = OAuthToken::builder().user_name(ALICE).access_token("test-access-2").build()?;
    let updated = two.save_token(&update).await?;
    check_eq!(updated.id(), saved.id());
    check_eq!(one.find_token_by_id(&id_of(&saved)?).await?, Some(updated));
    check!(two.delete_token(&id_of(&saved)?).await?, "the other cannot delete it");
    check_eq!(one.find_token(&user(ALICE)?).await?, None);
    check_holds(&*one, &[]).await?;
    let saved = one.save_token(&full(BOB)?).await?;
    check_holds(&*two, &[saved]).await
}

async fn two_instances_give_distinct_ids(cx: &Context) -> CaseResult {
    let (one, two) = (cx.open().await?, cx.open().await?);
    for number in 1..=12 {
        let store = if number % 2 == 0 { &one } else { &two };
        let saved = store.save_token(&of(&format!("user{number}@example.com")).build()?).await?;
        check_eq!(id_of(&saved)?.as_str(), number.to_string());
    }
    let expected: Vec<_> = (1..=12).map(|number| number.to_string()).collect();
    check_eq!(ids(&*one).await?, expected);
    check_eq!(ids(&*two).await?, expected);
    Ok(())
}

async fn two_instances_update_one_token(cx: &Context) -> CaseResult {
    let (one, two) = (cx.open().await?, cx.open().await?);
    let access = of(ALICE).access_token("test-access-1").build()?;
    let grant = of(ALICE).grant_token("test-grant-1").build()?;
    one.save_token(&access).await?;
    two.save_token(&grant).await?;
    let both = found(&*one, &user(ALICE)?).await?;
    check_eq!(both.access_token(), access.access_token());
    check_eq!(both.grant_token(), grant.grant_token());
    check_eq!(two.get_tokens().await?.len(), 1);
    Ok(())
}
