//! The command on stores that are not files: each verb's way to them is the same, so that a few
//! verbs show that the URL, the features and the environment come together.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod shop;

use std::process::ExitCode;

use serde_json::{Value, json};
use shop::Shop;
use tokenkeep_servers::{Address, Kind, Server, Trials, program};
use tokenkeep_testkit::VaultServer;

fn main() -> ExitCode {
    Trials::new()
        .needs(Kind::MariaDb, "mysql_works_in_the_command", mysql)
        .needs(Kind::Postgres, "postgres_works_in_the_command", postgres)
        .needs(Kind::Redis, "redis_works_in_the_command", redis)
        .private(Kind::Redis, "doctor_warns_of_a_redis_that_loses_tokens", careless_redis)
        .needs(Kind::Moto, "dynamodb_works_in_the_command", dynamodb)
        .needs(Kind::Moto, "secrets_manager_works_in_the_command", secrets_manager)
        .plain("vault_works_in_the_command", vault)
        .needs(Kind::SecretService, "a_keyring_works_in_the_command", keyring)
        .run()
}

/// A name that no other test has.
fn name() -> String {
    let directory = tempfile::tempdir().unwrap();
    let random = directory.path().file_name().unwrap().to_string_lossy();
    format!("test_{}", random.trim_start_matches('.').to_lowercase())
}

