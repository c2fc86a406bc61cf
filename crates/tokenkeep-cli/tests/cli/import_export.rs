use std::fs;

use serde_json::{Value, json};

use crate::support::{Home, Ran, line, sdk_database, snapshot};

const HEADER: &str = "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,\
                      expiry_time,redirect_url,api_domain";

fn sqlite() -> Home {
    Home::with_store("sqlite:DIR/tokens.db")
}

#[test]
fn what_is_exported_is_imported() {
    let home = sqlite();
    home.import(&(line("alice@example.com") + &line("bob \\\"b\\\" \\n,é@example.com")));
    let exported = home.run(&["export", "--include-secrets"]).ok();
    assert!(exported.stderr.is_empty(), "{}", exported.stderr);
    for url in ["sqlite:DIR/other.db", "file:DIR/other.csv?dialect=quoted"] {
        let other = Home::with_store(url);
        let counts = other.run_stdin(&["import", "-", "--format", "json"], &exported.stdout).ok();
        let counts: Value = serde_json::from_str(&counts.stdout).unwrap();
        assert_eq!(
            counts,
            json!({ "read": 2, "added": 2, "updated": 0, "renumbered": 0, "ids": {} })
        );
        assert_eq!(other.run(&["export", "--include-secrets"]).stdout, exported.stdout);
        snapshot!("import_again", other.run_stdin(&["import", "-"], &exported.stdout));
    }
}

#[test]
fn secrets_are_exported_only_when_asked_for() {
    let home = sqlite();
    home.import(&line("alice@example.com"));
    snapshot!("export", home.run(&["export"]));
    let masked = home.run(&["export"]).stdout;
    snapshot!("import_without_secrets", home.run_stdin(&["import", "-"], &masked));
}

