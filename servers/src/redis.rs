//! Redis.

use std::{ffi::OsString, path::Path};

use crate::{
    Address, Kind, Missing, Server,
    address::{PASSWORD, USER},
    node::Node,
    place::Place,
    port::Port,
    program::Program,
    ready,
    tls::Certificates,
};

const PACKAGE: &str = "redis-server";

pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let redis = Program::find("redis-server", PACKAGE)?;
    let place = Place::new()?;
    let (port, tls_port) = (Port::claim()?, Port::claim()?);
    let data = place.make("redis")?;
    let (mut arguments, address) = arguments(&place, &data, port.number, tls_port.number)?;
    arguments.extend(extra.iter().map(OsString::from));
    // Both ports are ours for as long as it may be started again.
    let ready = Box::new(move || ready::redis(port.number) && tls_port.number > 0);
    let node = Node::new(address, redis, data, arguments, ready);
    Server::start(Kind::Redis, place, vec![node])
}

fn arguments(
    place: &Place,
    data: &Path,
    port: u16,
    tls_port: u16,
) -> Result<(Vec<OsString>, Address), Missing> {
    let certificates = Certificates::new()?;
    let ca = place.write("ca.pem", &certificates.authority, true)?;
    let certificate = place.write("server.pem", &certificates.server, true)?;
    let key = place.write("key.pem", &certificates.server_key, false)?;
    let (port_text, tls_port_text, password) =
        (port.to_string(), tls_port.to_string(), format!(">{PASSWORD}"));
    let options = [
        ["--bind", "127.0.0.1"],
        ["--port", &port_text],
        ["--tls-port", &tls_port_text],
        ["--tls-auth-clients", "no"],
        ["--save", ""],
        ["--appendonly", "yes"],
        ["--requirepass", PASSWORD],
    ];
    let mut arguments: Vec<OsString> = options.as_flattened().iter().map(OsString::from).collect();
    arguments.extend(["--user", USER, "on", &password, "~*", "&*", "+@all"].map(OsString::from));
    for (name, path) in [
        ("--dir", data),
        ("--tls-ca-cert-file", &ca),
        ("--tls-cert-file", &certificate),
        ("--tls-key-file", &key),
    ] {
        arguments.extend([name.into(), path.into()]);
    }
    Ok((arguments, Address::local(Kind::Redis, port).with_tls(tls_port, ca)))
}
