//! How the server's codes and the driver's errors become [`StoreError`]s.
//!
//! Their texts are not passed on: they may repeat values (`Duplicate entry '…'`).

use std::{fmt, io};

use mysql_async::{DriverError, Error, IoError, ServerError, TlsError};
use tokenkeep_core::{Outcome, StoreError, StoreErrorKind};

/// Why work on a connection did not get done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// For good.
    Store(StoreError),
    /// Nothing was changed, and the same may work when it is tried again.
    Passing(StoreError),
    /// The connection is gone. Whether a statement that was under way was carried out is not
    /// known.
    Lost(StoreError),
    /// The tables are gone or have become others: the same may work after looking at them again.
    Stale(StoreError),
}

impl Fault {
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Store(error) | Self::Passing(error) | Self::Lost(error) | Self::Stale(error) => {
                error
            }
        }
    }

    /// Whether another try may help.
    pub(crate) fn is_passing(&self) -> bool {
        !matches!(self, Self::Store(_))
    }

    /// The same, if it came of the statement that decides: what was lost on the way may have been
    /// done.
    pub(crate) fn of_decision(self) -> Self {
        match self {
            Self::Lost(error) => Self::Store(error.with_outcome(Outcome::Unknown)),
            Self::Store(_) | Self::Passing(_) | Self::Stale(_) => self,
        }
    }

    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Store(error) | Self::Passing(error) | Self::Lost(error) | Self::Stale(error) => {
                error.kind()
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Server(error) => of_server(&error),
            Error::Io(IoError::Tls(TlsError::Tls(error))) => of_tls(&error),
            Error::Io(IoError::Io(error)) => of_io(&error),
            Error::Driver(DriverError::NoClientSslFlagFromServer) => Self::Store(
                StoreError::new(StoreErrorKind::Unavailable, "the server does not speak TLS")
                    .with_outcome(Outcome::Final)
                    .with_hint("have it speak TLS, or say tls=disable if the network is private"),
            ),
            Error::Driver(
                DriverError::UnknownAuthPlugin { .. }
                | DriverError::MysqlOldPasswordDisabled
                | DriverError::CleartextPluginDisabled,
            ) => Self::Store(
                StoreError::new(
                    StoreErrorKind::PermissionDenied,
                    "the server asks for the password in a way that is not supported",
                )
                .with_hint(
                    "identify the user with caching_sha2_password, ed25519 or \
                     mysql_native_password",
                ),
            ),
            Error::Driver(DriverError::PacketTooLarge) => Self::Store(too_large()),
            Error::Driver(
                DriverError::ConnectionClosed
                | DriverError::PoolDisconnected
                | DriverError::PacketOutOfOrder
                | DriverError::UnexpectedPacket { .. },
            ) => Self::Lost(lost()),
            Error::Io(IoError::Tls(_)) => Self::Store(
                StoreError::new(
                    StoreErrorKind::Invalid,
                    "the certificates of the authorities to trust cannot be used",
                )
                .with_hint("name a file of certificates in PEM with ca, and a host by its name"),
            ),
            Error::Driver(_) | Error::Other(_) | Error::Url(_) => Self::Store(StoreError::new(
                StoreErrorKind::Other,
                "the server's driver could not be used as expected",
            )),
        }
    }
}

fn lost() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the connection to the server was lost")
        .with_hint("see whether the server runs, and its log")
}

fn too_large() -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, "a value is too large for the server")
        .with_hint("raise max_allowed_packet at the server, or shorten it")
}

fn of_io(error: &io::Error) -> Fault {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return of_tls(error);
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "most kinds mean one thing to a store")]
    let error = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            StoreError::new(StoreErrorKind::Unavailable, "nothing listens at the server's address")
                .with_hint("see whether the server runs, and check host and port")
        }
        io::ErrorKind::NotFound => {
            return Fault::Store(
                StoreError::new(
                    StoreErrorKind::Unavailable,
                    "there is no such socket, or no such file of authorities",
                )
                .with_outcome(Outcome::Final)
                .with_hint("check socket and ca"),
            );
        }
        _ if error.to_string().contains("failed to lookup address") => {
            StoreError::new(StoreErrorKind::Unavailable, "the server's name cannot be resolved")
                .with_hint("check the host's name")
        }
        kind => lost().with_source(io::Error::from(kind)),
    };
    Fault::Lost(error)
}

