use serde_json::{Value, json};
use tokenkeep::{Clock, SystemClock};
use tokenkeep_emulator::{Config, Fault};

use crate::support::{CLIENT, CLIENT_SECRET, Home, Provider, snapshot};

const ALICE: &str = "alice@example.com";

fn home() -> Home {
    Home::with_store("sqlite:DIR/tokens.db")
}

#[test]
fn a_self_client_code_becomes_a_token_whose_user_is_found_out() {
    let (home, provider) = (home(), Provider::start_as("eu"));
    let user = provider.add_user(ALICE);
    home.file("secret", CLIENT_SECRET);
    let base = ["add", "--accounts-server", provider.url(), "--client-id", CLIENT];
    let from_files = ["--client-secret-file", "secret", "--grant-token-stdin", "--dc", "eu"];
    let added = home.run_stdin(&[&base[..], &from_files].concat(), &user.grant_token);
    snapshot!("add", added.ok());
    assert_eq!(home.list()[0]["user_name"], ALICE);
    assert_eq!(provider.stats().token_requests_of("authorization_code"), 1);
    // A code works once.
    let bob = provider.add_user("bob@example.com");
    let other = Home::with_store("sqlite:DIR/tokens.db");
    let from_env = ["--client-secret-env", "S", "--grant-token-env", "G"];
    let run = |home: &Home| {
        let env = [("S", CLIENT_SECRET), ("G", bob.grant_token.as_str())];
        home.run_with(&[&base[..], &from_env].concat(), &env)
    };
    run(&home).ok();
    snapshot!("add_spent_code", run(&other).fails(4));
    assert!(other.list().is_empty());
}

#[test]
fn a_wrong_client_is_said_to_be_wrong() {
    let (home, provider) = (home(), Provider::start());
    let user = provider.add_user(ALICE);
    let ran = home.run_with(
        &[
            "add",
            "--accounts-server",
            provider.url(),
            "--client-id",
            "1000.WRONG",
            "--client-secret-env",
            "S",
            "--refresh-token-env",
            "R",
        ],
        &[("S", CLIENT_SECRET), ("R", &user.refresh_token)],
    );
    snapshot!("add_wrong_client", ran.fails(1));
    assert!(home.list().is_empty());
}

#[test]
fn token_prints_the_token_and_a_newline_and_refreshes_only_when_due() {
    let (home, provider) = (home(), Provider::start());
    provider.added(&home, ALICE);
    let before = provider.stats().token_requests_of("refresh_token");
    let first = home.run(&["token", "--user", ALICE]).ok();
    assert!(first.stderr.is_empty(), "{}", first.stderr);
    assert_eq!(first.stdout.lines().count(), 1);
    assert!(first.stdout.starts_with("1000.") && first.stdout.ends_with('\n'));
    assert_eq!(home.run(&["token", "--id", "1"]).ok().stdout, first.stdout);
    assert_eq!(provider.stats().token_requests_of("refresh_token"), before);

    let refreshed = home.run(&["refresh", "1"]).ok();
    snapshot!("refresh", refreshed);
    assert_eq!(provider.stats().token_requests_of("refresh_token"), before + 1);
    assert_ne!(home.run(&["token", "--id", "1"]).ok().stdout, first.stdout);
}

#[test]
fn api_prints_the_body_and_heals_a_token_that_was_ended_early() {
    let (home, provider) = (home(), Provider::start());
    provider.added(&home, ALICE);
    let body = |ran: &str| serde_json::from_str::<Value>(ran).unwrap();
    let org = home.run(&["api", "GET", "/crm/v8/org", "--user", ALICE]).ok();
    assert!(body(&org.stdout)["org"][0]["zgid"].is_string(), "{}", org.stdout);

    let lead = json!({ "data": [{ "Last_Name": "Lovelace", "Company": "Engines" }] }).to_string();
    let post = ["api", "post", "/crm/v8/Leads", "--id", "1", "--body"];
    home.file("lead.json", &lead);
    let created = home.run(&[&post[..], &["lead.json"]].concat()).ok();
    assert_eq!(body(&created.stdout)["data"][0]["code"], "SUCCESS");
    home.run_stdin(&[&post[..], &["-"]].concat(), &lead).ok();

    provider.emulator().expire_access_tokens();
    let path = "/crm/v8/Leads?fields=Last_Name";
    let leads = home.run(&["api", "GET", path, "--user", ALICE]).ok();
    assert_eq!(body(&leads.stdout)["data"].as_array().unwrap().len(), 2);

    snapshot!("api_refused", home.run(&["api", "GET", "/crm/v8/Nonsense?fields=x", "--id", "1"]));
    home.run(&["api", "GET", "crm/v8/org", "--id", "1"]).fails(2);
    home.run(&["api", "GET", "/../x", "--id", "1"]).fails(1);
    home.run(&["api", "BREW", "/crm/v8/org", "--id", "1"]).fails(2);
    home.run(&["api", "GET", "/crm/v8/org", "--user", "nobody"]).fails(3);
}

