//! MariaDB.

use std::{ffi::OsString, path::Path};

use crate::{
    Address, Kind, Missing, Server, account,
    address::{PASSWORD, USER},
    node::{Node, prepare},
    place::Place,
    port::Port,
    program::{self, Program},
    ready,
    tls::Certificates,
};

const PACKAGE: &str = "mariadb-server";

pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let mariadbd = Program::find("mariadbd", PACKAGE)?;
    let place = Place::new()?;
    let port = Port::claim()?;
    let data = place.make("mariadb")?;
    seed(&place, &data)?;
    let (mut arguments, address) = arguments(&mariadbd, &place, &data, port.number)?;
    arguments.extend(extra.iter().map(OsString::from));
    let ready = Box::new(move || ready::mariadb(port.number));
    let node = Node::new(address, mariadbd, data, arguments, ready);
    Server::start(Kind::MariaDb, place, vec![node])
}

/// Makes the system tables and the users in an empty directory.
fn seed(place: &Place, data: &Path) -> Result<(), Missing> {
    // Tables of rights are not read while the system tables are made, until they are flushed.
    let users = format!(
        "FLUSH PRIVILEGES;\n\
         CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n\
         CREATE OR REPLACE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON `%`.* TO {USER}@'127.0.0.1';\n"
    );
    let users = place.write("users.sql", &users, false)?;
    let install = Program::find("mariadb-install-db", PACKAGE)?;
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
    prepare(&mut account::command(&install, data, arguments))?;
    Ok(())
}

fn arguments(
    mariadbd: &Program,
    place: &Place,
    data: &Path,
    port: u16,
) -> Result<(Vec<OsString>, Address), Missing> {
    let certificates = Certificates::new()?;
    let ca = place.write("ca.pem", &certificates.authority, true)?;
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
    arguments.push(option("ssl-ca", &ca));
    arguments.push(option("ssl-cert", &place.write("server.pem", &certificates.server, true)?));
    arguments.push(option("ssl-key", &place.write("key.pem", &certificates.server_key, false)?));
    Ok((arguments, Address::local(Kind::MariaDb, port).with_tls(port, ca)))
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(value);
    option
}
