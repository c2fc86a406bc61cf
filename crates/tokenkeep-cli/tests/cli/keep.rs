#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{CLIENT, CLIENT_SECRET, Home, Provider};

#[test]
fn keep_renews_what_has_expired_tells_so_and_stops_cleanly() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let (home, provider) = (Home::with_store(url), Provider::start());
        for user in ["alice@example.com", "bob@example.com"] {
            let refresh_token = provider.add_user(user).refresh_token;
            let token = json!({
                "user_name": user, "client_id": CLIENT, "client_secret": CLIENT_SECRET,
                "refresh_token": refresh_token, "access_token": "test-access-expired",
                "expiry_time": "1000000000000",
            });
            home.import(&format!("{token}\n"));
        }
        let mut child = home
            .command(&["keep", "--format", "json", "--accounts-server", provider.url()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut renewed: Vec<String> = Vec::new();
        while renewed.len() < 2 {
            let event: Value = serde_json::from_str(&events.next().unwrap().unwrap()).unwrap();
            assert_eq!((&event["event"], &event["reason"]), (&json!("refreshed"), &json!("kept")));
            assert!(event["at"].is_string() && event["took_ms"].is_u64());
            renewed.push(event["token_id"].as_str().unwrap().to_owned());
        }
        renewed.sort();
        assert_eq!(renewed, ["1", "2"], "{url}");
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(child.wait().unwrap().success(), "{url}");
        assert_eq!(events.count(), 0);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let end = "stopped: 2 tokens kept, 2 times renewed here, 0 times failed\n";
        assert!(said.ends_with(end), "{said}");

        home.run(&["token", "--id", "1"]).ok();
        assert_eq!(provider.stats().token_requests_of("refresh_token"), 2, "{url}");
    }
}

#[test]
fn a_store_in_memory_is_not_kept() {
    Home::with_store("list:").run(&["keep"]).fails(2);
}
