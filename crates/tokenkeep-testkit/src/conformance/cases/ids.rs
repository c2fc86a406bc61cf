//! Ids count by number, are distinct, and are not given again.

use tokenkeep_core::{Field, OAuthToken, StoreErrorKind, TokenId, TokenStore};

use super::{ALICE, BOB, check_holds, found, id, id_of, ids, of, refused, user};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq},
};

pub(super) const CASES: &[Case] = &[
    case!(ids_go_on_after_nine).baseline(&["F04", "F05"]),
    case!(ids_go_on_after_ninety_nine).baseline(&["F04"]),
    case!(a_text_id_is_kept_and_the_next_is_a_number).baseline(&["F14"]),
    case!(a_number_given_by_the_caller_is_not_given_again).baseline(&["F14"]),
    case!(an_absurd_number_given_by_the_caller_does_not_end_the_ids).baseline(&["F14"]),
    case!(an_id_is_not_given_again_after_a_deletion),
    case!(an_id_is_not_given_again_after_deleting_all),
    case!(an_id_is_not_given_again_after_reopening).needs(Needs::PERSISTENT),
    case!(the_word_id_is_an_id_like_any_other).baseline(&["F33"]),
    case!(tokens_come_in_the_order_of_their_ids),
];

fn name(number: usize) -> String {
    format!("user{number}@example.com")
}

/// Saves a token under each of these ids. One that the fixture says the store cannot hold is
/// refused before anything is written; the others are kept, and given back.
async fn keep<'a>(
    cx: &Context,
    store: &dyn TokenStore,
    texts: &[&'a str],
) -> Result<Vec<&'a str>, Failure> {
    let mut kept = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let saved = store.save_token(&of(&name(number)).id(*text).build()?).await;
        if (cx.capabilities().refuses)(Field::Id, text) {
            refused(saved, StoreErrorKind::Invalid, "saving an id that cannot be held")?;
            check_eq!(store.find_token(&user(&name(number))?).await?, None);
            check_eq!(store.find_token_by_id(&id(text)?).await?, None);
        } else {
            let saved = saved?;
            check_eq!(id_of(&saved)?.as_str(), *text);
            check_eq!(store.find_token_by_id(&id(text)?).await?, Some(saved));
            kept.push(*text);
        }
        check_eq!(store.get_tokens().await?.len(), kept.len());
    }
    Ok(kept)
}

async fn ids_go_on_after_nine(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for number in 1..=13 {
        let saved = store.save_token(&of(&name(number)).build()?).await?;
        check_eq!(id_of(&saved)?.as_str(), number.to_string());
    }
    for number in 1..=13 {
        let saved = found(&*store, &user(&name(number))?).await?;
        check_eq!(id_of(&saved)?.as_str(), number.to_string());
    }
    Ok(())
}

async fn ids_go_on_after_ninety_nine(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    store.save_token(&of(ALICE).id("98").build()?).await?;
    for number in 99..=103 {
        let saved = store.save_token(&of(&name(number)).build()?).await?;
        check_eq!(id_of(&saved)?.as_str(), number.to_string());
    }
    check_eq!(ids(&*store).await?, ["98", "99", "100", "101", "102", "103"]);
    Ok(())
}

async fn a_text_id_is_kept_and_the_next_is_a_number(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let texts = ["crm-a", "python_alice_US_PRD_ab12", "zzz", "007", "-5", "1e9"];
    let texts = keep(cx, &*store, &texts).await?;
    for number in 1..=11 {
        let saved = store.save_token(&of(&name(100 + number)).build()?).await?;
        check_eq!(id_of(&saved)?.as_str(), number.to_string());
    }
    for text in texts {
        check!(store.delete_token(&id(text)?).await?, "{text} is not there to delete");
    }
    check_eq!(store.get_tokens().await?.len(), 11);
    Ok(())
}

async fn a_number_given_by_the_caller_is_not_given_again(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let given = store.save_token(&of(ALICE).id("41").build()?).await?;
    check_eq!(id_of(&given)?.as_str(), "41");
    let next = store.save_token(&of(BOB).build()?).await?;
    check_eq!(id_of(&next)?.as_str(), "42");
    Ok(())
}

async fn an_absurd_number_given_by_the_caller_does_not_end_the_ids(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let texts = ["99999999999999999999999999", "18446744073709551615", "9223372036854775807"];
    keep(cx, &*store, &texts).await?;
    let next = store.save_token(&of(BOB).build()?).await?;
    check_eq!(id_of(&next)?.as_str(), "1");
    Ok(())
}

async fn an_id_is_not_given_again_after_a_deletion(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for number in 1..=3 {
        store.save_token(&of(&name(number)).build()?).await?;
    }
    check!(store.delete_token(&id("3")?).await?, "id 3 is not there to delete");
    let next = store.save_token(&of(ALICE).build()?).await?;
    check_eq!(id_of(&next)?.as_str(), "4");
    Ok(())
}

async fn an_id_is_not_given_again_after_deleting_all(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for number in 1..=12 {
        store.save_token(&of(&name(number)).build()?).await?;
    }
    check_eq!(store.delete_tokens().await?, 12);
    let next = store.save_token(&of(ALICE).build()?).await?;
    check_eq!(id_of(&next)?.as_str(), "13");
    Ok(())
}

async fn an_id_is_not_given_again_after_reopening(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for number in 1..=3 {
        store.save_token(&of(&name(number)).build()?).await?;
    }
    check!(store.delete_token(&id("3")?).await?, "id 3 is not there to delete");
    drop(store);
    let store = cx.open().await?;
    let next = store.save_token(&of(ALICE).build()?).await?;
    check_eq!(id_of(&next)?.as_str(), "4");
    store.delete_tokens().await?;
    drop(store);
    let store = cx.open().await?;
    let next = store.save_token(&of(ALICE).build()?).await?;
    check_eq!(id_of(&next)?.as_str(), "5");
    Ok(())
}

async fn the_word_id_is_an_id_like_any_other(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let saved = store.save_token(&of(ALICE).build()?).await?;
    for word in ["id", "user_name", "ID", "rowid"] {
        let header = store.find_token_by_id(&id(word)?).await?;
        check!(header.is_none(), "id {word:?} gives {header:?}");
        check!(!store.delete_token(&id(word)?).await?, "id {word:?} deletes something");
    }
    check_holds(&*store, &[saved]).await
}

async fn tokens_come_in_the_order_of_their_ids(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for (number, text) in ["crm-b", "10", "9", "crm-a", "100", "2"].into_iter().enumerate() {
        store.save_token(&of(&name(number)).id(text).build()?).await?;
    }
    let update = OAuthToken::builder().id("9").access_token("test-access-2").build()?;
    store.save_token(&update).await?;
    check_eq!(ids(&*store).await?, ["2", "9", "10", "100", "crm-a", "crm-b"]);
    check_eq!(id_of(&store.save_token(&of(ALICE).build()?).await?)?, TokenId::from_number(101));
    Ok(())
}
