//! Several processes on one token file, and processes that are killed. The test program runs itself
//! as the other processes.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these are tests, though the compiler cannot tell"
)]

mod support;

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};
use support::{HEADER, Space, access, id, ids, token};
use tokenkeep_core::{SharedStore as _, StoreErrorKind, TokenQuery, TokenStore as _};
use tokenkeep_store_file::{FileConfig, FileStore};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, path, name, count] = &arguments[..]
        && let Some(work) = mode.strip_prefix("child:")
    {
        child(work, Path::new(path), name, count.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let test = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok::<(), Failed>(())
        })
    };
    let mut tests = vec![
        test("eight_processes_save_800_users", eight_processes_save_800_users),
        test("eight_processes_update_one_user", eight_processes_update_one_user),
        test("each_save_of_another_process_is_seen", each_save_of_another_process_is_seen),
        test("a_killed_save_leaves_a_whole_file", a_killed_save_leaves_a_whole_file),
        test("a_reader_beside_our_writer_never_misses", a_reader_beside_our_writer_never_misses),
        test("a_reader_beside_an_sdk_never_misses", a_reader_beside_an_sdk_never_misses),
        test("a_held_lock_is_busy_and_says_who", a_held_lock_is_busy_and_says_who),
    ];
    if cfg!(unix) {
        tests.push(test("a_write_that_is_cut_short_loses_nothing", a_write_that_is_cut_short));
        tests.push(test("what_permissions_forbid_is_said", what_permissions_forbid_is_said));
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// What the other processes do.
fn child(work: &str, path: &Path, name: &str, count: usize) {
    let say = |text: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").unwrap();
        out.flush().unwrap();
    };
    let store = match FileStore::open(path) {
        Ok(store) => store,
        Err(error) => return say(&format!("{:?}: {error}", error.kind())),
    };
    match work {
        "save-many" => {
            for at in 0..count {
                block_on(store.save_token(&token(&format!("{name}-{at}")))).unwrap();
            }
        }
        "save-one" => {
            for at in 0..count {
                let token = access("shared@example.com", &format!("test-access-{name}-{at}"));
                block_on(store.save_token(&token)).unwrap();
            }
        }
        "save-and-wait" => {
            say("open");
            for (at, _go) in std::io::stdin().lines().enumerate() {
                let token = access(name, &format!("test-access-{at}"));
                block_on(store.save_token(&token)).unwrap();
                say(&at.to_string());
            }
        }
        "save-until-killed" => {
            for at in 1.. {
                let token = access(name, &format!("test-access-{at}"));
                block_on(store.save_token(&token)).unwrap();
                say(&at.to_string());
            }
        }
        "hold-lock" => {
            let lock = OpenOptions::new().read(true).write(true).open(name).unwrap();
            lock.lock().unwrap();
            say("locked");
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        "save-and-say" => match block_on(store.save_token(&token(name))) {
            Ok(_) => say("saved"),
            Err(error) => say(&format!("{:?}: {error}", error.kind())),
        },
        "find-and-say" => match block_on(store.get_tokens()) {
            Ok(tokens) => say(&format!("{} tokens", tokens.len())),
            Err(error) => say(&format!("{:?}: {error}", error.kind())),
        },
        _ => unreachable!("no such work"),
    }
}

fn command(work: &str, path: &Path, name: &str, count: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(format!("child:{work}")).arg(path).arg(name).arg(count.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn spawn(work: &str, path: &Path, name: &str, count: usize) -> Child {
    command(work, path, name, count).spawn().unwrap()
}

fn join(children: Vec<Child>) {
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn user(name: &str) -> TokenQuery {
    TokenQuery::user(name).unwrap()
}

fn eight_processes_save_800_users() {
    let space = Space::new();
    let path = space.path();
    join((0..8).map(|at| spawn("save-many", &path, &format!("process{at}"), 100)).collect());
    let tokens = block_on(space.open().get_tokens()).unwrap();
    let numbers: Vec<_> = (1..=800).map(|number: u32| number.to_string()).collect();
    assert_eq!(ids(&tokens), numbers);
    let mut users: Vec<_> = tokens.iter().map(|token| token.user_name()).collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), 800);
    assert_eq!(space.others(), ["tokens.csv.lock"]);
}

fn eight_processes_update_one_user() {
    let space = Space::new();
    let path = space.path();
    join((0..8).map(|at| spawn("save-one", &path, &format!("process{at}"), 50)).collect());
    let tokens = block_on(space.open().get_tokens()).unwrap();
    assert_eq!(ids(&tokens), ["1"]);
    assert!(tokens[0].access_token().unwrap().expose_secret().ends_with("-49"));
}

fn each_save_of_another_process_is_seen() {
    let space = Space::new();
    let store = space.open();
    let mark = || block_on(store.change_mark()).unwrap();
    let mut child = spawn("save-and-wait", &space.path(), "alice", 0);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "open");
    let mut go = child.stdin.take().unwrap();
    let mut last = mark();
    for at in 0..20 {
        assert_eq!(mark(), last, "{at}");
        writeln!(go).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), at.to_string());
        let before = std::mem::replace(&mut last, mark());
        assert_ne!(before, last, "{at}");
    }
    drop(go);
    assert!(child.wait().unwrap().success());
}

fn many_rows(count: usize) -> String {
    let mut text = format!("{HEADER}\n");
    for number in 1..=count {
        text.push_str(&format!(
            "{number},user{number},,,test-refresh-{number},test-access-0,,,,\n"
        ));
    }
    text
}

