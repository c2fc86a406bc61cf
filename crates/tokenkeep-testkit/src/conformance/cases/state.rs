//! What is kept of a token beyond its ten fields.

use serde_json::json;
use tokenkeep_core::{
    Environment, Fingerprint, InFlight, OAuthToken, RefusedGrant, StateReplaced, Timestamp,
    TokenId, TokenState, TokenStatus, TokenStore, update_state,
};

use super::{ALICE, BOB, full, id, id_of, of};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, shared},
};

pub(super) const CASES: &[Case] = &[
    case!(state_is_read_as_it_was_written).needs(Needs::SHARED),
    case!(state_of_a_newer_version_is_kept).needs(Needs::SHARED),
    case!(state_takes_the_place_of_what_was_expected).needs(Needs::SHARED),
    case!(state_that_is_not_what_was_expected_stays).needs(Needs::SHARED),
    case!(state_is_compared_in_every_field).needs(Needs::SHARED),
    case!(an_update_of_state_keeps_what_a_newer_version_wrote).needs(Needs::SHARED),
    case!(state_needs_a_token).needs(Needs::SHARED),
    case!(state_ends_with_its_token).needs(Needs::SHARED),
    case!(state_does_not_pass_to_another_user).needs(Needs::SHARED),
    case!(a_save_and_a_replacement_keep_the_state).needs(Needs::SHARED),
    case!(a_name_learnt_later_keeps_the_state).needs(Needs::SHARED),
    case!(a_folded_record_hands_its_state_over).needs(Needs::SHARED),
    case!(state_is_there_after_reopening).needs(Needs::SHARED_PERSISTENT),
];

pub(super) fn sample() -> TokenState {
    let mut state = TokenState::default();
    state.data_center = Some("eu".to_owned());
    state.accounts_server = Some("https://accounts.zoho.eu".to_owned());
    state.environment = Some(Environment::Sandbox);
    state.org_id = Some("O'Brien \"&\" \u{1f600},\n".to_owned());
    state.scopes = vec!["ZohoCRM.modules.ALL".to_owned(), "ZohoCRM.users.READ".to_owned()];
    state.status = TokenStatus::NeedsLogin;
    state.refreshed_at = Some(Timestamp::from_millis(1_764_000_000_000));
    state.in_flight = grant("test-refresh-1")
        .map(|grant| InFlight::new(grant, Timestamp::from_millis(1_764_000_000_001), u64::MAX));
    state.asked_at =
        [1_764_000_000_001, 0, -1, i64::MAX, i64::MIN].map(Timestamp::from_millis).to_vec();
    state.throttled_until = Some(Timestamp::from_millis(i64::MAX));
    state.refused = grant("test-refresh-0").map(|grant| {
        let server = "https://accounts.zoho.eu/\u{fc}?a='b'";
        RefusedGrant::new(grant, server, Timestamp::from_millis(1_763_999_999_999))
    });
    state
}

fn grant(refresh_token: &str) -> Option<Fingerprint> {
    Fingerprint::of_grant(&OAuthToken::builder().refresh_token(refresh_token).build().ok()?)
}

/// A state with what this version does not know.
fn newer() -> TokenState {
    let mut state = sample();
    for (key, value) in [
        ("colour", json!("blue")),
        ("nested", json!({ "list": [1, 2.5, null, true], "text": "a \"quoted\" \u{1f600}" })),
        ("large", json!(u64::MAX)),
    ] {
        state.unknown.insert(key.to_owned(), value);
    }
    state
}

async fn read(store: &dyn TokenStore, id: &TokenId) -> Result<Option<TokenState>, Failure> {
    Ok(shared(store)?.state(id).await?)
}

async fn write(store: &dyn TokenStore, id: &TokenId, state: &TokenState) -> CaseResult {
    let expected = read(store, id).await?;
    let answer = shared(store)?.replace_state(id, expected.as_ref(), state).await?;
    check_eq!(answer, StateReplaced::Written);
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
    write(&*store, &alice, &newer()).await?;
    check_eq!(read(&*store, &alice).await?, Some(newer()));
    Ok(())
}

