//! What fails, and how it is told.

use std::time::Duration;

use tokenkeep_core::{
    Outcome, SharedStore, StoreError, StoreErrorKind, TokenId, TokenState, TokenStore,
};
use tokenkeep_servers::{Address, Server};
use tokenkeep_store_redis::{RedisConfig, RedisStore, Tls};

use crate::scene::{Admin, config, prefix, shows_no_secret, store, token, user};

/// The error of opening, which is of this kind and says these words.
async fn refused(config: RedisConfig, kind: StoreErrorKind, words: &str) {
    let error = config.open().await.unwrap_err();
    check(&error, kind, words);
    assert!(error.hint().is_some(), "{error:?}");
}

#[track_caller]
fn check(error: &StoreError, kind: StoreErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
    shows_no_secret(error);
}

pub(crate) async fn wrong_login(nodes: Vec<Address>) {
    let node = &nodes[0];
    let kind = StoreErrorKind::PermissionDenied;
    let words = "does not accept the user and the password";
    refused(config(node, &prefix()).password("test-password-wrong"), kind, words).await;
    refused(config(node, &prefix()).user("alice"), kind, words).await;
    refused(RedisConfig::new(&node.host).port(node.port), kind, words).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    let of_file =
        || RedisConfig::new(&node.host).port(node.port).user(&node.user).password_file(&path);
    refused(of_file(), StoreErrorKind::Unavailable, "cannot be read").await;
    #[expect(clippy::disallowed_methods, reason = "nothing that must survive")]
    std::fs::write(&path, format!("{}\n", node.password)).unwrap();
    of_file().prefix(prefix()).open().await.unwrap();
}

pub(crate) async fn no_database(nodes: Vec<Address>) {
    let config = config(&nodes[0], &prefix()).database(4_000);
    refused(config, StoreErrorKind::Unavailable, "no database of this number").await;
}

pub(crate) async fn nobody() {
    #[expect(clippy::disallowed_methods, reason = "a span is measured, nothing is dated")]
    let begun = std::time::Instant::now();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = RedisConfig::new("127.0.0.1").port(port);
    refused(config, StoreErrorKind::Unavailable, "cannot be reached").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// A user of the server who may do what `rules` say, until it is deleted.
async fn with_user(node: &Address, admin: &Admin, rules: &[&str]) -> (String, Address) {
    let name = prefix();
    allow(admin, &name, rules).await;
    let mut address = node.clone();
    address.user.clone_from(&name);
    (name, address)
}

async fn allow(admin: &Admin, name: &str, rules: &[&str]) {
    let mut words = vec!["ACL", "SETUSER", name, "reset", "on", ">test-password", "~*"];
    words.extend(rules);
    let _done: String = admin.ask(&words).await;
}

/// What docs.md says that the store needs.
const NEEDED: &[&str] = &[
    "+eval",
    "+evalsha",
    "+hset",
    "+hget",
    "+hgetall",
    "+hdel",
    "+hlen",
    "+sadd",
    "+srem",
    "+scard",
    "+sismember",
    "+smembers",
    "+zadd",
    "+zrem",
    "+zcard",
    "+zcount",
    "+zscore",
    "+zrange",
    "+zrangebylex",
    "+zrangebyscore",
    "+del",
    "+exists",
    "+pexpireat",
    "+persist",
    "+time",
];

pub(crate) async fn forbidden_command(nodes: Vec<Address>) {
    let (node, admin) = (&nodes[0], Admin::of(&nodes[0]).await);
    for (rules, command) in [
        (["+@all", "-evalsha"], "EVALSHA"),
        (["+@all", "-zadd"], "ZADD"),
        (["+@all", "-hset"], "HSET"),
        (["+@all", "-smembers"], "SMEMBERS"),
        (["+@all", "-persist"], "PERSIST"),
    ] {
        let (name, address) = with_user(node, &admin, &rules).await;
        let words = format!("may not run {command}");
        refused(config(&address, &prefix()), StoreErrorKind::PermissionDenied, &words).await;
        let _: i64 = admin.ask(&["ACL", "DELUSER", &name]).await;
    }
    // What the documentation says is enough, on the keys of the prefix alone.
    let prefix = prefix();
    let pattern = format!("~{{{prefix}}}:*");
    let rules: Vec<&str> =
        ["resetkeys", &pattern].into_iter().chain(NEEDED.iter().copied()).collect();
    let (name, address) = with_user(node, &admin, &rules).await;
    let store =
        config(&address, &prefix).expire_after(Duration::from_secs(60)).open().await.unwrap();
    let saved = store.save_token(&token("alice", "0")).await.unwrap();
    store.replace_state(saved.id().unwrap(), None, &TokenState::default()).await.unwrap();
    let inspection = store.inspect().await.unwrap();
    assert_eq!((inspection.version, inspection.append_only), (None, None));
    assert_eq!(store.delete_tokens().await.unwrap(), 1);
    let error = config(&address, "others").open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::PermissionDenied, "{error:?}");
    let _: i64 = admin.ask(&["ACL", "DELUSER", &name]).await;
}

