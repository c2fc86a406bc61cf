use crate::support::{Home, line, snapshot};

fn home() -> Home {
    let home = Home::with_store("sqlite:DIR/tokens.db");
    home.import(&(line("alice@example.com") + &line("bob@example.com")));
    home
}

#[test]
fn list_shows_what_is_there() {
    snapshot!("list", home().run(&["list"]));
    snapshot!("list_json", home().run(&["list", "--format", "json"]));
    snapshot!("list_empty", Home::with_store("list:").run(&["list"]));
}

#[test]
fn the_environment_is_always_said_and_the_data_center_where_it_is_known() {
    let home = Home::with_store("sqlite:DIR/tokens.db");
    let lines: String =
        [("a@x", ""), ("b@x", "https://sandbox.zohoapis.eu"), ("c@x", "https://crm.example.com")]
            .map(|(user, domain)| line(user).replace("https://www.zohoapis.eu", domain))
            .concat();
    home.import(&lines);
    let shown: Vec<_> = home
        .list()
        .into_iter()
        .map(|row| (row["environment"].clone(), row["data_center"].clone()))
        .collect();
    let null = serde_json::Value::Null;
    assert_eq!(
        shown,
        [
            ("production".into(), null.clone()),
            ("sandbox".into(), "eu".into()),
            ("production".into(), null),
        ]
    );
    let shown = home.run(&["show", "1", "--format", "json"]).ok().stdout;
    assert!(shown.contains("\"environment\": \"production\""), "{shown}");
}

#[test]
fn show_and_find_show_one_token_with_masks() {
    let home = home();
    snapshot!("show", home.run(&["show", "1"]));
    snapshot!("show_json", home.run(&["show", "2", "--format", "json"]));
    let by_user = home.run(&["find", "--user", "alice@example.com"]).ok();
    assert_eq!(by_user.stdout, home.run(&["show", "1"]).stdout);
    let by_client =
        home.run(&["find", "--user", "alice@example.com", "--client-id", "1000.CLIENT"]);
    assert_eq!(by_client.stdout, by_user.stdout);
}

#[test]
fn find_takes_secrets_from_a_variable_a_file_or_stdin() {
    let home = home();
    let bob = home.run(&["show", "2"]).stdout;
    let token = "test-access-bob@example.com";
    let found = home.run_with(&["find", "--access-token-env", "T"], &[("T", token)]);
    assert_eq!(found.stdout, bob);
    home.file("token", format!("{token}\n"));
    assert_eq!(home.run(&["find", "--access-token-file", "token"]).stdout, bob);
    let refresh = "test-refresh-bob@example.com\n";
    assert_eq!(home.run_stdin(&["find", "--refresh-token-stdin"], refresh).stdout, bob);
    home.run_stdin(&["find", "--grant-token-stdin"], "test-other").fails(3);
}

#[test]
fn what_is_not_there_is_exit_code_3() {
    let home = home();
    snapshot!("show_missing", home.run(&["show", "9"]));
    snapshot!("show_missing_text_id", home.run(&["show", "1000.test-a-token-in-the-wrong-place"]));
    snapshot!("find_missing", home.run(&["find", "--user", "carol@example.com"]));
    for name in ["Alice@example.com", "alice@example.com ", "alice@éxample.com"] {
        home.run(&["find", "--user", name]).fails(3);
    }
    home.run(&["delete", "9"]).fails(3);
    home.run(&["delete", "--user", "carol@example.com"]).fails(3);
    home.run(&["token", "--id", "9"]).fails(3);
}

#[test]
fn a_user_with_two_tokens_is_asked_about() {
    let home = home();
    home.import(&line("alice@example.com").replace("1000.CLIENT", "1000.OTHER"));
    snapshot!("find_ambiguous", home.run(&["find", "--user", "alice@example.com"]));
    let one = home.run(&["find", "--user", "alice@example.com", "--client-id", "1000.OTHER"]).ok();
    assert!(one.stdout.contains("1000.OTHER"));
    home.run(&["delete", "--user", "alice@example.com"]).fails(1);
    assert_eq!(home.list().len(), 3);
}

#[test]
fn delete_removes_one_or_all() {
    let home = home();
    snapshot!("delete", home.run(&["delete", "1"]));
    assert_eq!(home.list().len(), 1);
    snapshot!("delete_all_without_terminal", home.run(&["delete", "--all"]));
    assert_eq!(home.list().len(), 1);
    snapshot!("delete_all", home.run(&["delete", "--all", "--yes", "--format", "json"]));
    assert!(home.list().is_empty());
}

#[test]
fn the_default_store_is_the_users_alone() {
    let home = Home::new();
    home.import(&line("alice@example.com"));
    assert_eq!(home.list().len(), 1);
    let dir = home.path().join(".local/share/tokenkeep");
    assert!(dir.join("tokens.db").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("tokens.db")), 0o600);
    }
}

#[test]
fn what_steers_a_terminal_is_shown_escaped() {
    let home = Home::with_store("sqlite:DIR/tokens.db");
    home.import("{\"user_name\":\"a\\u001b[2J\\nb\",\"refresh_token\":\"test-refresh\"}\n");
    let list = home.run(&["list"]).ok();
    assert!(list.stdout.contains("a\\u{1b}[2J\\nb"), "{}", list.stdout);
    assert_eq!(home.list()[0]["user_name"], "a\u{1b}[2J\nb");
}

#[test]
fn every_store_answers_the_same() {
    let shown = |url| {
        let home = Home::with_store(url);
        home.import(&(line("alice@example.com") + &line("bob@example.com")));
        home.run(&["delete", "--user", "alice@example.com"]).ok();
        home.import(&line("carol@example.com"));
        home.run(&["list"]).ok().stdout
    };
    let sqlite = shown("sqlite:DIR/tokens.db");
    assert_eq!(sqlite, shown("file:DIR/tokens.txt"));
    assert_eq!(sqlite, shown("file:DIR/tokens.txt?dialect=quoted"));
    assert!(sqlite.contains("3   carol@example.com"), "{sqlite}");
}
