//! Stores that cannot be written: the disk is full, or the permissions say no.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use crate::support::{CLIENT_SECRET, Home, Provider, Ran, line, snapshot};

const STORES: [(&str, &str); 2] = [("file", "tokens.txt"), ("sqlite", "tokens.db")];

/// Runs with a limit on the size of files, in bytes: what a write sees is much like a full disk.
fn run_on_full_disk(home: &Home, bytes: u64, arguments: &[&str]) -> Ran {
    let command = home.command(arguments);
    let mut limited = Command::new("/bin/sh");
    // Blocks are of 512 bytes there; more, in some shells, is only more room.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes.div_ceil(512));
    limited.args(["-c", &script]).arg(command.get_program()).args(command.get_args()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(home.path()).stdin(Stdio::null());
    Ran::new(home, limited.output().unwrap())
}

fn largest_file(home: &Home) -> u64 {
    let entries = fs::read_dir(home.path()).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).max().unwrap()
}

#[test]
fn an_import_that_fills_the_disk_loses_nothing_and_says_how_far_it_came() {
    for (scheme, name) in STORES {
        let home = Home::with_store(&format!("{scheme}:DIR/{name}"));
        let before: String = (0..20).map(|number| line(&format!("old-{number}@x"))).collect();
        home.import(&before);
        let limit = largest_file(&home) + 64 * 1024;
        let more: String = (0..600).map(|number| line(&format!("new-{number}@x"))).collect();
        home.file("more.jsonl", &more);

        // SQLite does not tell a file that is too large from a disk that is broken.
        let code = if scheme == "sqlite" { 5 } else { 1 };
        let ran = run_on_full_disk(&home, limit, &["import", "more.jsonl"]).fails(code);
        let ran = ran.says("of 600 tokens are imported").says("hint: ");
        assert!(!ran.stderr.contains("test-"), "{}", ran.stderr);
        let before_of = ran.stderr.split(" of 600").next().unwrap();
        let done: usize = before_of.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((1..600).contains(&done), "{}", ran.stderr);
        assert_eq!(home.list().len(), 20 + done, "{scheme}: what was said is what is there");
        home.run(&["doctor", "--offline"]).ok();

        // With room again, it goes on.
        home.run(&["import", "more.jsonl"]).ok().says("Read 600, ");
        assert_eq!(home.list().len(), 620);
        let exported = home.run(&["export", "--include-secrets"]).ok().stdout;
        for user in ["old-0@x", "old-19@x", "new-0@x", "new-599@x"] {
            assert!(exported.contains(&format!("\"test-refresh-{user}\"")), "{scheme}: {user}");
        }
    }
}

#[test]
fn a_full_disk_costs_no_token_at_a_refresh_and_no_code_at_a_login() {
    for (scheme, name) in STORES {
        let (home, provider) =
            (Home::with_store(&format!("{scheme}:DIR/{name}")), Provider::start());
        provider.added(&home, "alice@example.com");
        let before = home.run(&["export", "--include-secrets"]).ok().stdout;
        let refresh = ["refresh", "1", "--accounts-server", provider.url()];
        let ran = run_on_full_disk(&home, 0, &refresh);
        assert!(matches!(ran.code, 1 | 5), "{}", ran.shown());
        assert!(ran.stderr.contains("error: "), "{}", ran.shown());
        assert_eq!(home.run(&["export", "--include-secrets"]).ok().stdout, before);
        home.run(&refresh).ok();

        let bob = provider.add_user("bob@example.com");
        home.file("secret", CLIENT_SECRET);
        home.file("code", &bob.grant_token);
        let add =
            [
                &[
                    "add",
                    "--accounts-server",
                    provider.url(),
                    "--client-id",
                    crate::support::CLIENT,
                ][..],
                &["--client-secret-file", "secret", "--grant-token-file", "code"],
            ]
            .concat();
        let ran = run_on_full_disk(&home, 0, &add);
        assert!(matches!(ran.code, 1 | 5), "{}", ran.shown());
        assert!(!ran.stderr.contains(&bob.grant_token), "{}", ran.stderr);
        assert_eq!(provider.stats().token_requests_of("authorization_code"), 0, "{scheme}");
        home.run(&add).ok();
        assert_eq!(home.list().len(), 2);
    }
}

/// As another user where the tests run as root, whom no permission stops.
#[test]
fn a_read_only_store_can_be_read_and_says_why_it_is_not_written() {
    const NOBODY: u32 = 65_534;
    for (scheme, name) in STORES {
        let home = Home::with_store(&format!("{scheme}:DIR/sub/{name}"));
        let dir = home.path().join("sub");
        fs::create_dir(&dir).unwrap();
        home.import(&line("alice@example.com"));
        home.file("more.jsonl", line("bob@example.com"));
        let is_root = fs::metadata(&dir).unwrap().uid() == 0;
        let paths: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        if is_root {
            let all = [home.path().to_owned(), home.path().join("more.jsonl"), dir.clone()];
            for path in all.iter().chain(&paths) {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let modes = |file, directory| {
            for path in &paths {
                fs::set_permissions(path, fs::Permissions::from_mode(file)).unwrap();
            }
            fs::set_permissions(&dir, fs::Permissions::from_mode(directory)).unwrap();
        };
        let run = |arguments: &[&str]| {
            let mut command = home.command(arguments);
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            Ran::new(&home, command.output().unwrap())
        };
        modes(0o400, 0o500);
        if scheme == "sqlite" {
            snapshot!("read_only_directory", run(&["list"]).fails(5));
        } else {
            run(&["list"]).ok().says("alice@example.com");
        }
        snapshot!(format!("read_only_{scheme}"), run(&["import", "more.jsonl"]).fails(5));
        run(&["delete", "1"]).fails(5);
        modes(0o400, 0o700);
        run(&["list"]).ok().says("alice@example.com");
        run(&["find", "--user", "alice@example.com"]).ok();
        run(&["export"]).ok();
        modes(0o000, 0o700);
        snapshot!(format!("unreadable_{scheme}"), run(&["list"]).fails(5));
        modes(0o600, 0o700);
        assert_eq!(home.list().len(), 1);
        run(&["import", "more.jsonl"]).ok();
    }
}
