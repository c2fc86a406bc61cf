//! Each operation does what its documentation says.

use tokenkeep_core::{AccessToken, GrantToken, RefreshToken, StoreErrorKind, TokenQuery};

use super::{ALICE, BOB, check_holds, found, full, id, id_of, of, refused, user};
use crate::{
    LeakCanary,
    conformance::{
        Case, CaseResult, Context, Failure,
        case::{case, check, check_eq, check_same},
    },
};

pub(super) const CASES: &[Case] = &[
    case!(every_operation_works_once).baseline(&["F01"]),
    case!(a_new_space_is_empty).baseline(&["F02"]),
    case!(a_save_returns_the_token_as_stored),
    case!(a_token_is_found_by_each_of_its_values),
    case!(what_is_not_there_is_absent_and_no_error).baseline(&["F09"]),
    case!(deleting_takes_that_token_only).baseline(&["F05", "F30"]),
    case!(deleting_all_says_how_many).baseline(&["F01"]),
    case!(a_save_needs_something_to_store).baseline(&["F34"]),
    case!(a_store_says_what_it_is_capable_of),
    case!(a_store_is_used_from_other_threads).baseline(&["F23"]),
    case!(no_secret_shows_in_debug_errors_or_traces),
];

async fn every_operation_works_once(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    let id = id_of(&saved)?;
    check_eq!(store.find_token(&user(ALICE)?).await?.as_ref(), Some(&saved));
    check_eq!(store.find_token_by_id(&id).await?.as_ref(), Some(&saved));
    check_holds(&*store, &[saved]).await?;
    check!(store.delete_token(&id).await?, "the token that was saved is not there to delete");
    store.save_token(&full(BOB)?).await?;
    check_eq!(store.delete_tokens().await?, 1);
    check_holds(&*store, &[]).await
}

async fn a_new_space_is_empty(cx: &Context) -> CaseResult {
    for _ in 0..2 {
        let store = cx.open().await?;
        check_holds(&*store, &[]).await?;
        check_eq!(store.find_token(&user(ALICE)?).await?, None);
    }
    Ok(())
}

async fn a_save_returns_the_token_as_stored(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let given = full(ALICE)?;
    let saved = store.save_token(&given).await?;
    check_eq!(id_of(&saved)?.number(), Some(1));
    check_same("what the save returned", &saved.clone().without_id(), &given)?;
    check_holds(&*store, &[saved]).await
}

async fn a_token_is_found_by_each_of_its_values(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    store.save_token(&full(BOB)?).await?;
    for query in [
        user(ALICE)?,
        TokenQuery::access_token(AccessToken::new(format!("test-access-of-{ALICE}"))?),
        TokenQuery::grant_token(GrantToken::new(format!("test-grant-of-{ALICE}"))?),
        TokenQuery::refresh_token(RefreshToken::new(format!("test-refresh-of-{ALICE}"))?),
    ] {
        check_same("the token found", &found(&*store, &query).await?, &saved)?;
    }
    Ok(())
}

async fn what_is_not_there_is_absent_and_no_error(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for round in ["an empty store", "a store that holds another token"] {
        for query in [
            user(ALICE)?,
            TokenQuery::access_token(AccessToken::new("test-access-missing")?),
            TokenQuery::grant_token(GrantToken::new("test-grant-missing")?),
            TokenQuery::refresh_token(RefreshToken::new("test-refresh-missing")?),
        ] {
            let found = store.find_token(&query).await?;
            check!(found.is_none(), "{round} has {found:?}");
        }
        for text in ["99", "0", "-1", "crm-missing"] {
            let found = store.find_token_by_id(&id(text)?).await?;
            check!(found.is_none(), "{round} has {found:?} by id {text}");
            check!(!store.delete_token(&id(text)?).await?, "{round} deletes the missing id {text}");
        }
        store.save_token(&of(BOB).build()?).await?;
    }
    check_eq!(store.get_tokens().await?.len(), 1);
    check_eq!(store.delete_tokens().await?, 1);
    check_eq!(store.delete_tokens().await?, 0);
    Ok(())
}