pub(crate) async fn revoked(nodes: Vec<Address>) {
    let (node, admin) = (&nodes[0], Admin::of(&nodes[0]).await);
    let (name, address) = with_user(node, &admin, &["+@all"]).await;
    let store = config(&address, &prefix()).open().await.unwrap();
    let alice = store.save_token(&token("alice", "0")).await.unwrap();
    // The last command that a save runs but one: what comes before must not have been done.
    let _done: String = admin.ask(&["ACL", "SETUSER", &name, "-zadd"]).await;
    let mark = store.change_mark().await.unwrap();
    let error = store.save_token(&token("alice", "1")).await.unwrap_err();
    check(&error, StoreErrorKind::PermissionDenied, "may not run ZADD");
    assert_eq!(error.outcome(), Outcome::Final);
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
    assert_eq!(store.change_mark().await.unwrap(), mark);
    let _: i64 = admin.ask(&["ACL", "DELUSER", &name]).await;
}

pub(crate) async fn other_keys(nodes: Vec<Address>) {
    let (node, prefix) = (&nodes[0], prefix());
    let admin = Admin::of(node).await;
    let store = config(node, &prefix).open().await.unwrap();
    let _done: String = admin.ask(&["SET", &format!("{{{prefix}}}:ids"), "somebody's"]).await;
    let error = store.save_token(&token("alice", "0")).await.unwrap_err();
    check(&error, StoreErrorKind::Corrupt, "something else than the store keeps");
    let _: i64 = admin.ask(&["DEL", &format!("{{{prefix}}}:ids")]).await;
    assert_eq!(store.find_token(&user("alice")).await.unwrap(), None);
    store.save_token(&token("alice", "0")).await.unwrap();

    let format = format!("{{{prefix}}}:store");
    let _: i64 = admin.ask(&["HSET", &format, "format", "99"]).await;
    refused(config(node, &prefix), StoreErrorKind::Corrupt, "another version").await;
}

