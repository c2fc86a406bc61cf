//! Each kind of server starts, is used, is killed, and comes back with its data.
#![expect(clippy::unwrap_used, reason = "tests fail so")]

mod clients;

use std::process::ExitCode;

use clients::{Client, mariadb, postgres, redis};
use tokenkeep_servers::{Kind, Server, Trials};

fn main() -> ExitCode {
    Trials::new()
        .private(Kind::MariaDb, "mariadb", |server| async {
            one(
                server,
                mariadb,
                [
                    "CREATE DATABASE tokenkeep_servers; CREATE TABLE tokenkeep_servers.t (v INT); \
                 INSERT INTO tokenkeep_servers.t VALUES (42)",
                    "SELECT v FROM tokenkeep_servers.t",
                ],
            );
        })
        .private(Kind::Postgres, "postgres", |server| async {
            one(
                server,
                postgres,
                [
                    "CREATE DATABASE tokenkeep_servers; CREATE TEMPORARY TABLE t (v INT)",
                    "SELECT 42 FROM pg_database WHERE datname = 'tokenkeep_servers'",
                ],
            );
        })
        .private(Kind::Redis, "redis", |server| async {
            one(server, redis, ["SET v 42", "GET v"]);
        })
        .run()
}

/// Writes, kills the server, starts it again, and reads.
fn one(mut server: Server, client: Client, [write, read]: [&str; 2]) {
    let address = server.nodes()[0].clone();
    for statement in write.split("; ") {
        client(&address, statement).unwrap();
    }
    assert_eq!(client(&address, read).unwrap(), "42");

    server.kill(0);
    client(&address, read).unwrap_err();
    server.restart(0).unwrap();
    assert_eq!(client(&address, read).unwrap(), "42");

    let mut stranger = address.clone();
    "test-wrong-password".clone_into(&mut stranger.password);
    client(&stranger, read).unwrap_err();

    server.pause(0);
    server.resume(0);
    assert_eq!(client(&address, read).unwrap(), "42");
}
