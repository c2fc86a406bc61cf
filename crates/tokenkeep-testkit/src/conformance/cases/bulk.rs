//! Many tokens.

use tokenkeep_core::{AccessToken, GrantToken, OAuthToken, RefreshToken, TokenId, TokenQuery};

use super::{found, id_of, ids, user};
use crate::conformance::{
    Case, CaseResult, Context, Failure,
    case::{case, check, check_eq, check_same},
};

pub(super) const CASES: &[Case] = &[case!(many_tokens_are_each_found)];

fn token(number: usize) -> Result<OAuthToken, Failure> {
    Ok(OAuthToken::builder()
        .user_name(format!("user{number}@example.com"))
        .client("test-client-1", "test-client-secret-1")
        .refresh_token(format!("test-refresh-{number}"))
        .access_token(format!("test-access-{number}"))
        .grant_token(format!("test-grant-{number}"))
        .build()?)
}

async fn many_tokens_are_each_found(cx: &Context) -> CaseResult {
    let capabilities = cx.capabilities();
    let (count, saves) = (capabilities.bulk_tokens, capabilities.bulk_saves);
    let preloaded = count.saturating_sub(saves);
    if preloaded > 0 {
        let tokens = (1..=preloaded)
            .map(|number| Ok(token(number)?.with_id(TokenId::from_number(number as u64))))
            .collect::<Result<Vec<_>, Failure>>()?;
        let done = cx.space().preload(&tokens).await.map_err(Failure::setup)?;
        check!(done, "{saves} of {count} are to be saved, but the space cannot preload the rest");
    }
    let store = cx.open().await?;
    for number in preloaded + 1..=count {
        let saved = store.save_token(&token(number)?).await?;
        check_eq!(saved.id(), Some(&TokenId::from_number(number as u64)));
    }
    check_eq!(ids(&*store).await?, (1..=count).map(|n| n.to_string()).collect::<Vec<_>>());

    let sample = (0..40).map(|step| 1 + step * (count - 1) / 39);
    for number in sample.clone() {
        let expected = token(number)?.with_id(TokenId::from_number(number as u64));
        for query in [
            user(&format!("user{number}@example.com"))?,
            TokenQuery::access_token(AccessToken::new(format!("test-access-{number}"))?),
            TokenQuery::grant_token(GrantToken::new(format!("test-grant-{number}"))?),
            TokenQuery::refresh_token(RefreshToken::new(format!("test-refresh-{number}"))?),
        ] {
            check_same("a token found", &found(&*store, &query).await?, &expected)?;
        }
        let by_id = store.find_token_by_id(&id_of(&expected)?).await?;
        check_eq!(by_id, Some(expected));
    }
    check_eq!(store.find_token(&user("user0@example.com")?).await?, None);

    for number in sample.clone().step_by(4) {
        let id = TokenId::from_number(number as u64);
        check!(store.delete_token(&id).await?, "id {id} is not there to delete");
    }
    if let Some(shared) = store.shared() {
        let mut listed = 0;
        let mut after = None;
        loop {
            let page = shared.page(after.as_ref(), 999).await?;
            listed += page.tokens.len();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        check_eq!(listed, count - 10);
    }
    check_eq!(store.delete_tokens().await?, (count - 10) as u64);
    Ok(())
}
