use std::{collections::BTreeSet, process::Stdio};

use crate::support::{Home, line};

const PROCESSES: usize = 8;
const TOKENS: usize = 100;

/// `token` is the line of one process's token, each counted from 0.
fn import_at_once(home: &Home, token: impl Fn(usize, usize) -> String) {
    let files: Vec<String> = (0..PROCESSES)
        .map(|process| {
            let name = format!("{process}.jsonl");
            let lines: String = (0..TOKENS).map(|number| token(process, number)).collect();
            home.file(&name, lines);
            name
        })
        .collect();
    let children: Vec<_> = files
        .iter()
        .map(|file| {
            let mut command = home.command(&["import", file]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn user(process: usize, number: usize) -> String {
    format!("user-{process}-{number}@example.com")
}

#[test]
fn eight_processes_import_a_hundred_users_each() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let home = Home::with_store(url);
        import_at_once(&home, |process, number| line(&user(process, number)));
        let rows = home.list();
        assert_eq!(rows.len(), PROCESSES * TOKENS, "{url}");
        let distinct = |field: &str| {
            rows.iter().map(|row| row[field].to_string()).collect::<BTreeSet<_>>().len()
        };
        assert_eq!(distinct("id"), PROCESSES * TOKENS, "{url}");
        assert_eq!(distinct("user_name"), PROCESSES * TOKENS, "{url}");
    }
}

#[test]
fn eight_processes_import_a_hundred_users_each_with_the_same_ids() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let home = Home::with_store(url);
        import_at_once(&home, |process, number| {
            let id = format!("{{\"id\":\"{}\",", number + 1);
            line(&user(process, number)).replacen('{', &id, 1)
        });
        let rows = home.list();
        let distinct = |field: &str| {
            rows.iter().map(|row| row[field].to_string()).collect::<BTreeSet<_>>().len()
        };
        assert_eq!(rows.len(), PROCESSES * TOKENS, "{url}");
        assert_eq!(distinct("id"), PROCESSES * TOKENS, "{url}");
        assert_eq!(distinct("user_name"), PROCESSES * TOKENS, "{url}");
        let ids: BTreeSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert!((1..=TOKENS).all(|id| ids.contains(id.to_string().as_str())), "{url}: {ids:?}");
    }
}

#[test]
fn eight_processes_update_one_user() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let home = Home::with_store(url);
        import_at_once(&home, |_, _| line("alice@example.com"));
        assert_eq!(home.list().len(), 1, "{url}");
    }
}
