//! What a store has that is related to a token: looked up one value at a time, as every store can.

use tokenkeep_core::{BulkStore, OAuthToken, StoreError, StoreErrorKind, TokenId, TokenQuery};

/// The stored tokens that share the id, the user name, or the access, grant or refresh token with
/// `token`: the candidates of a save. What cannot be read is none of them.
pub(super) async fn related(
    store: &dyn BulkStore,
    token: &OAuthToken,
) -> Result<Vec<OAuthToken>, StoreError> {
    let mut found = match token.id() {
        Some(id) => with_id(store, id).await?,
        None => Vec::new(),
    };
    let queries = [
        token.user_name().map(TokenQuery::user).transpose()?,
        token.access_token().cloned().map(TokenQuery::access_token),
        token.grant_token().cloned().map(TokenQuery::grant_token),
        token.refresh_token().cloned().map(TokenQuery::refresh_token),
    ];
    for query in queries.into_iter().flatten() {
        let more = match store.find_token(&query).await {
            Ok(one) => one.into_iter().collect(),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => Vec::new(),
            Err(error) if error.kind() == StoreErrorKind::Ambiguous => {
                let mut ids = error.ids().to_vec();
                ids.dedup();
                let mut all = Vec::new();
                for id in ids {
                    all.extend(with_id(store, &id).await?);
                }
                all
            }
            Err(error) => return Err(error),
        };
        for token in more {
            if !found.contains(&token) {
                found.push(token);
            }
        }
    }
    Ok(found)
}

/// The rows with this id: one, unless another program has left several.
async fn with_id(store: &dyn BulkStore, id: &TokenId) -> Result<Vec<OAuthToken>, StoreError> {
    match store.find_token_by_id(id).await {
        Ok(one) => Ok(one.into_iter().collect()),
        Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(Vec::new()),
        Err(error) if error.kind() == StoreErrorKind::Ambiguous => {
            // They begin the page after the number before. Before a text nobody can step back.
            let Some(number) = id.number() else { return Ok(Vec::new()) };
            let before = number.checked_sub(1).map(TokenId::from_number);
            let page = store.read_entries(before.as_ref(), 1).await?;
            let tokens = page.entries.into_iter().map(|entry| entry.token);
            Ok(tokens.filter(|token| token.id() == Some(id)).collect())
        }
        Err(error) => Err(error),
    }
}