fn of_tls(error: &rustls::Error) -> Fault {
    use rustls::CertificateError as Certificate;
    let refused = |message: &str, hint: &str| {
        Fault::Store(
            StoreError::new(StoreErrorKind::Unavailable, message)
                .with_outcome(Outcome::Final)
                .with_hint(hint),
        )
    };
    let rustls::Error::InvalidCertificate(reason) = error else {
        return refused(
            "no TLS connection came about",
            "see whether the server speaks TLS 1.2 or 1.3",
        );
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are all distrust")]
    match reason {
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => refused(
            "the server's certificate is for another host",
            "name the host as the certificate does, or say tls=verify-ca",
        ),
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            refused("the server's certificate has expired", "renew it")
        }
        _ => refused(
            "the server's certificate is not trusted",
            "name the file of the authority that signed it with ca",
        ),
    }
}

/// The names in a certificate that is trusted, but for another host: what `verify-ca` asks for.
pub(crate) fn other_names(error: &Error) -> Option<Vec<String>> {
    let reason = match error {
        Error::Io(IoError::Tls(TlsError::Tls(error))) => error,
        Error::Io(IoError::Io(error)) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        Error::Io(_) | Error::Driver(_) | Error::Other(_) | Error::Server(_) | Error::Url(_) => {
            return None;
        }
    };
    let rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForNameContext {
        presented,
        ..
    }) = reason
    else {
        return None;
    };
    let bare = |name: &String| {
        let name = name.strip_prefix("DnsName(").or_else(|| name.strip_prefix("IpAddress("))?;
        let name = name.strip_suffix(')')?.trim_matches('"');
        Some(name.strip_prefix("*.").map_or(name.to_owned(), |rest| format!("any.{rest}")))
    };
    Some(presented.iter().filter_map(bare).collect())
}

/// Whether a server that may be spoken to without TLS does not have it.
pub(crate) fn lacks_tls(error: &Error) -> bool {
    matches!(error, Error::Driver(DriverError::NoClientSslFlagFromServer))
}

/// Whether a unique key has the value already.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    matches!(error, Error::Server(error) if error.code == DUPLICATE)
}

/// Whether an index of this name is there already, because another process was faster.
pub(crate) fn is_made_already(error: &Error) -> bool {
    matches!(error, Error::Server(error) if matches!(error.code, 1050 | 1061))
}

/// Whether the server takes no writes now, or none by this user.
pub(crate) fn forbids_writing(error: &Error) -> bool {
    let codes = [1290, 1836, 1792, 1044, 1142, 1143, 1227, 1370];
    matches!(error, Error::Server(error) if codes.contains(&error.code))
}

const DUPLICATE: u16 = 1062;

const GRANTS: &str = "grant select, insert, update, delete, create and index on the database to \
                      this user";

