//! How a token is ended.

use tokenkeep_core::{Field, OAuthToken, Replaced, StoreError, TokenId, TokenState, TokenStatus};
use tokenkeep_oauth::Revocation;
use tracing::{Instrument, info, info_span};

use crate::{ManagerError, TokenManager, place, refresh};

/// How often what others store meanwhile is revoked too.
const ATTEMPTS: u32 = 4;

/// What a revocation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revoked {
    /// The provider ended the token, and it is ended here.
    Now,
    /// The provider did not know it any more; it is ended here.
    Already,
    /// It had no refresh token, so there was nothing to end at the provider; it is ended here.
    HereOnly,
}

pub(crate) async fn run(manager: TokenManager, id: TokenId) -> Result<Revoked, ManagerError> {
    let span = info_span!("revoke", token = %id);
    async {
        let slot = manager.slot(&id);
        let mut revoked = None;
        for _ in 0..ATTEMPTS {
            let Some(stored) = manager.store().find_token_by_id(&id).await? else {
                return revoked.ok_or_else(|| ManagerError::no_token(format_args!("with id {id}")));
            };
            let state = match manager.store().shared() {
                Some(shared) => shared.state(&id).await?,
                None => None,
            };
            // The newest refresh token may be the one that could not be stored.
            let unsaved = slot.memory().unsaved.clone().filter(|unsaved| unsaved.is_of(&stored));
            let newest = unsaved.as_ref().map_or(&stored, |unsaved| &unsaved.token);
            let found = at_the_provider(&manager, newest, state.as_ref()).await?;
            let revoked = *revoked.insert(match revoked {
                Some(Revoked::Now) => Revoked::Now,
                Some(Revoked::Already | Revoked::HereOnly) | None => found,
            });
            slot.forget_any();
            // Else a login or a refresh took its place: that is ended too.
            if here(&manager, &id, &stored).await? {
                slot.memory().unsaved = None;
                refresh::update_state(&slot, |state| state.status = TokenStatus::Revoked).await;
                info!(?revoked, "revoked");
                return Ok(revoked);
            }
        }
        Err(refresh::replaced(&id))
    }
    .instrument(span)
    .await
}

async fn at_the_provider(
    manager: &TokenManager,
    stored: &OAuthToken,
    state: Option<&TokenState>,
) -> Result<Revoked, ManagerError> {
    let Some(refresh_token) = stored.refresh_token() else { return Ok(Revoked::HereOnly) };
    let server = place::accounts_server(&manager.0.settings, stored, state)?;
    match manager.0.oauth.revoke(&server, refresh_token).await? {
        Revocation::AlreadyGone => Ok(Revoked::Already),
        Revocation::Done | _ => Ok(Revoked::Now),
    }
}

/// Removes the tokens of the record, unless it is not the revoked one any more. A store that keeps
/// no state cannot remember that it was revoked, so there the record goes.
async fn here(
    manager: &TokenManager,
    id: &TokenId,
    stored: &OAuthToken,
) -> Result<bool, StoreError> {
    let store = manager.store();
    let Some(shared) = store.shared() else {
        let unchanged = store.find_token_by_id(id).await?.as_ref() == Some(stored);
        if unchanged {
            store.delete_token(id).await?;
        }
        return Ok(unchanged);
    };
    let ended = [Field::AccessToken, Field::RefreshToken, Field::GrantToken, Field::ExpiryTime]
        .into_iter()
        .fold(stored.clone(), OAuthToken::clear);
    Ok(matches!(shared.replace_token(stored, &ended, None).await?, Replaced::Saved(_)))
}
