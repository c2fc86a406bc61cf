//! The store's connections, and how often something is tried.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use redis::{Cmd, Pipeline, Value};
use tokenkeep_core::StoreError;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::{
    RedisConfig,
    config::{Node, Replicas, Topology},
    connection::{Connection, Connector, refused},
    error::{Fault, Remedy, unavailable, unknown},
    keys::Keys,
    primary,
    script::Call,
};

/// How long the pauses between attempts are, first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// The connections to the primary.
pub(crate) struct Link {
    pub(crate) config: RedisConfig,
    pub(crate) keys: Keys,
    connector: Connector,
    current: Mutex<Current>,
    /// Whoever holds it connects; others wait for what comes of it.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    connection: Option<Connection>,
    /// How often it was connected.
    serial: u64,
    /// Connections that wait for replicas, and which the above has been since they were made.
    idle: Vec<(u64, Connection)>,
    /// The servers that were the primary, the last one first.
    known: Vec<Node>,
}

/// The time limit of one operation, and the pauses in it.
pub(crate) struct Limit {
    ends: Instant,
    /// How long one attempt may take: less than all, so that a connection on which nothing comes is
    /// given up in time.
    attempt: Duration,
    /// With less time than this left nothing is begun again: a write that is sent too late is one of
    /// which nobody knows what became.
    least: Duration,
    /// Whether keys are looked for on other nodes.
    follows: bool,
    pauses: ExponentialBackoff,
}

/// What is sent.
#[derive(Clone, Copy)]
enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a Call),
}

