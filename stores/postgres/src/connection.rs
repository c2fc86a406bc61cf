//! [`Connection`]: one connection to the primary, and its statements.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use secrecy::ExposeSecret as _;
use tokenkeep_core::StoreError;
use tokio::{sync::OnceCell, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Notification, Row, Socket, Statement, tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    config::{PostgresConfig, invalid},
    error::{self, Fault},
    layout::{Layout, Query},
    rows::Parameters,
};

/// Makes connections.
pub(crate) struct Connector {
    config: PostgresConfig,
    tls: MakeRustlsConnect,
    /// The number of the server that was the primary last.
    primary: AtomicUsize,
}

type Driver =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Connector {
    pub(crate) fn new(config: PostgresConfig) -> Result<Self, StoreError> {
        Ok(Self { tls: config.connector()?, config, primary: AtomicUsize::new(0) })
    }

    pub(crate) fn config(&self) -> &PostgresConfig {
        &self.config
    }

    /// Connects to a server that can be written to, beginning with the one that could be last.
    ///
    /// What the server notifies this connection of goes to `told`.
    pub(crate) async fn connect(
        &self,
        told: impl Fn(&Notification) + Send + 'static,
    ) -> Result<Client, Fault> {
        let first = self.primary.load(Ordering::Relaxed);
        let count = self.config.servers.len();
        let mut failed: Option<Fault> = None;
        for number in (first..first + count).map(|number| number % count) {
            match self.connect_to(number).await {
                Ok((client, driver)) => {
                    self.primary.store(number, Ordering::Relaxed);
                    tokio::spawn(drive(driver, told));
                    self.prepare_session(&client).await?;
                    return Ok(client);
                }
                // One that may be the primary soon says more than one that does not let us in.
                Err(fault) => {
                    failed = match failed {
                        Some(other) if other.remedy > fault.remedy => Some(other),
                        Some(_) | None => Some(fault),
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| invalid("no server is named").into()))
    }

    /// Connects to one server. One that takes a connection and then says nothing must not keep the
    /// others from being asked, so all of it has a limit.
    async fn connect_to(&self, number: usize) -> Result<(Client, Driver), Fault> {
        let server = &self.config.servers[number];
        let mut driver = self.config.driver(server);
        if let Some(password) = &self.config.password {
            driver.password(password.read()?.expose_secret());
        }
        let connecting = driver.connect(self.tls.clone());
        match timeout(self.config.connect_timeout, connecting).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(error::connecting(&error, &server.to_string())),
            Err(_elapsed) => Err(Fault::too_slow()),
        }
    }

    /// Limits what a statement, a lock and a transaction that is not gone on with may take, so that
    /// nothing of an operation that was given up holds others up. Where the user or the database
    /// does without writing through to the disk, this connection does not. Where the database knows
    /// no encoding, bytes come as they are: else one row that is no UTF-8 would hide all others.
    async fn prepare_session(&self, client: &Client) -> Result<(), Fault> {
        let limit = self.config.timeout.as_millis();
        let sql = format!(
            "set statement_timeout = {limit}; set lock_timeout = {limit}; \
             set idle_in_transaction_session_timeout = {limit}; \
             select set_config('synchronous_commit', 'on', false) \
             where current_setting('synchronous_commit') = 'off'; \
             select set_config('client_encoding', 'SQL_ASCII', false) \
             where current_setting('server_encoding') = 'SQL_ASCII'"
        );
        Ok(client.batch_execute(&sql).await?)
    }
}

/// Carries what is sent and what comes, until the client is dropped or the connection is lost. What
/// else the server says may hold values, and goes nowhere.
async fn drive(mut driver: Driver, told: impl Fn(&Notification)) {
    while let Some(Ok(message)) = poll_fn(|context| driver.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message {
            told(&notification);
        }
    }
}

/// One connection to the primary, and its statements, each prepared when it is first used.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) layout: Arc<Layout>,
    statements: [OnceCell<Statement>; Query::COUNT],
}

impl Connection {
    pub(crate) fn new(client: Client, layout: Arc<Layout>) -> Self {
        Self { client, layout, statements: [const { OnceCell::const_new() }; Query::COUNT] }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }

    /// A statement, prepared.
    pub(crate) async fn statement(
        &self,
        query: Query,
    ) -> Result<&Statement, tokio_postgres::Error> {
        let prepare = async || self.client.prepare(&self.layout.sql(query)).await;
        self.statements[query as usize].get_or_try_init(prepare).await
    }

    /// What a statement answers.
    pub(crate) async fn rows(
        &self,
        query: Query,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.statement(query).await?;
        self.client.query(statement, parameters).await
    }
}
