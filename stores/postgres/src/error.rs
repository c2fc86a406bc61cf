//! How the driver's errors become [`StoreError`]s.

use std::{error::Error, fmt, io};

use rustls::CertificateError;
use tokenkeep_core::{Outcome, StoreError, StoreErrorKind};
use tokio_postgres::error::{DbError, Severity, SqlState};

/// Why work did not get done, and what may help.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) error: StoreError,
    pub(crate) remedy: Remedy,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remedy {
    /// Nothing that the store can do.
    Nothing,
    /// The same again, though nobody answers at the place; it may be the wrong one.
    Reach,
    /// The same again, on another connection.
    Again,
    /// The same again, after looking at the tables anew.
    Prepare,
}

impl Fault {
    fn new(remedy: Remedy, error: StoreError) -> Self {
        Self { error, remedy }
    }

    /// What may work later.
    pub(crate) fn again(kind: StoreErrorKind, message: &str, hint: &str) -> Self {
        let error = StoreError::new(kind, message).with_outcome(Outcome::NotApplied);
        Self::new(Remedy::Again, error.with_hint(hint))
    }

    /// The tables are not what they were.
    pub(crate) fn stale(message: &str) -> Self {
        Self::new(
            Remedy::Prepare,
            StoreError::new(StoreErrorKind::Unavailable, message)
                .with_hint("see which other program changes the tables"),
        )
    }

    /// An operation that did not end in its time.
    pub(crate) fn too_slow() -> Self {
        Self::again(
            StoreErrorKind::Unavailable,
            "the server did not answer in time",
            "see whether it is overloaded or somebody keeps rows locked, or allow a longer timeout",
        )
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::new(Remedy::Nothing, error)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Told::by(&error).fault(None)
    }
}

/// An error while connecting to the server at `place`.
pub(crate) fn connecting(error: &tokio_postgres::Error, place: &str) -> Fault {
    Told::by(error).fault(Some(place))
}

/// What an error of the driver means.
struct Told {
    remedy: Remedy,
    kind: StoreErrorKind,
    message: &'static str,
    hint: &'static str,
    code: Option<SqlState>,
}

impl Told {
    fn by(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => of_server(error),
            None => of_connection(error),
        }
    }

    /// Something about a connection that may work later.
    const fn again(message: &'static str, hint: &'static str) -> Self {
        let kind = StoreErrorKind::Unavailable;
        Self { remedy: Remedy::Again, kind, message, hint, code: None }
    }

    /// No server at the place.
    const fn unreached(message: &'static str, hint: &'static str) -> Self {
        let kind = StoreErrorKind::Unavailable;
        Self { remedy: Remedy::Reach, kind, message, hint, code: None }
    }

    const fn denied(message: &'static str, hint: &'static str) -> Self {
        let kind = StoreErrorKind::PermissionDenied;
        Self { remedy: Remedy::Nothing, kind, message, hint, code: None }
    }

    fn fault(self, place: Option<&str>) -> Fault {
        let message = match place {
            Some(place) => format!("{} ({place})", self.message),
            None => self.message.to_owned(),
        };
        let error = StoreError::new(self.kind, message).with_hint(self.hint).with_outcome(
            match (self.remedy, self.kind) {
                (Remedy::Again | Remedy::Reach | Remedy::Prepare, _)
                | (_, StoreErrorKind::Full) => Outcome::NotApplied,
                (Remedy::Nothing, _) => Outcome::Final,
            },
        );
        Fault::new(
            self.remedy,
            match self.code {
                Some(code) => error.with_source(ServerError(code)),
                None => error,
            },
        )
    }
}

/// Whether an error that answers a commit leaves open what became of it: the server was ending the
/// connection, or it was lost.
pub(crate) fn leaves_open(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(error) => {
            !matches!(error.parsed_severity(), Some(Severity::Error))
                || error.code().code().starts_with("57P")
                || error.code() == &SqlState::TRANSACTION_RESOLUTION_UNKNOWN
        }
        None => true,
    }
}

