//! Secrets are printed by the verbs that are for that, and by nothing else: not by other output,
//! not by errors, not by logs at their most talkative.

use serde_json::json;
use tokenkeep_emulator::{Config, Fault};

use crate::support::{CLIENT, CLIENT_SECRET, Home, Provider, Ran};

const ALICE: &str = "alice@example.com";

/// What must not be seen.
#[derive(Default)]
struct Secrets(Vec<String>);

impl Secrets {
    fn of_store(&mut self, home: &Home) {
        let exported = home.run(&["export", "--include-secrets"]).ok().stdout;
        for line in exported.lines() {
            let token: serde_json::Value = serde_json::from_str(line).unwrap();
            for field in ["client_secret", "refresh_token", "access_token", "grant_token"] {
                self.0.extend(token[field].as_str().map(str::to_owned));
            }
        }
    }

    #[track_caller]
    fn are_not_in(&self, ran: &Ran) {
        assert!(!self.0.is_empty());
        for secret in &self.0 {
            assert!(!ran.stdout.contains(secret.as_str()), "stdout: {}", ran.shown());
            assert!(!ran.stderr.contains(secret.as_str()), "stderr: {}", ran.shown());
        }
    }
}

fn everything(url: &str) {
    let (home, provider) = (Home::with_store(url), Provider::start());
    let mut secrets = Secrets::default();
    let user = provider.add_user(ALICE);
    let bob = provider.add_user("bob@example.com");
    for known in [CLIENT_SECRET, &user.refresh_token, &bob.grant_token, &bob.refresh_token] {
        secrets.0.push(known.to_owned());
    }
    let env = [
        ("S", CLIENT_SECRET),
        ("R", user.refresh_token.as_str()),
        ("G", bob.grant_token.as_str()),
        ("TOKENKEEP_LOG", "trace"),
    ];
    let run = |arguments: &[&str]| home.run_with(arguments, &env);
    let add = ["add", "--accounts-server", provider.url(), "--client-id", CLIENT];
    let with_secret = [&add[..], &["--client-secret-env", "S"]].concat();

    let mut all = vec![
        run(&[&with_secret[..], &["--refresh-token-env", "R"]].concat()).ok(),
        run(&[&with_secret[..], &["--grant-token-env", "G"]].concat()).ok(),
        // Used up now.
        run(&[&with_secret[..], &["--grant-token-env", "G", "--user", "carol"]].concat()),
        run(&[&add[..], &["--client-secret-env", "R", "--refresh-token-env", "R"]].concat()),
    ];
    secrets.of_store(&home);
    for arguments in [
        &["list", "-vvv"][..],
        &["list", "--format", "json"],
        &["show", "1", "-vvv"],
        &["show", "1", "--format", "json"],
        &["find", "--user", ALICE],
        &["find", "--refresh-token-env", "R"],
        &["export"],
        &["doctor"],
        &["api", "GET", "/crm/v8/org", "--id", "1"],
        &["api", "GET", "/crm/v8/Leads/9", "--id", "1"],
        &["refresh", "1", "-vvv"],
    ] {
        all.push(run(arguments));
    }
    provider.emulator().expire_access_tokens();
    all.push(run(&["api", "GET", "/crm/v8/org", "--id", "1"]).ok());
    for body in [
        json!({ "error": "invalid_code" }),
        json!({ "error": "general_error", "echo": user.refresh_token }),
        json!(format!("<html>{}</html>", user.refresh_token)),
    ] {
        let fault = Fault::answering("/oauth/v2/token", 200, body);
        provider.emulator().configure(Config::new().fail_next([fault]));
        all.push(run(&["refresh", "1"]));
    }
    secrets.of_store(&home);
    let exported = home.run(&["export", "--include-secrets"]).stdout;
    home.file("broken", exported.replace("\"expiry_time\":", "\"expiry\":") + &exported[..200]);
    all.push(run(&["import", "broken"]).fails(1));
    all.push(run(&["revoke", "--all", "--yes"]));
    for ran in &all {
        secrets.are_not_in(ran);
    }
    // The search would find one.
    let token = home.run(&["export", "--include-secrets"]);
    assert!(token.stdout.contains(CLIENT_SECRET));
    assert!(all.iter().any(|ran| ran.stderr.contains("TRACE") || ran.stderr.contains("DEBUG")));
}

#[test]
fn no_secret_is_seen_with_a_database() {
    everything("sqlite:DIR/tokens.db");
}

#[test]
fn no_secret_is_seen_with_a_token_file() {
    everything("file:DIR/tokens.txt");
}
