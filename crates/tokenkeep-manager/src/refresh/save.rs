//! Storing what was issued: compare-and-swap where the store has it, tried again while that can
//! help, read back where the outcome is unknown.

use std::time::Duration;

use tokenkeep_core::{Lease, OAuthToken, Outcome, Replaced, StoreError};
use tracing::{debug, warn};

use crate::{TokenManager, slot::Unsaved};

/// How often a save is tried, and the pause after the first failure; it doubles.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(20);

/// What became of a save.
pub(crate) enum Save {
    /// It is stored, as this.
    Done(OAuthToken),
    /// A newer login took the token's place: this is stored.
    Superseded(OAuthToken),
    /// The token was deleted.
    Gone,
    /// It could not be stored, and trying again at once does not help.
    Failed(StoreError),
}

/// Stores `unsaved`.
pub(crate) async fn save(manager: &TokenManager, unsaved: &Unsaved, lease: Option<&Lease>) -> Save {
    let mut expected = unsaved.expected.clone();
    let mut attempt = 1;
    loop {
        let error = match once(manager, &expected, &unsaved.token, lease).await {
            Ok(Replaced::Saved(stored)) => return Save::Done(stored),
            Ok(Replaced::Changed(Some(stored)) | Replaced::LeaseLost(Some(stored))) => {
                if holds(&stored, &unsaved.token) {
                    return Save::Done(stored);
                }
                if stored.refresh_token() != unsaved.expected.refresh_token() {
                    return Save::Superseded(stored);
                }
                // An SDK wrote to the same grant. What was issued to us is newer.
                debug!("the token was changed by another writer; saving over that");
                expected = stored;
                if attempt == ATTEMPTS {
                    return Save::Superseded(expected);
                }
                attempt += 1;
                continue;
            }
            Ok(_) => return Save::Gone,
            Err(error) => error,
        };
        match error.outcome() {
            Outcome::NotApplied => {}
            Outcome::Unknown => match read(manager, &expected).await {
                Ok(Some(stored)) if holds(&stored, &unsaved.token) => return Save::Done(stored),
                Ok(Some(stored)) => expected = stored,
                Ok(None) => return Save::Gone,
                Err(error) => debug!(%error, "and it cannot be read back"),
            },
            Outcome::Final | _ => return Save::Failed(error),
        }
        if attempt == ATTEMPTS {
            return Save::Failed(error);
        }
        warn!(%error, attempt, "saving again");
        tokio::time::sleep(PAUSE * 2u32.pow(attempt - 1)).await;
        attempt += 1;
    }
}

async fn once(
    manager: &TokenManager,
    expected: &OAuthToken,
    token: &OAuthToken,
    lease: Option<&Lease>,
) -> Result<Replaced, StoreError> {
    match manager.store().shared() {
        Some(shared) => shared.replace_token(expected, token, lease).await,
        None => manager.store().save_token(token).await.map(Replaced::Saved),
    }
}

async fn read(
    manager: &TokenManager,
    expected: &OAuthToken,
) -> Result<Option<OAuthToken>, StoreError> {
    match expected.id() {
        Some(id) => manager.store().find_token_by_id(id).await,
        None => Ok(None),
    }
}

/// Whether `stored` has what was issued with `token`.
fn holds(stored: &OAuthToken, token: &OAuthToken) -> bool {
    stored.access_token() == token.access_token() && stored.refresh_token() == token.refresh_token()
}
