//! Which token a find or a save means.

use tokenkeep_core::{
    AccessToken, Field, GrantToken, OAuthToken, RefreshToken, StoreErrorKind, TokenId, TokenQuery,
    TokenStore,
};

use super::{ALICE, BOB, EU, US, check_holds, found, full, id, id_of, of, refused, user};
use crate::conformance::{
    Case, CaseResult, Context, Failure,
    case::{case, check, check_eq, check_same},
};

pub(super) const CASES: &[Case] = &[
    case!(one_user_with_two_clients_is_two_tokens).baseline(&["F11"]),
    case!(one_user_in_two_data_centres_is_two_tokens),
    case!(a_host_name_has_no_case),
    case!(an_ambiguous_find_lists_the_ids).baseline(&["F11"]),
    case!(an_ambiguous_save_changes_nothing),
    case!(a_save_with_one_of_the_values_is_not_ambiguous),
    case!(the_client_of_a_query_tells_tokens_apart),
    case!(the_nearest_of_several_is_meant),
    case!(a_nameless_save_is_matched_by_access_then_grant_then_refresh_token),
    case!(a_nameless_save_with_a_client_is_matched_by_grant_before_access_token),
    case!(a_value_of_another_client_does_not_match),
    case!(a_value_of_another_user_does_not_match),
    case!(a_find_by_id_gives_no_other_token).baseline(&["F06", "F30"]),
    case!(an_empty_query_cannot_be_asked).baseline(&["F07"]),
    case!(a_find_gives_what_is_stored_now).baseline(&["F20"]),
];

fn of_client(client: &str) -> Result<OAuthToken, Failure> {
    let token = OAuthToken::builder()
        .user_name(ALICE)
        .client(client, format!("test-secret-of-{client}"))
        .refresh_token(format!("test-refresh-of-{client}"))
        .access_token(format!("test-access-of-{client}"));
    Ok(token.build()?)
}

async fn two_clients(store: &dyn TokenStore) -> Result<[OAuthToken; 2], Failure> {
    Ok([
        store.save_token(&of_client("test-client-1")?).await?,
        store.save_token(&of_client("test-client-2")?).await?,
    ])
}

async fn one_user_with_two_clients_is_two_tokens(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let [one, two] = two_clients(&*store).await?;
    check_holds(&*store, &[one.clone(), two.clone()]).await?;
    let first = found(&*store, &user(ALICE)?.with_client_id("test-client-1")?).await?;
    check_same("the first client's token", &first, &one)?;
    let second = found(&*store, &user(ALICE)?.with_client_id("test-client-2")?).await?;
    check_same("the second client's token", &second, &two)?;
    check_eq!(store.find_token(&user(ALICE)?.with_client_id("test-client-3")?).await?, None);
    check!(store.delete_token(&id_of(&one)?).await?, "the first is not there to delete");
    check_holds(&*store, &[two]).await
}

async fn one_user_in_two_data_centres_is_two_tokens(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let token = |domain: &str| of(ALICE).client_id("test-client-1").api_domain(domain).build();
    let eu = store.save_token(&token(EU)?).await?;
    let us = store.save_token(&token(US)?).await?;
    check_holds(&*store, &[eu.clone(), us.clone()]).await?;
    for (domain, expected) in [(EU, &eu), (US, &us)] {
        let query = user(ALICE)?.with_api_domain(domain)?;
        check_same("the data centre's token", &found(&*store, &query).await?, expected)?;
    }
    let error = refused(
        store.save_token(&us.clear(Field::ApiDomain)).await,
        StoreErrorKind::Conflict,
        "making the two the same",
    )?;
    check_eq!(error.ids().len(), 2);
    check_eq!(store.get_tokens().await?.len(), 2);
    Ok(())
}

async fn a_host_name_has_no_case(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let token = |domain: &str| of(ALICE).api_domain(domain).build();
    let saved = store.save_token(&token("https://www.zohoapis.eu")?).await?;
    let again = store.save_token(&token("https://WWW.zohoapis.eu/")?).await?;
    check_eq!(again.id(), saved.id());
    let query = user(ALICE)?.with_api_domain("https://www.ZOHOAPIS.eu")?;
    check_same("the token found", &found(&*store, &query).await?, &again)
}

async fn an_ambiguous_find_lists_the_ids(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let tokens = two_clients(&*store).await?;
    let expected = [id_of(&tokens[0])?, id_of(&tokens[1])?];
    let error = refused(
        store.find_token(&user(ALICE)?).await,
        StoreErrorKind::Ambiguous,
        "finding one of two",
    )?;
    check_eq!(error.ids(), &expected[..]);
    for id in &expected {
        check!(error.to_string().contains(id.as_str()), "the message lacks id {id}: {error}");
    }
    let shared = OAuthToken::builder().access_token("test-access-shared");
    for token in tokens {
        let token = token.with_access_token(
            AccessToken::new("test-access-shared")?,
            tokenkeep_core::Timestamp::from_millis(1),
        );
        store.save_token(&token).await?;
    }
    let query = TokenQuery::access_token(AccessToken::new("test-access-shared")?);
    let error =
        refused(store.find_token(&query).await, StoreErrorKind::Ambiguous, "finding one of two")?;
    check_eq!(error.ids(), &expected[..]);
    refused(
        store.save_token(&shared.build()?).await,
        StoreErrorKind::Ambiguous,
        "saving over one of two",
    )?;
    Ok(())
}

