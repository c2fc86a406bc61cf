//! The secrets of a store: requests for one or several of them, tried again for as long as an
//! operation may take.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_secretsmanager::{Client, types::Tag};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokenkeep_core::{Clock, Operation, Outcome, StoreError, StoreErrorKind};

use super::tidy;
use crate::{
    error::{Fault, fault},
    pace::{Attempt, Pace, detached, limited, quietly},
};

/// The tag of all secrets of this store's kind.
pub(crate) const TAG: &str = "tokenkeep";

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
/// A version that is not current yet. AWS keeps no version for long that has no name at all.
const PENDING: &str = "AWSPENDING";
/// How many secrets one request may ask for.
const BATCH: usize = 20;
/// Among how many turns the writes of one process are spread.
const TURNS: usize = 64;

/// A store that is open.
pub(crate) struct Secrets {
    pub(crate) client: Client,
    pub(crate) prefix: String,
    pub(crate) kms_key: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) asked: AtomicU64,
    /// Which secret was the index when it was read last.
    index: Mutex<Option<String>>,
    /// The changes of the index by one process do not get in each other's way.
    pub(crate) index_turn: Arc<tokio::sync::Mutex<()>>,
    turns: [tokio::sync::Mutex<()>; TURNS],
}

impl Secrets {
    pub(crate) fn new(
        client: Client,
        prefix: String,
        kms_key: Option<String>,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            client,
            prefix,
            kms_key,
            timeout,
            clock,
            asked: AtomicU64::new(0),
            index: Mutex::default(),
            index_turn: Arc::default(),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
        }
    }

    /// Which secret was the index when it was read last.
    pub(crate) fn known_index(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.index)
    }

    /// Runs what only reads. If its future is dropped, it ends.
    pub(crate) async fn read<T, F: Future<Output = Result<T, StoreError>> + Send>(
        self: &Arc<Self>,
        operation: Operation,
        work: impl FnOnce(Run) -> F,
    ) -> Result<T, StoreError> {
        let run = Run::new(self);
        let progress = Arc::clone(&run.progress);
        let read = limited(self.timeout, &progress, Box::pin(work(run))).await;
        read.map_err(|error| error.during(operation))
    }

    /// Runs what writes, in a task of its own: it goes on if its caller leaves. Those that are
    /// `about` the same thing take turns in this process, so that they do not get in each other's
    /// way and what a caller left behind is done before the next begins.
    pub(crate) async fn write<T, F>(
        self: &Arc<Self>,
        operation: Operation,
        about: &str,
        work: impl FnOnce(Run) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let mut hasher = DefaultHasher::new();
        about.hash(&mut hasher);
        let turn = (hasher.finish() % TURNS as u64) as usize;
        let secrets = Arc::clone(self);
        detached(operation, async move {
            let run = Run::new(&secrets);
            let (progress, after) = (Arc::clone(&run.progress), Arc::clone(&run.after));
            let work = async {
                let _turn = secrets.turns[turn].lock().await;
                work(run).await
            };
            let done = limited(secrets.timeout, &progress, Box::pin(work)).await;
            let is_known = done.as_ref().err().is_none_or(|e| e.outcome() != Outcome::Unknown);
            let after = std::mem::take(&mut *lock(&after));
            tidy::tidy(&secrets, after, is_known).await;
            done
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be done when an operation is over, whatever came of it.
#[derive(Default)]
pub(crate) struct After {
    /// The secret that is the index now, and its number.
    pub(crate) index: Option<(String, u64)>,
    /// Secrets that nobody names any more.
    pub(crate) unused: Vec<String>,
    /// Secrets that nobody names unless the operation, whose end is not known, was done.
    pub(crate) unsure: Vec<String>,
}

/// One operation under way.
pub(crate) struct Run {
    pub(crate) secrets: Arc<Secrets>,
    /// Whether what is being written changes nothing yet.
    aside: bool,
    /// Whether a change was made already, and more is to be done.
    is_begun: bool,
    after: Arc<Mutex<After>>,
    attempt: Attempt,
}

impl Deref for Run {
    type Target = Attempt;

    fn deref(&self) -> &Attempt {
        &self.attempt
    }
}

impl DerefMut for Run {
    fn deref_mut(&mut self) -> &mut Attempt {
        &mut self.attempt
    }
}

/// The current version of a secret.
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) text: String,
}

/// What is in the place of a secret.
pub(crate) enum Found {
    There(Version),
    Absent,
    /// It is scheduled for deletion, or AWS has not quite deleted it yet.
    Leaving,
}

impl Found {
    pub(crate) fn version(self) -> Option<Version> {
        match self {
            Self::There(version) => Some(version),
            Self::Absent | Self::Leaving => None,
        }
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// Somebody else was faster, or the secret is gone.
    Conflict,
}

impl Run {
    fn new(secrets: &Arc<Secrets>) -> Self {
        let (secrets, attempt) = (Arc::clone(secrets), Attempt::new("secret"));
        Self { secrets, aside: false, is_begun: false, after: Arc::default(), attempt }
    }

    /// One that only tidies up.
    pub(crate) fn tidying(secrets: &Arc<Secrets>) -> Self {
        Self { aside: true, ..Self::new(secrets) }
    }

    /// One that goes on beside this one.
    pub(crate) fn another(&self) -> Self {
        let progress = Arc::clone(&self.progress);
        let attempt = Attempt { progress, pace: Pace::new(), what: self.what };
        let (secrets, after) = (Arc::clone(&self.secrets), Arc::clone(&self.after));
        Self { secrets, aside: self.aside, is_begun: self.is_begun, after, attempt }
    }

    /// A change was made: if the rest is not, nobody knows.
    pub(crate) fn begun(&mut self) {
        self.is_begun = true;
        self.progress.undecided.store(true, Ordering::SeqCst);
    }

    /// What is to be done when the operation is over.
    pub(crate) fn after(&self) -> MutexGuard<'_, After> {
        lock(&self.after)
    }

    /// Writes what changes nothing yet. If it is not known whether it was written, it was not.
    pub(crate) async fn replace_aside(
        &mut self,
        name: &str,
        version: &str,
        text: &str,
    ) -> Result<Written, StoreError> {
        self.aside = true;
        let written = self.replace(name, version, text).await;
        self.aside = false;
        written
    }

    /// Makes a secret that nobody names yet, and says how it is called: `KIND/` and what is told.
    pub(crate) async fn create_aside(
        &mut self,
        kind: &str,
        text: &str,
    ) -> Result<String, StoreError> {
        loop {
            let end = new_name()?;
            let name = self.name(&format!("{kind}/{end}"));
            self.after().unsure.push(name.clone());
            self.aside = true;
            let written = self.create(&name, text).await;
            self.aside = false;
            if written? == Written::Done {
                return Ok(end);
            }
        }
    }

    /// A secret's whole name.
    pub(crate) fn name(&self, end: &str) -> String {
        format!("{}/{end}", self.secrets.prefix)
    }

    /// The current version of a secret.
    pub(crate) async fn get(&mut self, name: &str) -> Result<Found, StoreError> {
        self.get_stage(name, CURRENT).await
    }

    async fn get_stage(&mut self, name: &str, stage: &str) -> Result<Found, StoreError> {
        let client = self.secrets.client.clone();
        let request = || async {
            let get = client.get_secret_value().secret_id(name).version_stage(stage);
            match get.send().await {
                Ok(answer) => Ok(Found::There(Version {
                    id: answer.version_id.unwrap_or_default(),
                    text: answer.secret_string.unwrap_or_default(),
                })),
                Err(error) if has_code(&error, "ResourceNotFoundException") => Ok(Found::Absent),
                Err(error) if has_code(&error, "InvalidRequestException") => Ok(Found::Leaving),
                Err(error) => Err(error),
            }
        };
        self.ask(request).await
    }

    /// The current versions of secrets, by name; those that are not there are left out.
    pub(crate) async fn get_all(
        &mut self,
        names: &[String],
    ) -> Result<HashMap<String, Version>, StoreError> {
        let mut found = HashMap::with_capacity(names.len());
        let mut alone = Vec::new();
        if let [name] = names {
            alone.push(name.clone());
        } else {
            for batch in names.chunks(BATCH) {
                self.get_batch(batch, &mut found, &mut alone).await?;
            }
        }
        for name in alone {
            if let Some(version) = self.get(&name).await?.version() {
                found.insert(name, version);
            }
        }
        Ok(found)
    }

    /// Asks for several secrets at once. What was not answered for certain is put into `alone`.
    async fn get_batch(
        &mut self,
        names: &[String],
        found: &mut HashMap<String, Version>,
        alone: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let client = self.secrets.client.clone();
        let request = || {
            let batch = client.batch_get_secret_value();
            batch.set_secret_id_list(Some(names.to_vec())).send()
        };
        let answer = self.ask(request).await?;
        let mut gone = Vec::new();
        for error in answer.errors.unwrap_or_default() {
            let code = error.error_code.unwrap_or_default();
            if matches!(&*code, "ResourceNotFoundException" | "InvalidRequestException") {
                gone.extend(error.secret_id);
            }
        }
        for value in answer.secret_values.unwrap_or_default() {
            // moto gives the version that was current first. AWS gives the one that is.
            let is_current = value.version_stages.iter().flatten().any(|stage| stage == CURRENT);
            if let (Some(name), Some(id), Some(text), true) =
                (value.name, value.version_id, value.secret_string, is_current)
            {
                found.insert(name, Version { id, text });
            }
        }
        let rest = names.iter().filter(|name| !found.contains_key(*name) && !gone.contains(name));
        alone.extend(rest.cloned());
        Ok(())
    }

    /// Writes a new version of a secret, and makes it current if `version` still is.
    pub(crate) async fn replace(
        &mut self,
        name: &str,
        version: &str,
        text: &str,
    ) -> Result<Written, StoreError> {
        let client = self.secrets.client.clone();
        let new = new_version()?;
        // Under one name the same is written once, however often it is sent; nobody sees it yet.
        let put = || async {
            let put = client.put_secret_value().secret_id(name).client_request_token(&new);
            match put.secret_string(text).version_stages(PENDING).send().await {
                Ok(_answer) => Ok(Ok(Written::Done)),
                Err(error) if is_gone(&error) => Ok(Ok(Written::Conflict)),
                Err(error) if has_code(&error, "LimitExceededException") => Ok(Err(used_up())),
                Err(error) => Err(error),
            }
        };
        if self.ask(put).await?? == Written::Conflict {
            return Ok(Written::Conflict);
        }
        let send = || async {
            let update = client.update_secret_version_stage().secret_id(name);
            let update = update.version_stage(CURRENT).remove_from_version_id(version);
            match quietly(update.move_to_version_id(&new).send()).await {
                Ok(_answer) => Ok(Written::Done),
                Err(error) if has_code(&error, "InvalidParameterException") || is_gone(&error) => {
                    Ok(Written::Conflict)
                }
                Err(error) => Err(fault(&error, "secret")),
            }
        };
        self.decide(name, Some(version), &new, send).await
    }

    /// Makes a secret. It is a conflict if there is one of this name.
    pub(crate) async fn create(&mut self, name: &str, text: &str) -> Result<Written, StoreError> {
        let secrets = Arc::clone(&self.secrets);
        let new = new_version()?;
        let send = || async {
            let tag = Tag::builder().key(TAG).value("1").build();
            let create = secrets.client.create_secret().name(name).tags(tag);
            let create = create.client_request_token(&new).secret_string(text);
            let create = create.description("OAuth tokens, kept by tokenkeep");
            match quietly(create.set_kms_key_id(secrets.kms_key.clone()).send()).await {
                Ok(_answer) => Ok(Written::Done),
                Err(error) if has_code(&error, "ResourceExistsException") => Ok(Written::Conflict),
                Err(error) if has_code(&error, "InvalidRequestException") => {
                    Err(Fault::Final(scheduled()))
                }
                Err(error) if has_code(&error, "LimitExceededException") => {
                    Err(Fault::Final(many_secrets()))
                }
                Err(error) => Err(fault(&error, "secret")),
            }
        };
        self.decide(name, None, &new, send).await
    }

    /// Sends the one request that decides, again if no answer comes; what became of it is told by
    /// the version that is current then, or was before it.
    async fn decide<F: Future<Output = Result<Written, Fault>> + Send>(
        &mut self,
        name: &str,
        was: Option<&str>,
        new: &str,
        send: impl Fn() -> F + Send,
    ) -> Result<Written, StoreError> {
        let progress = Arc::clone(&self.progress);
        let (aside, is_begun) = (self.aside, self.is_begun);
        let undecided =
            |is: bool| progress.undecided.store(is_begun || is && !aside, Ordering::SeqCst);
        let mut lost = false;
        loop {
            undecided(true);
            let sent = send().await;
            undecided(lost);
            match sent {
                Ok(Written::Conflict) if lost => {
                    let current = self.get(name).await?.version().map(|version| version.id);
                    let answer = if current.as_deref() == Some(new) {
                        Written::Done
                    } else if current.as_deref() == was {
                        Written::Conflict
                    } else {
                        let previous = self.get_stage(name, PREVIOUS).await?.version();
                        let previous = previous.map(|version| version.id);
                        if previous.as_deref() == Some(new) {
                            Written::Done
                        } else if previous.as_deref() == was || aside {
                            // Somebody else was faster, and what was sent came too late.
                            Written::Conflict
                        } else {
                            return Err(unknown());
                        }
                    };
                    undecided(false);
                    return Ok(answer);
                }
                Ok(written) => {
                    undecided(false);
                    return Ok(written);
                }
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(error)) => self.again(error).await,
                Err(Fault::Lost(error)) => {
                    lost = true;
                    undecided(true);
                    self.again(error).await;
                }
            }
        }
    }

    /// Schedules a secret for deletion, or deletes it at once; `false` if there is none.
    pub(crate) async fn delete(
        &mut self,
        name: &str,
        days: Option<u8>,
    ) -> Result<bool, StoreError> {
        let client = self.secrets.client.clone();
        let request = || async {
            let delete = client.delete_secret().secret_id(name);
            let delete = match days {
                Some(days) => delete.recovery_window_in_days(days.into()),
                None => delete.force_delete_without_recovery(true),
            };
            match delete.send().await {
                Err(error) if is_gone(&error) => Ok(false),
                answer => answer.map(|_answer| true),
            }
        };
        self.ask(request).await
    }
}

