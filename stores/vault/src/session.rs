//! [`Session`]: requests with a token of Vault that is kept alive, and got anew when it has ended.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::{Method, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenkeep_core::{StoreError, StoreErrorKind};
use tokio::{
    sync::Mutex as AsyncMutex,
    task::AbortHandle,
    time::{Instant, sleep},
};

use crate::{
    client::{Client, Reply, Request},
    error::{Fault, Then},
    login::{self, Login},
};

/// Requests with a token of Vault.
pub(crate) struct Session {
    client: Client,
    login: Login,
    token: AsyncMutex<Option<HeaderValue>>,
    keeper: Mutex<Option<AbortHandle>>,
}

/// Until when an operation has to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    end: Instant,
    request: Duration,
}

/// How long a token of Vault lives, counted from when Vault said so.
#[derive(Clone, Copy, Debug)]
struct Life {
    ttl: Duration,
    renewable: bool,
}

#[derive(Deserialize)]
struct Granted {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

impl Deadline {
    pub(crate) fn within(limit: Duration) -> Self {
        Self { end: Instant::now() + limit, request: limit / 3 }
    }

    /// The time for one request: not all there is, so that one that is not answered can be
    /// followed by another.
    fn request(self) -> Duration {
        self.left().min(self.request).max(Duration::from_millis(1))
    }

    pub(crate) fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Half of the time that is left.
    pub(crate) fn half(self) -> Self {
        Self { end: Instant::now() + self.left() / 2, ..self }
    }

    /// Waits, unless the end would come before.
    pub(crate) async fn wait(self, time: Duration) -> bool {
        let has_time = time < self.left();
        if has_time {
            sleep(time).await;
        }
        has_time
    }

    /// Pauses that grow and differ from process to process, for as long as there is time.
    pub(crate) fn pauses(self) -> Pauses {
        let steps = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(500))
            .without_max_times()
            .with_jitter()
            .build();
        Pauses { deadline: self, steps, told: None }
    }
}

pub(crate) struct Pauses {
    deadline: Deadline,
    steps: backon::ExponentialBackoff,
    /// The last that Vault said.
    told: Option<Fault>,
}

impl Pauses {
    /// Waits for the next try, at least for as long as the server wants; `false` if the time is
    /// over.
    pub(crate) async fn next(&mut self, at_least: Option<Duration>) -> bool {
        let step = self.steps.next().unwrap_or(Duration::from_millis(500));
        self.deadline.wait(step.max(at_least.unwrap_or_default())).await
    }

    /// Waits before the next try of what may be made twice.
    ///
    /// The fault, if it is not to be tried again or the time is over. The last try may have been too
    /// short for an answer; then it is what Vault said before.
    pub(crate) async fn again(&mut self, fault: Fault) -> Result<(), Fault> {
        let at_least = match fault.then {
            Then::GiveUp => return Err(fault),
            Then::TryAgain(at_least) => at_least,
            Then::Doubt => None,
        };
        tracing::debug!(error = %fault.error, "asking Vault again");
        if self.next(at_least).await {
            if fault.is_answer {
                self.told = Some(fault);
            }
            return Ok(());
        }
        Err(self.told.take().filter(|_told| !fault.is_answer).unwrap_or(fault))
    }
}

impl Session {
    /// Gets a token, and sees to it that it lives.
    pub(crate) async fn open(
        client: Client,
        login: Login,
        deadline: Deadline,
    ) -> Result<Arc<Self>, Fault> {
        let session = Arc::new(Self {
            client,
            login,
            token: AsyncMutex::new(None),
            keeper: Mutex::new(None),
        });
        let life = session.begin(deadline).await?;
        if let Some(life) = life {
            let task = tokio::spawn(keep(Arc::downgrade(&session), life));
            *session.keeper.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(task.abort_handle());
        }
        Ok(session)
    }

    /// Asks once, and once more with a new token if the old one has ended.
    pub(crate) async fn ask(
        &self,
        request: &Request<'_>,
        deadline: Deadline,
    ) -> Result<Reply, Fault> {
        let token = self.token.lock().await.clone();
        let reply = self.client.send(request, token.as_ref(), deadline.request()).await?;
        if reply.status != 403 {
            return Ok(reply);
        }
        let Some(token) = self.another(token, deadline).await? else { return Ok(reply) };
        self.client.send(request, Some(&token), deadline.request()).await
    }

    /// Asks until there is an answer that `read` takes, for requests that may be made twice.
    pub(crate) async fn ask_again<T>(
        &self,
        request: &Request<'_>,
        deadline: Deadline,
        read: impl Fn(&Reply) -> Result<T, Fault> + Send + Sync,
    ) -> Result<T, Fault> {
        let mut pauses = deadline.pauses();
        loop {
            let asked = self.ask(request, deadline).await;
            match asked.and_then(|reply| read(&reply)) {
                Ok(answer) => return Ok(answer),
                Err(fault) => pauses.again(fault).await?,
            }
        }
    }

    /// The first token.
    async fn begin(&self, deadline: Deadline) -> Result<Option<Life>, Fault> {
        let mut pauses = deadline.pauses();
        loop {
            match self.first(deadline).await {
                Ok(life) => return Ok(life),
                Err(fault) => pauses.again(fault).await?,
            }
        }
    }

    async fn first(&self, deadline: Deadline) -> Result<Option<Life>, Fault> {
        let mut current = self.token.lock().await;
        match &self.login {
            Login::Token(secret) => {
                *current = Some(header(&login::read(secret).map_err(Fault::final_)?)?);
                self.life(current.as_ref(), deadline).await
            }
            Login::AppRole { .. } => {
                let (token, life) = self.log_in(deadline).await?;
                *current = Some(token);
                Ok(life)
            }
        }
    }