pub(crate) async fn unreadable(nodes: Vec<Address>) {
    let (node, prefix) = (&nodes[0], prefix());
    let admin = Admin::of(node).await;
    let store = config(node, &prefix).open().await.unwrap();
    let alice = store.save_token(&token("alice", "0")).await.unwrap();
    let bob = store.save_token(&token("bob", "0")).await.unwrap();
    let key = |id: &TokenId| format!("{{{prefix}}}:token:{id}");
    let (alice_key, bob_key) = (key(alice.id().unwrap()), key(bob.id().unwrap()));
    let _: i64 = admin.ask(&["HSET", &alice_key, "expiry_time", "soon"]).await;
    let error = store.find_token(&user("alice")).await.unwrap_err();
    check(&error, StoreErrorKind::Corrupt, "token 1 cannot be read");
    assert_eq!(store.get_tokens().await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    let page = store.page(None, 10).await.unwrap();
    assert_eq!((page.tokens.len(), page.damage.len()), (1, 1));
    assert!(store.delete_token(alice.id().unwrap()).await.unwrap());

    // Evicted, as it were: what leads to a token, and a token.
    let carol = store.save_token(&token("carol", "0")).await.unwrap();
    let _: i64 = admin.ask(&["DEL", &bob_key]).await;
    let index: String = admin.ask(&["HGET", &key(carol.id().unwrap()), "index"]).await;
    for name in index.split(' ').filter(|name| name.starts_with("user:")) {
        let _: i64 = admin.ask(&["DEL", &format!("{{{prefix}}}:{name}")]).await;
    }
    let inspection = store.inspect().await.unwrap();
    assert_eq!((inspection.tokens, inspection.vanished), (1, 1));
    assert_eq!(inspection.not_indexed, [carol.id().unwrap().clone()]);
    store.save_token(&carol).await.unwrap();
    assert_eq!(store.inspect().await.unwrap().not_indexed, []);
    assert_eq!(store.find_token(&user("carol")).await.unwrap(), Some(carol));
}

pub(crate) async fn tls(nodes: Vec<Address>) {
    let node = &nodes[0];
    let (port, ca) = (node.tls_port.unwrap(), node.ca.clone().unwrap());
    let on = |host: &str, tls| {
        RedisConfig::new(host)
            .port(port)
            .user(&node.user)
            .password(&node.password)
            .prefix(prefix())
            .tls(tls)
    };
    for config in [
        on("localhost", Tls::VerifyIdentity).ca(&ca),
        on("127.0.0.1", Tls::VerifyIdentity).ca(&ca),
        on("127.0.0.1", Tls::VerifyCa).ca(&ca),
        on("127.0.0.1", Tls::Require),
    ] {
        let store = config.open().await.unwrap();
        store.save_token(&token("alice", "0")).await.unwrap();
        assert!(store.inspect().await.unwrap().tls);
    }
    // By an address that the certificate is not for.
    let kind = StoreErrorKind::Unavailable;
    let elsewhere = forwarded(port).await;
    let by = |tls| on("127.0.0.2", tls).port(elsewhere);
    refused(by(Tls::VerifyIdentity).ca(&ca), kind, "for another host").await;
    by(Tls::VerifyCa).ca(&ca).open().await.unwrap();
    // By an authority that another server's certificate is of.
    let stranger = tokenkeep_servers::start(tokenkeep_servers::Kind::Redis).unwrap();
    let its_ca = stranger.nodes()[0].ca.clone().unwrap();
    for tls in [Tls::VerifyIdentity, Tls::VerifyCa] {
        refused(on("localhost", tls).ca(&its_ca), kind, "is not trusted").await;
    }
    refused(config(node, &prefix()).tls(Tls::Require), kind, "does not go along with TLS").await;
    let plain = config(node, &prefix()).port(port).timeout(Duration::from_secs(1));
    assert_eq!(plain.open().await.unwrap_err().kind(), kind);
    let none = on("localhost", Tls::VerifyCa).ca("/dev/null");
    refused(none, StoreErrorKind::Invalid, "ca cannot be read").await;
}

/// A port of 127.0.0.2 at which one reaches `port` of 127.0.0.1.
async fn forwarded(port: u16) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move {
                // It ends when one of the two does.
                let (Ok(_) | Err(_)) =
                    tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    own
}

pub(crate) async fn moved(nodes: Vec<Address>) {
    // The slot of a prefix is on one of three masters.
    let prefix = prefix();
    let mut told = 0;
    for node in &nodes[..3] {
        match config(node, &prefix).open().await {
            Ok(_) => {}
            Err(error) => {
                check(&error, StoreErrorKind::Unavailable, "on another node of a cluster");
                assert!(error.hint().unwrap().contains("cluster=true"));
                told += 1;
            }
        }
    }
    assert_eq!(told, 2);
}

/// What docs.md says is needed in a cluster, to find the primary and to wait for its replicas.
pub(crate) async fn few_permissions(nodes: Vec<Address>) {
    let (prefix, name) = (prefix(), prefix());
    let rules: Vec<&str> = NEEDED.iter().chain(&["+cluster|slots", "+wait"]).copied().collect();
    let mut admins = Vec::new();
    for node in &nodes {
        let admin = Admin::of(node).await;
        allow(&admin, &name, &rules).await;
        admins.push(admin);
    }
    let config = RedisConfig::cluster(&nodes[0].host).port(nodes[0].port).prefix(prefix);
    let config = config.user(&name).password("test-password").timeout(Duration::from_secs(5));
    let store = config.wait_replicas(1, Duration::from_secs(2)).open().await.unwrap();
    let alice = store.save_token(&token("alice", "0")).await.unwrap();
    assert!(store.delete_token(alice.id().unwrap()).await.unwrap());
    for admin in &admins {
        let _done: i64 = admin.ask(&["ACL", "DELUSER", &name]).await;
    }
}

pub(crate) async fn full(server: Server) {
    let node = &server.nodes()[0];
    let admin = Admin::of(node).await;
    let store = store(node).await;
    let alice = store.save_token(&token("alice", "0")).await.unwrap();
    let _done: String = admin.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for error in [
        store.save_token(&token("bob", "0")).await.unwrap_err(),
        store.try_lease(alice.id().unwrap(), "holder", Duration::from_secs(1)).await.unwrap_err(),
    ] {
        check(&error, StoreErrorKind::Full, "used up its memory");
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    // Reading goes on, and so does what makes room.
    let id = alice.id().unwrap().clone();
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
    assert!(store.delete_token(&id).await.unwrap());
    let _done: String = admin.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let bob = store.save_token(&token("bob", "0")).await.unwrap();
    assert_eq!(bob.id().unwrap().number(), Some(2));
}

pub(crate) async fn read_only(server: Server) {
    let node = &server.nodes()[0];
    let (admin, prefix) = (Admin::of(node).await, prefix());
    let store = config(node, &prefix).timeout(Duration::from_secs(1)).open().await.unwrap();
    let alice = store.save_token(&token("alice", "0")).await.unwrap();
    // Of a primary that is not there: it keeps what it has and takes no writes.
    let _done: String = admin.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let error = store.save_token(&token("alice", "1")).await.unwrap_err();
    check(&error, StoreErrorKind::Unavailable, "is a replica");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
    // A fail-over may be under way: what is asked meanwhile waits for its end.
    let patient = config(node, &prefix).open().await.unwrap();
    let saving = tokio::spawn(async move { patient.save_token(&token("alice", "2")).await });
    let _done: String = admin.ask(&["REPLICAOF", "NO", "ONE"]).await;
    saving.await.unwrap().unwrap();
    store.save_token(&token("alice", "3")).await.unwrap();
}

pub(crate) async fn no_replicas(server: Server) {
    let node = &server.nodes()[0];
    let (admin, prefix) = (Admin::of(node).await, prefix());
    let waiting = config(node, &prefix).wait_replicas(1, Duration::from_millis(50));
    let waiting: RedisStore = waiting.open().await.unwrap();
    let error = waiting.save_token(&token("alice", "0")).await.unwrap_err();
    check(&error, StoreErrorKind::Unavailable, "too few replicas have confirmed");
    assert_eq!(error.outcome(), Outcome::Unknown);
    let alice = waiting.find_token(&user("alice")).await.unwrap().unwrap();
    assert_eq!(waiting.delete_tokens().await.unwrap_err().outcome(), Outcome::Unknown);
    let concerns = waiting.inspect().await.unwrap().concerns.join("\n");
    assert!(concerns.contains("fewer replicas follow"), "{concerns}");
    assert_eq!(alice.id().unwrap().number(), Some(1));

    let _done: String = admin.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let store = config(node, &prefix).timeout(Duration::from_millis(500)).open().await.unwrap();
    let error = store.save_token(&token("bob", "0")).await.unwrap_err();
    check(&error, StoreErrorKind::Unavailable, "fewer replicas than min-replicas-to-write");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(store.get_tokens().await.unwrap(), []);
}

pub(crate) async fn inspection(server: Server) {
    let node = &server.nodes()[0];
    let (admin, prefix) = (Admin::of(node).await, prefix());
    let store = config(node, &prefix).open().await.unwrap();
    for name in ["alice", "bob"] {
        store.save_token(&token(name, "0")).await.unwrap();
    }
    let inspection = store.inspect().await.unwrap();
    assert_eq!(inspection.primary, format!("{}:{}", node.host, node.port));
    assert!(inspection.version.unwrap().starts_with(|digit: char| digit.is_ascii_digit()));
    assert_eq!((inspection.tokens, inspection.next_id), (2, Some(TokenId::from_number(3))));
    assert_eq!(inspection.append_only, Some(true));
    assert_eq!(inspection.append_fsync.as_deref(), Some("everysec"));
    assert_eq!((inspection.replicas, inspection.min_replicas_to_write), (Some(0), Some(0)));
    assert_eq!((inspection.duplicates, inspection.damage), (vec![], vec![]));
    assert!(inspection.concerns[0].contains("last second"), "{:?}", inspection.concerns);

    let _done: String = admin.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let _done: String = admin.ask(&["CONFIG", "SET", "maxmemory", "1gb"]).await;
    let _done: String = admin.ask(&["CONFIG", "SET", "appendonly", "no"]).await;
    let concerns = store.inspect().await.unwrap().concerns.join("\n");
    assert!(concerns.contains("nothing is kept on disk"), "{concerns}");
    assert!(concerns.contains("set noeviction"), "{concerns}");
    assert!(!format!("{store:?}").contains("test-password"));
}
