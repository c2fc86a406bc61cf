use std::{collections::BTreeSet, process::Stdio};

use crate::support::{Home, line};

const PROCESSES: usize = 8;
const TOKENS: usize = 100;

fn import_at_once(home: &Home, user: impl Fn(usize, usize) -> String) {
    let files: Vec<String> = (0..PROCESSES)
        .map(|process| {
            let name = format!("{process}.jsonl");
            let lines: String = (0..TOKENS).map(|token| line(&user(process, token))).collect();
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

#[test]
fn eight_processes_import_a_hundred_users_each() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let home = Home::with_store(url);
        import_at_once(&home, |process, token| format!("user-{process}-{token}@example.com"));
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
fn eight_processes_update_one_user() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let home = Home::with_store(url);
        import_at_once(&home, |_, _| "alice@example.com".to_owned());
        assert_eq!(home.list().len(), 1, "{url}");
    }
}
