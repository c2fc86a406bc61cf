//! One connection to one server.

use std::{io, path::Path, sync::Arc};

use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value, aio::MultiplexedConnection,
};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret as _;
use tokenkeep_connect::{Tls, client_config};
use tokenkeep_core::{StoreError, StoreErrorKind};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    config::{Login, Node},
    error::{Fault, Reason, invalid, unavailable},
};

/// What connections are made with.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Option<TlsConnector>,
}

/// A connection that is logged in. Clones are the same connection; requests that are made at the
/// same time are sent one after the other, without waiting for answers.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    pub(crate) node: Arc<Node>,
}

impl Connector {
    pub(crate) fn new(tls: Tls, ca: Option<&Path>) -> Result<Self, StoreError> {
        let config = (tls != Tls::Disable).then(|| client_config(tls, ca)).transpose()?;
        Ok(Self { tls: config.map(|config| TlsConnector::from(Arc::new(config))) })
    }

    /// Connects to `node`, logs in and selects the database, by `until`.
    pub(crate) async fn connect(
        &self,
        node: &Node,
        login: &Login,
        database: u16,
        until: Instant,
    ) -> Result<Connection, Fault> {
        let stream = in_time(until, TcpStream::connect((node.host.as_str(), node.port))).await;
        let stream = stream.map_err(|error| Fault::unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| Fault::unreachable(&error))?;
        let inner = match &self.tls {
            None => converse(stream).await?,
            Some(tls) => {
                let name = ServerName::try_from(node.host.clone())
                    .map_err(|_error| Fault::final_(invalid("the host's name cannot be one")))?;
                let protected = in_time(until, tls.connect(name, stream)).await;
                converse(protected.map_err(|error| not_tls(&error))?).await?
            }
        };
        let connection = Connection { inner, node: Arc::new(node.clone()) };
        match timeout_at(until, connection.log_in(login, database)).await {
            Ok(logged_in) => logged_in.map(|()| connection),
            Err(_elapsed) => Err(Fault { lost: false, ..Fault::lost(None) }),
        }
    }
}

/// What becomes of `work`, or that it took too long.
async fn in_time<T>(until: Instant, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(until, work).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// Speaks Redis on a stream, until the last clone of the connection is dropped.
async fn converse<S>(stream: S) -> Result<MultiplexedConnection, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Nothing is asked yet: what is wrong with the login shall be told in our words.
    let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
    let settings = AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, conversation) =
        MultiplexedConnection::new_with_config(&nobody, stream, settings)
            .await
            .map_err(|error| Fault { lost: false, ..Fault::lost(Some(&error)) })?;
    tokio::spawn(conversation);
    Ok(connection)
}

/// A handshake that failed: for good where it is about the certificate.
fn not_tls(error: &io::Error) -> Fault {
    let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (message, hint) = match reason {
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName
            | rustls::CertificateError::NotValidForNameContext { .. },
        )) => (
            "the server's certificate is for another host",
            "connect by the name that it is for, or ask for verify-ca",
        ),
        Some(rustls::Error::InvalidCertificate(_)) => {
            ("the server's certificate is not trusted", "name the authority that signed it with ca")
        }
        Some(rustls::Error::InvalidMessage(_)) => (
            "the server does not go along with TLS",
            "use its TLS port, or redis:// for a port without TLS",
        ),
        Some(_) => ("TLS could not be agreed on with the server", "see the source"),
        None => {
            return Fault::passing(
                unavailable("the server does not go along with TLS")
                    .with_hint("use its TLS port, or redis:// for a port without TLS")
                    .with_source(Reason::from(error)),
            );
        }
    };
    let source = reason.map_or_else(|| error.to_string(), ToString::to_string);
    let error = StoreError::new(StoreErrorKind::Unavailable, message).with_hint(hint);
    Fault::final_(error.with_source(Reason(source)))
}

impl Connection {
    async fn log_in(&self, login: &Login, database: u16) -> Result<(), Fault> {
        let mut requests = Pipeline::new();
        if let Some(password) = &login.password {
            let password = password.read().map_err(Fault::final_)?;
            let request = requests.cmd("AUTH");
            if let Some(user) = &login.user {
                request.arg(user);
            }
            request.arg(password.expose_secret());
        }
        if database != 0 {
            requests.cmd("SELECT").arg(database);
        }
        if requests.is_empty() {
            return Ok(());
        }
        // A connection that ends here has changed nothing.
        let answers = self.pipelined(&requests).await;
        for answer in answers.map_err(|fault| Fault { lost: false, ..fault })? {
            refused(answer)?;
        }
        Ok(())
    }

    /// The answer to one request.
    pub(crate) async fn ask(&self, request: &Cmd) -> Result<Value, Fault> {
        let answer = self.inner.clone().send_packed_command(request).await;
        refused(answer.map_err(|error| Fault::lost(Some(&error)))?)
    }

    /// The answers to several requests, sent one after the other; some may be refusals.
    pub(crate) async fn pipelined(&self, requests: &Pipeline) -> Result<Vec<Value>, Fault> {
        let mut requests = requests.clone();
        requests.ignore_errors();
        let count = requests.len();
        let answers = self.inner.clone().send_packed_commands(&requests, 0, count).await;
        let answers = answers.map_err(|error| Fault::lost(Some(&error)))?;
        if answers.len() == count { Ok(answers) } else { Err(Fault::lost(None)) }
    }
}

/// An answer, unless it is a refusal.
pub(crate) fn refused(answer: Value) -> Result<Value, Fault> {
    if let Value::ServerError(refusal) = &answer { Err(Fault::of(refusal)) } else { Ok(answer) }
}
