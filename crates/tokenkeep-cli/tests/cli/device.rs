use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Output, Stdio},
};

use serde_json::{Value, json};
use tokenkeep_emulator::{Config, Fault};

use crate::support::{CLIENT, CLIENT_SECRET, Home, Provider, Ran, snapshot};

const ALICE: &str = "alice@example.com";

/// `tokenkeep login --device` that waits for its user.
struct Waiting {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    user_code: String,
}

fn begin(home: &Home, provider: &Provider, more: &[&str]) -> Waiting {
    let arguments = [
        &["login", "--device", "--accounts-server", provider.url(), "--client-id", CLIENT],
        &["--client-secret-env", "S"][..],
        more,
    ]
    .concat();
    let mut child = home
        .command(&arguments)
        .env("S", CLIENT_SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("user_code=") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    let after = said.split("enter the code:\n").nth(1).unwrap();
    let user_code = after.lines().next().unwrap().trim().to_owned();
    Waiting { child, stderr, said, user_code }
}

impl Waiting {
    fn end(mut self) -> Output {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let mut output = self.child.wait_with_output().unwrap();
        output.stderr = self.said.replace(&self.user_code, "[CODE]").into_bytes();
        output
    }
}

fn provider() -> Provider {
    let provider = Provider::start();
    provider.emulator().add_client(CLIENT, CLIENT_SECRET, []);
    provider.emulator().configure(Config::new().device_interval_s(1));
    provider
}

fn home() -> Home {
    Home::with_store("sqlite:DIR/tokens.db")
}

#[test]
fn a_user_is_logged_in_by_a_device_elsewhere() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let (home, provider) = (Home::with_store(url), provider());
        let login = begin(&home, &provider, &[]);
        let page = provider.get(&format!("{}/oauth/v3/device", provider.url()));
        assert_eq!(page.status, 200);
        let decision = json!({ "user_code": login.user_code, "email": ALICE });
        assert_eq!(provider.post("/emulator/device/accept", &decision), 200);
        snapshot!("login_device", Ran::new(&home, login.end()).ok());
        let row = &home.list()[0];
        assert_eq!(row["user_name"], ALICE);
        assert_eq!(row["has_refresh_token"], true);
        assert_eq!(provider.stats().token_requests_of("authorization_code"), 0);
        home.run(&["api", "GET", "/crm/v8/org", "--user", ALICE]).ok();
        home.run(&["refresh", "--user", ALICE]).ok();
    }
}

#[test]
fn json_is_the_token_alone_and_quiet_still_shows_the_code() {
    let (home, provider) = (home(), provider());
    let login = begin(&home, &provider, &["--format", "json", "-q", "--environment", "sandbox"]);
    assert!(provider.emulator().decide_device(&login.user_code, Some(ALICE)));
    let output = login.end();
    let token: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(token["user_name"], ALICE);
    assert_eq!(token["environment"], "sandbox");
    assert_eq!(token["accounts_server"], provider.url());
    assert_eq!(token["refresh_token"], "********");
}

#[test]
fn a_poll_that_comes_too_early_or_fails_is_followed_by_a_later_one() {
    let (home, provider) = (home(), provider());
    let path = "/oauth/v3/device/token";
    provider.emulator().configure(Config::new().fail_next([
        Fault::answering(path, 200, json!({ "error": "authorization_pending" })),
        Fault::answering(path, 502, json!("<html>")),
    ]));
    let login = begin(&home, &provider, &[]);
    assert!(provider.emulator().decide_device(&login.user_code, Some(ALICE)));
    Ran::new(&home, login.end()).ok();
    assert_eq!(home.list().len(), 1);
}

#[test]
fn a_user_who_refuses_is_not_logged_in() {
    let (home, provider) = (home(), provider());
    let login = begin(&home, &provider, &[]);
    let decision = json!({ "user_code": login.user_code, "decision": "refuse" });
    assert_eq!(provider.post("/emulator/device/accept", &decision), 200);
    snapshot!("login_device_refused", Ran::new(&home, login.end()).fails_after_output(4));
    assert!(home.list().is_empty());
}

#[test]
fn a_code_that_has_expired_is_exit_code_4() {
    let (home, provider) = (home(), provider());
    let login = begin(&home, &provider, &["--timeout", "1"]);
    snapshot!("login_device_timeout", Ran::new(&home, login.end()).fails_after_output(4));
    let expired = Fault::answering("/oauth/v3/device/token", 200, json!({ "error": "expired" }));
    provider.emulator().configure(Config::new().fail_next([expired]));
    let login = begin(&home, &provider, &[]);
    snapshot!("login_device_expired", Ran::new(&home, login.end()).fails_after_output(4));
    assert!(home.list().is_empty());
}

#[test]
fn a_user_of_another_data_center_is_not_followed_from_a_server_that_was_named() {
    let (home, provider) = (home(), provider());
    let body = json!({ "error": "other_dc", "user_location": "eu" });
    let elsewhere = Fault::answering("/oauth/v3/device/token", 200, body);
    provider.emulator().configure(Config::new().fail_next([elsewhere]));
    let login = begin(&home, &provider, &[]);
    snapshot!("login_device_elsewhere", Ran::new(&home, login.end()).fails_after_output(1));
}

#[test]
fn a_device_flow_that_cannot_begin_says_why() {
    let (home, provider) = (home(), provider());
    let run = |client: &str, store: &str| {
        let login = ["login", "--device", "--accounts-server", provider.url(), "--client-id"];
        let more = [client, "--client-secret-env", "S", "--store", store];
        home.run_with(&[&login[..], &more].concat(), &[("S", CLIENT_SECRET)])
    };
    run("1000.OTHER", "list:").fails(1).says("the client is not known there");
    run(CLIENT, "sqlite:missing/tokens.db").fails(5);
    assert_eq!(provider.stats().token_requests_of("device_request"), 1);
}

#[cfg(unix)]
#[test]
fn a_login_is_given_up_by_ctrl_c() {
    let (home, provider) = (home(), provider());
    provider.emulator().configure(Config::new().device_interval_s(30));
    let login = begin(&home, &provider, &[]);
    let kill = std::process::Command::new("kill")
        .args(["-INT", &login.child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    Ran::new(&home, login.end()).fails_after_output(1).says("the login was given up");
    assert!(home.list().is_empty());
}
