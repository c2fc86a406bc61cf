//! How connections come about: what they are told of the server, and how they are secured.

use std::time::Duration;

use mysql_async::{
    Conn, Error, Opts, OptsBuilder, PoolConstraints, PoolOpts, SslOpts, prelude::Queryable,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use secrecy::{ExposeSecret, SecretString};
use tokenkeep_connect::Tls;
use tokenkeep_core::{StoreError, StoreErrorKind};
use tokio::time::timeout;

use crate::{
    MysqlConfig,
    error::{Fault, lacks_tls, other_names},
};

/// The first connection, and how the others are made.
pub(crate) struct First {
    pub(crate) conn: Conn,
    pub(crate) opts: OptsBuilder,
    /// Whether the server is a node of a Galera cluster.
    pub(crate) is_galera: bool,
}

/// Makes the first connection, on which it is found out what server this is.
pub(crate) async fn first(config: &MysqlConfig) -> Result<First, Fault> {
    // The driver takes the process's provider, and panics if there is none and several could be.
    if CryptoProvider::get_default().is_none() {
        // Somebody else may be faster, which is as well.
        let _installed_by_another = aws_lc_rs::default_provider().install_default();
    }
    let password = config.password.read()?;
    let secured = secured(config, &password);
    let (mut conn, opts) = match timeout(config.connect_timeout, secured).await {
        Ok(connected) => connected?,
        Err(_elapsed) => {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "the server did not take the connection in time",
            )
            .with_hint("check host, port and firewalls, or raise connect-timeout")
            .into());
        }
    };
    let wsrep: Option<(String, String)> =
        conn.query_first("show variables like 'wsrep\\_on'").await?;
    let is_galera = wsrep.is_some_and(|(_, value)| value.eq_ignore_ascii_case("on"));
    let setup = setup(config.timeout, is_galera);
    conn.query_drop(&setup).await?;
    Ok(First { conn, opts: opts.setup(vec![setup]), is_galera })
}

async fn secured(
    config: &MysqlConfig,
    password: &SecretString,
) -> Result<(Conn, OptsBuilder), Error> {
    let plain = opts(config, password);
    if config.tls == Tls::Disable || config.socket.is_some() {
        return Ok((Conn::new(Opts::from(plain.clone())).await?, plain));
    }
    let ssl = ssl(config);
    let secure = plain.clone().ssl_opts(ssl.clone());
    let error = match Conn::new(Opts::from(secure.clone())).await {
        Ok(conn) => return Ok((conn, secure)),
        Err(error) => error,
    };
    if config.tls == Tls::Prefer && lacks_tls(&error) {
        tracing::warn!("the server has no TLS: what passes can be read on the way");
        return Ok((Conn::new(Opts::from(plain.clone())).await?, plain));
    }
    if config.tls == Tls::VerifyCa
        && let Some(names) = other_names(&error)
    {
        // The authority is one that is trusted, and that is all that is asked for. The driver's own
        // switch for it does not work with this version of rustls, so that one of the names is
        // asked for that the certificate has. It is checked as a whole once more.
        for name in names {
            let ssl = ssl.clone().with_danger_tls_hostname_override(Some(name));
            let secure = plain.clone().ssl_opts(ssl);
            if let Ok(conn) = Conn::new(Opts::from(secure.clone())).await {
                return Ok((conn, secure));
            }
        }
    }
    Err(error)
}

fn opts(config: &MysqlConfig, password: &SecretString) -> OptsBuilder {
    // How long a connection is kept that nobody needs.
    const IDLE: Duration = Duration::from_secs(60);
    let pool = PoolOpts::new()
        // A reset forgets the prepared statements, and costs three times a find. What it is for
        // is seen to by `Transaction`; nothing else changes a session.
        .with_reset_connection(false)
        .with_inactive_connection_ttl(IDLE);
    let pool = match PoolConstraints::new(config.pool_min, config.pool_max) {
        Some(constraints) => pool.with_constraints(constraints),
        None => pool,
    };
    let opts = OptsBuilder::default()
        .user(Some(&config.user))
        .pass(Some(password.expose_secret()))
        .db_name(Some(&config.database))
        // Affected rows are those that were found, whether or not they changed.
        .client_found_rows(true)
        // It goes where it was told to: not to a socket that the server names.
        .prefer_socket(false)
        .stmt_cache_size(256)
        .tcp_keepalive(Some(Duration::from_secs(60)))
        .pool_opts(pool);
    match &config.socket {
        Some(path) => opts.socket(Some(path.to_string_lossy())),
        None => opts.ip_or_hostname(&config.host).tcp_port(config.port),
    }
}

fn ssl(config: &MysqlConfig) -> SslOpts {
    let ssl = SslOpts::default().with_danger_accept_invalid_certs(!config.tls.verifies());
    match &config.ca {
        Some(path) => {
            ssl.with_root_certs(vec![path.clone().into()]).with_disable_built_in_roots(true)
        }
        None => ssl,
    }
}

/// What each session is told, whatever the server's defaults are.
///
/// - Strict, so that a value that does not fit is an error and not cut.
/// - READ COMMITTED: each statement sees what is committed when it begins, so that a save sees all
///   that was before it got its turn; and it locks the rows it means and not the gaps beside them.
///   Decisions never rest on such a read alone: a save locks its candidates, and all other writes
///   say in their condition what they have read.
/// - On a Galera node, reads and writes wait until the node has what the others committed before.
///   And the node leaves it to the store to try again what it had to take back.
/// - Locks are not waited for until the time of the whole operation is up.
fn setup(limit: Duration, is_galera: bool) -> String {
    let patience = (limit.as_secs() / 2).max(1);
    let wsrep = if is_galera {
        ", session wsrep_sync_wait = 7, session wsrep_retry_autocommit = 0"
    } else {
        ""
    };
    format!(
        "set names utf8mb4, session autocommit = 1, session sql_safe_updates = 0, \
         session sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         session innodb_lock_wait_timeout = {patience}, session lock_wait_timeout = {patience}\
         {wsrep}; \
         set session transaction isolation level read committed"
    )
}