impl Link {
    pub(crate) fn new(config: RedisConfig) -> Result<Self, StoreError> {
        let connector = Connector::new(config.tls, config.ca.as_deref())?;
        let keys = Keys::new(&config.prefix);
        Ok(Self {
            config,
            keys,
            connector,
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn limit(&self) -> Limit {
        let (first, most) = PAUSES;
        let timeout = self.config.timeout;
        Limit {
            ends: Instant::now() + timeout,
            attempt: timeout / 4,
            least: timeout / 10,
            follows: self.config.topology == Topology::Cluster,
            pauses: ExponentialBuilder::new()
                .with_min_delay(first)
                .with_max_delay(most)
                .without_max_times()
                .with_jitter()
                .build(),
        }
    }

    /// The server that was the primary when it was last connected to.
    pub(crate) fn primary(&self) -> Option<Node> {
        self.lock().known.first().cloned()
    }

    /// Connects, once.
    pub(crate) async fn reach(&self) -> Result<(), StoreError> {
        let until = self.limit().of_attempt();
        self.connection(until).await.map(drop).map_err(|fault| fault.error)
    }

    /// What a script that only reads answers. It is run again until it answers.
    pub(crate) async fn read(&self, call: &Call, limit: &mut Limit) -> Result<Value, StoreError> {
        self.until_answered(Request::Script(call), limit).await
    }

    /// What a command that only reads answers. It is sent again until it answers.
    pub(crate) async fn ask(&self, command: &Cmd, limit: &mut Limit) -> Result<Value, StoreError> {
        self.until_answered(Request::Command(command), limit).await
    }

    async fn until_answered(
        &self,
        request: Request<'_>,
        limit: &mut Limit,
    ) -> Result<Value, StoreError> {
        loop {
            match self.send(request, limit.of_attempt()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => limit.pause(fault).await?,
            }
        }
    }

    /// What a script answers that writes. It is sent once. If replicas have to confirm the write and
    /// do not, that is an error of unknown outcome.
    pub(crate) async fn write(&self, call: &Call, limit: &Limit) -> Result<Value, Fault> {
        let until = limit.of_attempt();
        let Some(replicas) = self.config.replicas else {
            return self.send(Request::Script(call), until).await;
        };
        let (serial, connection) = self.own(until).await?;
        let until = limit.ends.min(until + replicas.timeout);
        let answered = timeout_at(until, self.confirmed(&connection, call, replicas)).await;
        let answer = answered.unwrap_or_else(|_elapsed| Err(Fault::lost(None)));
        if answer.as_ref().is_err_and(|fault| fault.remedy.needs_connection()) {
            self.discard(serial);
        } else {
            self.lock().idle.push((serial, connection));
        }
        answer
    }

    /// Sends a request once, on the connection that all share.
    async fn send(&self, request: Request<'_>, until: Instant) -> Result<Value, Fault> {
        let (serial, connection) = self.connection(until).await?;
        let answered = timeout_at(until, self.answer(&connection, request)).await;
        let answer = answered.unwrap_or_else(|_elapsed| Err(Fault::lost(None)));
        if answer.as_ref().is_err_and(|fault| fault.remedy.needs_connection()) {
            self.discard(serial);
        }
        answer
    }

    async fn answer(&self, connection: &Connection, request: Request<'_>) -> Result<Value, Fault> {
        match request {
            Request::Command(command) => connection.ask(command).await,
            Request::Script(call) => match connection.ask(&call.by_hash(&self.keys)).await {
                Err(fault) if fault.remedy == Remedy::SendScript => {
                    connection.ask(&call.by_code(&self.keys)).await
                }
                answer => answer,
            },
        }
    }

    /// Runs a script and waits for the replicas, on one connection: replicas confirm what was
    /// written on the connection that asks.
    async fn confirmed(
        &self,
        connection: &Connection,
        call: &Call,
        replicas: Replicas,
    ) -> Result<Value, Fault> {
        let millis = u64::try_from(replicas.timeout.as_millis()).unwrap_or(u64::MAX);
        let requests = |script: Cmd| {
            let mut requests = Pipeline::new();
            requests.add_command(script).cmd("WAIT").arg(replicas.number).arg(millis);
            requests
        };
        let mut answers = connection.pipelined(&requests(call.by_hash(&self.keys))).await?;
        if let Some(Err(fault)) = answers.first().cloned().map(refused)
            && fault.remedy == Remedy::SendScript
        {
            answers = connection.pipelined(&requests(call.by_code(&self.keys))).await?;
        }
        let confirmed = answers.pop();
        let answer = refused(answers.pop().unwrap_or(Value::Nil))?;
        match confirmed {
            Some(Value::Int(number)) if number >= i64::from(replicas.number) => Ok(answer),
            _ => Err(Fault::final_(unknown(
                unavailable("too few replicas have confirmed the write")
                    .with_hint("read before you write again; see to the replicas"),
            ))),
        }
    }

    /// The connection that all share.
    async fn connection(&self, until: Instant) -> Result<(u64, Connection), Fault> {
        if let Some(connection) = self.lock().present() {
            return Ok(connection);
        }
        let timed_out = |_elapsed| Fault::passing(unavailable("the server did not answer in time"));
        let _turn = timeout_at(until, self.connecting.lock()).await.map_err(timed_out)?;
        if let Some(connection) = self.lock().present() {
            return Ok(connection);
        }
        let connection = self.connect(until).await?;
        let mut current = self.lock();
        current.serial += 1;
        current.connection = Some(connection.clone());
        current.idle.clear();
        current.known.retain(|node| *node != *connection.node);
        current.known.insert(0, (*connection.node).clone());
        debug!(serial = current.serial, "connected to the primary");
        Ok((current.serial, connection))
    }

    /// A connection for one write: who waits for replicas holds up all that is asked after it.
    async fn own(&self, until: Instant) -> Result<(u64, Connection), Fault> {
        let (serial, _connection) = self.connection(until).await?;
        let idle = self.lock().take_idle();
        match idle {
            Some(connection) => Ok((serial, connection)),
            None => Ok((serial, self.connect(until).await?)),
        }
    }

    async fn connect(&self, until: Instant) -> Result<Connection, Fault> {
        let known = self.lock().known.clone();
        primary::connect(&self.connector, &self.config, &self.keys, &known, until).await
    }

    fn discard(&self, serial: u64) {
        let mut current = self.lock();
        if current.serial == serial {
            current.connection = None;
            current.idle.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    /// A connection that was made since the primary was connected to, for one write.
    fn take_idle(&mut self) -> Option<Connection> {
        self.idle.retain(|(made, _)| *made == self.serial);
        self.idle.pop().map(|(_, connection)| connection)
    }

    /// The connection, if there is one.
    fn present(&self) -> Option<(u64, Connection)> {
        self.connection.clone().map(|connection| (self.serial, connection))
    }
}

impl Limit {
    /// The same with all the time for one attempt: for what may take long.
    pub(crate) fn patient(self) -> Self {
        Self { attempt: Duration::MAX, ..self }
    }

    /// When an attempt that begins now has to end.
    fn of_attempt(&self) -> Instant {
        Instant::now().checked_add(self.attempt).map_or(self.ends, |ends| ends.min(self.ends))
    }

    /// Waits before another attempt, if that can help.
    ///
    /// # Errors
    ///
    /// What `fault` says, if nothing helps or no time is left.
    pub(crate) async fn pause(&mut self, fault: Fault) -> Result<(), StoreError> {
        let helps = match fault.remedy {
            Remedy::Wait | Remedy::Reconnect => true,
            Remedy::Follow => self.follows,
            Remedy::None | Remedy::SendScript => false,
        };
        if !helps {
            return Err(fault.error);
        }
        let pause = self.pauses.next().unwrap_or(PAUSES.1);
        if Instant::now() + pause + self.least >= self.ends {
            return Err(fault.error);
        }
        debug!(error = %fault.error, "trying again");
        sleep(pause).await;
        Ok(())
    }
}

/// Shows what it was opened with, and no connection.
impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("config", &self.config).finish_non_exhaustive()
    }
}
