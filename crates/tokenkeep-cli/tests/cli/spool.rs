//! New tokens that cannot be stored: what the command that got them does, and the next one.

#![cfg(unix)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::{Value, json};
use tokenkeep_emulator::{Config, NewUser};

use crate::support::{CLIENT, CLIENT_SECRET, Home, Provider, Ran, line, snapshot};

const ALICE: &str = "alice@example.com";
const STATE: &str = ".local/state/tokenkeep/spool";
const STORES: [&str; 2] = ["sqlite", "file"];

/// A store that knows one user among many, and a provider that rotates refresh tokens.
struct Scene {
    home: Home,
    provider: Provider,
    alice: NewUser,
}

impl Scene {
    fn new(scheme: &str) -> Self {
        let home = Home::with_store(&format!("{scheme}:DIR/tokens.{scheme}"));
        let provider = Provider::start();
        let alice = provider.added(&home, ALICE);
        let rotating = Config::new().rotate_refresh_tokens(true).grace_ms(0);
        provider.emulator().configure(rotating);
        let others: String = (0..400).map(|number| line(&format!("other-{number}@x"))).collect();
        home.import(&others);
        Self { home, provider, alice }
    }

    fn run_unable_to_store(&self, arguments: &[&str]) -> Ran {
        self.home.run_unable_to_store(self.home.command(arguments))
    }

    fn stored_refresh_token(&self) -> String {
        let exported = self.home.run(&["export", "--include-secrets"]).ok().stdout;
        let tokens = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let alice = tokens.into_iter().find(|token| token["user_name"] == ALICE).unwrap();
        alice["refresh_token"].as_str().unwrap().to_owned()
    }

    fn refreshes(&self) -> u64 {
        self.provider.stats().token_requests_of("refresh_token")
    }

    fn waiting(&self) -> Vec<PathBuf> {
        let Ok(files) = fs::read_dir(self.home.path().join(STATE)) else { return Vec::new() };
        files.map(|file| file.unwrap().path()).collect()
    }
}

#[test]
fn a_token_that_could_not_be_stored_is_printed_kept_and_stored_by_the_next_command() {
    for scheme in STORES {
        let scene = Scene::new(scheme);
        assert!(!scene.home.path().join(STATE).exists(), "made when it is needed");
        let ran = scene.run_unable_to_store(&["refresh", "--user", ALICE]);
        snapshot!(format!("unsaved_{scheme}"), ran.ok());
        assert_eq!(scene.stored_refresh_token(), scene.alice.refresh_token, "{scheme}");
        assert_eq!(scene.waiting().len(), 1, "{scheme}");
        let before = scene.refreshes();

        let ran = scene.home.run(&["token", "--user", ALICE]).ok();
        let said = "what an earlier command could not store of token 1 is stored now\n";
        assert_eq!(ran.stderr, said, "{scheme}");
        assert_eq!(scene.refreshes(), before, "{scheme}: the one that waited is used");
        assert_ne!(scene.stored_refresh_token(), scene.alice.refresh_token, "{scheme}");
        assert!(scene.waiting().is_empty(), "{scheme}");
        // The old one is dead, so this can only work with the rotated one.
        let refreshed = scene.home.run(&["refresh", "--user", ALICE]).ok();
        assert!(refreshed.stderr.is_empty(), "{}", refreshed.shown());
        let api = ["api", "GET", "/crm/v8/org", "--user", ALICE];
        scene.home.run(&api).ok();
    }
}

#[test]
fn token_and_api_work_with_a_store_that_takes_no_token() {
    for scheme in STORES {
        let scene = Scene::new(scheme);
        scene.provider.emulator().expire_access_tokens();
        let api = ["api", "GET", "/crm/v8/org", "--user", ALICE];
        let ran = scene.run_unable_to_store(&api).ok();
        assert!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["org"].is_array());
        let ran = ran.says("warning: the new token 1 could not be stored: ");
        let before = scene.refreshes();

        // It still cannot be stored, and still works.
        let token = scene.run_unable_to_store(&["token", "--user", ALICE]).ok();
        assert_eq!(token.stdout.lines().count(), 1, "{}", ran.shown());
        let token =
            token.says("warning: the new token 1 could not be stored\nhint: it is kept in ");
        let stored = scene.home.run(&["token", "--user", ALICE]).ok().stdout;
        assert_eq!(token.stdout, stored, "{scheme}");
        assert_eq!(scene.refreshes(), before, "{scheme}");
    }
}

