use std::fs;

use crate::support::{Home, Ran, line, snapshot};

#[test]
fn a_store_url_that_is_none_is_wrong_usage() {
    for (name, url) in [
        ("no_scheme", "tokens.db"),
        ("unknown", "mongo://user:test-password@host/db"),
        ("keyring", "keyring:my-program?password=test-password"),
        ("cloud", "dynamodb:tokens?region=eu-central-1&secret-key=test-password"),
        ("vault", "vault+https://vault.example.com/secret/tokens?token=test-password"),
        ("server", "mysql://user:test-password@127.0.0.1/db?nonsense=1"),
        ("tilde", "sqlite:~/tokens.db"),
        ("option", "file:tokens.txt?test-password=x"),
    ] {
        let ran = Home::with_store(url).run(&["list"]).fails(2);
        assert!(!ran.stderr.contains("test-password"), "{}", ran.stderr);
        snapshot!(format!("store_url_{name}"), ran);
    }
}

#[test]
fn a_store_that_cannot_be_opened_is_exit_code_5() {
    let home = Home::with_store("sqlite:DIR/missing/tokens.db");
    snapshot!("store_no_directory", home.run(&["list"]).fails(5));
    for scheme in ["sqlite", "file"] {
        let home = Home::with_store(&format!("{scheme}:DIR/a-directory"));
        fs::create_dir(home.path().join("a-directory")).unwrap();
        snapshot!(format!("store_directory_{scheme}"), home.run(&["list"]).fails(5));
    }
    let home = Home::with_store("sqlite:DIR/corrupt.db");
    home.file("corrupt.db", [&b"SQLite format 3\0"[..], &[0xa5; 4096]].concat());
    home.run(&["list"]).fails(5);
    let home = Home::with_store("sqlite:DIR/text.db");
    home.file("text.db", "test-secret this is no database\n".repeat(100));
    let ran = home.run(&["list"]).fails(5);
    assert!(!ran.stderr.contains("test-secret"), "{}", ran.stderr);
}

#[test]
fn a_broken_row_is_reported_and_nothing_is_lost() {
    let home = Home::with_store("file:DIR/tokens.txt");
    home.import(&(line("alice@example.com") + &line("bob@example.com")));
    let path = home.path().join("tokens.txt");
    let whole = fs::read_to_string(&path).unwrap();
    let broken = format!("{whole}3,carol@example.com,test-broken\n");
    home.file("tokens.txt", &broken);
    let list = home.run(&["list"]).fails_after_output(1);
    assert!(list.stdout.contains("bob@example.com"), "{}", list.stdout);
    assert!(list.stderr.starts_with("warning: "), "{}", list.stderr);
    assert!(!list.stderr.contains("test-broken"), "{}", list.stderr);
    home.run(&["find", "--user", "alice@example.com"]).ok();
    home.run(&["export"]).fails(5);
    assert_eq!(fs::read_to_string(&path).unwrap(), broken);
}

#[test]
fn what_is_no_token_file_is_an_error_and_stays_as_it_is() {
    let home = Home::with_store("file:DIR/notes.txt");
    home.file("notes.txt", "# Notes\n\nBuy milk.\n");
    for verb in [&["list"][..], &["export"], &["find", "--user", "alice@example.com"]] {
        home.run(verb).fails(5);
    }
    let notes = fs::read_to_string(home.path().join("notes.txt")).unwrap();
    assert_eq!(notes, "# Notes\n\nBuy milk.\n");
}

#[test]
fn a_query_names_exactly_one_thing() {
    let home = Home::with_store("list:");
    snapshot!("find_nothing", home.run(&["find"]).fails(2));
    home.run(&["find", "--user", ""]).fails(2);
    home.run_with(&["find", "--user", "a", "--access-token-env", "T"], &[("T", "test-t")]).fails(2);
    let with_client = ["find", "--access-token-env", "T", "--client-id", "c"];
    home.run_with(&with_client, &[("T", "test-t")]).fails(2);
    home.run(&["token"]).fails(2);
    home.run(&["token", "--user", "a", "--id", "1"]).fails(2);
    home.run(&["delete"]).fails(2);
    home.run(&["delete", "1", "--all"]).fails(2);
    home.run(&["show", ""]).fails(2);
    home.run(&["revoke", "--all"]).fails(2);
    home.run(&["refresh", "--all"]).fails(2);
}

