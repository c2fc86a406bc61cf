//! PostgreSQL.

use std::{
    ffi::OsString,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Address, Kind, Missing, Server, account,
    address::{PASSWORD, USER},
    node::{Node, prepare},
    place::Place,
    port::Port,
    program::Program,
    ready,
    tls::Certificates,
};

const PACKAGE: &str = "postgresql";

pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let postgres = Program::find("postgres", PACKAGE)?;
    let place = Place::new()?;
    let port = Port::claim()?;
    let data = place.make("postgres")?;
    seed(&postgres, &place, &data)?;
    let (mut arguments, address) = arguments(&place, &data, port.number)?;
    arguments.extend(extra.iter().map(OsString::from));
    let ready = Box::new(move || ready::postgres(port.number));
    let node = Node::new(address, postgres, data, arguments, ready);
    Server::start(Kind::Postgres, place, vec![node])
}

/// Makes the system tables and the users in an empty directory.
fn seed(postgres: &Program, place: &Place, data: &Path) -> Result<(), Missing> {
    let initdb = Program::find("initdb", PACKAGE)?;
    let password = place.write("password", PASSWORD, false)?;
    let mut arguments: Vec<OsString> =
        ["--username=postgres", "--auth=scram-sha-256", "--no-sync"].map(OsString::from).into();
    arguments.extend(["--encoding=UTF8", "--locale=C.UTF-8", "--pwfile"].map(OsString::from));
    arguments.extend([password.into(), "--pgdata".into(), data.into()]);
    prepare(&mut account::command(&initdb, data, arguments))?;

    let users = format!("CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}'\n");
    let mut single = account::command(postgres, data, ["--single", "-D", ".", "postgres"]);
    feed(&mut single, &users)
}

fn feed(command: &mut Command, text: &str) -> Result<(), Missing> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    // Alone it ends well, whatever became of a statement.
    if output.status.success() && !errors.contains("ERROR") {
        return Ok(());
    }
    Err(Missing::fault(format!("could not make the users: {errors}")))
}

fn arguments(place: &Place, data: &Path, port: u16) -> Result<(Vec<OsString>, Address), Missing> {
    let certificates = Certificates::new()?;
    let ca = place.write("ca.pem", &certificates.authority, true)?;
    let certificate = place.write("server.pem", &certificates.server, true)?;
    let key = place.write("key.pem", &certificates.server_key, false)?;
    let mut arguments =
        vec![OsString::from("-D"), data.into(), "-p".into(), port.to_string().into()];
    let settings = [
        ("listen_addresses", "127.0.0.1".into()),
        ("unix_socket_directories", data.display().to_string()),
        ("max_connections", "200".into()),
        ("shared_buffers", "32MB".into()),
        ("jit", "off".into()),
        ("ssl", "on".into()),
        ("ssl_cert_file", certificate.display().to_string()),
        ("ssl_key_file", key.display().to_string()),
    ];
    for (name, value) in settings {
        arguments.extend(["-c".into(), OsString::from(format!("{name}={value}"))]);
    }
    Ok((arguments, Address::local(Kind::Postgres, port).with_tls(port, ca)))
}
