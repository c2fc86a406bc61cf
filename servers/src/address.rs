use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

use url::Url;

use crate::Kind;

/// The user that tests connect as. It may make databases and nothing beyond that.
pub(crate) const USER: &str = "tokenkeep";
/// Its password and the administrator's.
pub(crate) const PASSWORD: &str = "test-password";

/// Where a node of a server is, and who may connect.
#[derive(Clone)]
#[non_exhaustive]
pub struct Address {
    /// The scheme of [`url`](Self::url): `mysql`, `postgres`, `redis`.
    pub scheme: String,
    /// `127.0.0.1`, unless the environment says otherwise. Of a message bus, the path of its socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The port that speaks TLS: the same one, but for Redis.
    pub tls_port: Option<u16>,
    /// Who tests are. They may make databases.
    pub user: String,
    /// The password of `user`.
    pub password: String,
    /// Who may do everything: end connections, change settings.
    pub admin_user: String,
    /// The password of `admin_user`. Of RustyVault, the root's token.
    pub admin_password: String,
    /// The certificate that signed the server's, which is for `localhost` and `127.0.0.1`.
    pub ca: Option<PathBuf>,
}

impl Address {
    pub(crate) fn local(kind: Kind, port: u16) -> Self {
        let admin = match kind {
            Kind::MariaDb | Kind::Galera => "root",
            Kind::Postgres | Kind::PostgresPair => "postgres",
            Kind::Redis | Kind::RedisCluster | Kind::RedisSentinel => "default",
            Kind::Moto | Kind::SecretService | Kind::RustyVault => "",
        };
        Self {
            scheme: kind.scheme().to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            tls_port: None,
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            admin_user: admin.to_owned(),
            admin_password: PASSWORD.to_owned(),
            ca: None,
        }
    }

    /// Of a message bus at a socket.
    pub(crate) fn bus(socket: PathBuf) -> Self {
        let host = socket.display().to_string();
        Self { host, ..Self::local(Kind::SecretService, 0).without_password() }
    }

    pub(crate) fn with_tls(self, port: u16, ca: PathBuf) -> Self {
        Self { tls_port: Some(port), ca: Some(ca), ..self }
    }

    pub(crate) fn without_password(self) -> Self {
        let [user, password, admin_user, admin_password] = Default::default();
        Self { user, password, admin_user, admin_password, ..self }
    }

    /// `scheme://user:password@host:port`, to which a database may be added: `{url}/name`. Of a
    /// message bus, `unix:path=…`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_as(&self.user, &self.password)
    }

    /// The same as the administrator.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.url_as(&self.admin_user, &self.admin_password)
    }

    fn url_as(&self, user: &str, password: &str) -> String {
        let Self { scheme, host, port, .. } = self;
        if scheme == Kind::SecretService.scheme() {
            return format!("{scheme}:path={host}");
        }
        if user.is_empty() {
            return format!("{scheme}://{host}:{port}");
        }
        format!("{scheme}://{user}:{password}@{host}:{port}")
    }

    /// Where to connect to.
    ///
    /// # Errors
    ///
    /// If the host has no address.
    pub fn socket(&self) -> io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found.next().ok_or_else(|| io::Error::other(format!("{} has no address", self.host)))
    }

    /// The same server at another address: that of a [proxy](crate::proxy) in front of it.
    #[must_use]
    pub fn at(&self, socket: SocketAddr) -> Self {
        Self { host: socket.ip().to_string(), port: socket.port(), ..self.clone() }
    }

    /// As the environment variable has it: the URL, and the rest as its query.
    pub(crate) fn to_variable(&self) -> String {
        let Ok(mut url) = Url::parse(&self.url()) else { return self.url() };
        let mut query = url.query_pairs_mut();
        if !self.admin_user.is_empty() {
            query.append_pair("admin_user", &self.admin_user);
            query.append_pair("admin_password", &self.admin_password);
        }
        if let Some(port) = self.tls_port {
            query.append_pair("tls_port", &port.to_string());
        }
        if let Some(ca) = self.ca.as_ref().and_then(|ca| ca.to_str()) {
            query.append_pair("ca", ca);
        }
        drop(query);
        url.into()
    }

    /// What is wrong with `text` is told without it: it may hold somebody's password.
    pub(crate) fn from_variable(kind: Kind, text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_error| "it is not a URL")?;
        if let Some(socket) = url.path().strip_prefix("path=") {
            return Ok(Self::bus(socket.into()));
        }
        let host = url.host_str().ok_or("it has no host")?;
        let port = url.port().ok_or("it has no port")?;
        let mut address = Self::local(kind, port);
        address.scheme = url.scheme().to_owned();
        address.host = host.to_owned();
        address.user = url.username().to_owned();
        address.password = url.password().unwrap_or_default().to_owned();
        for (name, value) in url.query_pairs() {
            match &*name {
                "admin_user" => address.admin_user = value.into_owned(),
                "admin_password" => address.admin_password = value.into_owned(),
                "tls_port" => address.tls_port = value.parse().ok(),
                "ca" => address.ca = Some(PathBuf::from(&*value)),
                _ => return Err("it has an unknown parameter"),
            }
        }
        Ok(address)
    }
}

/// Without the passwords.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, user, tls_port, .. } = self;
        if user.is_empty() {
            return f.write_str(&self.url());
        }
        write!(f, "{scheme}://{user}@{host}:{port}")?;
        if let Some(tls_port) = tls_port {
            write!(f, " (TLS {tls_port})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_variable() {
        let address = Address::local(Kind::Redis, 20_001).with_tls(20_002, "/x y/ca.pem".into());
        let read = Address::from_variable(Kind::Redis, &address.to_variable()).unwrap();
        assert_eq!(read.url(), address.url());
        assert_eq!(read.admin_url(), address.admin_url());
        assert_eq!((read.tls_port, read.ca), (address.tls_port, address.ca));
    }

    #[test]
    fn another_address_is_the_same_server() {
        let address = Address::local(Kind::Postgres, 20_001);
        let proxy = SocketAddr::from(([127, 0, 0, 1], 20_002));
        assert_eq!(address.at(proxy).url(), address.url().replace("20001", "20002"));
        assert_eq!(address.at(proxy).socket().unwrap(), proxy);
    }

    #[test]
    fn a_bus_survives_its_variable() {
        let address = Address::bus("/x/bus".into());
        assert_eq!(address.url(), "unix:path=/x/bus");
        let read = Address::from_variable(Kind::SecretService, &address.to_variable()).unwrap();
        assert_eq!(read.url(), address.url());
    }

    #[test]
    fn passwords_are_not_shown() {
        let address = Address::local(Kind::MariaDb, 20_001);
        assert_eq!(format!("{address:?}"), "mysql://tokenkeep@127.0.0.1:20001");
        let error =
            Address::from_variable(Kind::MariaDb, "mysql://u:test-password@h/").unwrap_err();
        assert!(!error.contains("test-password"));
    }
}