async fn deleting_takes_that_token_only(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let alice = store.save_token(&full(ALICE)?).await?;
    let bob = store.save_token(&full(BOB)?).await?;
    check!(alice.id() != bob.id(), "two users have one id");
    check!(store.delete_token(&id_of(&alice)?).await?, "the token is not there to delete");
    check_eq!(store.find_token(&user(ALICE)?).await?, None);
    check_eq!(store.find_token_by_id(&id_of(&alice)?).await?, None);
    check!(!store.delete_token(&id_of(&alice)?).await?, "one token is deleted twice");
    check_holds(&*store, &[bob]).await
}

async fn deleting_all_says_how_many(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for number in 0..7 {
        store.save_token(&of(&format!("user{number}@example.com")).build()?).await?;
    }
    check_eq!(store.delete_tokens().await?, 7);
    check_holds(&*store, &[]).await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    check_holds(&*store, &[saved]).await
}

async fn a_save_needs_something_to_store(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let name_only = tokenkeep_core::OAuthToken::builder()
        .user_name(ALICE)
        .client("test-client-1", "test-client-secret-1")
        .build()?;
    refused(store.save_token(&name_only).await, StoreErrorKind::Invalid, "saving a name alone")?;
    check_holds(&*store, &[]).await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    refused(store.save_token(&name_only).await, StoreErrorKind::Invalid, "saving a name alone")?;
    check_holds(&*store, &[saved]).await
}

async fn a_store_says_what_it_is_capable_of(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let capabilities = cx.capabilities();
    check_eq!(store.shared().is_some(), capabilities.shared);
    if capabilities.processes {
        check!(capabilities.persistent, "processes cannot share what is not persistent");
        check!(cx.space().address().is_some(), "processes need an address");
    }
    Ok(())
}

async fn a_store_is_used_from_other_threads(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    let query = user(ALICE)?;
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let found = store.find_token(&query).await?;
            store.save_token(&of(BOB).build()?).await?;
            Ok::<_, Failure>((found, store.get_tokens().await?.len()))
        })
    });
    let (found, count) = tokio::task::spawn_blocking(move || other.join())
        .await?
        .map_err(|_panic| Failure::new("the other thread panicked"))??;
    check_eq!(found, Some(saved));
    check_eq!(count, 2);
    Ok(())
}

async fn no_secret_shows_in_debug_errors_or_traces(cx: &Context) -> CaseResult {
    use tracing::instrument::WithSubscriber;

    let canary = LeakCanary::new();
    let token = |name: &str, client: &str| {
        Ok::<_, Failure>(
            tokenkeep_core::OAuthToken::builder()
                .user_name(name)
                .client(client, canary.mark("client secret"))
                .refresh_token(canary.mark("refresh token"))
                .access_token(canary.mark("access token"))
                .grant_token(canary.mark("grant token"))
                .build()?,
        )
    };
    let tokens = [token(ALICE, "test-client-1")?, token(ALICE, "test-client-2")?];
    let output = async {
        let store = cx.open().await?;
        let mut output = vec![format!("{store:?}")];
        for token in &tokens {
            output.push(format!("{:?}", store.save_token(token).await));
            output.push(format!("{:?}", store.save_token(&token.clone().with_id(id("1")?)).await));
        }
        output.push(format!("{store:?} {store:#?}"));
        let ambiguous = refused(
            store.find_token(&user(ALICE)?).await,
            StoreErrorKind::Ambiguous,
            "finding one of two",
        )?;
        output.push(format!("{ambiguous} {ambiguous:?} {:?}", ambiguous.hint()));
        for token in tokens.iter().filter_map(|token| token.access_token().cloned()) {
            output.push(format!("{:?}", store.find_token(&TokenQuery::access_token(token)).await));
        }
        if let Some(shared) = store.shared() {
            let stored = store.get_tokens().await?;
            output.push(format!("{:?}", shared.page(None, 10).await));
            output.push(format!("{:?}", shared.replace_token(&stored[0], &stored[0], None).await));
            output.push(format!("{:?}", shared.replace_token(&tokens[0], &tokens[0], None).await));
        }
        output.push(format!("{:?} {store:?}", store.delete_tokens().await));
        Ok::<_, Failure>(output)
    }
    .with_subscriber(canary.subscriber())
    .await?;
    for text in output.iter().chain([&canary.captured()]) {
        let leaks = canary.search(text.as_bytes());
        check!(leaks.is_empty(), "secrets show: {leaks:?}");
    }
    Ok(())
}