#[test]
fn recover_stores_what_waits_and_says_what_became_of_it() {
    for scheme in STORES {
        let scene = Scene::new(scheme);
        scene.home.run(&["recover"]).ok().says("Nothing waits to be stored.");
        scene.run_unable_to_store(&["refresh", "1"]).ok();
        let checks = scene.home.run(&["doctor", "--offline"]).ok();
        let checks = checks.says(&format!("wait in [DIR]/{STATE} to be stored: ids 1"));
        assert!(checks.stdout.contains("spool: `tokenkeep recover` stores them"));
        let again = scene.run_unable_to_store(&["recover"]);
        snapshot!(format!("recover_waits_{scheme}"), again.fails(1));

        // Of another store it says so, and leaves it where it is.
        let elsewhere = scene.home.run(&["recover", "--store", "sqlite:other.db"]).ok();
        elsewhere.says("1 token is of another store");
        scene.home.run(&["doctor", "--offline", "--store", "sqlite:other.db"]).ok();

        let recovered = scene.home.run(&["recover", "--format", "json"]).ok();
        let found: Value = serde_json::from_str(&recovered.stdout).unwrap();
        let expected = json!({ "stored": 1, "waiting": 0, "foreign": 0, "damage": [] });
        assert_eq!(found, expected, "{scheme}");
        assert_ne!(scene.stored_refresh_token(), scene.alice.refresh_token);
        scene.home.run(&["doctor", "--offline"]).ok().says("nothing waits in ");
        scene.home.run(&["recover", "--no-spool"]).fails(2);
    }
}

#[test]
fn a_login_that_could_not_be_stored_is_recovered() {
    let scene = Scene::new("sqlite");
    let bob = scene.provider.add_user("bob@example.com");
    scene.home.file("secret", CLIENT_SECRET);
    scene.home.file("code", &bob.grant_token);
    let add = ["add", "--accounts-server", scene.provider.url(), "--client-id", CLIENT];
    let from = ["--client-secret-file", "secret", "--grant-token-file", "code"];
    let add = [&add[..], &from].concat();
    snapshot!("unsaved_login", scene.run_unable_to_store(&add).fails(1));
    assert_eq!(scene.waiting().len(), 1);
    scene.home.run(&["recover"]).ok();
    // Its user could not be found out.
    let id = scene.home.list().pop().unwrap()["id"].as_str().unwrap().to_owned();
    scene.home.run(&["token", "--id", &id]).ok();
    scene.home.run(&["refresh", &id]).ok();
    assert_eq!(scene.provider.stats().token_requests_of("authorization_code"), 1);
}

#[test]
fn a_spool_is_where_it_is_said_to_be_sealed_if_there_is_a_key_and_none_if_not_wanted() {
    let scene = Scene::new("sqlite");
    scene.home.file("key", "746573742d6b65792d6e6f742d612d7265616c2d6b65792d3031323334353637\n");
    scene.home.file("not-a-key", "test-not-a-key");
    let sealed = ["--spool", "kept", "--spool-key-file", "key"];
    let with = |arguments: &[&'static str], more: &[&'static str]| [arguments, more].concat();
    let bad = with(&["token", "--id", "1"], &["--spool-key-file", "not-a-key"]);
    let ran = scene.home.run(&bad).fails(2).says("--spool-key-file");
    assert!(!ran.stderr.contains("test-not-a-key"), "{}", ran.stderr);
    scene.home.run(&["token", "--id", "1", "--spool-key", "test"]).fails(2);

    scene.run_unable_to_store(&with(&["refresh", "1"], &sealed)).ok();
    assert!(scene.waiting().is_empty());
    let kept = fs::read_dir(scene.home.path().join("kept")).unwrap().next().unwrap().unwrap();
    let content = fs::read(kept.path()).unwrap();
    assert!(content.starts_with(b"tokenkeep spool\0"), "it is not sealed");
    // Without the key it is there and cannot be read: nothing is asked for in its place.
    let clear = ["--spool", "kept"];
    scene.home.run(&with(&["recover"], &clear)).fails_after_output(1).says("damaged");
    scene.home.run(&with(&["doctor", "--offline"], &clear)).fails(1);
    scene.home.run(&with(&["recover"], &sealed)).ok();
    assert_ne!(scene.stored_refresh_token(), scene.alice.refresh_token);

    let ran = scene.run_unable_to_store(&["refresh", "1", "--no-spool"]).ok();
    let ran = ran.says("it is not kept elsewhere, without a spool");
    assert!(scene.waiting().is_empty(), "{}", ran.shown());
}

#[test]
fn a_damaged_spool_is_reported_and_left_alone() {
    let home = Home::with_store("sqlite:DIR/tokens.db");
    home.import(&line(ALICE));
    let spool = home.path().join(STATE);
    fs::create_dir_all(&spool).unwrap();
    let name = format!("{}-{}.token", "ab".repeat(16), "cd".repeat(8));
    home.file(&format!("{STATE}/{name}"), "test-secret-that-is-broken");
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o700)).unwrap();
    snapshot!("doctor_spool", home.run(&["doctor", "--offline"]).fails(1));
    let ran = home.run(&["recover"]).fails_after_output(1);
    assert!(!ran.shown().contains("test-secret"), "{}", ran.shown());
    assert!(spool.join(name).exists());
}

#[test]
fn deleting_a_token_deletes_what_waits_in_its_place() {
    let scene = Scene::new("sqlite");
    scene.run_unable_to_store(&["refresh", "1"]).ok();
    assert_eq!(scene.waiting().len(), 1);
    scene.home.run(&["delete", "1"]).ok();
    assert!(scene.waiting().is_empty());
}
