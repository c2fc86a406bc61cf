//! Listing by pages: metadata in the order of ids.

use tokenkeep_core::{OAuthToken, TokenId, TokenMeta, TokenState, TokenStore};

use super::{ALICE, EU, full, id, id_of, of};
use crate::{
    LeakCanary,
    conformance::{
        Case, CaseResult, Context, Failure, Needs,
        case::{case, check, check_eq, shared},
    },
};

pub(super) const CASES: &[Case] = &[
    case!(pages_are_in_the_order_of_ids).needs(Needs::SHARED),
    case!(a_page_goes_on_after_a_deletion).needs(Needs::SHARED),
    case!(an_empty_store_has_an_empty_page).needs(Needs::SHARED),
    case!(a_page_has_the_metadata).needs(Needs::SHARED),
    case!(a_page_has_no_secret).needs(Needs::SHARED),
];

async fn some_ids(store: &dyn TokenStore) -> CaseResult {
    for (number, text) in ["crm-b", "11", "9", "crm-a", "10", "100"].into_iter().enumerate() {
        store.save_token(&of(&format!("user{number}@example.com")).id(text).build()?).await?;
    }
    Ok(())
}

/// The ids of all pages of this size.
async fn through(store: &dyn TokenStore, limit: usize) -> Result<Vec<String>, Failure> {
    let mut listed = Vec::new();
    let mut after: Option<TokenId> = None;
    loop {
        let page = shared(store)?.page(after.as_ref(), limit).await?;
        check!(page.tokens.len() <= limit, "{} on a page of {limit}", page.tokens.len());
        check!(page.damage.is_empty(), "there is damage: {:?}", page.damage);
        if page.next.is_some() {
            check!(page.tokens.len() == limit, "a page that is not the last is not full");
            check_eq!(page.next.as_ref(), page.tokens.last().map(|meta| &meta.id));
        }
        listed.extend(page.tokens.into_iter().map(|meta| String::from(meta.id)));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(listed),
        }
    }
}

async fn pages_are_in_the_order_of_ids(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    some_ids(&*store).await?;
    for limit in [1, 2, 3, 5, 6, 7, 1_000, usize::MAX] {
        let listed = through(&*store, limit).await?;
        check_eq!(listed, ["9", "10", "11", "100", "crm-a", "crm-b"]);
    }
    Ok(())
}

async fn a_page_goes_on_after_a_deletion(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    some_ids(&*store).await?;
    let first = shared(&*store)?.page(None, 2).await?;
    let next = first.next.ok_or_else(|| Failure::new("there is no next page"))?;
    store.delete_token(&next).await?;
    let second = shared(&*store)?.page(Some(&next), 2).await?;
    let listed: Vec<_> = second.tokens.iter().map(|meta| meta.id.as_str()).collect();
    check_eq!(listed, ["11", "100"]);
    for (after, left) in [("99", 3), ("101", 2), ("crm-a", 1), ("crm-b", 0), ("zzz", 0)] {
        let page = shared(&*store)?.page(Some(&id(after)?), 10).await?;
        check!(page.tokens.len() == left, "{} after {after}, not {left}", page.tokens.len());
        check_eq!(page.next, None);
    }
    Ok(())
}

async fn an_empty_store_has_an_empty_page(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let page = shared(&*store)?.page(None, 10).await?;
    check_eq!(page, tokenkeep_core::Page::default());
    Ok(())
}

async fn a_page_has_the_metadata(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let full = store.save_token(&full(ALICE)?).await?;
    let sparse = OAuthToken::builder().access_token("test-access-sparse").api_domain(EU).build()?;
    let sparse = store.save_token(&sparse).await?;
    let mut state = TokenState::default();
    state.org_id = Some("42".to_owned());
    shared(&*store)?.replace_state(&id_of(&full)?, None, &state).await?;
    let page = shared(&*store)?.page(None, 10).await?;
    let expected: Vec<_> = [TokenMeta::of(&full, Some(state)), TokenMeta::of(&sparse, None)]
        .into_iter()
        .flatten()
        .collect();
    check_eq!(page.tokens, expected);
    Ok(())
}

async fn a_page_has_no_secret(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let canary = LeakCanary::new();
    let token = OAuthToken::builder()
        .user_name(ALICE)
        .client("test-client-1", canary.mark("client secret"))
        .refresh_token(canary.mark("refresh token"))
        .access_token(canary.mark("access token"))
        .grant_token(canary.mark("grant token"))
        .build()?;
    store.save_token(&token).await?;
    let page = shared(&*store)?.page(None, 10).await?;
    let leaks = canary.search(format!("{page:?}").as_bytes());
    check!(leaks.is_empty(), "secrets show: {leaks:?}");
    Ok(())
}
