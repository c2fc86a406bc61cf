//! How a token is ended.

use tokenkeep_core::{Field, OAuthToken, Replaced, StoreError, TokenId, TokenStatus};
use tokenkeep_oauth::Revocation;
use tracing::{Instrument, info_span};

use crate::{
    EventKind, ManagerError, ManagerErrorKind, TokenManager, place,
    refresh::{self, Held},
};

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
        let stored = manager.timed().find_token_by_id(&id).await?;
        let stored = stored.ok_or_else(|| ManagerError::no_token(format_args!("with id {id}")))?;
        let slot = manager.slot(&id, &stored);
        let _working = slot.memory.work.lock().await;
        let mut revoked = None;
        for _ in 0..ATTEMPTS {
            // The newest refresh token may be one that could not be stored.
            let held = match Held::gather(&slot).await {
                Err(error) if error.kind() == ManagerErrorKind::NoToken => {
                    return revoked.ok_or(error);
                }
                held => held?,
            };
            held.is_all(&slot)?;
            let found = at_the_provider(&manager, &held).await?;
            let revoked = *revoked.insert(match revoked {
                Some(Revoked::Now) => Revoked::Now,
                Some(Revoked::Already | Revoked::HereOnly) | None => found,
            });
            slot.forget_any();
            // Else a login or a refresh took its place: that is ended too.
            if here(&manager, &id, held.stored()).await? {
                if let Some(unsaved) = held.unsaved() {
                    refresh::forget(&slot, unsaved).await;
                }
                refresh::note(&slot, |state| {
                    state.status = TokenStatus::Revoked;
                    state.in_flight = None;
                })
                .await;
                manager.emit(&id, EventKind::Revoked);
                return Ok(revoked);
            }
        }
        Err(refresh::replaced(&id))
    }
    .instrument(span)
    .await
}

/// Ends the newest refresh token at the provider.
async fn at_the_provider(manager: &TokenManager, held: &Held) -> Result<Revoked, ManagerError> {
    let (token, state) = (held.token(), held.state());
    let Some(refresh_token) = token.refresh_token() else { return Ok(Revoked::HereOnly) };
    let settings = &manager.0.settings;
    let server = place::accounts_server(settings, token, Some(state))?;
    match manager.0.oauth.revoke(&server, refresh_token).await? {
        // Another data centre does not know it either.
        Revocation::AlreadyGone if !place::is_known(settings, token, Some(state)) => {
            Err(ManagerError::new(
                ManagerErrorKind::WrongClient,
                format!("{server} does not know this token, and nothing says that it issued it"),
            )
            .with_hint("say which data centre the user is in; if it is that one, delete the token"))
        }
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
    let store = manager.timed();
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