async fn an_ambiguous_save_changes_nothing(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let tokens = two_clients(&*store).await?;
    let vague = OAuthToken::builder().user_name(ALICE).access_token("test-access-new").build()?;
    let error = refused(
        store.save_token(&vague).await,
        StoreErrorKind::Ambiguous,
        "saving over one of two",
    )?;
    let ids: Vec<TokenId> = tokens.iter().map(id_of).collect::<Result<_, _>>()?;
    check_eq!(error.ids(), &ids[..]);
    check_holds(&*store, &tokens).await
}

async fn a_save_with_one_of_the_values_is_not_ambiguous(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let [one, two] = two_clients(&*store).await?;
    let token = OAuthToken::builder()
        .user_name(ALICE)
        .refresh_token("test-refresh-of-test-client-2")
        .access_token("test-access-new")
        .build()?;
    let saved = store.save_token(&token).await?;
    check_eq!(saved.id(), two.id());
    check_holds(&*store, &[one, two.merged_with(&token)]).await
}

async fn the_client_of_a_query_tells_tokens_apart(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let token = |client: &str| {
        OAuthToken::builder()
            .client_id(client)
            .refresh_token("test-refresh-shared")
            .grant_token("test-grant-shared")
            .build()
    };
    let one = store.save_token(&token("test-client-1")?).await?;
    let two = store.save_token(&token("test-client-2")?).await?;
    check!(one.id() != two.id(), "two clients have one token");
    for query in [
        TokenQuery::refresh_token(RefreshToken::new("test-refresh-shared")?),
        TokenQuery::grant_token(GrantToken::new("test-grant-shared")?),
    ] {
        for (client, expected) in [("test-client-1", &one), ("test-client-2", &two)] {
            let query = query.clone().with_client_id(client)?;
            check_same("the client's token", &found(&*store, &query).await?, expected)?;
        }
        let other = query.clone().with_client_id("test-client-3")?;
        check_eq!(store.find_token(&other).await?, None);
        refused(store.find_token(&query).await, StoreErrorKind::Ambiguous, "finding one of two")?;
    }
    Ok(())
}

async fn the_nearest_of_several_is_meant(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let token = |client: &str, domain: &str, value: &str| {
        OAuthToken::builder()
            .user_name(ALICE)
            .client_id(client)
            .api_domain(domain)
            .refresh_token(value)
            .build()
    };
    let one_eu = store.save_token(&token("test-client-1", EU, "test-refresh-1-eu")?).await?;
    let one_us = store.save_token(&token("test-client-1", US, "test-refresh-1-us")?).await?;
    let two_eu = store.save_token(&token("test-client-2", EU, "test-refresh-2-eu")?).await?;
    check_eq!(store.get_tokens().await?.len(), 3);
    let query = user(ALICE)?.with_client_id("test-client-1")?;
    let error =
        refused(store.find_token(&query).await, StoreErrorKind::Ambiguous, "naming the client")?;
    check_eq!(error.ids(), &[id_of(&one_eu)?, id_of(&one_us)?][..]);
    let query = query.with_api_domain(US)?;
    check_same("the token found", &found(&*store, &query).await?, &one_us)?;
    let query = user(ALICE)?.with_client_id("test-client-2")?;
    check_same("the token found", &found(&*store, &query).await?, &two_eu)
}

/// Three nameless tokens, each with another kind of value, so that a save that carries all three
/// values could mean any of them.
async fn three_kinds(
    store: &dyn TokenStore,
    client: Option<&str>,
) -> Result<[TokenId; 3], Failure> {
    let token = || match client {
        Some(client) => OAuthToken::builder().client_id(client),
        None => OAuthToken::builder(),
    };
    let access = store.save_token(&token().access_token("test-access-1").build()?).await?;
    let grant = store.save_token(&token().grant_token("test-grant-1").build()?).await?;
    let refresh = store.save_token(&token().refresh_token("test-refresh-1").build()?).await?;
    Ok([id_of(&access)?, id_of(&grant)?, id_of(&refresh)?])
}

