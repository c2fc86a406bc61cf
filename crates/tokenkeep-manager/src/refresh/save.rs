//! Storing what was issued: compare-and-swap, tried again while that can help, read back where the
//! outcome is unknown.

use std::time::Duration;

use tokenkeep_core::{Lease, OAuthToken, Outcome, Replaced, StoreError, StoreErrorKind};
use tracing::{debug, warn};

use crate::{TokenManager, memory::Unsaved, metrics};

/// How often a save is tried, and the pause after the first failure; it doubles.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(20);

/// What became of a save.
pub(crate) enum Save {
    /// It is stored, as this.
    Done(OAuthToken),
    /// A newer login, or whoever has the lease now, took the token's place: this is stored.
    Superseded(OAuthToken),
    /// The token was deleted.
    Gone,
    /// It could not be stored, and trying again at once does not help.
    Failed(StoreError),
}

/// Stores `unsaved`.
pub(crate) async fn save(manager: &TokenManager, unsaved: &Unsaved, lease: Option<&Lease>) -> Save {
    let save = swap(manager, unsaved, lease).await;
    metrics::saved(match &save {
        Save::Done(_) => metrics::Saved::Done,
        Save::Superseded(_) => metrics::Saved::Superseded,
        Save::Gone => metrics::Saved::Gone,
        Save::Failed(_) => metrics::Saved::Failed,
    });
    save
}

async fn swap(manager: &TokenManager, unsaved: &Unsaved, lease: Option<&Lease>) -> Save {
    let mut expected = unsaved.expected.clone();
    let mut fence = lease;
    let mut attempt = 1;
    loop {
        let over = (expected != unsaved.expected).then(|| unsaved.over(&expected));
        let token = over.as_ref().unwrap_or(&unsaved.token);
        let answer = once(manager, &expected, token, fence).await;
        let error = match answer {
            Ok(Replaced::Saved(stored)) => return Save::Done(stored),
            Ok(Replaced::Changed(Some(stored))) => match unsaved.beside(stored) {
                // An SDK wrote to the same grant. What was issued to us is newer.
                Beside::SameGrant(stored) => {
                    debug!("the token was changed by another writer; saving over that");
                    expected = stored;
                    others_wrote()
                }
                Beside::Settled(save) => return save,
            },
            Ok(Replaced::LeaseLost(Some(stored))) => match unsaved.beside(stored) {
                // Its new holder has stored an access token that is newer than ours.
                Beside::SameGrant(stored) if stored != expected && !unsaved.rotates() => {
                    return Save::Superseded(stored);
                }
                // It has stored nothing yet, or does not have the refresh token that took the
                // place of the stored one. Ours must not be lost, and the comparison suffices.
                Beside::SameGrant(stored) => {
                    warn!("the lease has passed to another holder; saving without it");
                    expected = stored;
                    fence = None;
                    others_wrote()
                }
                Beside::Settled(save) => return save,
            },
            Ok(_) => return Save::Gone,
            Err(error) => {
                match error.outcome() {
                    Outcome::NotApplied => {}
                    Outcome::Unknown => match read(manager, &expected).await {
                        Ok(Some(stored)) => match unsaved.beside(stored) {
                            Beside::SameGrant(stored) => expected = stored,
                            Beside::Settled(save) => return save,
                        },
                        Ok(None) => return Save::Gone,
                        Err(error) => debug!(%error, "and it cannot be read back"),
                    },
                    Outcome::Final | _ => return Save::Failed(error),
                }
                if attempt < ATTEMPTS {
                    warn!(%error, attempt, "saving again");
                    metrics::save_retried();
                    tokio::time::sleep(PAUSE * 2u32.pow(attempt - 1)).await;
                }
                error
            }
        };
        if attempt == ATTEMPTS {
            return Save::Failed(error);
        }
        attempt += 1;
    }
}

/// What is stored, where something else was expected, beside what is to be stored.
enum Beside {
    /// Something else of the same grant.
    SameGrant(OAuthToken),
    /// It is what was to be stored, or of a newer grant.
    Settled(Save),
}

impl Unsaved {
    /// Whether another one has got a token of the same grant that lasts longer. A refresh token that
    /// took the place of the stored one is newer in any case.
    pub(crate) fn is_older_than(&self, stored: &OAuthToken) -> bool {
        !self.rotates() && stored.expiry_time() > self.token.expiry_time()
    }

    fn beside(&self, stored: OAuthToken) -> Beside {
        if holds(&stored, &self.token) {
            Beside::Settled(Save::Done(stored))
        } else if self.is_of(&stored) && !self.is_older_than(&stored) {
            Beside::SameGrant(stored)
        } else {
            Beside::Settled(Save::Superseded(stored))
        }
    }
}

fn others_wrote() -> StoreError {
    StoreError::new(StoreErrorKind::Busy, "another writer changed the token each time")
}

async fn once(
    manager: &TokenManager,
    expected: &OAuthToken,
    token: &OAuthToken,
    lease: Option<&Lease>,
) -> Result<Replaced, StoreError> {
    if let Some(shared) = manager.timed().shared() {
        return shared.replace_token(expected, token, lease).await;
    }
    // As near as six methods come to it.
    let _alone = manager.0.writes.lock().await;
    match read(manager, expected).await? {
        Some(stored) if stored == *expected => {
            manager.timed().save_token(token).await.map(Replaced::Saved)
        }
        stored => Ok(Replaced::Changed(stored)),
    }
}

async fn read(
    manager: &TokenManager,
    expected: &OAuthToken,
) -> Result<Option<OAuthToken>, StoreError> {
    match expected.id() {
        Some(id) => manager.timed().find_token_by_id(id).await,
        None => Ok(None),
    }
}

/// Whether `stored` has what was issued with `token`.
fn holds(stored: &OAuthToken, token: &OAuthToken) -> bool {
    stored.access_token() == token.access_token() && stored.refresh_token() == token.refresh_token()
}
