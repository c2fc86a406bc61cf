//! The secret: read as it is now, and replaced if it still is that.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aws_sdk_secretsmanager::{Client, types::Tag};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokenkeep_core::{Operation, Outcome, StoreError, StoreErrorKind};

use super::document::Document;
use crate::{
    error::{Fault, fault},
    pace::{Attempt, detached, limited, quietly},
};

const CURRENT: &str = "AWSCURRENT";
/// A version that is not current yet. AWS keeps no version that has no name at all.
const PENDING: &str = "AWSPENDING";

/// A secret that is open.
pub(crate) struct Secret {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) kms_key: Option<String>,
    pub(crate) timeout: Duration,
    /// The writes of one process do not get in each other's way.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// What became of a write.
#[derive(PartialEq, Eq)]
enum Written {
    Done,
    /// Somebody else was faster.
    Conflict,
}

impl Secret {
    /// Reads all tokens.
    pub(crate) async fn read(&self, operation: Operation) -> Result<Document, StoreError> {
        let mut attempt = Attempt::new("secret");
        let progress = Arc::clone(&attempt.progress);
        let read = Box::pin(self.current(&mut attempt));
        let read = limited(self.timeout, &progress, read).await;
        read.map(|(_version, document)| document).map_err(|error| error.during(operation))
    }

