//! How a token is ended.

use tokenkeep_core::{Field, OAuthToken, TokenId, TokenState, TokenStatus};
use tokenkeep_oauth::Revocation;
use tracing::{Instrument, info, info_span};

use crate::{ManagerError, TokenManager, place, refresh};

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
        let stored = manager
            .store()
            .find_token_by_id(&id)
            .await?
            .ok_or_else(|| ManagerError::no_token(format_args!("with id {id}")))?;
        let state = match manager.store().shared() {
            Some(shared) => shared.state(&id).await?,
            None => None,
        };
        let revoked = at_the_provider(&manager, &stored, state.as_ref()).await?;
        let slot = manager.slot(&id);
        slot.memory().unsaved = None;
        here(&manager, &id, stored).await?;
        slot.forget_any();
        let mut state = state.unwrap_or_default();
        state.status = TokenStatus::Revoked;
        refresh::write_state(&slot, &state).await;
        info!(?revoked, "revoked");
        Ok(revoked)
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

/// Removes the tokens of the record. A store that keeps no state cannot remember that it was
/// revoked, so there the record goes.
async fn here(
    manager: &TokenManager,
    id: &TokenId,
    stored: OAuthToken,
) -> Result<(), ManagerError> {
    if manager.store().shared().is_none() {
        manager.store().delete_token(id).await?;
        return Ok(());
    }
    let ended = [Field::AccessToken, Field::RefreshToken, Field::GrantToken, Field::ExpiryTime]
        .into_iter()
        .fold(stored, OAuthToken::clear);
    manager.store().save_token(&ended).await?;
    Ok(())
}