fn is_gone<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    has_code(error, "ResourceNotFoundException") || has_code(error, "InvalidRequestException")
}

fn has_code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, code: &str) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some(code)
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_error| {
        StoreError::new(StoreErrorKind::Other, "the system gives no random numbers")
    })?;
    Ok(bytes)
}

/// A name of a version: a UUID, as AWS recommends.
fn new_version() -> Result<String, StoreError> {
    let hex = format!("{:032x}", u128::from_ne_bytes(random()?));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

/// The end of a name that no secret has had: those of deleted ones cannot be used for a while.
pub(crate) fn new_name() -> Result<String, StoreError> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte % 32)]);
    Ok(random::<12>()?.into_iter().map(letter).collect())
}

pub(crate) fn scheduled() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the secret is scheduled for deletion")
        .with_outcome(Outcome::Final)
        .with_hint("restore it (`aws secretsmanager restore-secret`), or name another prefix")
}

pub(crate) fn busy() -> StoreError {
    StoreError::new(StoreErrorKind::Busy, "others are writing the same secret")
        .with_hint("try again")
}

fn unknown() -> StoreError {
    let message = "no answer came, and others have written since";
    StoreError::new(StoreErrorKind::Unavailable, message)
        .with_outcome(Outcome::Unknown)
        .with_hint("load the token before you write again")
}

fn used_up() -> StoreError {
    StoreError::new(StoreErrorKind::Full, "AWS keeps no more versions of this secret today")
        .with_hint("it was written about a hundred times within a day; try again later")
}

fn many_secrets() -> StoreError {
    StoreError::new(StoreErrorKind::Full, "the account may have no more secrets in this region")
        .with_hint("delete some, or ask AWS for a higher quota")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_as_aws_takes_and_differ() {
        let (one, two) = (new_name().unwrap(), new_name().unwrap());
        assert_ne!(one, two);
        assert!(one.len() == 12 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{one}");
        assert_eq!(new_version().unwrap().len(), 36);
    }
}