/// Tokens move there and back, are listed and served, and `doctor` says what it finds.
fn works(shop: &Shop, told: &[&str]) {
    let imported = shop.import("sqlite:source.db", &["alice", "bob", "carol"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let store = shop.store.as_str();
    let moved = |from: &str, to: &str| -> Value {
        let ran = shop.run(&["migrate", "--from", from, "--to", to, "--format", "json", "-vvv"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    };
    for (from, to, done) in [
        ("sqlite:source.db", store, "moved"),
        ("sqlite:source.db", store, "unchanged"),
        (store, "sqlite:target.db", "moved"),
    ] {
        let report = moved(from, to);
        assert_eq!((&report[done], &report["verified"]), (&json!(3), &json!(true)), "{report}");
    }
    let listed = shop.run(&["list", "--format", "json", "-vvv"]);
    let users: Vec<Value> = serde_json::from_str::<Vec<Value>>(&listed.stdout)
        .unwrap()
        .into_iter()
        .map(|row| row["user_name"].clone())
        .collect();
    assert_eq!(users, ["alice", "bob", "carol"]);
    let served = shop.run(&["token", "--user", "bob"]);
    assert_eq!((served.code, served.stdout.trim()), (0, "test-access-bob"), "{served:?}");

    let doctor = shop.run(&["doctor", "--offline"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert!(doctor.stdout.contains("tokens in it: 3"), "{doctor:?}");
    for words in told {
        assert!(doctor.stdout.contains(words), "{words}: {doctor:?}");
    }
    let deleted = shop.run(&["delete", "--all", "--yes"]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(shop.run(&["list", "--format", "json"]).stdout.trim(), "[]");
    shop.shows_no_secret_but(&served);
}

/// A server's URL with its password elsewhere.
fn url(address: &Address, rest: &str) -> String {
    let Address { scheme, host, port, user, .. } = address;
    format!("{scheme}://{user}@{host}:{port}/{rest}password-env=TEST_PASSWORD")
}

fn with_password(address: &Address, rest: &str) -> Shop {
    Shop::new(&url(address, rest), &[("TEST_PASSWORD", &address.password)])
}

/// Has a client do something as the administrator.
fn ask(client: &str, package: &str, arguments: &[&str]) {
    let asked = program(client, package).unwrap().args(arguments).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
}

async fn mysql(addresses: Vec<Address>) {
    let (address, name) = (&addresses[0], name());
    let sql = |statement: &str| {
        ask(
            "mariadb",
            "mariadb-client",
            &[
                "--no-defaults",
                "--protocol=tcp",
                &format!("--host={}", address.host),
                &format!("--port={}", address.port),
                &format!("--user={}", address.user),
                &format!("--password={}", address.password),
                &format!("--execute={statement}"),
            ],
        );
    };
    sql(&format!("create database {name} character set utf8mb4 collate utf8mb4_unicode_ci"));
    // As the SDKs' README says, and so in the database's collation.
    let columns = "user_name varchar(255), client_id varchar(255), client_secret varchar(255), \
                   refresh_token varchar(255), access_token varchar(255), \
                   grant_token varchar(255), expiry_time varchar(20), redirect_url varchar(255), \
                   api_domain varchar(255), primary key (id)";
    sql(&format!("create table {name}.oauthtoken (id varchar(10) not null, {columns})"));
    let shop = with_password(address, &format!("{name}?"));
    works(&shop, &["MySQL 1", "table oauthtoken of the v8 SDKs: 3 tokens", "is encrypted"]);

    let names: Vec<String> = (1..=10).map(|number| format!("user{number}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("USER3");
    assert_eq!(shop.import(&shop.store, &names).code, 0);
    let doctor = shop.run(&["doctor", "--offline"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    for words in [
        "an official SDK cannot add a user here any more",
        "users that are one name by the table's collation: ids 6, 14",
    ] {
        assert!(doctor.stdout.contains(words), "{words}: {doctor:?}");
    }
    sql(&format!("drop database {name}"));
}

async fn postgres(addresses: Vec<Address>) {
    let (address, name) = (&addresses[0], name());
    let database = format!("{}/postgres", address.url());
    let sql = |statement: &str| {
        ask("psql", "postgresql-client", &["-X", "-q", "-d", &database, "-c", statement]);
    };
    sql(&format!("create database {name}"));
    let shop = with_password(address, &format!("{name}?"));
    works(&shop, &["PostgreSQL 1", "table public.oauthtoken: 3 tokens", "is encrypted"]);
    sql(&format!("drop database {name} with (force)"));
}

async fn redis(addresses: Vec<Address>) {
    let shop = with_password(&addresses[0], &format!("0?prefix={}&", name()));
    works(&shop, &["Redis 7", ": 3 tokens", "is not encrypted", "about the last second"]);
}

async fn careless_redis(server: Server) {
    let address = &server.nodes()[0];
    let port = address.port.to_string();
    for setting in [["appendonly", "no"], ["maxmemory", "1gb"], ["maxmemory-policy", "allkeys-lru"]]
    {
        let login = ["-e", "-h", &address.host, "-p", &port, "--no-auth-warning"];
        let login = [&login[..], &["--user", &address.admin_user]].concat();
        let login = [&login[..], &["--pass", &address.admin_password]].concat();
        ask("redis-cli", "redis-tools", &[&login[..], &["config", "set"], &setting].concat());
    }
    let shop = with_password(address, "0?");
    let doctor = shop.run(&["doctor", "--offline"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    for words in ["a restart loses all tokens", "set appendonly yes", "set noeviction"] {
        assert!(doctor.stdout.contains(words), "{words}: {doctor:?}");
    }
}

/// moto takes any keys, and one request at a time.
fn cloud(address: &Address, store: &str, more: &str) -> Shop {
    let endpoint = address.url();
    let url = format!("{store}?region=eu-central-1&endpoint={endpoint}&timeout=60{more}");
    let keys = [("AWS_ACCESS_KEY_ID", "test-key-id"), ("AWS_SECRET_ACCESS_KEY", "test-secret-key")];
    Shop::new(&url, &keys)
}

async fn dynamodb(addresses: Vec<Address>) {
    let name = name();
    let shop = cloud(&addresses[0], &format!("dynamodb:{name}"), "&create=true");
    let table = format!("DynamoDB, table {name}, PAY_PER_REQUEST: 3 tokens");
    works(&shop, &[&table, "can be deleted by mistake"]);
}

async fn secrets_manager(addresses: Vec<Address>) {
    let shop = cloud(&addresses[0], &format!("aws-secretsmanager:{}/tokens", name()), "");
    works(&shop, &["AWS Secrets Manager"]);
}

async fn vault() {
    let server = VaultServer::start().unwrap();
    let url = format!("vault+{}/secret/{}/tokens", server.url(), name());
    let shop = Shop::new(&url, &[("VAULT_TOKEN", VaultServer::ROOT)]);
    works(&shop, &["Vault 0.0.0-test: 3 tokens", "is not encrypted", "nothing is left"]);
}

async fn keyring(addresses: Vec<Address>) {
    let bus = addresses[0].url();
    let name = name();
    let shop = Shop::new(&format!("keyring:{name}"), &[("DBUS_SESSION_BUS_ADDRESS", &bus)]);
    works(&shop, &[&format!("the keyring's service {name}: 3 tokens"), "nothing is left"]);
}
