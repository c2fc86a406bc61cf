//! Servers that belong together.

use tokenkeep_servers::{Address, Server};

use crate::{
    MARIADB, becomes,
    clients::{ask_sentinel, mariadb, postgres, redis},
};

pub(crate) fn galera(mut server: Server) {
    let [first, second, third] = server.nodes().to_vec().try_into().unwrap();
    let [database, table, insert, read] = MARIADB;
    for statement in [database, table, insert] {
        mariadb(&first, statement).unwrap();
    }
    for node in [&second, &third] {
        becomes("42", || mariadb(node, read));
    }

    // What is written without the first one it has when it is back.
    server.kill(0);
    mariadb(&second, "UPDATE tokenkeep_servers.t SET v = 43").unwrap();
    becomes("43", || mariadb(&third, read));
    server.restart(0).unwrap();
    assert_eq!(mariadb(&first, read).unwrap(), "43");
    mariadb(&first, "UPDATE tokenkeep_servers.t SET v = 44").unwrap();
    becomes("44", || mariadb(&second, read));
}

pub(crate) fn pair(mut server: Server) {
    let [primary, replica] = server.nodes().to_vec().try_into().unwrap();
    let make = |name: &str| format!("CREATE DATABASE tokenkeep_{name}");
    let count = "SELECT count(*) FROM pg_database WHERE datname LIKE 'tokenkeep%'";
    postgres(&primary, &make("one")).unwrap();
    becomes("1", || postgres(&replica, count));
    postgres(&replica, &make("two")).unwrap_err();

    // A replica that was away catches up.
    server.kill(1);
    postgres(&primary, &make("two")).unwrap();
    server.restart(1).unwrap();
    becomes("2", || postgres(&replica, count));

    server.kill(0);
    server.promote().unwrap();
    postgres(&replica, &make("three")).unwrap();
    assert_eq!(postgres(&replica, count).unwrap(), "3");
    server.restart(0).unwrap();
    assert_eq!(postgres(&primary, count).unwrap(), "2");
}

pub(crate) fn cluster(mut server: Server) {
    let nodes = server.nodes().to_vec();
    assert_eq!(nodes.len(), 6);
    // Slot 0 is the first master's.
    let key = "{06S}v";
    redis(&nodes[0], &format!("SET {key} 42")).unwrap();
    let error = redis(&nodes[1], &format!("GET {key}")).unwrap_err();
    assert!(error.starts_with("MOVED 0 127.0.0.1"), "{error}");

    let who = |node: &Address| redis(node, "ROLE").map(|role| first_line(&role));
    assert_eq!(who(&nodes[0]).unwrap(), "master");
    server.kill(0);
    // Its replica takes over, whichever of the three it is.
    becomes("true", || {
        let took_over = |node: &Address| redis(node, &format!("GET {key}")) == Ok("42".to_owned());
        Ok(nodes[3..].iter().any(took_over).to_string())
    });
    server.restart(0).unwrap();
    becomes("slave", || who(&nodes[0]));
}

pub(crate) fn sentinel(mut server: Server) {
    let (data, sentinels) = server.nodes().split_at(2);
    let (master, replica, sentinels) = (data[0].clone(), data[1].clone(), sentinels.to_vec());
    let ask = |number: usize| master_port(&sentinels[number]);
    let port = |address: &Address| address.port.to_string();
    redis(&master, "SET v 42").unwrap();
    becomes("42", || redis(&replica, "GET v"));
    for number in 0..3 {
        assert_eq!(ask(number).unwrap(), port(&master));
    }

    server.kill(0);
    for number in 0..3 {
        becomes(&port(&replica), || ask(number));
    }
    becomes("OK", || redis(&replica, "SET v 43"));
    server.restart(0).unwrap();
    // It is told that it is a replica now.
    becomes("43", || redis(&master, "GET v"));
}

/// The port of the master that a sentinel knows.
fn master_port(address: &Address) -> Result<String, String> {
    let said = ask_sentinel(address, "SENTINEL GET-MASTER-ADDR-BY-NAME tokenkeep")?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
