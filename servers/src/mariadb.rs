//! MariaDB, alone and as a Galera cluster.

use std::{ffi::OsString, path::Path};

use crate::{
    Address, Kind, Missing, Server, account,
    address::{PASSWORD, USER},
    node::{Node, Plan, prepare},
    place::Place,
    port::Port,
    program::{self, Program},
    ready,
    tls::Certificates,
};

pub(crate) const NEEDS: &[(&str, &str)] = &[
    ("mariadbd", "mariadb-server"),
    ("mariadb-install-db", "mariadb-server"),
    ("mariadb", "mariadb-client"),
];

pub(crate) const GALERA_NEEDS: &[(&str, &str)] = &[
    NEEDS[0],
    NEEDS[1],
    NEEDS[2],
    ("libgalera_smm.so", "galera-4"),
    ("rsync", "rsync"),
    ("ss", "iproute2"),
];

pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let [mariadbd, install, _client] = program::all(NEEDS)?;
    let place = Place::new()?;
    let certificates = Certificates::new(&place)?;
    let data = place.make("mariadb")?;
    seed(&install, &place, &data)?;
    let claim = Port::claim()?;
    let port = claim.number;
    let mut arguments = arguments(&mariadbd, &certificates, &data, port);
    arguments.extend(extra.iter().map(OsString::from));
    let node = Node::new(Plan {
        address: Address::local(Kind::MariaDb, port).with_tls(port, certificates.ca),
        program: mariadbd,
        arguments,
        directory: data,
        ports: vec![claim],
        ready: Box::new(move || ready::mariadb(port)),
    });
    Server::start(Kind::MariaDb, place, vec![node])
}

/// Three nodes, one after the other: each takes its data from those before it.
pub(crate) fn start_galera(extra: &[&str]) -> Result<Server, Missing> {
    let [mariadbd, install, client, galera, _rsync, _ss] = program::all(GALERA_NEEDS)?;
    let place = Place::new()?;
    let certificates = Certificates::new(&place)?;
    let ports = [Galera::claim()?, Galera::claim()?, Galera::claim()?];
    let members = ports.each_ref().map(|ports| format!("127.0.0.1:{}", ports.group.number));
    let mut common = vec!["--wsrep-on=ON".into(), option("wsrep-provider", galera.path())];
    common.push(format!("--wsrep-cluster-address=gcomm://{}", members.join(",")).into());
    // A node of another cluster that happens on one of these ports is not let in.
    common.push(format!("--wsrep-cluster-name=tokenkeep-{}", ports[0].group.number).into());
    common.extend(["--wsrep-sst-method=rsync", "--binlog-format=ROW"].map(OsString::from));
    common.extend(extra.iter().map(OsString::from));
    let mut nodes = Vec::new();
    for (number, ports) in ports.into_iter().enumerate() {
        let data = place.make(&format!("galera-{number}"))?;
        let port = ports.clients.number;
        let mut arguments = arguments(&mariadbd, &certificates, &data, port);
        arguments.extend(ports.arguments());
        arguments.extend(common.iter().cloned());
        let address = Address::local(Kind::Galera, port).with_tls(port, certificates.ca.clone());
        let is_synced = {
            let (client, address) = (client.clone(), address.clone());
            move || ready::mariadb(port) && is_synced(&client, &address)
        };
        let mut node = Node::new(Plan {
            address,
            program: mariadbd.clone(),
            arguments,
            directory: data.clone(),
            ports: ports.into(),
            ready: Box::new(is_synced),
        });
        if number == 0 {
            seed(&install, &place, &data)?;
            node.spawn_with(&["--wsrep-new-cluster"])?;
        } else {
            node.spawn()?;
        }
        node.wait()?;
        nodes.push(node);
    }
    Ok(Server::of(Kind::Galera, place, nodes))
}