    /// Another token than the one that was refused; `None` if there is no other.
    async fn another(
        &self,
        refused: Option<HeaderValue>,
        deadline: Deadline,
    ) -> Result<Option<HeaderValue>, Fault> {
        let mut current = self.token.lock().await;
        if *current != refused {
            return Ok(current.clone());
        }
        let token = match &self.login {
            // One that is not in a file is the one that was refused.
            Login::Token(secret) => header(&login::read(secret).map_err(Fault::final_)?)?,
            Login::AppRole { .. } => {
                tracing::debug!("Vault refuses the token: logging in again");
                self.log_in(deadline).await?.0
            }
        };
        if Some(&token) == refused.as_ref() {
            return Ok(None);
        }
        *current = Some(token.clone());
        Ok(Some(token))
    }

    /// Logs in by an application's role.
    async fn log_in(&self, deadline: Deadline) -> Result<(HeaderValue, Option<Life>), Fault> {
        let Login::AppRole { mount, role_id, secret_id } = &self.login else {
            return Err(Fault::final_(StoreError::new(
                StoreErrorKind::PermissionDenied,
                "there is no way to log in to Vault again",
            )));
        };
        let mut body = json!({ "role_id": role_id });
        if let Some(secret) = secret_id {
            let secret = login::read(secret).map_err(Fault::final_)?;
            body["secret_id"] = Value::from(secret.expose_secret());
        }
        let mut path = vec!["auth"];
        path.extend(mount.split('/'));
        path.push("login");
        let request =
            Request { method: Method::POST, path: &path, version: None, body: Some(&body) };
        let reply = self.client.send(&request, None, deadline.request()).await?;
        if matches!(reply.status, 400 | 403) {
            return Err(Fault::final_(
                StoreError::new(
                    StoreErrorKind::PermissionDenied,
                    "Vault refuses the login by AppRole",
                )
                .with_hint("look at the role id and the secret id: is it still valid?"),
            ));
        }
        if !reply.is_ok() {
            return Err(Fault::of(&reply));
        }
        let auth = reply.json::<Granted>()?.auth;
        let token = SecretString::from(auth.client_token);
        Ok((header(&token)?, life(auth.lease_duration, auth.renewable)))
    }

    /// How long a given token lives. Its policy may not let it ask; then nobody knows.
    async fn life(
        &self,
        token: Option<&HeaderValue>,
        deadline: Deadline,
    ) -> Result<Option<Life>, Fault> {
        #[derive(Deserialize)]
        struct Found {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            #[serde(default)]
            ttl: u64,
            #[serde(default)]
            renewable: bool,
        }
        let path = ["auth", "token", "lookup-self"];
        let request = Request { method: Method::GET, path: &path, version: None, body: None };
        let reply = self.client.send(&request, token, deadline.request()).await?;
        match reply.status {
            200 => {
                let data = reply.json::<Found>()?.data;
                Ok(life(data.ttl, data.renewable))
            }
            403 => {
                tracing::debug!("how long the Vault token lives cannot be asked");
                Ok(None)
            }
            _ => Err(Fault::of(&reply)),
        }
    }

    /// Makes the token live on, or gets another one; `None` if neither can be done.
    async fn extend(&self, old: Life) -> Result<Option<Life>, Fault> {
        let deadline = Deadline::within(Duration::from_secs(30));
        let token = self.token.lock().await.clone();
        if old.renewable {
            let path = ["auth", "token", "renew-self"];
            let body = json!({});
            let request =
                Request { method: Method::POST, path: &path, version: None, body: Some(&body) };
            let reply = self.client.send(&request, token.as_ref(), deadline.request()).await?;
            if reply.is_ok() {
                let auth = reply.json::<Granted>()?.auth;
                let renewed = life(auth.lease_duration, auth.renewable);
                // Near its largest age a token is given less and less.
                if renewed.is_none_or(|life| life.ttl > old.ttl / 2) {
                    tracing::debug!("renewed the Vault token");
                    return Ok(renewed);
                }
            } else if let Login::Token(_) = self.login
                && !matches!(reply.status, 400 | 403)
            {
                return Err(Fault::of(&reply));
            }
        }
        if let Login::Token(_) = self.login {
            tracing::warn!("the Vault token cannot be renewed any more and will end");
            return Ok(None);
        }
        let (token, life) = self.log_in(deadline).await?;
        *self.token.lock().await = Some(token);
        Ok(life)
    }
}

impl Session {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.client.is_encrypted()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(task) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Renews the token when two thirds of its life are over.
async fn keep(session: Weak<Session>, mut life: Life) {
    let mut wait = life.ttl * 2 / 3;
    let mut end = Instant::now() + life.ttl;
    loop {
        sleep(wait).await;
        let Some(session) = session.upgrade() else { return };
        match session.extend(life).await {
            Ok(Some(next)) => {
                life = next;
                wait = life.ttl * 2 / 3;
                end = Instant::now() + life.ttl;
            }
            Ok(None) => return,
            Err(fault) => {
                tracing::warn!(error = %fault.error, "the Vault token could not be renewed yet");
                let shortest = if Instant::now() < end { 1 } else { 30 };
                wait = (wait / 2).max(Duration::from_secs(shortest));
            }
        }
    }
}

/// No life is one without an end, as a root token's.
fn life(seconds: u64, renewable: bool) -> Option<Life> {
    (seconds > 0).then(|| Life { ttl: Duration::from_secs(seconds), renewable })
}

fn header(token: &SecretString) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_may_repeat| {
        Fault::final_(StoreError::new(
            StoreErrorKind::Invalid,
            "the Vault token has characters that a token cannot have",
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}