async fn a_nameless_save_is_matched_by_access_then_grant_then_refresh_token(
    cx: &Context,
) -> CaseResult {
    let store = cx.open().await?;
    let [access, grant, refresh] = three_kinds(&*store, None).await?;
    let token = OAuthToken::builder().grant_token("test-grant-1").refresh_token("test-refresh-2");
    check_eq!(store.save_token(&token.build()?).await?.id(), Some(&grant));
    let token = OAuthToken::builder().refresh_token("test-refresh-1").grant_token("test-grant-2");
    check_eq!(store.save_token(&token.build()?).await?.id(), Some(&refresh));
    let token = OAuthToken::builder()
        .access_token("test-access-1")
        .grant_token("test-grant-1")
        .refresh_token("test-refresh-1");
    check_eq!(store.save_token(&token.build()?).await?.id(), Some(&access));
    check_eq!(store.get_tokens().await?.len(), 3);
    Ok(())
}

async fn a_nameless_save_with_a_client_is_matched_by_grant_before_access_token(
    cx: &Context,
) -> CaseResult {
    let store = cx.open().await?;
    let client = "test-client-1";
    let [access, grant, refresh] = three_kinds(&*store, Some(client)).await?;
    let token = || OAuthToken::builder().client_id(client).access_token("test-access-1");
    let saved = store.save_token(&token().grant_token("test-grant-1").build()?).await?;
    check_eq!(saved.id(), Some(&grant));
    let saved = store.save_token(&token().refresh_token("test-refresh-1").build()?).await?;
    check_eq!(saved.id(), Some(&refresh));
    let store = cx.open().await?;
    store.delete_tokens().await?;
    let saved = store.save_token(&token().build()?).await?;
    check!(saved.id() != Some(&access), "a deleted token's id was given again");
    check_eq!(store.save_token(&token().build()?).await?.id(), saved.id());
    check_eq!(store.get_tokens().await?.len(), 1);
    Ok(())
}

async fn a_value_of_another_client_does_not_match(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let token = |client: &str| {
        OAuthToken::builder().client_id(client).refresh_token("test-refresh-1").build()
    };
    let one = store.save_token(&token("test-client-1")?).await?;
    let two = store.save_token(&token("test-client-2")?).await?;
    check_holds(&*store, &[one.clone(), two.clone()]).await?;
    check_eq!(store.save_token(&token("test-client-2")?).await?, two);
    check_holds(&*store, &[one, two]).await
}

async fn a_value_of_another_user_does_not_match(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let token =
        |name: &str| OAuthToken::builder().user_name(name).refresh_token("test-refresh-1").build();
    let alice = store.save_token(&token(ALICE)?).await?;
    let bob = store.save_token(&token(BOB)?).await?;
    check_holds(&*store, &[alice, bob]).await
}

async fn a_find_by_id_gives_no_other_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let mut saved = Vec::new();
    for name in [ALICE, BOB, "carol@example.com"] {
        saved.push(store.save_token(&full(name)?).await?);
    }
    for token in &saved {
        let id = id_of(token)?;
        check_eq!(store.find_token_by_id(&id).await?.as_ref(), Some(token));
        for text in [format!("0{id}"), format!(" {id}"), format!("{id} "), format!("{id}.0")] {
            let other = store.find_token_by_id(&super::id(&text)?).await?;
            check!(other.is_none(), "id {text:?} gives {other:?}");
        }
    }
    for text in ["4", "11", "%", "_", "*", "null", "None", "1 or 1=1"] {
        let other = store.find_token_by_id(&id(text)?).await?;
        check!(other.is_none(), "id {text:?} gives {other:?}");
        check!(!store.delete_token(&id(text)?).await?, "id {text:?} deletes something");
    }
    check_holds(&*store, &saved).await
}

async fn an_empty_query_cannot_be_asked(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    store.save_token(&full(ALICE)?).await?;
    let nameless = OAuthToken::builder().refresh_token("test-refresh-nameless").build()?;
    store.save_token(&nameless).await?;
    check!(TokenQuery::user("").is_err(), "a query for the empty user can be built");
    for name in [" ", "\u{a0}", "None", "null", "%", "_", "*", "?"] {
        let other = store.find_token(&user(name)?).await?;
        check!(other.is_none(), "user {name:?} finds {other:?}");
    }
    Ok(())
}

async fn a_find_gives_what_is_stored_now(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let earlier = store.save_token(&full(ALICE)?).await?;
    let change = OAuthToken::builder()
        .user_name(ALICE)
        .refresh_token("test-refresh-newer")
        .build()?
        .clear(Field::AccessToken)
        .clear(Field::GrantToken);
    let newer = store.save_token(&change).await?;
    let query = TokenQuery::access_token(AccessToken::new(format!("test-access-of-{ALICE}"))?);
    check_eq!(store.find_token(&query).await?, None);
    let now = found(&*store, &user(ALICE)?).await?;
    check_same("the token found", &now, &newer)?;
    check_eq!(now.access_token(), None);
    check!(now != earlier, "the store gives what it held earlier");
    Ok(())
}
