//! Processes that save at once, that are killed, and what can be wrong with a session.
#![cfg(all(unix, not(target_os = "macos")))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do, and children print what they have done"
)]

mod support;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use keyring_core::api::CredentialStoreApi as _;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use support::Session;
use tokenkeep_core::{OAuthToken, StoreError, TokenStore};
use tokenkeep_store_keyring::{KeyringConfig, KeyringStore};

const JOB: &str = "TOKENKEEP_TEST_JOB";
const SERVICE: &str = "tokenkeep test";

fn main() -> ExitCode {
    if let Some(job) = std::env::var_os(JOB) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(child(job.to_str().unwrap()));
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        trial("four_processes_save_two_hundred_tokens", four_processes_save_two_hundred_tokens),
        trial("killed_processes_lose_nothing", killed_processes_lose_nothing),
        trial("a_session_without_a_bus_is_told", a_session_without_a_bus_is_told),
        trial("a_locked_keyring_is_told", a_locked_keyring_is_told),
        trial("a_keyring_started_anew_is_found_again", a_keyring_started_anew_is_found_again),
        trial("a_lock_that_nobody_can_trust_is_refused", a_lock_that_nobody_can_trust_is_refused),
        trial("an_inspection_tells_what_there_is", an_inspection_tells_what_there_is),
        trial("damage_is_told_without_what_stands_there", damage_is_told_without_what_stands_there),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test that is ignored, with the reason, where there can be no session.
fn trial(name: &str, test: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        let is_required = std::env::var_os("TOKENKEEP_REQUIRE").is_some_and(|all| all == "all");
        match support::missing() {
            Some(missing) if is_required => Err(Failed::from(missing)),
            Some(missing) => Ok(Completion::ignored_with(missing)),
            None => {
                test();
                Ok(Completion::Completed)
            }
        }
    })
}

fn token(name: &str, access: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(name)
        .refresh_token(format!("test-refresh-{name}"))
        .access_token(format!("test-access-{name}-{access}"))
        .build()
        .unwrap()
}

async fn open() -> Result<KeyringStore, StoreError> {
    KeyringConfig::new(SERVICE).lock_timeout(Duration::from_secs(60)).open().await
}

/// What a child process in a session does.
async fn child(job: &str) {
    let (job, argument) = job.split_once(' ').unwrap_or((job, ""));
    match job {
        "save" => {
            let store = open().await.unwrap();
            for number in 0..50 {
                let saved = store.save_token(&token(&format!("{argument}-{number}"), "0")).await;
                println!("{}", saved.unwrap().id().unwrap());
            }
        }
        "save-until-killed" => {
            let store = open().await.unwrap();
            for number in 0.. {
                let name = format!("{argument}-{}", number % 3);
                store.save_token(&token(&name, &number.to_string())).await.unwrap();
                println!("{name}");
            }
        }
        "list" => {
            for token in open().await.unwrap().get_tokens().await.unwrap() {
                println!("{}", token.user_name().unwrap());
            }
        }
        "entries" => {
            let keyring = zbus_secret_service_keyring_store::Store::new().unwrap();
            let found = keyring.search(&HashMap::from([("service", SERVICE)])).unwrap();
            for entry in found {
                println!("{}", entry.get_specifiers().unwrap().1);
            }
        }
        // What a person is told.
        "try" => {
            let tried = match open().await {
                Ok(store) => store.save_token(&token("alice", "0")).await.map(drop),
                Err(error) => Err(error),
            };
            match tried {
                Ok(()) => println!("saved"),
                Err(error) => {
                    println!("{error}; {}; {error:?}", error.hint().unwrap_or("no hint"));
                }
            }
        }
        // What the index does not name, a token that is gone, and the inspection of that.
        "inspect" => {
            let store = open().await.unwrap();
            let keyring = zbus_secret_service_keyring_store::Store::new().unwrap();
            let left = keyring.build(SERVICE, "token 9.test-left-over", None).unwrap();
            left.set_secret(b"test-secret").unwrap();
            let inspection = store.inspect().await.unwrap();
            assert_eq!((&*inspection.service, inspection.tokens), (SERVICE, 1));
            assert_eq!((inspection.left_over, inspection.damage.len()), (1, 0), "{inspection:?}");
            assert!(inspection.index_bytes > 100, "{inspection:?}");
            for entry in keyring.search(&HashMap::from([("service", SERVICE)])).unwrap() {
                let name = entry.get_specifiers().unwrap().1;
                if name.starts_with("token ") && name != "token 9.test-left-over" {
                    entry.set_secret(b"test-secret").unwrap();
                }
            }
            let inspection = open().await.unwrap().inspect().await.unwrap();
            assert_eq!((inspection.tokens, inspection.damage.len()), (1, 1), "{inspection:?}");
            println!("{inspection:?}");
        }
        "damage" => {
            let keyring = zbus_secret_service_keyring_store::Store::new().unwrap();
            let index = keyring.build(SERVICE, "index", None).unwrap();
            index.set_secret(b"test-secret \xff\xfe").unwrap();
        }
        // The keyring is started anew while the store is open.
        "save-on-demand" => {
            let store = open().await.unwrap();
            println!("open");
            let mut number = 0;
            while std::io::stdin().read_line(&mut String::new()).unwrap() > 0 {
                number += 1;
                let saved = store.save_token(&token("alice", &number.to_string())).await;
                println!("{}", saved.map_or_else(|error| error.to_string(), |_| "saved".into()));
            }
        }
        other => panic!("there is no job {other}"),
    }
}

