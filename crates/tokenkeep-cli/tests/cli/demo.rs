use std::{fs, time::Instant};

use crate::support::{Home, snapshot};

#[test]
fn the_demo_holds_and_leaves_nothing() {
    let home = Home::new();
    let temp = home.path().join("temp");
    fs::create_dir(&temp).unwrap();
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
    let begun = Instant::now();
    let ran = home.run_with(&["demo", "--format", "json"], &[("TMPDIR", temp.to_str().unwrap())]);
    let ran = ran.ok();
    assert!(begun.elapsed().as_secs() < 10);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(summary["held"], true);
    assert_eq!(summary["steps"].as_array().unwrap().len(), 8);
    assert!(summary["steps"].as_array().unwrap().iter().all(|step| step["held"] == true));
    assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "the temporary directory is gone");
    assert!(!home.path().join(".local").exists(), "no store of the user's was made");
}

#[test]
fn the_summary_is_a_table() {
    let ran = Home::new().run(&["demo", "-q"]).ok();
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    let shown = ran.shown().to_owned();
    insta::with_settings!({
        filters => vec![
            (r"yes +\d+", "yes  [MS]"),
            (r"in \d+ ms", "in [MS] ms"),
        ],
        omit_expression => true,
        prepend_module_to_snapshot => false,
    }, { insta::assert_snapshot!("demo", shown) });
}

#[test]
fn the_database_can_be_kept() {
    let home = Home::with_store("sqlite:DIR/kept/tokens.db");
    home.run(&["demo", "--keep", "kept"]).ok();
    let rows = home.list();
    let users: Vec<_> = rows.iter().map(|row| row["user_name"].as_str().unwrap()).collect();
    assert_eq!(users, ["alice@example.com", "bob@example.eu", "carol@example.eu"]);
    assert_eq!(rows[1]["status"], "revoked");
    snapshot!("demo_keep_twice", home.run(&["demo", "--keep", "kept"]).fails(1));
}

#[cfg(unix)]
#[test]
fn an_interrupted_demo_leaves_nothing_either() {
    use std::process::{Command, Stdio};

    let home = Home::new();
    let temp = home.path().join("temp");
    fs::create_dir(&temp).unwrap();
    let child = home
        .command(&["demo"])
        .env("TMPDIR", &temp)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = || fs::read_dir(&temp).unwrap().count() > 0;
    #[expect(clippy::disallowed_methods, reason = "another process is waited for")]
    let deadline = Instant::now() + std::time::Duration::from_secs(5);
    #[expect(clippy::disallowed_methods, reason = "another process is waited for")]
    while !begun() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    // It may be over before the signal arrives: then it has cleaned up all the same.
    drop(Command::new("kill").args(["-TERM", &child.id().to_string()]).status());
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert_eq!(fs::read_dir(&temp).unwrap().count(), 0);
}