/// The ports of a node of Galera.
struct Galera {
    clients: Port,
    group: Port,
    /// Where it gets the changes that it missed.
    changes: Port,
    /// Where it gets everything.
    everything: Port,
}

impl Galera {
    fn claim() -> std::io::Result<Self> {
        let [clients, group, changes, everything] = Port::several()?;
        Ok(Self { clients, group, changes, everything })
    }

    /// A node that is killed is missed after a second rather than five.
    fn arguments(&self) -> [OsString; 3] {
        let [group, changes, everything] =
            [&self.group, &self.changes, &self.everything].map(|port| port.number);
        let provider = format!(
            "gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{changes};\
             gcache.size=16M;pc.recovery=false;evs.keepalive_period=PT0.3S;\
             evs.inactive_check_period=PT0.3S;evs.suspect_timeout=PT1S;evs.inactive_timeout=PT3S"
        );
        [
            format!("--wsrep-node-address=127.0.0.1:{group}").into(),
            format!("--wsrep-sst-receive-address=127.0.0.1:{everything}").into(),
            format!("--wsrep-provider-options={provider}").into(),
        ]
    }
}

impl From<Galera> for Vec<Port> {
    fn from(ports: Galera) -> Self {
        vec![ports.clients, ports.group, ports.changes, ports.everything]
    }
}

/// It has all data of the cluster and takes writes.
fn is_synced(client: &Program, address: &Address) -> bool {
    let mut command = client.command();
    command
        .args(["--no-defaults", "--batch", "--skip-column-names", "--protocol=tcp"])
        .arg(format!("--host={}", address.host))
        .arg(format!("--port={}", address.port))
        .arg(format!("--user={}", address.admin_user))
        .arg(format!("--password={}", address.admin_password))
        .arg("--execute=SHOW STATUS LIKE 'wsrep_local_state_comment'");
    prepare(&mut command).is_ok_and(|said| said.contains("Synced"))
}

/// Makes the system tables and the users in an empty directory.
fn seed(install: &Program, place: &Place, data: &Path) -> Result<(), Missing> {
    // The users are not read while the system tables are made, unless they are flushed.
    let users = format!(
        "FLUSH PRIVILEGES;\n\
         CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n\
         CREATE OR REPLACE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON `%`.* TO {USER}@'127.0.0.1';\n"
    );
    let users = place.write("users.sql", &users, false)?;
    let mut arguments = vec!["--no-defaults".into(), option("datadir", data)];
    if install.is_ours() {
        arguments.push(option("basedir", &program::prefix().join("usr")));
    }
    arguments.push(option("extra-file", &users));
    arguments.extend(
        [
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            "--innodb-log-file-size=16M",
        ]
        .map(OsString::from),
    );
    prepare(&mut account::command(install, data, arguments))?;
    Ok(())
}

fn arguments(
    mariadbd: &Program,
    certificates: &Certificates,
    data: &Path,
    port: u16,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "--no-defaults",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--character-set-server=utf8mb4",
        "--innodb-flush-log-at-trx-commit=1",
        "--innodb-buffer-pool-size=32M",
        "--innodb-log-file-size=16M",
        "--max-connections=400",
        "--performance-schema=OFF",
    ]
    .map(OsString::from)
    .into();
    if mariadbd.is_ours() {
        let prefix = program::prefix();
        arguments.push(option("basedir", &prefix.join("usr")));
        arguments.push(option("lc-messages-dir", &prefix.join("usr/share/mysql")));
        arguments.push(option("plugin-dir", &prefix.join("usr/lib/mysql/plugin")));
    }
    arguments.push(format!("--port={port}").into());
    arguments.push(option("datadir", data));
    arguments.push(option("socket", &data.join("socket")));
    arguments.push(option("pid-file", &data.join("pid")));
    arguments.push(option("ssl-ca", &certificates.ca));
    arguments.push(option("ssl-cert", &certificates.server));
    arguments.push(option("ssl-key", &certificates.key));
    arguments
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(value);
    option
}
