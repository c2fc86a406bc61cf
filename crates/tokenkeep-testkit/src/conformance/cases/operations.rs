//! Each operation does what its documentation says.

use tokenkeep_core::{OAuthToken, TokenQuery};

use crate::conformance::{
    Case, CaseResult, Context,
    case::{case, check_eq},
};

pub(super) const CASES: &[Case] = &[case!(a_saved_token_is_found)];

async fn a_saved_token_is_found(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let token = OAuthToken::builder()
        .user_name("alice@example.com")
        .refresh_token("test-refresh")
        .build()?;
    let saved = store.save_token(&token).await?;
    let found = store.find_token(&TokenQuery::user("alice@example.com")?).await?;
    check_eq!(found, Some(saved));
    Ok(())
}
