//! PostgreSQL, alone and with a replica.

use std::{
    ffi::OsString,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

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

pub(crate) const NEEDS: &[(&str, &str)] =
    &[("postgres", "postgresql"), ("initdb", "postgresql"), ("psql", "postgresql-client")];

pub(crate) const PAIR_NEEDS: &[(&str, &str)] =
    &[NEEDS[0], NEEDS[1], NEEDS[2], ("pg_basebackup", "postgresql-client")];

pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let [postgres, initdb, _psql] = program::all(NEEDS)?;
    let place = Place::new()?;
    let certificates = Certificates::new(&place)?;
    let data = place.make("postgres")?;
    seed(&postgres, &initdb, &place, &data)?;
    let node = node(Kind::Postgres, &postgres, &certificates, &data, extra)?;
    Server::start(Kind::Postgres, place, vec![node])
}

/// A primary, and a replica that follows it and can be read.
pub(crate) fn start_pair(extra: &[&str]) -> Result<Server, Missing> {
    let [postgres, initdb, _psql, basebackup] = program::all(PAIR_NEEDS)?;
    let place = Place::new()?;
    let certificates = Certificates::new(&place)?;
    let data = place.make("primary")?;
    seed(&postgres, &initdb, &place, &data)?;
    let mut primary = node(Kind::PostgresPair, &postgres, &certificates, &data, extra)?;
    primary.spawn()?;
    primary.wait()?;

    let data = place.make("replica")?;
    let Address { host, port, admin_user, admin_password, .. } = primary.address();
    let from = format!("host={host} port={port} user={admin_user} password={admin_password}");
    let options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata=."];
    prepare(account::command(&basebackup, &data, options).args(["--dbname", &from]))?;
    let mut replica = node(Kind::PostgresPair, &postgres, &certificates, &data, extra)?;
    replica.spawn()?;
    replica.wait()?;
    Ok(Server::of(Kind::PostgresPair, place, vec![primary, replica]))
}

/// Whether a server takes writes.
pub(crate) fn is_primary(address: &Address) -> Result<bool, Missing> {
    let [_postgres, _initdb, psql] = program::all(NEEDS)?;
    let mut command = psql.command();
    let database = format!("{}/postgres", address.admin_url());
    command.args(["-X", "-q", "-A", "-t", "-c", "SELECT pg_is_in_recovery()", "-d", &database]);
    Ok(prepare(&mut command)?.trim() == "f")
}

/// Makes the system tables and the users in an empty directory.
fn seed(postgres: &Program, initdb: &Program, place: &Place, data: &Path) -> Result<(), Missing> {
    let password = place.write("password", PASSWORD, false)?;
    let options = [
        "--username=postgres",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        "--pgdata=.",
        "--pwfile",
    ];
    prepare(account::command(initdb, data, options).arg(password))?;

    let users = format!("CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}'\n");
    feed(&mut account::command(postgres, data, ["--single", "-D", ".", "postgres"]), &users)
}

/// Has a server without clients execute statements.
fn feed(command: &mut Command, statements: &str) -> Result<(), Missing> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(statements.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    // It ends well, whatever became of a statement.
    if output.status.success() && !errors.contains("ERROR") {
        return Ok(());
    }
    Err(Missing::fault(format!("could not make the users: {errors}")))
}

fn node(
    kind: Kind,
    postgres: &Program,
    certificates: &Certificates,
    data: &Path,
    extra: &[&str],
) -> Result<Node, Missing> {
    let claim = Port::claim()?;
    let port = claim.number;
    let settings = [
        ("listen_addresses", "127.0.0.1".into()),
        ("port", port.to_string()),
        ("unix_socket_directories", data.display().to_string()),
        ("max_connections", "200".into()),
        ("shared_buffers", "32MB".into()),
        ("jit", "off".into()),
        ("ssl", "on".into()),
        ("ssl_cert_file", certificates.server.display().to_string()),
        ("ssl_key_file", certificates.key.display().to_string()),
    ];
    let mut arguments = vec![OsString::from("-D"), data.into()];
    for (name, value) in settings {
        arguments.extend(["-c".into(), OsString::from(format!("{name}={value}"))]);
    }
    arguments.extend(extra.iter().map(OsString::from));
    Ok(Node::new(Plan {
        address: Address::local(kind, port).with_tls(port, certificates.ca.clone()),
        program: postgres.clone(),
        arguments,
        directory: data.to_owned(),
        ports: vec![claim],
        ready: Box::new(move || ready::postgres(port)),
    }))
}