#[test]
fn a_revoked_token_stays_as_revoked_and_needs_a_login() {
    let (home, provider) = (home(), Provider::start());
    provider.added(&home, ALICE);
    snapshot!("revoke", home.run(&["revoke", "--user", ALICE]));
    assert_eq!(provider.stats().revocations, 1);
    let row = &home.list()[0];
    assert_eq!((&row["status"], &row["has_refresh_token"]), (&json!("revoked"), &json!(false)));
    snapshot!("token_revoked", home.run(&["token", "--user", ALICE]).fails(4));
    // The next login takes its place.
    provider.added(&home, ALICE);
    assert_eq!(home.list().len(), 1);
    home.run(&["token", "--user", ALICE]).ok();
}

#[test]
fn a_token_revoked_elsewhere_needs_a_login() {
    let (home, provider) = (home(), Provider::start());
    let user = provider.added(&home, ALICE);
    let other = Home::with_store("sqlite:DIR/tokens.db");
    other.run_stdin(&["import", "-"], &home.run(&["export", "--include-secrets"]).stdout).ok();
    assert!(!user.refresh_token.is_empty());
    let server = ["--accounts-server", provider.url()];
    other.run(&[&["revoke", "1"][..], &server].concat()).ok();
    home.run(&["refresh", "1"]).fails(4);
    assert_eq!(home.list()[0]["status"], "needs_login");
    home.run(&["api", "GET", "/crm/v8/org", "--id", "1"]).fails(4);
}

#[test]
fn throttling_is_exit_code_6_with_the_time() {
    let (home, provider) = (home(), Provider::start());
    provider.added(&home, ALICE);
    let last = (0..10).map(|_| home.run(&["refresh", "1"])).find(|ran| ran.code != 0);
    snapshot!("throttled", last.expect("the eleventh is refused").fails(6));
}

#[test]
fn all_tokens_are_worked_on_and_failures_are_listed() {
    let (home, provider) = (home(), Provider::start());
    provider.added(&home, ALICE);
    provider.added(&home, "bob@example.com");
    let fault = Fault::answering("/oauth/v2/token", 200, json!({ "error": "invalid_code" }));
    provider.emulator().configure(Config::new().fail_next([fault]));
    let ran = home.run(&["refresh", "--all", "--yes", "--format", "json"]).fails(4);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&rows[0]["result"], &rows[1]["result"]), (&json!("failed"), &json!("refreshed")));
    assert!(rows[0]["error"].is_string() && rows[1]["expiry_time"].is_string());
    home.run(&["revoke", "--all", "--yes"]).ok();
    assert!(home.list().iter().all(|row| row["status"] == "revoked"));
    assert_eq!(home.run(&["delete", "--all", "--yes"]).ok().stdout, "Deleted 2 tokens.\n");
}

#[test]
fn a_provider_that_does_not_answer_is_exit_code_1_and_changes_nothing() {
    let home = home();
    let provider = Provider::start();
    provider.added(&home, ALICE);
    let before = home.run(&["export", "--include-secrets"]).stdout;
    drop(provider);
    home.run(&["refresh", "1"]).fails(1).says("hint: ");
    home.run(&["revoke", "1"]).fails(1);
    assert_eq!(home.run(&["export", "--include-secrets"]).stdout, before);
    // What is fresh needs no provider.
    home.run(&["token", "--id", "1"]).ok();
}

#[test]
fn a_slow_provider_is_waited_for_until_the_deadline_and_the_token_is_free_again() {
    let (home, provider) = (home(), Provider::start());
    provider.added(&home, ALICE);
    provider.emulator().configure(Config::new().token_latency_ms(30_000));
    let began = SystemClock.now();
    home.run(&["refresh", "1", "--deadline", "1"]).fails(1).says("hint: ");
    provider.emulator().configure(Config::new().token_latency_ms(0));
    home.run(&["refresh", "1"]).ok();
    let took = began.until(SystemClock.now());
    assert!(took.as_secs() < 10, "{took:?}");
    home.run(&["token", "--id", "1", "--deadline", "0"]).fails(2);
}

#[test]
fn processes_that_ask_at_once_refresh_once() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let (home, provider) = (Home::with_store(url), Provider::start());
        let lifetime = Config::new().access_token_lifetime_s(1);
        provider.emulator().configure(lifetime);
        provider.added(&home, ALICE);
        provider
            .emulator()
            .configure(Config::new().access_token_lifetime_s(3_600).token_latency_ms(300));
        let line = home.run(&["export", "--include-secrets"]).stdout;
        let mut expired: Value = serde_json::from_str(&line).unwrap();
        expired["expiry_time"] = json!("1000000000000");
        home.import(&format!("{expired}\n"));
        let before = provider.stats().token_requests_of("refresh_token");
        #[expect(clippy::needless_collect, reason = "all are started before one is waited for")]
        let processes: Vec<_> = (0..6)
            .map(|_| {
                let mut command = home.command(&["token", "--user", ALICE]);
                command.stdout(std::process::Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let outputs: Vec<_> =
            processes.into_iter().map(|process| process.wait_with_output().unwrap()).collect();
        assert!(outputs.iter().all(|output| output.status.success()), "{url}");
        assert!(outputs.iter().all(|output| output.stdout == outputs[0].stdout), "{url}");
        assert_eq!(provider.stats().token_requests_of("refresh_token"), before + 1, "{url}");
    }
}