async fn state_takes_the_place_of_what_was_expected(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let alice = stored(&*store, ALICE).await?;
    let bob = stored(&*store, BOB).await?;
    let mut expected = None;
    // Nothing, what is empty, and what was there before are different expectations.
    for state in [TokenState::default(), sample(), newer(), sample(), TokenState::default()] {
        let answer = shared(&*store)?.replace_state(&alice, expected.as_ref(), &state).await?;
        check_eq!(answer, StateReplaced::Written);
        check_eq!(read(&*store, &alice).await?, Some(state.clone()));
        expected = Some(state);
    }
    check_eq!(read(&*store, &bob).await?, None);
    Ok(())
}

async fn state_that_is_not_what_was_expected_stays(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let shared = shared(&*store)?;
    for expected in [sample(), TokenState::default()] {
        let answer = shared.replace_state(&id, Some(&expected), &newer()).await?;
        check_eq!(answer, StateReplaced::Changed(None));
        check_eq!(read(&*store, &id).await?, None);
    }
    for stored in [sample(), TokenState::default()] {
        write(&*store, &id, &stored).await?;
        let other = if stored == sample() { TokenState::default() } else { sample() };
        for expected in [None, Some(other), Some(newer())] {
            let answer = shared.replace_state(&id, expected.as_ref(), &newer()).await?;
            check_eq!(answer, StateReplaced::Changed(Some(Box::new(stored.clone()))));
            check_eq!(read(&*store, &id).await?, Some(stored.clone()));
        }
    }
    Ok(())
}

/// A field's name, and what makes it differ.
type Change = (&'static str, fn(&mut TokenState));

async fn state_is_compared_in_every_field(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    write(&*store, &id, &newer()).await?;
    let changes: [Change; 13] = [
        ("data_center", |state| state.data_center = None),
        ("accounts_server", |state| state.accounts_server = Some(String::new())),
        ("environment", |state| state.environment = Some(Environment::Developer)),
        ("org_id", |state| state.org_id = None),
        ("scopes", |state| state.scopes.reverse()),
        ("status", |state| state.status = TokenStatus::Active),
        ("refreshed_at", |state| state.refreshed_at = None),
        ("in_flight", |state| state.in_flight = None),
        ("asked_at", |state| state.asked_at.truncate(1)),
        ("throttled_until", |state| state.throttled_until = None),
        ("refused", |state| state.refused = None),
        ("what is unknown", |state| drop(state.unknown.remove("large"))),
        ("what is nested in the unknown", |state| {
            state.unknown.insert("nested".to_owned(), json!({ "list": [] }));
        }),
    ];
    for (field, change) in changes {
        let mut expected = newer();
        change(&mut expected);
        let answer = shared(&*store)?.replace_state(&id, Some(&expected), &sample()).await?;
        check!(
            answer == StateReplaced::Changed(Some(Box::new(newer()))),
            "a difference in {field} is not seen: {answer:?}"
        );
    }
    check_eq!(read(&*store, &id).await?, Some(newer()));
    Ok(())
}

async fn an_update_of_state_keeps_what_a_newer_version_wrote(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    write(&*store, &id, &newer()).await?;
    let end = |state: &mut TokenState| state.in_flight = None;
    let mut expected = newer();
    end(&mut expected);
    check_eq!(update_state(shared(&*store)?, &id, end).await?, Some(expected.clone()));
    check_eq!(read(&*store, &id).await?, Some(expected));
    Ok(())
}

async fn state_needs_a_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for text in ["7", "crm-a"] {
        for expected in [None, Some(sample())] {
            let shared = shared(&*store)?;
            let answer = shared.replace_state(&id(text)?, expected.as_ref(), &sample()).await?;
            check_eq!(answer, StateReplaced::NoToken);
            check_eq!(read(&*store, &id(text)?).await?, None);
        }
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
    let answer = shared(&*store)?.replace_state(&id, Some(&sample()), &sample()).await?;
    check_eq!(answer, StateReplaced::NoToken);
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