#[test]
fn a_secret_as_a_plain_value_is_refused_with_a_hint() {
    let home = Home::with_store("list:");
    for flag in ["client-secret", "refresh-token", "grant-token", "access-token"] {
        for verb in ["add", "login", "find", "token"] {
            for arguments in [
                vec![verb.to_owned(), format!("--{flag}"), "test-plain".to_owned()],
                vec![verb.to_owned(), format!("--{flag}=test-plain")],
            ] {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let ran =
                    home.run(&arguments).fails(2).says(&format!("hint: use --{flag}-env VAR"));
                assert!(!ran.stderr.contains("test-plain"), "{}", ran.stderr);
            }
        }
    }
    snapshot!("plain_secret", home.run(&["add", "--client-secret", "test-plain"]));
}

#[test]
fn a_secret_in_the_place_of_its_name_is_not_repeated() {
    let home = Home::with_store("list:");
    let base = ["add", "--client-id", "c", "--refresh-token-stdin"];
    let with = |flag: &str| {
        let mut arguments = base.to_vec();
        arguments.extend([flag, "test-1000.secret"]);
        let ran = home.run(&arguments).fails(2);
        assert!(!ran.stderr.contains("test-1000"), "{}", ran.stderr);
        ran
    };
    snapshot!("secret_as_variable", with("--client-secret-env"));
    snapshot!("secret_as_path", with("--client-secret-file"));
}

#[test]
fn add_says_what_is_missing() {
    let home = Home::with_store("list:");
    let secret = [("S", "test-secret"), ("EMPTY", "")];
    let run = |arguments: &[&str]| home.run_with(arguments, &secret);
    snapshot!("add_no_secret", run(&["add", "--client-id", "c", "--refresh-token-env", "S"]));
    snapshot!("add_no_token", run(&["add", "--client-id", "c", "--client-secret-env", "S"]));
    run(&["add", "--client-secret-env", "S"]).fails(2);
    let both = ["--client-secret-stdin", "--refresh-token-stdin"];
    snapshot!("add_two_from_stdin", run(&["add", "--client-id", "c", both[0], both[1]]));
    run(&["add", "--client-id", "c", "--client-secret-env", "EMPTY", "--grant-token-env", "S"])
        .fails(2)
        .says("is empty");
    run(&["add", "--client-id", "", "--client-secret-env", "S", "--grant-token-env", "S"]).fails(2);
}

#[test]
fn a_data_centre_or_server_that_is_none_is_wrong_usage() {
    let home = Home::with_store("list:");
    let run = |more: &[&str]| {
        let mut arguments = vec!["add", "--client-id", "c", "--client-secret-env", "S"];
        arguments.extend(["--refresh-token-env", "S"]);
        arguments.extend(more);
        home.run_with(&arguments, &[("S", "test-secret")]).fails(2)
    };
    snapshot!("unknown_data_center", run(&["--dc", "mars"]));
    snapshot!("server_http", run(&["--accounts-server", "http://accounts.zoho.com"]));
    for url in ["ftp://x", "accounts.zoho.com", "https://u:test-password@host", "https://h/path"] {
        let ran = run(&["--accounts-server", url]);
        assert!(!ran.stderr.contains("test-password"), "{}", ran.stderr);
        run(&["--api-domain", url]);
    }
    run(&["--environment", "test"]);
}

#[test]
fn login_says_what_cannot_work() {
    let home = Home::with_store("list:");
    let run = |more: &[&str]| {
        let mut arguments = vec!["login", "--client-id", "c", "--client-secret-env", "S"];
        arguments.extend(["--no-browser", "--timeout", "5"]);
        arguments.extend(more);
        home.run_with(&arguments, &[("S", "test-secret")])
    };
    run(&["--redirect-url", "not a url"]).fails(2);
    snapshot!("login_redirect_elsewhere", run(&["--redirect-url", "https://app.example.com/cb"]));
    run(&["--dc", "mars"]).fails(2);
    run(&["--scope", "a b"]).fails(1).says("scopes");
    run(&["--redirect-port", "99999"]).fails(2);
    run(&["--device"]).fails(2).says("cannot be used with");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_none() {
    let home = Home::with_store("sqlite:DIR/tokens.db");
    home.import(&line("alice@example.com"));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = home.command(&["list"]).stdout(full).output().unwrap();
    Ran::new(&home, output).fails(1).says("cannot write to stdout");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = home.command(&["list"]).stdout(writer).output().unwrap();
    let ran = Ran::new(&home, output).ok();
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
}