#[test]
fn an_export_to_a_file_is_for_its_owner_alone() {
    let home = sqlite();
    home.import(&line("alice@example.com"));
    let path = home.file("backup.jsonl", "old");
    let ran = home.run(&["export", "--include-secrets", "--output", "backup.jsonl"]).ok();
    assert!(ran.stdout.is_empty());
    assert!(fs::read_to_string(&path).unwrap().contains("test-refresh-alice"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn mistakes_are_named_and_nothing_is_imported() {
    let home = sqlite();
    let lines = line("alice@example.com")
        + "{\"user_name\":\"bob@example.com\",\"refresh_token\":5}\n"
        + "\n"
        + "{\"user_name\":\"carol@example.com\"}\n"
        + "{\"refresh_token\":\"test-r\",\"expiry_time\":\"test-tomorrow\"}\n"
        + "{\"refresh_token\":\"test-r\",\"token\":\"test-x\"}\n"
        + "{\"refresh_token\":\"test-r\"\n"
        + "test-not-json\n";
    snapshot!("import_mistakes", home.run_stdin(&["import", "-"], &lines));
    assert!(home.list().is_empty());
}

#[test]
fn a_free_id_is_kept_and_a_taken_one_is_replaced() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let home = Home::with_store(url);
        home.import(&(with_id("7", "alice@example.com") + &with_id("crm-a", "bob@example.com")));
        let ids: Vec<_> = home.list().iter().map(|row| row["id"].clone()).collect();
        assert_eq!(ids, ["7", "crm-a"]);
        let alice = with_id("7", "alice@example.com");
        home.run_stdin(&["import", "-"], &alice).ok().says("updated 1");

        let taken = line("dora@example.com") + &with_id("7", "carol@example.com");
        snapshot!("import_taken_id", home.run_stdin(&["import", "-"], &taken));
        let rows = home.list();
        assert_eq!(rows.len(), 4);
        let alice = rows.iter().find(|row| row["id"] == "7").unwrap();
        assert_eq!(alice["user_name"], "alice@example.com");

        // Again: nothing new, and it still says where they are.
        let again = home.run_stdin(&["import", "-", "--format", "json"], &taken).ok();
        assert!(again.stderr.is_empty(), "{}", again.stderr);
        let again: Value = serde_json::from_str(&again.stdout).unwrap();
        assert_eq!(
            again,
            json!({ "read": 2, "added": 0, "updated": 2, "renumbered": 1, "ids": { "7": "9" } })
        );

        let more = with_id("7", "erik@example.com");
        home.run_stdin(&["import", "-", "--new-ids"], &more).ok().says("added 1");
        assert_eq!(home.list().len(), 5);
    }
}

#[test]
fn ids_that_are_there_twice_in_a_file_are_given_once() {
    let home = sqlite();
    let lines: String = ["a@x", "b@x", "c@x", "d@x"].map(|user| with_id("1", user)).concat();
    home.run_stdin(&["import", "-"], &lines)
        .ok()
        .says("Read 4, added 4, updated 0.")
        .says("3 ids were taken: imported under new ones");
    let ids: Vec<_> = home.list().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
}

#[test]
fn an_id_that_a_file_cannot_hold_is_found_before_anything_is_written() {
    for url in ["file:DIR/tokens.txt", "file:DIR/tokens.txt?dialect=quoted"] {
        let home = Home::with_store(url);
        let lines = line("alice@example.com") + &with_id("ID", "bob@example.com");
        let run = home.run_stdin(&["import", "-"], &lines).fails(1);
        assert!(run.stderr.contains("nothing was imported"), "{}", run.stderr);
        assert!(home.list().is_empty());
    }
}

#[test]
fn a_store_whose_ids_are_used_up_is_not_a_mistake_in_the_user_name() {
    let home = sqlite();
    home.import(&with_id("2147483647", "alice@example.com"));
    let run = home.run_stdin(&["import", "-"], &line("bob@example.com")).fails(1);
    assert!(run.stderr.contains("line 1: all ids up to 2147483647 have been given"));
    assert!(run.stderr.contains("hint: save the token under an id of your own"));
}

#[test]
fn a_token_that_fits_two_is_a_mistake() {
    let home = sqlite();
    let in_eu = line("alice@example.com");
    home.import(&(in_eu.replace("1000.CLIENT", "1000.OTHER") + &in_eu));
    let lines = in_eu.replace("\"client_id\":\"1000.CLIENT\",", "");
    snapshot!("import_ambiguous", home.run_stdin(&["import", "-"], &lines));
    assert_eq!(home.list().len(), 2);
}

#[test]
fn an_id_of_another_token_of_the_same_user_does_not_make_two_the_same() {
    let home = sqlite();
    let eu = line("alice@example.com");
    let us = eu.replace("zohoapis.eu", "zohoapis.com").replace("test-refresh", "test-us");
    home.import(&(eu + &us));
    // In the store it is 1; 2 is the one in the us.
    let lines = with_id("2", "alice@example.com").replace("test-refresh", "test-newer");
    home.run_stdin(&["import", "-"], &lines).ok().says("added 0, updated 1.");
    for (token, id) in [("test-newer-alice@example.com", "1"), ("test-us-alice@example.com", "2")] {
        let find = ["find", "--refresh-token-env", "T", "--format", "json"];
        let found = home.run_with(&find, &[("T", token)]).ok();
        let found: Value = serde_json::from_str(&found.stdout).unwrap();
        assert_eq!(found["id"], id);
    }
}

fn with_id(id: &str, user: &str) -> String {
    line(user).replacen('{', &format!("{{\"id\":\"{id}\","), 1)
}

#[test]
fn one_user_twice_in_a_file_is_one_token() {
    let home = sqlite();
    let newer = line("alice@example.com").replace("test-refresh", "test-newer");
    home.run_stdin(&["import", "-"], &(line("alice@example.com") + &newer))
        .ok()
        .says("Read 2, added 1, updated 1.");
    home.run_with(&["find", "--refresh-token-env", "T"], &[("T", "test-newer-alice@example.com")])
        .ok();
}

#[test]
fn a_token_file_of_an_sdk_is_read_in_any_dialect() {
    let row =
        |id: &str, user: &str| format!("{id},{user},c,s,test-r-{id},test-a-{id},,1764000000000,,");
    let python = format!(
        "{}\r\n{}\r\n{}\r\n",
        HEADER.replace("redirect_url", "redirect_uri"),
        row("1", "a@x"),
        row("2", "\"O'Neil, \"\"Bob\"\"\"")
    );
    let typescript = format!(
        "{}\n{}\n{}",
        HEADER.replace("user_name", "user_mail"),
        row("1", "a@x"),
        row("2", "b@x")
    );
    let nine = "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,\
                expiry_time,redirect_url\npython_a_US_PRD_ab12,a@x,c,s,test-r,test-a,,1,\n2,b@x,c,s,test-r2,,,,\n";
    for (name, content) in [("python", python), ("typescript", typescript), ("v2", nine.to_owned())]
    {
        let home = sqlite();
        let path = home.file("sdk_tokens.txt", &content);
        home.run(&["import", "sdk_tokens.txt"]).ok().says("Read 2, added 2, updated 0.");
        assert_eq!(home.list().len(), 2, "{name}");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            content,
            "{name}: the original is untouched"
        );
        let beside: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("sdk_tokens"))
            .collect();
        assert_eq!(beside, ["sdk_tokens.txt"], "{name}: nothing is put beside it");
    }
}