fn a_killed_save_leaves_a_whole_file() {
    for (rounds, rows) in [(150, 10), (50, 1_000)] {
        let space = Space::with(many_rows(rows));
        for round in 0..rounds {
            let name = format!("user{}", 1 + round % rows);
            let mut child = spawn("save-until-killed", &space.path(), &name, 0);
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut said = 0;
            for _ in 0..=round % 4 {
                said = lines.next().unwrap().unwrap().parse().unwrap();
            }
            // Somewhere inside the next save.
            for _ in 0..(round * 7919) % 200_000 {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let store = space.open();
            let tokens = block_on(store.get_tokens()).unwrap();
            assert_eq!(tokens.len(), rows, "round {round}");
            let found = block_on(store.find_token(&user(&name))).unwrap().unwrap();
            let stored = found.access_token().unwrap().expose_secret();
            let stored: usize = stored.strip_prefix("test-access-").unwrap().parse().unwrap();
            assert!(stored >= said, "round {round}: {stored} stored, {said} confirmed");
            assert_eq!(space.others(), ["tokens.csv.lock"], "round {round}");
        }
    }
}

fn a_reader_beside_our_writer_never_misses() {
    let space = Space::with(many_rows(1_000));
    let store = space.open();
    let mut child = spawn("save-until-killed", &space.path(), "user1", 0);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said: usize = 0;
    while said < 60 {
        said = lines.next().unwrap().unwrap().parse().unwrap();
        let found = block_on(store.find_token(&user("user1000"))).unwrap();
        assert!(found.is_some(), "after save {said}");
        let found = block_on(store.find_token(&user("user1"))).unwrap().unwrap();
        let seen = found.access_token().unwrap().expose_secret();
        let seen: usize = seen.strip_prefix("test-access-").unwrap().parse().unwrap();
        assert!(seen >= said, "a confirmed save is seen: {seen} seen, {said} confirmed");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A writer like the official SDKs: cuts the file, then writes it in pieces of a buffer's size.
fn a_reader_beside_an_sdk_never_misses() {
    let space = Space::with(many_rows(1_000));
    let store = space.open();
    let text = space.bytes();
    assert!(block_on(store.find_token(&user("user1"))).unwrap().is_some());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..60 {
                let mut options = OpenOptions::new();
                let mut file = options.write(true).truncate(true).open(space.path()).unwrap();
                for piece in text.chunks(8192) {
                    file.write_all(piece).unwrap();
                }
                drop(file);
                // Ten saves a second would be a busy program; this is far busier.
                for _ in 0..1_000 {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            for name in ["user1", "user500", "user1000"] {
                let found = block_on(store.find_token(&user(name)));
                assert!(matches!(found, Ok(Some(_))), "{name}: {found:?}");
            }
        }
    });
}

fn a_held_lock_is_busy_and_says_who() {
    let space = Space::new();
    let store =
        FileConfig::new(space.path()).lock_timeout(Duration::from_millis(50)).open().unwrap();
    block_on(store.save_token(&token("alice"))).unwrap();
    let lock = space.directory().join("tokens.csv.lock");
    let mut child = spawn("hold-lock", &space.path(), lock.to_str().unwrap(), 0);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "locked");
    let error = block_on(store.save_token(&token("bob"))).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Busy);
    assert!(error.to_string().contains("process "), "{error}");
    assert!(error.to_string().contains("tokens.csv.lock"), "{error}");
    // Reading needs no lock.
    assert!(block_on(store.find_token(&user("alice"))).unwrap().is_some());
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(block_on(store.save_token(&token("bob"))).unwrap().id(), Some(&id("2")));
}

/// The disk is full: here a limit on file sizes, which cuts a write short in the same way.
fn a_write_that_is_cut_short() {
    let space = Space::with(many_rows(1_000));
    let before = space.bytes();
    let this = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""])
        .arg(this)
        .args(["child:save-and-say".as_ref(), space.path().as_os_str()])
        .args(["bob", "0"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("Full: could not save a token: cannot write"), "{said}");
    assert_eq!(space.bytes(), before);
    assert_eq!(space.others(), ["tokens.csv.lock"]);
}

#[cfg(not(unix))]
fn what_permissions_forbid_is_said() {}

/// As another user where the tests run as root, whom no permission stops.
#[cfg(unix)]
fn what_permissions_forbid_is_said() {
    use std::os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    };
    const NOBODY: u32 = 65_534;
    let space = Space::with(many_rows(3));
    let root = std::fs::metadata(space.path()).unwrap().uid() == 0;
    if root {
        chown(space.directory(), Some(NOBODY), None).unwrap();
        chown(space.path(), Some(NOBODY), None).unwrap();
    }
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let run = |work| {
        let mut command = command(work, &space.path(), "bob", 0);
        if root {
            command.uid(NOBODY);
        }
        command.output().map(|output| String::from_utf8(output.stdout).unwrap())
    };
    if let Err(error) = run("find-and-say") {
        println!("skipped: another user cannot run this test program ({error})");
        return;
    }
    mode(space.directory(), 0o555);
    assert_eq!(run("find-and-say").unwrap().trim(), "3 tokens");
    let said = run("save-and-say").unwrap();
    assert!(said.starts_with("PermissionDenied: could not save a token: cannot lock"), "{said}");
    mode(space.directory(), 0o755);
    assert_eq!(run("save-and-say").unwrap().trim(), "saved");
    mode(&space.path(), 0o000);
    let said = run("find-and-say").unwrap();
    assert!(said.starts_with("PermissionDenied: could not open the store: cannot open"), "{said}");
    mode(&space.path(), 0o600);
    if root {
        // What root saves still belongs to its owner.
        block_on(space.open().save_token(&token("carol"))).unwrap();
        assert_eq!(std::fs::metadata(space.path()).unwrap().uid(), NOBODY);
        assert_eq!(run("save-and-say").unwrap().trim(), "saved");
        assert_eq!(run("find-and-say").unwrap().trim(), "5 tokens");
    }
}
