//! What is kept of a token beyond its ten fields.

use serde_json::json;
use tokenkeep_core::{
    Environment, OAuthToken, Timestamp, TokenId, TokenState, TokenStatus, TokenStore,
};

use super::{ALICE, BOB, full, id, id_of, of};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, shared},
};

pub(super) const CASES: &[Case] = &[
    case!(state_is_read_as_it_was_written).needs(Needs::SHARED),
    case!(state_of_a_newer_version_is_kept).needs(Needs::SHARED),
    case!(state_needs_a_token).needs(Needs::SHARED),
    case!(state_ends_with_its_token).needs(Needs::SHARED),
    case!(state_does_not_pass_to_another_user).needs(Needs::SHARED),
    case!(a_save_and_a_replacement_keep_the_state).needs(Needs::SHARED),
    case!(a_name_learnt_later_keeps_the_state).needs(Needs::SHARED),
    case!(a_folded_record_hands_its_state_over).needs(Needs::SHARED),
    case!(state_is_there_after_reopening).needs(Needs::SHARED_PERSISTENT),
];

fn sample() -> TokenState {
    let mut state = TokenState::default();
    state.data_center = Some("eu".to_owned());
    state.accounts_server = Some("https://accounts.zoho.eu".to_owned());
    state.environment = Some(Environment::Sandbox);
    state.org_id = Some("O'Brien \"&\" \u{1f600},\n".to_owned());
    state.scopes = vec!["ZohoCRM.modules.ALL".to_owned(), "ZohoCRM.users.READ".to_owned()];
    state.status = TokenStatus::NeedsLogin;
    state.refreshed_at = Some(Timestamp::from_millis(1_764_000_000_000));
    state.refresh_started_at = Some(Timestamp::from_millis(1_764_000_000_001));
    state.throttled_until = Some(Timestamp::from_millis(i64::MAX));
    state
}

async fn read(store: &dyn TokenStore, id: &TokenId) -> Result<Option<TokenState>, Failure> {
    Ok(shared(store)?.state(id).await?)
}

async fn write(store: &dyn TokenStore, id: &TokenId, state: &TokenState) -> CaseResult {
    check!(shared(store)?.write_state(id, state).await?, "the state of {id} cannot be written");
    Ok(())
}

async fn stored(store: &dyn TokenStore, name: &str) -> Result<TokenId, Failure> {
    id_of(&store.save_token(&full(name)?).await?)
}

async fn state_is_read_as_it_was_written(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let alice = stored(&*store, ALICE).await?;
    let bob = stored(&*store, BOB).await?;
    check_eq!(read(&*store, &alice).await?, None);
    for state in [sample(), TokenState::default(), sample()] {
        write(&*store, &alice, &state).await?;
        check_eq!(read(&*store, &alice).await?, Some(state));
        check_eq!(read(&*store, &bob).await?, None);
    }
    Ok(())
}

async fn state_of_a_newer_version_is_kept(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let alice = stored(&*store, ALICE).await?;
    let mut state = sample();
    for (key, value) in [
        ("colour", json!("blue")),
        ("nested", json!({ "list": [1, 2.5, null, true], "text": "a \"quoted\" \u{1f600}" })),
        ("large", json!(u64::MAX)),
    ] {
        state.unknown.insert(key.to_owned(), value);
    }
    write(&*store, &alice, &state).await?;
    check_eq!(read(&*store, &alice).await?, Some(state));
    Ok(())
}

async fn state_needs_a_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for text in ["7", "crm-a"] {
        let written = shared(&*store)?.write_state(&id(text)?, &sample()).await?;
        check!(!written, "state is written of no token");
        check_eq!(read(&*store, &id(text)?).await?, None);
    }
    store.save_token(&of(ALICE).id("7").build()?).await?;
    check_eq!(read(&*store, &id("7")?).await?, None);
    Ok(())
}

async fn state_ends_with_its_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    write(&*store, &id, &sample()).await?;
    store.delete_token(&id).await?;
    check_eq!(read(&*store, &id).await?, None);
    store.save_token(&full(ALICE)?.with_id(id.clone())).await?;
    check_eq!(read(&*store, &id).await?, None);
    write(&*store, &id, &sample()).await?;
    store.delete_tokens().await?;
    store.save_token(&full(ALICE)?.with_id(id.clone())).await?;
    check_eq!(read(&*store, &id).await?, None);
    Ok(())
}

async fn state_does_not_pass_to_another_user(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for text in ["7", "crm-a"] {
        let id = id(text)?;
        store.save_token(&full(ALICE)?.with_id(id.clone())).await?;
        write(&*store, &id, &sample()).await?;
        store.delete_token(&id).await?;
        store.save_token(&full(BOB)?.with_id(id.clone())).await?;
        check_eq!(read(&*store, &id).await?, None);
        let page = shared(&*store)?.page(None, 10).await?;
        check!(page.tokens.iter().all(|meta| meta.state.is_none()), "a page shows it");
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn a_save_and_a_replacement_keep_the_state(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    write(&*store, &id, &sample()).await?;
    let token = OAuthToken::builder().user_name(ALICE).access_token("test-access-2").build()?;
    let saved = store.save_token(&token).await?;
    check_eq!(read(&*store, &id).await?, Some(sample()));
    let token = OAuthToken::builder().access_token("test-access-3").build()?;
    shared(&*store)?.replace_token(&saved, &token, None).await?;
    check_eq!(read(&*store, &id).await?, Some(sample()));
    Ok(())
}

async fn a_name_learnt_later_keeps_the_state(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let login = OAuthToken::builder().refresh_token("test-refresh-1").build()?;
    let login = store.save_token(&login).await?;
    let id = id_of(&login)?;
    write(&*store, &id, &sample()).await?;
    let named = login.with_user_name(ALICE)?;
    check_eq!(store.save_token(&named).await?.id(), Some(&id));
    check_eq!(read(&*store, &id).await?, Some(sample()));
    Ok(())
}

async fn a_folded_record_hands_its_state_over(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for kept in [None, Some(TokenState::default())] {
        let alice = stored(&*store, ALICE).await?;
        if let Some(kept) = &kept {
            write(&*store, &alice, kept).await?;
        }
        let login = OAuthToken::builder().refresh_token("test-refresh-2").build()?;
        let login = store.save_token(&login).await?;
        write(&*store, &id_of(&login)?, &sample()).await?;
        let named = store.save_token(&login.clone().with_user_name(ALICE)?).await?;
        check_eq!(named.id(), Some(&alice));
        check_eq!(read(&*store, &alice).await?, Some(kept.unwrap_or_else(sample)));
        check_eq!(read(&*store, &id_of(&login)?).await?, None);
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn state_is_there_after_reopening(cx: &Context) -> CaseResult {
    let (one, two) = (cx.open().await?, cx.open().await?);
    let id = stored(&*one, ALICE).await?;
    write(&*one, &id, &sample()).await?;
    check_eq!(read(&*two, &id).await?, Some(sample()));
    drop((one, two));
    check_eq!(read(&*cx.open().await?, &id).await?, Some(sample()));
    Ok(())
}