/// What the server says of a statement or of a login.
fn of_server(error: &DbError) -> Told {
    use Remedy::{Again, Nothing, Prepare};
    use StoreErrorKind::{
        Busy, Corrupt, Full, Invalid, Other, PermissionDenied, Unavailable, Unsupported,
    };
    let code = error.code().code();
    let (remedy, kind, message, hint) = match code {
        "28P01" => (
            Nothing,
            PermissionDenied,
            "the server does not take the user or the password",
            "check both; a password can come from password-env or password-file",
        ),
        _ if code.starts_with("28") => (
            Nothing,
            PermissionDenied,
            "the server does not let this user in from here in this way",
            "check the user; pg_hba.conf on the server may ask for TLS, or for another database",
        ),
        "3D000" => (
            Nothing,
            Unavailable,
            "there is no such database",
            "check its name, or make it: create database …",
        ),
        "42501" => (
            Nothing,
            PermissionDenied,
            "the user may not do this in the database",
            "grant select, insert, update and delete on the token table, tokenkeep_state and \
             tokenkeep_meta; to make them, create on the schema",
        ),
        "25006" => (
            Again,
            Unavailable,
            "the server is read-only",
            "name the primary, or all servers that may become it",
        ),
        "53300" => (
            Again,
            Unavailable,
            "the server has too many connections",
            "raise max_connections, or let programs have fewer writers",
        ),
        _ if code.starts_with("57P") || code.starts_with("08") => {
            (Again, Unavailable, "the server is starting or stopping", "see the server's log")
        }
        "40001" | "40P01" => {
            (Again, Busy, "the server ended the transaction in favour of another", "try again")
        }
        "55P03" | "57014" => (
            Again,
            Busy,
            "another program keeps what is to be written locked",
            "see pg_stat_activity for transactions that do not end",
        ),
        // An id that somebody else has just given.
        "23505"
            if error.constraint().is_some_and(|name| name.ends_with("_pkey"))
                || error.detail().is_some_and(|detail| detail.contains("(id)=")) =>
        {
            (Again, Busy, "another program has added a token at the same time", "try again")
        }
        _ if code.starts_with("23") => (
            Nothing,
            Invalid,
            "a constraint of the table forbids it",
            "see what the table's definition asks for beyond the official layout",
        ),
        "22001" | "54000" | "22021" | "22P05" => (
            Nothing,
            Invalid,
            "a value is too long, or has characters that the database cannot hold",
            "shorten it",
        ),
        "22012" => (
            Nothing,
            Invalid,
            "the table does not keep the token as it is saved",
            "see the table's triggers and policies",
        ),
        "53100" => (Nothing, Full, "the server's disk is full", "make room; nothing was changed"),
        _ if code.starts_with("53") || code.starts_with("58") => (
            Again,
            Unavailable,
            "the server lacks memory or its disk fails",
            "see the server's log",
        ),
        "42P01" | "42703" | "3F000" | "0A000" | "26000" => (
            Prepare,
            Unavailable,
            "the tables were removed or changed",
            "see which other program changes them",
        ),
        _ if code.starts_with("42") || code.starts_with("0A") => (
            Nothing,
            Unsupported,
            "the server does not know a statement",
            "it should be PostgreSQL 11 or newer",
        ),
        _ if code.starts_with("XX") => {
            (Nothing, Corrupt, "the server finds its data damaged", "see the server's log")
        }
        _ => (Nothing, Other, "the server reported an error", "see its code and the server's log"),
    };
    Told { remedy, kind, message, hint, code: Some(error.code().clone()) }
}

/// What went wrong with a connection, or in making one.
fn of_connection(error: &tokio_postgres::Error) -> Told {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return of_tls(error);
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            if let Some(error) =
                error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                return of_tls(error);
            }
            return of_socket(error);
        }
        // Of the driver's own words for these there is no other sign.
        match cause.to_string().as_str() {
            "server does not support TLS" => {
                return Told::denied(
                    "the server has no TLS",
                    "turn on ssl on the server, or ask for less with tls",
                );
            }
            "password missing" => {
                return Told::denied(
                    "the server asks for a password, and none is known",
                    "use password-env or password-file",
                );
            }
            _ => source = cause.source(),
        }
    }
    if error.is_closed() {
        LOST
    } else {
        Told::unreached(
            "the server's answer cannot be read",
            "see whether PostgreSQL is at this place",
        )
    }
}

const LOST: Told =
    Told::again("the connection to the server was lost", "see whether it is running");

/// The driver's own error for a server that says it is read-only has no other sign.
#[expect(clippy::wildcard_enum_match_arm, reason = "most kinds mean the same to a store")]
fn of_socket(error: &io::Error) -> Told {
    match error.kind() {
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => Told::again(
            "the server is read-only",
            "name the primary, or all servers that may become it",
        ),
        io::ErrorKind::PermissionDenied => {
            Told::denied("the server's socket may not be used", "give this user permission for it")
        }
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Told::unreached(
            "no server answers at this place",
            "check host and port, and whether the server is running",
        ),
        io::ErrorKind::TimedOut => Told::unreached(
            "the server cannot be reached",
            "check host and port, and what stands between",
        ),
        // What looks names up has no kind for what it does not find.
        _ if error.to_string().contains("lookup address") => {
            Told::unreached("the host's name is not known", "check it")
        }
        _ => LOST,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no way out of its own")]
fn of_tls(error: &rustls::Error) -> Told {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, UnknownIssuer,
    };
    match error {
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            Told::denied(
                "the server's certificate is for another host",
                "name the server as its certificate does, or ask for verify-ca",
            )
        }
        rustls::Error::InvalidCertificate(UnknownIssuer) => Told::denied(
            "the server's certificate is not signed by an authority that is trusted",
            "name the file of the authority with ca",
        ),
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) => {
            Told::denied("the server's certificate is not valid now", "renew it, or set the clock")
        }
        rustls::Error::InvalidCertificate(_) => {
            Told::denied("the server's certificate is not one to trust", "see how it was made")
        }
        _ => Told::denied("TLS with the server failed", "see which versions of TLS it takes"),
    }
}

/// An error of the server by its code. What it says beside may hold values, and is left out.
struct ServerError(SqlState);

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL code {}", self.0.code())
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ServerError {}

/// What is stored cannot be read, or is no table of tokens; `what` names the place, not the content.
pub(crate) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what)
}
