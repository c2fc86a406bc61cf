//! Redis, alone, as a cluster, and with sentinels.

use std::ffi::OsString;

use crate::{
    Address, Kind, Missing, Server,
    address::{PASSWORD, USER},
    node::{Node, Plan, prepare, start_all},
    place::Place,
    port::Port,
    program::{self, Program},
    ready,
    tls::Certificates,
};

pub(crate) const NEEDS: &[(&str, &str)] =
    &[("redis-server", "redis-server"), ("redis-cli", "redis-tools")];

/// By this name sentinels know the master.
pub(crate) const MASTER: &str = "tokenkeep";

pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let [redis, _client] = program::all(NEEDS)?;
    let place = Place::new()?;
    let certificates = Certificates::new(&place)?;
    let node = node(Kind::Redis, &redis, &place, &certificates, extra, None)?;
    Server::start(Kind::Redis, place, vec![node])
}

/// Three masters, each with a replica. The masters come first.
pub(crate) fn start_cluster(extra: &[&str]) -> Result<Server, Missing> {
    let [redis, client] = program::all(NEEDS)?;
    let place = Place::new()?;
    let certificates = Certificates::new(&place)?;
    let mut nodes = Vec::new();
    for _node in 0..6 {
        let bus = Port::claim()?;
        let bus_text = bus.number.to_string();
        let mut arguments = vec!["--cluster-enabled", "yes", "--cluster-port", &bus_text];
        // One that is killed is missed after a second rather than fifteen.
        arguments.extend(["--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"]);
        arguments.extend(extra);
        let kind = Kind::RedisCluster;
        nodes.push(node(kind, &redis, &place, &certificates, &arguments, Some(bus))?);
    }
    start_all(&mut nodes)?;
    let members = nodes.iter().map(|node| format!("127.0.0.1:{}", node.address().port));
    let mut create = client.command();
    create.args(["--no-auth-warning", "-a", PASSWORD, "--cluster", "create"]).args(members);
    prepare(create.args(["--cluster-replicas", "1", "--cluster-yes"]))?;
    for node in &mut nodes {
        let port = node.address().port;
        node.answers_if(Box::new(move || {
            ready::redis_says(port, "CLUSTER INFO", "cluster_state:ok")
                && (ready::redis_says(port, "INFO replication", "role:master")
                    || ready::redis_says(port, "INFO replication", "master_link_status:up"))
        }));
        node.wait()?;
    }
    Ok(Server::of(Kind::RedisCluster, place, nodes))
}

/// A master, a replica, and three sentinels that agree on which is which.
pub(crate) fn start_sentinel(extra: &[&str]) -> Result<Server, Missing> {
    let [redis, _client] = program::all(NEEDS)?;
    let place = Place::new()?;
    let certificates = Certificates::new(&place)?;
    let kind = Kind::RedisSentinel;
    // A replica that comes is served at once.
    let common = [&["--repl-diskless-sync-delay", "0"], extra].concat();
    let master = node(kind, &redis, &place, &certificates, &common, None)?;
    let port = master.address().port;
    let port_text = port.to_string();
    let follow = [&["--replicaof", "127.0.0.1", &port_text], common.as_slice()].concat();
    let replica = node(kind, &redis, &place, &certificates, &follow, None)?;
    // Sentinels look for replicas every ten seconds: there is one when they look first.
    let mut nodes = vec![master, replica];
    start_all(&mut nodes)?;
    let follows = move || ready::redis_says(port, "INFO replication", "state=online");
    nodes[0].answers_if(Box::new(follows));
    nodes[0].wait()?;
    nodes[0].answers_if(Box::new(move || ready::redis_says(port, "PING", "PONG")));

    let mut sentinels = Vec::new();
    for number in 0..3 {
        sentinels.push(sentinel(&redis, &place, number, port)?);
    }
    start_all(&mut sentinels)?;
    nodes.append(&mut sentinels);
    Ok(Server::of(Kind::RedisSentinel, place, nodes))
}

fn sentinel(redis: &Program, place: &Place, number: u8, master: u16) -> Result<Node, Missing> {
    let claim = Port::claim()?;
    let port = claim.number;
    let name = format!("sentinel-{number}");
    let directory = place.make(&name)?;
    let configuration = format!(
        "port {port}\nbind 127.0.0.1\ndir .\n\
         sentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
         sentinel auth-pass {MASTER} {PASSWORD}\n\
         sentinel down-after-milliseconds {MASTER} 1000\n\
         sentinel failover-timeout {MASTER} 3000\n"
    );
    // It writes there what it learns.
    place.write(&format!("{name}/sentinel.conf"), &configuration, false)?;
    let knows_all = move || {
        let check = format!("SENTINEL CKQUORUM {MASTER}");
        ready::sentinel_says(port, &check, "OK 3 usable Sentinels")
            && ready::sentinel_says(port, &format!("SENTINEL REPLICAS {MASTER}"), "slave")
    };
    Ok(Node::new(Plan {
        address: Address::local(Kind::RedisSentinel, port).without_password(),
        program: redis.clone(),
        arguments: ["sentinel.conf", "--sentinel"].map(OsString::from).into(),
        directory,
        ports: vec![claim],
        ready: Box::new(knows_all),
    }))
}

/// A node that has data; `bus` is its port for a cluster.
fn node(
    kind: Kind,
    redis: &Program,
    place: &Place,
    certificates: &Certificates,
    extra: &[&str],
    bus: Option<Port>,
) -> Result<Node, Missing> {
    let [plain, tls] = Port::several()?;
    let (port, tls_port) = (plain.number, tls.number);
    let directory = place.make(&format!("redis-{port}"))?;
    let (port_text, tls_text) = (port.to_string(), tls_port.to_string());
    let options = [
        ["--bind", "127.0.0.1"],
        ["--port", &port_text],
        ["--tls-port", &tls_text],
        ["--tls-auth-clients", "no"],
        ["--save", ""],
        ["--appendonly", "yes"],
        ["--requirepass", PASSWORD],
        ["--masterauth", PASSWORD],
    ];
    let mut arguments: Vec<OsString> = options.as_flattened().iter().map(OsString::from).collect();
    for (name, path) in [
        ("--dir", &directory),
        ("--tls-ca-cert-file", &certificates.ca),
        ("--tls-cert-file", &certificates.server),
        ("--tls-key-file", &certificates.key),
    ] {
        arguments.extend([name.into(), path.into()]);
    }
    arguments.extend(extra.iter().map(OsString::from));
    let password = format!(">{PASSWORD}");
    arguments.extend(["--user", USER, "on", &password, "~*", "&*", "+@all"].map(OsString::from));
    Ok(Node::new(Plan {
        address: Address::local(kind, port).with_tls(tls_port, certificates.ca.clone()),
        program: redis.clone(),
        arguments,
        directory,
        ports: [plain, tls].into_iter().chain(bus).collect(),
        ready: Box::new(move || ready::redis_says(port, "PING", "PONG")),
    }))
}