    /// Changes the tokens: reads, lets `change` decide, and writes if nobody else has meanwhile;
    /// begins again if somebody has. Nothing is written if `change` says so.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        change: impl Fn(&mut Document) -> Result<(T, bool), StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let secret = Arc::clone(self);
        detached(operation, async move {
            let mut attempt = Attempt::new("secret");
            let progress = Arc::clone(&attempt.progress);
            let work = async {
                let _turn = secret.turn.lock().await;
                loop {
                    let (version, mut document) = secret.current(&mut attempt).await?;
                    let (answer, write) = change(&mut document)?;
                    if !write {
                        return Ok(answer);
                    }
                    let text = document.to_text()?;
                    let written = match version {
                        Some(version) => secret.replace(&mut attempt, &version, &text).await?,
                        None => secret.create(&mut attempt, &text).await?,
                    };
                    if written == Written::Done {
                        return Ok(answer);
                    }
                    attempt.again(busy()).await;
                }
            };
            limited(secret.timeout, &progress, Box::pin(work)).await
        })
        .await
    }

    /// The version that is current, and what is in it; nothing, if there is no such secret.
    async fn current(
        &self,
        attempt: &mut Attempt,
    ) -> Result<(Option<String>, Document), StoreError> {
        let request = || async {
            let get = self.client.get_secret_value().secret_id(&self.name);
            match get.version_stage(CURRENT).send().await {
                Err(error) if has_code(&error, &["ResourceNotFoundException"]) => Ok(Ok(None)),
                Err(error) if has_code(&error, &["InvalidRequestException"]) => Ok(Err(deleted())),
                answer => answer.map(|answer| Ok(Some(answer))),
            }
        };
        let Some(answer) = attempt.ask(request).await?? else {
            return Ok((None, Document::default()));
        };
        let text = answer.secret_string.unwrap_or_default();
        Ok((answer.version_id, Document::parse(&text)?))
    }

    /// Writes a new version, and makes it current if `version` still is.
    async fn replace(
        &self,
        attempt: &mut Attempt,
        version: &str,
        text: &str,
    ) -> Result<Written, StoreError> {
        let new = new_version()?;
        // Under one name the same is written once, however often it is sent; nobody sees it yet.
        let put = || {
            let put = self.client.put_secret_value().secret_id(&self.name);
            put.client_request_token(&new).secret_string(text).version_stages(PENDING).send()
        };
        attempt.ask(put).await?;
        let send = || async {
            let update = self.client.update_secret_version_stage().secret_id(&self.name);
            let update = update.version_stage(CURRENT).remove_from_version_id(version);
            match quietly(update.move_to_version_id(&new).send()).await {
                Ok(_answer) => Ok(Written::Done),
                Err(error) if has_code(&error, &["InvalidParameterException"]) => {
                    Ok(Written::Conflict)
                }
                Err(error) => Err(fault(&error, "secret")),
            }
        };
        self.decide(attempt, Some(version), &new, send).await
    }

    async fn create(&self, attempt: &mut Attempt, text: &str) -> Result<Written, StoreError> {
        let new = new_version()?;
        let send = || async {
            let tag = Tag::builder().key("tokenkeep").value("1").build();
            let create = self.client.create_secret().name(&self.name).tags(tag);
            let create = create.client_request_token(&new).secret_string(text);
            let create = create.description("OAuth tokens, kept by tokenkeep");
            match quietly(create.set_kms_key_id(self.kms_key.clone()).send()).await {
                Ok(_answer) => Ok(Written::Done),
                Err(error) if has_code(&error, &["ResourceExistsException"]) => {
                    Ok(Written::Conflict)
                }
                Err(error) if has_code(&error, &["InvalidRequestException"]) => {
                    Err(Fault::Final(deleted()))
                }
                Err(error) => Err(fault(&error, "secret")),
            }
        };
        self.decide(attempt, None, &new, send).await
    }

    /// Sends the one request that decides, again if no answer comes; what became of it is told by
    /// the version that is current then.
    async fn decide<F: Future<Output = Result<Written, Fault>> + Send>(
        &self,
        attempt: &mut Attempt,
        was: Option<&str>,
        new: &str,
        send: impl Fn() -> F + Send,
    ) -> Result<Written, StoreError> {
        let progress = Arc::clone(&attempt.progress);
        let undecided = |is| progress.undecided.store(is, Ordering::SeqCst);
        let mut lost = false;
        loop {
            undecided(true);
            let sent = send().await;
            undecided(lost);
            match sent {
                Ok(Written::Conflict) if lost => {
                    let is = self.current(attempt).await?.0;
                    if is.as_deref() == Some(new) {
                        undecided(false);
                        return Ok(Written::Done);
                    }
                    if is.as_deref() == was {
                        undecided(false);
                        return Ok(Written::Conflict);
                    }
                    return Err(StoreError::new(
                        StoreErrorKind::Unavailable,
                        "no answer came, and somebody else has written since",
                    )
                    .with_hint("load the token before you write again"));
                }
                Ok(written) => {
                    undecided(false);
                    return Ok(written);
                }
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(error)) => attempt.again(error).await,
                Err(Fault::Lost(error)) => {
                    lost = true;
                    undecided(true);
                    attempt.again(error).await;
                }
            }
        }
    }

    /// Schedules the secret for deletion, or deletes it at once.
    pub(crate) async fn delete(&self, days: Option<u8>) -> Result<bool, StoreError> {
        let mut attempt = Attempt::new("secret");
        let progress = Arc::clone(&attempt.progress);
        let request = || async {
            let delete = self.client.delete_secret().secret_id(&self.name);
            let delete = match days {
                Some(days) => delete.recovery_window_in_days(days.into()),
                None => delete.force_delete_without_recovery(true),
            };
            match delete.send().await {
                Err(error) if has_code(&error, &["ResourceNotFoundException"]) => Ok(false),
                answer => answer.map(|_answer| true),
            }
        };
        progress.undecided.store(true, Ordering::SeqCst);
        let work = async {
            let result = attempt.ask(request).await;
            attempt.progress.undecided.store(false, Ordering::SeqCst);
            result
        };
        let deleted = limited(self.timeout, &progress, Box::pin(work)).await;
        deleted.map_err(|error| error.during(Operation::DeleteTokens))
    }
}

fn has_code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, codes: &[&str]) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code.is_some_and(|code| codes.contains(&code))
}

/// A name of a version: a UUID, as AWS recommends.
fn new_version() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_error| {
        StoreError::new(StoreErrorKind::Other, "the system gives no random numbers")
    })?;
    let hex = format!("{:032x}", u128::from_ne_bytes(bytes));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

fn deleted() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the secret is scheduled for deletion")
        .with_outcome(Outcome::Final)
        .with_hint("restore it (`aws secretsmanager restore-secret`), or name another")
}

fn busy() -> StoreError {
    StoreError::new(StoreErrorKind::Busy, "others are writing the secret").with_hint("try again")
}
