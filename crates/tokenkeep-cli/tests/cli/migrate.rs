//! `tokenkeep migrate`, with the real binary.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::support::{Home, Ran, line};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");

fn fixture(name: &str) -> String {
    fs::read_to_string(format!("{FIXTURES}/{name}")).unwrap()
}

fn migrate(home: &Home, from: &str, to: &str, more: &[&str]) -> Ran {
    home.run(&[&["migrate", "--from", from, "--to", to, "--format", "json"], more].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

/// What a store holds, secrets and all, without ids.
fn held(home: &Home, url: &str) -> Vec<Value> {
    let exported = home.run(&["--store", url, "export", "--include-secrets"]).ok();
    let mut tokens: Vec<Value> =
        exported.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for token in &mut tokens {
        token.as_object_mut().unwrap().remove("id");
    }
    tokens.sort_by_key(ToString::to_string);
    tokens
}

#[test]
fn every_sdks_file_moves() {
    for name in [
        "csharp-on-windows",
        "csharp",
        "java",
        "node-v2",
        "node",
        "php",
        "python-on-windows-after-delete",
        "python-then-node",
        "python-v2",
        "python",
        "ruby",
        "typescript",
    ] {
        let home = Home::new();
        let content = fixture(&format!("token-files/{name}.csv"));
        let count = if name.ends_with("-v2") { 2 } else { 3 };
        let path = home.file("sdk_tokens.txt", &content);
        for (round, to) in
            ["sqlite:t.db", "sqlite:t.db", "file:t.csv?dialect=quoted"].iter().enumerate()
        {
            let moved = json(&migrate(&home, "file:sdk_tokens.txt", to, &[]).ok());
            assert_eq!(moved["read"], count, "{name}: {moved}");
            let done = if round == 1 { "unchanged" } else { "moved" };
            assert_eq!(
                (&moved[done], &moved["verified"]),
                (&json!(count), &json!(true)),
                "{moved}"
            );
            assert_eq!(moved["renamed"], json!([]), "{name}");
        }
        assert_eq!(fs::read_to_string(path).unwrap(), content, "{name}: the source was changed");
        assert_eq!(held(&home, "sqlite:t.db"), held(&home, "file:t.csv?dialect=quoted"));
        let users = home.run(&["--store", "sqlite:t.db", "list"]).ok().stdout;
        assert!(users.contains("alice@example.com"), "{users}");
    }
}

#[test]
fn the_articles_database_and_one_of_version_2_move() {
    for (name, ids) in [
        ("article", ["1", "9", "10"].as_slice()),
        ("v2", &["python_alice_US_PRD_en-1", "python_bob_US_PRD_en-2"]),
    ] {
        let home = Home::new();
        let database = rusqlite::Connection::open(home.path().join("zohooauth.db")).unwrap();
        database.execute_batch(&fixture(&format!("token-tables/{name}.sql"))).unwrap();
        drop(database);
        let before = fs::read(home.path().join("zohooauth.db")).unwrap();
        let moved = json(&migrate(&home, "sqlite:zohooauth.db", "file:t.csv", &[]).ok());
        assert_eq!((&moved["moved"], &moved["verified"]), (&json!(ids.len()), &json!(true)));
        let text = fs::read_to_string(home.path().join("t.csv")).unwrap();
        let kept: Vec<&str> =
            text.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
        assert_eq!(kept, ids);
        // It was opened read-only.
        assert_eq!(fs::read(home.path().join("zohooauth.db")).unwrap(), before);
    }
}

#[test]
fn a_part_that_cannot_be_moved_is_said_by_the_exit_code() {
    let home = Home::new();
    let whole = fixture("token-files/java.csv");
    home.file("quoted.csv", &whole);
    // A name with a comma, which the shared dialect does not take.
    let ran = migrate(&home, "file:quoted.csv?dialect=quoted", "file:shared.csv", &[]);
    let moved = json(&ran.fails_after_output_of_json(1));
    assert_eq!((&moved["moved"], &moved["refused"][0]["id"]), (&json!(2), &json!("2")));
    // A row that is cut off.
    home.file("damaged.csv", whole + "11,dora@example.com,1000.TESTCLIENT\n");
    let ran = migrate(&home, "file:damaged.csv", "sqlite:t.db", &[]);
    let moved = json(&ran.fails_after_output_of_json(1));
    assert_eq!((&moved["moved"], moved["damage"].as_array().unwrap().len()), (&json!(3), 1));
}

#[test]
fn a_table_for_a_person() {
    let home = Home::new();
    home.file(
        "t.csv",
        "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,expiry_time,\
         redirect_url,api_domain\n\
         1,alice@example.com,c,s,test-refresh-1,test-access-1,,1764000000000,,\n\
         2,alice@example.com,c,s,test-refresh-2,test-access-2,,1764000000001,,\n\
         2,bob@example.com,c,s,test-refresh-3,test-access-3,,1764000000001,,\n",
    );
    let verb = ["migrate", "--from", "file:t.csv", "--to", "sqlite:t.db"];
    crate::support::snapshot!("migrate_dry_run", home.run(&[&verb[..], &["--dry-run"]].concat()));
    assert!(!home.path().join("t.db").exists(), "a dry run made the target");
    crate::support::snapshot!("migrate", home.run(&verb).ok());
    home.run_stdin(&["--store", "sqlite:t.db", "import", "-"], &line("bob@example.com")).ok();
}

#[test]
fn what_differs_in_the_target_is_a_conflict() {
    let home = Home::with_store("sqlite:DIR/from.db");
    home.import(&(line("alice@example.com") + &line("bob@example.com")));
    let other = line("bob@example.com").replace("test-refresh", "test-other");
    home.run_stdin(&["--store", "sqlite:to.db", "import", "-"], &other).ok();
    let ran = migrate(&home, "sqlite:from.db", "sqlite:to.db", &[]);
    let ran = ran.fails_after_output_of_json(1).says("--overwrite");
    assert_eq!(json(&ran)["conflicts"], json!([{ "from": "2", "to": "1" }]));
    let moved = json(&migrate(&home, "sqlite:from.db", "sqlite:to.db", &["--overwrite"]).ok());
    assert_eq!((&moved["updated"], &moved["unchanged"]), (&json!(1), &json!(1)));
    assert_eq!(held(&home, "sqlite:from.db"), held(&home, "sqlite:to.db"));
}

#[test]
fn stores_that_cannot_be_meant_are_refused() {
    let home = Home::new();
    for (from, to, code) in [
        ("sqlite:a.db", "sqlite:a.db", 2),
        ("list:", "sqlite:a.db", 2),
        ("file:a.csv", "sqlite::memory:", 2),
        ("ftp:x", "sqlite:a.db", 2),
        ("sqlite:missing.db", "sqlite:a.db", 5),
        ("file:missing.csv", "sqlite:a.db", 5),
    ] {
        home.run(&["migrate", "--from", from, "--to", to]).fails(code);
    }
    assert!(fs::read_dir(home.path()).unwrap().next().is_none(), "something was made");
    home.run(&["migrate", "--from", "sqlite:a.db"]).code_is(2);
    for server in ["mysql", "postgres", "redis"] {
        let url = format!("{server}://app:test-password@127.0.0.1:1/d?nonsense=1");
        let ran = home.run(&["migrate", "--from", &url, "--to", "sqlite:a.db", "-vvv"]);
        assert!(matches!(ran.code, 2 | 5), "{}", ran.shown());
        assert!(!ran.shown().contains("test-password"), "{}", ran.shown());
    }
}

#[test]
fn ids_that_could_not_be_kept_are_in_a_file_that_was_asked_for() {
    let home = Home::with_store("sqlite:DIR/from.db");
    home.import(&(line("alice@example.com") + &line("bob@example.com")));
    home.run_stdin(&["--store", "sqlite:to.db", "import", "-"], &line("carol@example.com")).ok();
    for to in ["", "3"] {
        let more = if to.is_empty() { ["--dry-run"].as_slice() } else { &[] };
        let more = [more, &["--id-map", "ids.csv"]].concat();
        migrate(&home, "sqlite:from.db", "sqlite:to.db", &more).ok();
        let map = fs::read_to_string(home.path().join("ids.csv")).unwrap();
        assert_eq!(map, format!("from,to\n1,{to}\n"));
    }
    let wrong = ["--id-map", "missing/ids.csv"];
    migrate(&home, "sqlite:from.db", "sqlite:other.db", &wrong).fails(1);
    assert!(!home.path().join("other.db").exists(), "it was begun");
}

#[test]
fn an_empty_source_is_said() {
    let home = Home::with_store("sqlite:DIR/from.db");
    home.run(&["list"]).ok();
    home.run(&["migrate", "--from", "sqlite:from.db", "--to", "sqlite:to.db"])
        .ok()
        .says("the source holds no tokens");
}

/// Killed at moments that are spread over its run, and run again.
#[cfg(unix)]
#[test]
#[expect(clippy::disallowed_methods, reason = "a deadline for a real process")]
fn a_migration_that_is_killed_is_finished_by_the_same_command() {
    const TOKENS: usize = 4_000;
    let home = Home::with_store("sqlite:DIR/from.db");
    let lines: String = (0..TOKENS).map(|n| line(&format!("user{n}@example.com"))).collect();
    home.import(&lines);
    let expected = held(&home, "sqlite:from.db");
    let mut killed = 0;
    let rounds: usize = if std::env::var_os("TOKENKEEP_SOAK").is_some() { 200 } else { 20 };
    for round in 0..rounds {
        let to = format!("sqlite:to{round}.db");
        let arguments = ["migrate", "--from", "sqlite:from.db", "--to", &to, "--page-size", "50"];
        let mut child =
            home.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // When so many are there; the last rounds while it reads back.
        let database = home.path().join(format!("to{round}.db"));
        let wanted = TOKENS * round / (rounds * 9 / 10);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        loop {
            let there = rusqlite::Connection::open_with_flags(
                &database,
                rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
            )
            .and_then(|db| db.query_row("select count(*) from oauthtoken", [], |row| row.get(0)))
            .map_or(0, |count: i64| usize::try_from(count).unwrap());
            if there >= wanted.min(TOKENS) || child.try_wait().unwrap().is_some() {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "it does not get on");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let moved = json(&migrate(&home, "sqlite:from.db", &to, &[]).ok());
        let [moved_now, unchanged] =
            ["moved", "unchanged"].map(|name| moved[name].as_u64().unwrap());
        assert_eq!((moved_now + unchanged, &moved["verified"]), (TOKENS as u64, &json!(true)));
        assert_eq!(held(&home, &to), expected);
    }
    assert!(killed >= rounds * 3 / 4, "only {killed} of {rounds} were killed in time");
}
