use std::{
    io::{BufRead, BufReader},
    process::{Child, Output, Stdio},
};

use crate::support::{CLIENT, CLIENT_SECRET, Home, Provider, Ran, snapshot};

const ALICE: &str = "alice@example.com";

/// `tokenkeep login` that waits for a browser, and the URL it printed.
struct Waiting {
    child: Child,
    url: String,
}

fn begin(home: &Home, provider: &Provider, more: &[&str]) -> Waiting {
    let mut arguments = vec![
        "login",
        "--no-browser",
        "--accounts-server",
        provider.url(),
        "--client-id",
        CLIENT,
        "--client-secret-env",
        "S",
    ];
    if !more.contains(&"--timeout") {
        arguments.extend(["--timeout", "30"]);
    }
    arguments.extend(more);
    let mut child = home
        .command(&arguments)
        .env("S", CLIENT_SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    // Byte by byte, so that nothing of what follows is lost in a buffer.
    BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with(provider.url()), "{url}");
    Waiting { child, url: url.trim().to_owned() }
}

impl Waiting {
    /// Accepts the login as the browser would; the redirect that comes back is not followed.
    fn accept(&self, provider: &Provider) -> String {
        let answer = provider.get(&format!("{}&emulator_accept={ALICE}", self.url));
        answer.location.expect("the page sends the browser back")
    }

    fn end(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

fn provider() -> Provider {
    let provider = Provider::start();
    provider.emulator().add_client(CLIENT, CLIENT_SECRET, []);
    provider
}

#[test]
fn a_browser_logs_a_user_in() {
    for more in [&[][..], &["--pkce", "--environment", "sandbox"]] {
        let (home, provider) = (Home::with_store("sqlite:DIR/tokens.db"), provider());
        let login = begin(&home, &provider, more);
        let redirect = login.accept(&provider);
        assert!(redirect.starts_with("http://127.0.0.1:"), "{redirect}");
        // A browser asks for an icon too.
        let origin = redirect.split("/callback").next().unwrap().to_owned();
        assert_eq!(provider.get(&format!("{origin}/favicon.ico")).status, 404);
        let page = provider.get(&redirect);
        assert_eq!(page.status, 200);
        assert!(page.body.contains("You are back"), "{}", page.body);
        let output = login.end();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let row = &home.list()[0];
        assert_eq!(row["user_name"], ALICE);
        assert_eq!(row["has_refresh_token"], true);
        assert_eq!(provider.stats().token_requests_of("authorization_code"), 1);
        if more.is_empty() {
            snapshot!("login", Ran::new(&home, output));
            home.run(&["api", "GET", "/crm/v8/org", "--user", ALICE]).ok();
        }
    }
}

#[test]
fn a_redirect_of_another_login_is_turned_away_and_the_right_one_is_waited_for() {
    let (home, provider) = (Home::with_store("sqlite:DIR/tokens.db"), provider());
    let login = begin(&home, &provider, &[]);
    let redirect = login.accept(&provider);
    let state = redirect.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let foreign = provider.get(&redirect.replace(state, "another-state"));
    assert_eq!(foreign.status, 400);
    assert!(home.list().is_empty());
    assert_eq!(provider.get(&redirect).status, 200);
    assert!(login.end().status.success());
    assert_eq!(home.list().len(), 1);
}

#[test]
fn an_accounts_server_that_nobody_knows_gets_no_secret() {
    let (home, provider) = (Home::with_store("sqlite:DIR/tokens.db"), provider());
    let evil = self::provider();
    let login = begin(&home, &provider, &[]);
    let encode = |url: &str| url.replace(':', "%3A").replace('/', "%2F");
    let redirect = login.accept(&provider);
    let forged = redirect.replace(&encode(provider.url()), &encode(evil.url()));
    assert_ne!(forged, redirect);
    assert_eq!(provider.get(&forged).status, 400);
    let ran = Ran::new(&home, login.end());
    snapshot!("login_unknown_server", ran.fails_after_output(1));
    assert!(evil.stats().token_requests.is_empty());
    assert!(provider.stats().token_requests.is_empty());
}

#[test]
fn a_user_who_refuses_is_not_logged_in() {
    let (home, provider) = (Home::with_store("sqlite:DIR/tokens.db"), provider());
    let login = begin(&home, &provider, &[]);
    let refusal = provider.get(&format!("{}&emulator_refuse=1", login.url)).location.unwrap();
    assert_eq!(provider.get(&refusal).status, 400);
    snapshot!("login_refused", Ran::new(&home, login.end()).fails_after_output(4));
    assert!(home.list().is_empty());
}

#[test]
fn nobody_comes_back() {
    let (home, provider) = (Home::with_store("list:"), provider());
    let login = begin(&home, &provider, &["--timeout", "1"]);
    snapshot!("login_timeout", Ran::new(&home, login.end()).fails_after_output(1));
}

#[test]
fn json_is_the_token_alone() {
    let (home, provider) = (Home::with_store("list:"), provider());
    let mut child = home
        .command(&[
            "login",
            "--no-browser",
            "--format",
            "json",
            "--accounts-server",
            provider.url(),
            "--client-id",
            CLIENT,
            "--client-secret-env",
            "S",
            "--timeout",
            "30",
        ])
        .env("S", CLIENT_SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::with_capacity(1, child.stderr.as_mut().unwrap());
    let url = stderr.lines().map(Result::unwrap).find(|line| line.starts_with("http")).unwrap();
    let login = Waiting { child, url };
    let redirect = login.accept(&provider);
    provider.get(&redirect);
    let token: serde_json::Value = serde_json::from_slice(&login.end().stdout).unwrap();
    assert_eq!(token["user_name"], ALICE);
    assert_eq!(token["refresh_token"], "********");
}