fn spawn(session: &Session, job: &str) -> Child {
    start(session.this_program(), job)
}

fn start(mut program: Command, job: &str) -> Child {
    program.env(JOB, job).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok)
}

/// What a job says that ends well.
fn said(mut child: Child) -> Vec<String> {
    let said = lines(&mut child).collect();
    assert!(child.wait().unwrap().success());
    said
}

/// Processes that save at once do not lose each other's tokens.
fn four_processes_save_two_hundred_tokens() {
    let session = Session::unlocked();
    // All of them are started before the first is waited for.
    let children = [0, 1, 2, 3].map(|n| spawn(&session, &format!("save user{n}")));
    let ids: BTreeSet<String> = children.into_iter().flat_map(said).collect();
    assert_eq!(ids.len(), 200);
    assert_eq!(said(spawn(&session, "list")).len(), 200);
    assert_eq!(said(spawn(&session, "entries")).len(), 201);
}

fn killed_processes_lose_nothing() {
    let session = Session::unlocked();
    let mut saved = BTreeSet::new();
    for round in 0..20 {
        let mut child = spawn(&session, &format!("save-until-killed user{round}"));
        saved.extend(lines(&mut child).take(1 + round % 5));
        // SIGKILL, while it is at the next save.
        child.kill().unwrap();
        child.wait().unwrap();
        let there = said(spawn(&session, "list"));
        let there: BTreeSet<String> = there.into_iter().collect();
        assert!(there.is_superset(&saved), "{there:?} lacks some of {saved:?}");
    }
    // The next change removes what they left.
    assert_eq!(said(spawn(&session, "try")), ["saved"]);
    let tokens = said(spawn(&session, "list")).len();
    assert_eq!(said(spawn(&session, "entries")).len(), tokens + 1);
}

#[track_caller]
fn check_told(child: Child, words: &[&str]) {
    let told = said(child).concat();
    for word in words {
        assert!(told.contains(word), "{told}");
    }
    assert!(!told.contains("no hint") && !told.contains("test-"), "{told}");
}

fn a_session_without_a_bus_is_told() {
    let session = Session::bus();
    let mut program = session.this_program();
    program.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    check_told(start(program, "try"), &["there is no session bus", "Unavailable"]);
    check_told(spawn(&session, "try"), &["nothing on the session bus keeps secrets"]);
}

fn a_locked_keyring_is_told() {
    let mut session = Session::unlocked();
    assert_eq!(said(spawn(&session, "try")), ["saved"]);
    session.start_keyring(None);
    check_told(spawn(&session, "try"), &["the keyring is locked", "PermissionDenied"]);
    session.start_keyring(Some("test-password"));
    assert_eq!(said(spawn(&session, "list")), ["alice"]);
}

fn a_keyring_started_anew_is_found_again() {
    use std::io::Write as _;

    let mut session = Session::unlocked();
    let mut child = spawn(&session, "save-on-demand");
    let mut told = lines(&mut child);
    let mut go = child.stdin.take().unwrap();
    assert_eq!(told.next().as_deref(), Some("open"));
    writeln!(go).unwrap();
    assert_eq!(told.next().as_deref(), Some("saved"));
    session.stop_keyring();
    writeln!(go).unwrap();
    let failed = told.next().unwrap();
    assert!(failed.contains("could not save a token"), "{failed}");
    session.start_keyring(Some("test-password"));
    writeln!(go).unwrap();
    assert_eq!(told.next().as_deref(), Some("saved"));
    drop(go);
    assert!(child.wait().unwrap().success());
}

fn a_lock_that_nobody_can_trust_is_refused() {
    let session = Session::unlocked();
    let mut program = session.this_program();
    program.env_remove("XDG_RUNTIME_DIR");
    check_told(start(program, "try"), &["XDG_RUNTIME_DIR is not set"]);
    let open = session.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let mut program = session.this_program();
    program.env("XDG_RUNTIME_DIR", &open);
    check_told(start(program, "try"), &["not a private directory", "PermissionDenied"]);
}

fn an_inspection_tells_what_there_is() {
    let session = Session::unlocked();
    assert_eq!(said(spawn(&session, "try")), ["saved"]);
    let told = said(spawn(&session, "inspect")).concat();
    assert!(!told.contains("test-secret"), "{told}");
    // Looking has removed nothing.
    assert_eq!(said(spawn(&session, "entries")).len(), 3);
}

fn damage_is_told_without_what_stands_there() {
    let session = Session::unlocked();
    assert_eq!(said(spawn(&session, "try")), ["saved"]);
    said(spawn(&session, "damage"));
    check_told(spawn(&session, "try"), &["index cannot be read", "Corrupt"]);
}
