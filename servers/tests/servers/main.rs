//! Each kind of server starts, is used, loses a node, and has it back with its data.
#![expect(clippy::unwrap_used, reason = "tests fail so")]

mod clients;
mod crash;
mod several;

use std::{
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use clients::{Client, bus, http, mariadb, postgres, redis, vault};
use tokenkeep_servers::{Kind, Server, Trials};

/// How long others may take to notice that something is gone.
const LIMIT: Duration = Duration::from_secs(30);
/// How long nothing must happen.
const QUIET: Duration = Duration::from_millis(200);

const MARIADB: [&str; 4] = [
    "CREATE DATABASE tokenkeep_servers",
    "CREATE TABLE tokenkeep_servers.t (v INT PRIMARY KEY)",
    "INSERT INTO tokenkeep_servers.t VALUES (42)",
    "SELECT v FROM tokenkeep_servers.t",
];
const POSTGRES: [&str; 2] = [
    "CREATE DATABASE tokenkeep_servers",
    "SELECT 42 FROM pg_database WHERE datname = 'tokenkeep_servers'",
];
const REDIS: [&str; 2] = ["SET v 42", "GET v"];

fn main() -> ExitCode {
    if crash::child() {
        return ExitCode::SUCCESS;
    }
    Trials::new()
        .private(Kind::MariaDb, "mariadb", |server| async { one(server, mariadb, &MARIADB) })
        .private(Kind::Postgres, "postgres", |server| async { one(server, postgres, &POSTGRES) })
        .private(Kind::Redis, "redis", |server| async { one(server, redis, &REDIS) })
        .private(Kind::SecretService, "secret_service", |server| async { keyring(server) })
        .private(Kind::Moto, "moto", |server| async { moto(server) })
        .private(Kind::RustyVault, "rusty_vault", |server| async { rusty_vault(server) })
        .private(Kind::Galera, "galera", |server| async { several::galera(server) })
        .private(Kind::PostgresPair, "postgres_pair", |server| async { several::pair(server) })
        .private(Kind::RedisCluster, "redis_cluster", |server| async { several::cluster(server) })
        .private(Kind::RedisSentinel, "redis_sentinel", |server| async {
            several::sentinel(server);
        })
        .private(Kind::Postgres, "nothing_is_left_of_a_test_that_is_killed", |_server| async {
            crash::nothing_is_left();
        })
        .run()
}

/// All statements write, but for the last, which reads.
fn one(mut server: Server, client: Client, statements: &[&str]) {
    let address = server.nodes()[0].clone();
    let (read, writes) = statements.split_last().unwrap();
    for write in writes {
        client(&address, write).unwrap();
    }
    let is_there = || client(&address, read).unwrap() == "42";
    assert!(is_there());

    server.kill(0);
    client(&address, read).unwrap_err();
    server.restart(0).unwrap();
    assert!(is_there());

    let mut stranger = address.clone();
    "test-wrong-password".clone_into(&mut stranger.password);
    client(&stranger, read).unwrap_err();

    server.pause(0);
    let (answer, answers) = mpsc::channel();
    let read = (*read).to_owned();
    thread::spawn(move || answer.send(client(&address, &read)));
    answers.recv_timeout(QUIET).unwrap_err();
    server.resume(0);
    assert_eq!(answers.recv_timeout(LIMIT).unwrap().unwrap(), "42");
}

/// It answers requests; it has nothing to lose.
fn moto(mut server: Server) {
    let address = server.nodes()[0].clone();
    assert_eq!(http(&address, "/moto-api/data.json").unwrap(), "HTTP/1.1 200 OK");
    server.kill(0);
    http(&address, "/moto-api/data.json").unwrap_err();
    server.restart(0).unwrap();
    assert_eq!(http(&address, "/moto-api/data.json").unwrap(), "HTTP/1.1 200 OK");
}

/// It is unsealed, and it is when it is back; who seals it can have it unsealed.
fn rusty_vault(mut server: Server) {
    let address = server.nodes()[0].clone();
    let is = |method, path, status| {
        let answer = vault(&address, method, path).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
    };
    is("GET", "/v1/auth/token/lookup-self", 200);
    is("PUT", "/v1/secret/x", 204);
    server.kill(0);
    vault(&address, "GET", "/v1/secret/x").unwrap_err();
    server.restart(0).unwrap();
    is("GET", "/v1/secret/x", 200);
    is("PUT", "/v1/sys/seal", 204);
    is("GET", "/v1/secret/x", 503);
    server.wait(0).unwrap();
    is("GET", "/v1/secret/x", 200);
}

/// There is an open keyring, and it is when the service is back.
fn keyring(mut server: Server) {
    let address = server.nodes()[0].clone();
    let is_locked = || bus(&address, "/org/freedesktop/secrets/aliases/default", "Locked");
    assert_eq!(is_locked().unwrap(), "false");
    server.kill(0);
    is_locked().unwrap_err();
    server.restart(0).unwrap();
    assert_eq!(is_locked().unwrap(), "false");
}

/// Asks until the answer is as it should be.
#[expect(clippy::disallowed_methods, reason = "other processes have no clock that could be moved")]
fn becomes(wanted: &str, ask: impl Fn() -> Result<String, String>) {
    let end = Instant::now() + LIMIT;
    loop {
        match ask() {
            Ok(answer) if answer == wanted => return,
            other => assert!(Instant::now() < end, "not {wanted:?} in time: {other:?}"),
        }
    }
}
