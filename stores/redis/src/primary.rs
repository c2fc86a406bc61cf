//! Finds the server that a store's keys are written on.
//!
//! All keys of a store are in one slot, so that also in a cluster this is one server.

use redis::{Cmd, Value};
use tokenkeep_core::StoreError;
use tokio::time::Instant;

use crate::{
    RedisConfig,
    config::{Login, Node, Topology},
    connection::{Connection, Connector},
    error::{Fault, unavailable},
    keys::Keys,
    rows::{list, text},
};

/// A connection to the primary, as far as one can be had by `until`. `known` are nodes that were
/// met before; they are asked first.
pub(crate) async fn connect(
    connector: &Connector,
    config: &RedisConfig,
    keys: &Keys,
    known: &[Node],
    until: Instant,
) -> Result<Connection, Fault> {
    let RedisConfig { nodes, login, database, .. } = config;
    match &config.topology {
        Topology::Single => {
            // There is exactly one.
            let node = nodes.first().ok_or_else(|| Fault::final_(no_server()))?;
            connector.connect(node, login, *database, until).await
        }
        Topology::Sentinel(name) => {
            let search = Search { connector, until, login: &config.sentinel_login };
            let primary =
                search.ask_each(nodes, &master_of(name), |_, answer| master(answer)).await?;
            let connection = connector.connect(&primary, login, *database, until).await?;
            let role = connection.ask(&redis::cmd("ROLE")).await.map_err(harmless)?;
            if is_master(role) {
                Ok(connection)
            } else {
                Err(Fault::passing(
                    unavailable("the sentinels name a server that is a replica")
                        .with_hint("a fail-over may be under way; see `SENTINEL MASTERS`"),
                ))
            }
        }
        Topology::Cluster => {
            let mut command = redis::cmd("CLUSTER");
            command.arg("SLOTS");
            let nodes: Vec<Node> = known.iter().chain(nodes).cloned().collect();
            let search = Search { connector, until, login };
            let owner = |asked: &Node, answer| owner(asked, answer, keys.slot);
            let primary = search.ask_each(&nodes, &command, owner).await?;
            connector.connect(&primary, login, 0, until).await
        }
    }
}

struct Search<'a> {
    connector: &'a Connector,
    until: Instant,
    login: &'a Login,
}

impl Search<'_> {
    /// Asks one node after the other, until one knows.
    async fn ask_each(
        &self,
        nodes: &[Node],
        command: &Cmd,
        read: impl Fn(&Node, Value) -> Result<Node, Fault>,
    ) -> Result<Node, Fault> {
        let mut fault = Fault::final_(no_server());
        for (at, node) in nodes.iter().enumerate() {
            let left = u32::try_from(nodes.len() - at).unwrap_or(u32::MAX);
            let until =
                Instant::now() + self.until.saturating_duration_since(Instant::now()) / left;
            fault = match self.ask(node, command, until).await {
                Ok(answer) => match read(node, answer) {
                    Ok(found) => return Ok(found),
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
        }
        Err(harmless(fault))
    }

    async fn ask(&self, node: &Node, command: &Cmd, until: Instant) -> Result<Value, Fault> {
        let connection = self.connector.connect(node, self.login, 0, until).await?;
        match tokio::time::timeout_at(until, connection.ask(command)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Fault::lost(None)),
        }
    }
}

/// What was only asked, and got no answer, has changed nothing.
fn harmless(fault: Fault) -> Fault {
    Fault { lost: false, ..fault }
}

fn no_server() -> StoreError {
    unavailable("no server is named")
}

fn master_of(name: &str) -> Cmd {
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    command
}

/// `[host, port]`, or nothing.
fn master(answer: Value) -> Result<Node, Fault> {
    let unknown = || {
        Fault::passing(
            unavailable("the sentinels know no primary of this name")
                .with_hint("check master; see `SENTINEL MASTERS`"),
        )
    };
    let Ok(parts) = list(answer) else { return Err(unknown()) };
    let mut parts = parts.into_iter().map(text);
    match (parts.next(), parts.next().and_then(Result::ok).and_then(|port| port.parse().ok())) {
        (Some(Ok(host)), Some(port)) => Ok(Node { host, port }),
        _ => Err(unknown()),
    }
}

fn is_master(role: Value) -> bool {
    let role = list(role).unwrap_or_default().into_iter().next();
    role.and_then(|role| text(role).ok()).as_deref() == Some("master")
}

/// The primary of a slot in `[[first, last, [host, port, …], replicas …] …]`, as `asked` tells it.
fn owner(asked: &Node, answer: Value, slot: u16) -> Result<Node, Fault> {
    let nobody = || {
        Fault::passing(
            unavailable("no node of the cluster serves the slot of the keys")
                .with_hint("see `redis-cli cluster info`"),
        )
    };
    for range in list(answer).unwrap_or_default() {
        let mut range = list(range).unwrap_or_default().into_iter();
        let (Some(Value::Int(first)), Some(Value::Int(last)), Some(primary)) =
            (range.next(), range.next(), range.next())
        else {
            continue;
        };
        if !(first..=last).contains(&i64::from(slot)) {
            continue;
        }
        let mut primary = list(primary).unwrap_or_default().into_iter();
        let host = primary.next().and_then(|host| text(host).ok()).unwrap_or_default();
        let port = match primary.next() {
            Some(Value::Int(port)) => u16::try_from(port).ok(),
            _ => None,
        };
        // A node that does not know its own name answers nothing or "?" in its place.
        let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host };
        return port.map(|port| Node { host, port }).ok_or_else(nobody);
    }
    Err(nobody())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let primary = Value::Array(vec![host, Value::Int(port), bulk("id")]);
        let replica = Value::Array(vec![bulk("replica"), Value::Int(1), bulk("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), primary, replica])
    }

    #[test]
    fn the_primary_of_the_slot_is_found() {
        let asked = Node { host: "asked".to_owned(), port: 1 };
        let slots = Value::Array(vec![
            range(0, 99, bulk("a"), 7000),
            range(100, 100, Value::Nil, 7001),
            range(102, 200, bulk("c"), 7002),
        ]);
        let found = |slot| owner(&asked, slots.clone(), slot).map(|node| (node.host, node.port));
        assert_eq!(found(99).unwrap(), ("a".to_owned(), 7000));
        assert_eq!(found(100).unwrap(), ("asked".to_owned(), 7001));
        assert_eq!(found(102).unwrap(), ("c".to_owned(), 7002));
        assert!(found(101).is_err());
    }

    #[test]
    fn sentinels_may_know_no_primary() {
        let known = master(Value::Array(vec![bulk("10.0.0.1"), bulk("6379")])).unwrap();
        assert_eq!(known, Node { host: "10.0.0.1".to_owned(), port: 6379 });
        assert!(master(Value::Nil).is_err());
        assert!(is_master(Value::Array(vec![bulk("master"), Value::Int(0)])));
        assert!(!is_master(Value::Array(vec![bulk("slave")])));
    }
}