#[test]
fn a_token_file_with_a_broken_row_is_refused_by_its_line() {
    let home = sqlite();
    home.file("sdk_tokens.txt", format!("{HEADER}\n1,a@x,c,s,test-r,,,,,\n2,b@x,c,test-broken\n"));
    let ran =
        home.run(&["import", "sdk_tokens.txt"]).fails(1).says("nothing was imported").says("3");
    assert!(!ran.stderr.contains("test-broken"), "{}", ran.stderr);
    assert!(home.list().is_empty());
}

#[test]
fn a_sqlite_file_is_read_in_place_and_from_stdin() {
    let source = sqlite();
    source.import(&(line("alice@example.com") + &line("bob@example.com")));
    let path = source.path().join("tokens.db");
    let home = Home::with_store("file:DIR/tokens.txt");
    home.run(&["import", &path.display().to_string()]).ok().says("Read 2, added 2");
    let mut command = home.command(&["import", "-"]);
    command.stdin(fs::File::open(&path).unwrap());
    Ran::new(&home, command.output().unwrap()).ok().says("Read 2, added 0, updated 2");
    let exported = source.run(&["export", "--include-secrets"]).stdout;
    assert_eq!(home.run(&["export", "--include-secrets"]).stdout, exported);
}

#[test]
fn an_sdks_database_is_read_and_stays_as_it_is() {
    let home = sqlite();
    sdk_database(&home, "zohooauth.db");
    let before = fs::read(home.path().join("zohooauth.db")).unwrap();
    home.run(&["import", "zohooauth.db"]).ok().says("Read 1, added 1, updated 0.");
    assert!(fs::read(home.path().join("zohooauth.db")).unwrap() == before);
    assert_eq!(home.list()[0]["user_name"], "a@x");
}

#[test]
fn what_is_no_list_of_tokens_is_said_to_be_none() {
    let home = sqlite();
    for content in [&b"test-just-text"[..], b"name,mail\na,b\n", b"\xff\xfe\x00", b"[1,2]"] {
        home.file("in", content);
        let ran = home.run(&["import", "in"]).fails(1);
        assert!(!ran.stderr.contains("test-just"), "{}", ran.stderr);
    }
    home.file("in", "");
    home.run(&["import", "in"]).ok().says("Read 0");
    home.run(&["import", "missing"]).fails(1).says("cannot read missing");
    home.run(&["import", "."]).fails(1);
}

#[test]
fn what_the_store_cannot_hold_is_known_before_the_first_write() {
    let home = Home::with_store("file:DIR/tokens.txt");
    let lines = line("alice@example.com") + &line("b,ob@example.com");
    snapshot!("import_refused_by_dialect", home.run_stdin(&["import", "-"], &lines));
    assert!(home.list().is_empty());
}

#[test]
fn an_export_to_no_directory_names_the_file_that_was_asked_for() {
    let export = Home::new().run(&["export", "--output", "absent/tokens.jsonl"]);
    export.fails(1).says("cannot write absent/tokens.jsonl: there is no directory absent");
}