/// What the codes mean; those of MySQL, MariaDB and Galera.
fn of_server(error: &ServerError) -> Fault {
    use StoreErrorKind::{
        Busy, Corrupt, Full, Invalid, Other, PermissionDenied, Unavailable, Unsupported,
    };
    let code = error.code;
    let told = |kind, message: &str, hint: &str| {
        StoreError::new(kind, message)
            .with_hint(hint)
            .with_source(Code { code, state: state(&error.state) })
    };
    match code {
        // Somebody else was faster, here or on another node; the server has rolled back.
        1213 | 3101 => Fault::Passing(told(Busy, "others write the same rows", "try again")),
        1205 | 3572 => Fault::Passing(told(
            Busy,
            "others keep the rows locked",
            "see which program has a transaction open",
        )),
        1969 | 3024 => {
            Fault::Passing(told(Busy, "the server gave the statement up", "raise its time limit"))
        }
        1040 | 1203 | 1226 => Fault::Passing(told(
            Busy,
            "the server has no connection left for this user",
            "raise max_connections, or lower pool-max",
        )),
        1290 | 1836 | 1792 => Fault::Passing(told(
            Unavailable,
            "the server is read-only",
            "name the server that takes writes; a failover may be under way",
        )),
        1047 => Fault::Passing(told(
            Unavailable,
            "the node is not part of its cluster now",
            "see wsrep_cluster_status, or name another node",
        )),
        1243 | 1615 => {
            Fault::Passing(told(Unavailable, "a statement has to be prepared again", "try again"))
        }
        // The end of a connection, or of what runs on it; and a commit of which the server is not
        // sure.
        1053
        | 1077
        | 1079
        | 1080
        | 1152
        | 1158..=1161
        | 1180
        | 1184
        | 1317
        | 1927
        | 2006
        | 2013
        | 3100
        | 3169
        | 4031 => Fault::Lost(told(
            Unavailable,
            "the server ended the connection",
            "see whether it is being stopped, and its log",
        )),
        1146 | 1054 | 1932 => Fault::Stale(told(
            Corrupt,
            "a table or a column is not there any more",
            "see which other program changes the tables",
        )),
        1045 | 1698 | 3118 | 1862 | 1820 => Fault::Store(told(
            PermissionDenied,
            "the server does not let this user in",
            "check user and password, whether the account may connect from here, and whether it \
             must use TLS",
        )),
        1130 => Fault::Store(told(
            PermissionDenied,
            "the server does not let this machine connect",
            "create the user for this host",
        )),
        1044 | 1142 | 1143 | 1227 | 1370 => {
            Fault::Store(told(PermissionDenied, "this user lacks a permission", GRANTS))
        }
        1049 => Fault::Store(
            told(
                Unavailable,
                "the server has no such database",
                "CREATE DATABASE zohooauth CHARACTER SET utf8mb4, or name another one",
            )
            .with_outcome(Outcome::Final),
        ),
        1129 => Fault::Store(
            told(
                Unavailable,
                "the server refuses this machine after too many broken connections",
                "mariadb-admin flush-hosts, or mysqladmin flush-hosts",
            )
            .with_outcome(Outcome::Final),
        ),
        3159 | 1835 | 4154 | 4166 => Fault::Store(
            told(Unavailable, "the server takes TLS connections only", "say tls=require")
                .with_outcome(Outcome::Final),
        ),
        1153 => Fault::Store(too_large()),
        1406 | 1264 | 1265 => Fault::Store(told(
            Invalid,
            "a value does not fit into its column",
            "see the table's columns: they should be varchar(255)",
        )),
        1366 | 1267 | 1271 | 3988 => Fault::Store(told(
            Invalid,
            "a value has characters that its column cannot hold",
            "alter table … convert to character set utf8mb4",
        )),
        DUPLICATE | 1586 => Fault::Store(told(
            Invalid,
            "another row has a value that the table wants only once",
            "see the table's unique keys and their collation",
        )),
        1048 | 1364 | 1451 | 1452 | 1644 | 3819 | 4025 => Fault::Store(told(
            Invalid,
            "a rule of the table forbids it",
            "see what the table's definition asks for beyond the official layout",
        )),
        1021 | 1114 | 3 | 28 => {
            Fault::Store(told(Full, "the server has no room left", "make room at the server"))
        }
        1034 | 1035 | 1194 | 1195 | 1712 | 1877 => {
            Fault::Store(told(Corrupt, "a table is damaged", "repair it, or restore a backup"))
        }
        1665 => Fault::Store(told(
            Unsupported,
            "the server logs statements, and rows cannot be written safely so",
            "set binlog_format to ROW or MIXED at the server",
        )),
        1235 | 1064 => Fault::Store(told(
            Unsupported,
            "the server does not understand a statement",
            "use MySQL 5.7 or MariaDB 10.3, or later",
        )),
        _ => Fault::Store(told(Other, "the server refused a statement", "look its code up")),
    }
}

/// The server's code, without its text.
#[derive(Debug)]
struct Code {
    code: u16,
    state: String,
}

/// Five letters or digits.
fn state(state: &str) -> String {
    state.chars().filter(char::is_ascii_alphanumeric).take(5).collect()
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server error {} ({})", self.code, self.state)
    }
}

impl std::error::Error for Code {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: u16) -> Fault {
        let message = "Duplicate entry 'test-secret' for key".to_owned();
        Fault::from(Error::Server(ServerError { code, message, state: "23000".to_owned() }))
    }

    #[test]
    fn what_the_server_said_is_not_repeated() {
        for code in [1062, 1064, 1213, 1366, 9999] {
            let error = fault(code).into_error();
            let source = std::error::Error::source(&error).unwrap();
            let shown = format!("{error} {error:?} {source} {source:?}");
            assert!(!shown.contains("test-secret"), "{shown}");
            assert!(shown.contains(&code.to_string()), "{shown}");
        }
    }

    #[test]
    fn what_rolled_back_is_tried_again_and_what_got_lost_in_a_decision_is_unknown() {
        for code in [1213, 1205, 1047, 1290, 1836, 1792, 1040] {
            assert!(matches!(fault(code).of_decision(), Fault::Passing(_)), "{code}");
        }
        for code in [1053, 1927, 2006, 2013, 1317, 1180] {
            assert!(fault(code).is_passing(), "{code}");
            let Fault::Store(error) = fault(code).of_decision() else { panic!("{code}") };
            assert_eq!(error.outcome(), Outcome::Unknown, "{code}");
        }
        assert!(matches!(fault(1146), Fault::Stale(_)));
        assert!(!fault(1045).is_passing());
    }
}
