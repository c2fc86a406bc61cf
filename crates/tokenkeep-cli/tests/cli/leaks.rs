//! Secrets are printed by the verbs that are for that, and by nothing else: not by other output,
//! not by errors, not by logs at their most talkative, and none is left in a temporary directory.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tokenkeep_emulator::{Config, Fault};

use crate::support::{CLIENT, CLIENT_SECRET, Home, Provider, Ran, line};

const ALICE: &str = "alice@example.com";

/// Runs verbs, and keeps what they printed until all secrets are known.
struct Watch {
    home: Home,
    provider: Provider,
    env: RefCell<Vec<(&'static str, String)>>,
    secrets: RefCell<BTreeSet<String>>,
    verbs: RefCell<BTreeSet<String>>,
    /// What must hold no secret, and what made it.
    texts: RefCell<Vec<(String, String)>>,
}

impl Watch {
    fn new(url: &str) -> Self {
        let (home, provider) = (Home::with_store(url), Provider::start());
        let temp = home.path().join("temp");
        fs::create_dir(&temp).unwrap();
        let this = Self {
            env: RefCell::new(vec![
                ("TMPDIR", temp.display().to_string()),
                ("TOKENKEEP_LOG", "trace".to_owned()),
            ]),
            home,
            provider,
            secrets: RefCell::default(),
            verbs: RefCell::default(),
            texts: RefCell::default(),
        };
        this.knows("S", CLIENT_SECRET);
        this
    }

    /// Puts a secret where a verb finds it.
    fn knows(&self, variable: &'static str, secret: &str) {
        self.secrets.borrow_mut().insert(secret.to_owned());
        self.env.borrow_mut().push((variable, secret.to_owned()));
    }

    fn knows_what_is_stored(&self) {
        let exported = self.home.run(&["export", "--include-secrets"]).ok().stdout;
        for line in exported.lines() {
            let token: Value = serde_json::from_str(line).unwrap();
            for field in ["client_secret", "refresh_token", "access_token", "grant_token"] {
                self.secrets.borrow_mut().extend(token[field].as_str().map(str::to_owned));
            }
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.verbs.borrow_mut().insert(arguments[0].to_owned());
        let mut command = self.home.command(arguments);
        command.envs(self.env.borrow().iter().cloned());
        command
    }

    fn saw(&self, what: &str, text: &str) {
        self.texts.borrow_mut().push((what.to_owned(), text.to_owned()));
    }

    /// Neither output may hold a secret.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_edited(arguments, |_| {})
    }

    fn run_edited(&self, arguments: &[&str], edit: impl FnOnce(&mut Command)) -> Ran {
        let mut command = self.command(arguments);
        edit(&mut command);
        let ran = Ran::new(&self.home, command.output().unwrap());
        self.saw(&format!("stdout of {arguments:?}"), &ran.stdout);
        self.saw(&format!("stderr of {arguments:?}"), &ran.stderr);
        ran
    }

    /// A verb whose output is a secret: stderr is none.
    fn run_printing(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let ran = Ran::new(&self.home, output).ok();
        self.saw(&format!("stderr of {arguments:?}"), &ran.stderr);
        ran.stdout
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The answer to the next token request.
    fn fault(&self, path: &str, body: Value) {
        let fault = Fault::answering(path, 200, body);
        self.provider.emulator().configure(Config::new().fail_next([fault]));
    }

    #[track_caller]
    fn check(&self) {
        let (secrets, texts) = (self.secrets.borrow(), self.texts.borrow());
        assert!(secrets.len() > 10 && secrets.iter().all(|secret| secret.len() > 8));
        for (what, text) in &*texts {
            for secret in &*secrets {
                assert!(!text.contains(secret.as_str()), "{secret} is in {what}:\n{text}");
            }
        }
        // The search would find one, and there was a lot to be found in.
        assert!(texts.iter().any(|(_, text)| text.contains("TRACE") || text.contains("DEBUG")));
        let exported = self.home.run(&["export", "--include-secrets"]).stdout;
        assert!(secrets.iter().any(|secret| exported.contains(secret.as_str())));

        let left: Vec<_> = fs::read_dir(self.home.path().join("temp")).unwrap().collect();
        assert!(left.is_empty(), "temporary files are left: {left:?}");
        let help = self.home.run(&["--help"]).ok().stdout;
        let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        let listed: BTreeSet<_> =
            listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let run = self.verbs.borrow();
        let missing: Vec<_> = listed.iter().filter(|verb| !run.contains(**verb)).collect();
        assert!(missing.is_empty(), "verbs without a test: {missing:?}");
    }
}

fn everything(url: &str) {
    let watch = Watch::new(url);
    add(&watch);
    watch.knows_what_is_stored();
    look(&watch);
    use_and_refresh(&watch);
    watch.knows_what_is_stored();
    log_in(&watch);
    watch.knows_what_is_stored();
    import_and_export(&watch);
    migrate(&watch, url);
    recover(&watch);
    keep(&watch);
    play(&watch);
    // It is asked for at the end, when all that ends tokens has run.
    end(&watch);
    watch.check();
}

fn add(watch: &Watch) {
    let [alice, bob] = [ALICE, "bob@example.com"].map(|user| watch.provider.add_user(user));
    watch.knows("R", &alice.refresh_token);
    watch.knows("G", &bob.grant_token);
    watch.secrets.borrow_mut().insert(alice.grant_token);
    watch.secrets.borrow_mut().insert(bob.refresh_token);
    let base = ["add", "--accounts-server", watch.provider.url(), "--client-id", CLIENT];
    let run = |secret: &str, more: &[&str]| {
        watch.run(&[&base[..], &["--client-secret-env", secret], more].concat())
    };
    run("S", &["--refresh-token-env", "R"]).ok();
    run("S", &["--grant-token-env", "G"]).ok();
    // Used up now.
    run("S", &["--grant-token-env", "G", "--user", "carol"]);
    run("S", &["--refresh-token-env", "G"]).fails_after_output(4);
    run("R", &["--refresh-token-env", "R"]).fails_after_output(1);
    run("S", &["--grant-token-env", "G", "--refresh-token-env", "R"]).fails(2);
}

fn look(watch: &Watch) {
    for arguments in [
        &["list"][..],
        &["list", "-vv"],
        &["list", "--format", "json"],
        &["show", "1"],
        &["show", "1", "--format", "json", "-vv"],
        &["show", "99"],
        &["find", "--user", ALICE],
        &["find", "--refresh-token-env", "R", "-vv"],
        &["find", "--grant-token-env", "G"],
        &["find", "--access-token-env", "S"],
        &["export"],
        &["doctor"],
        &["doctor", "--offline", "--format", "json", "-vv"],
        &["completions", "bash"],
    ] {
        watch.run(arguments);
    }
    // Without the variable it is the flag that counts.
    for arguments in [&["list", "-vvv"][..], &["show", "1", "-vv"], &["doctor", "-vvv"]] {
        watch.run_edited(arguments, |command| {
            command.env_remove("TOKENKEEP_LOG");
        });
    }
    // In a place where it does not belong.
    let refresh = watch.env.borrow().iter().find(|(name, _)| *name == "R").unwrap().1.clone();
    for arguments in [
        &["show", &refresh][..],
        &["delete", &refresh],
        &["refresh", &refresh],
        &["token", "--id", &refresh],
        &["find", "--refresh-token", &refresh],
        &["find", "--refresh-token-env", &refresh],
        &["find", "--refresh-token-file", &refresh],
    ] {
        let output = watch.command(arguments).output().unwrap();
        let ran = Ran::new(&watch.home, output);
        assert_ne!(ran.code, 0);
        watch.saw(&format!("stderr of a misplaced secret: {}", arguments[0]), &ran.stderr);
    }
}

fn use_and_refresh(watch: &Watch) {
    watch.run(&["api", "GET", "/crm/v8/org", "--id", "1", "-vv"]).ok();
    watch.run(&["api", "GET", "/crm/v8/Leads/9", "--id", "1"]);
    watch.run(&["api", "GET", "/crm/v8/org", "--user", "nobody"]);
    let token = watch.run_printing(&["token", "--id", "1", "-vvv"]);
    assert!(watch.secrets.borrow().contains(token.trim_end()), "the token and nothing else");
    watch.provider.emulator().expire_access_tokens();
    watch.run(&["api", "GET", "/crm/v8/org", "--id", "1"]).ok();
    watch.run(&["refresh", "1", "-vvv"]).ok();
    watch.run(&["refresh", "--all", "--yes", "--format", "json"]).ok();
    let echoed = watch.secrets.borrow().iter().cloned().collect::<Vec<_>>().join(" ");
    for body in [
        json!({ "error": "invalid_code" }),
        json!({ "error": "general_error", "echo": echoed }),
        json!({ "error": echoed, "error_description": echoed }),
        json!(format!("<html>{echoed}</html>")),
    ] {
        watch.fault("/oauth/v2/token", body.clone());
        watch.run(&["refresh", "2"]);
        watch.fault("/oauth/v2/token", body);
        let add = ["add", "--user", "erik", "--accounts-server", watch.provider.url()];
        let client = ["--client-id", CLIENT, "--client-secret-env", "S"];
        watch.run(&[&add[..], &client, &["--refresh-token-env", "R"]].concat());
    }
}

/// By a browser and by a device, to the end and not.
fn log_in(watch: &Watch) {
    let emulator = watch.provider.emulator();
    emulator.configure(Config::new().device_interval_s(1));
    let base = ["login", "--accounts-server", watch.provider.url(), "--client-id", CLIENT];
    let base = [&base[..], &["--client-secret-env", "S", "--timeout", "20"]].concat();
    for answer in ["emulator_accept=alice@example.com", "emulator_refuse=1"] {
        let mut child = watch.spawn(&[&base[..], &["--no-browser", "--pkce"]].concat());
        let mut url = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::with_capacity(1, stdout).read_line(&mut url).unwrap();
        let page = watch.provider.get(&format!("{}&{answer}", url.trim()));
        let redirect = page.location.unwrap();
        // The code is a secret, the state is in the URL that is shown.
        if let Some(code) = redirect.split(['?', '&']).find_map(|part| part.strip_prefix("code=")) {
            watch.secrets.borrow_mut().insert(code.to_owned());
        }
        watch.provider.get(&redirect);
        watch.ended("login", child);
    }
    for (email, body) in [
        (Some(ALICE), None),
        (None, None),
        (Some(ALICE), Some(json!({ "error": "other_dc", "user_location": "eu" }))),
        (Some(ALICE), Some(json!("<html>"))),
    ] {
        let mut child = watch.spawn(&[&base[..], &["--device"]].concat());
        let mut stderr = BufReader::with_capacity(1, child.stderr.as_mut().unwrap());
        let mut said = String::new();
        while !said.contains("user_code=") {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
        }
        let code = said.split("enter the code:\n").nth(1).unwrap().lines().next().unwrap().trim();
        assert!(emulator.decide_device(code, email));
        if let Some(body) = body {
            watch.fault("/oauth/v3/device/token", body);
        }
        watch.saw("login --device, begun", &said);
        watch.ended("login --device", child);
    }
}

impl Watch {
    fn ended(&self, what: &str, mut child: Child) {
        let mut rest = String::new();
        child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
        let output = child.wait_with_output().unwrap();
        self.saw(&format!("stderr of {what}"), &rest);
        self.saw(&format!("stdout of {what}"), &String::from_utf8(output.stdout).unwrap());
    }
}

fn import_and_export(watch: &Watch) {
    let exported = watch.run_printing(&["export", "--include-secrets", "-vv"]);
    watch.run(&["export", "--include-secrets", "--output", "backup.jsonl"]).ok();
    assert_eq!(fs::read_to_string(watch.home.path().join("backup.jsonl")).unwrap(), exported);
    watch.run(&["export", "--include-secrets", "--output", "missing/backup.jsonl"]).fails(1);
    watch.run(&["import", "backup.jsonl", "-vv"]).ok();
    let broken = exported.replace("\"expiry_time\":", "\"expiry\":") + &exported[..200];
    watch.home.file("broken", broken);
    watch.run(&["import", "broken"]).fails(1);
    watch.home.file("cut", &exported[..exported.len() - 20]);
    watch.run(&["import", "cut"]).fails(1);
    let taken = line("dora@example.com").replacen('{', "{\"id\":\"1\",", 1);
    watch.home.file("taken", taken);
    watch.run(&["import", "taken"]).ok();
    watch.knows_what_is_stored();
    // Hers has expired, and nobody knows it.
    let server = ["--user", "dora@example.com", "--accounts-server", watch.provider.url()];
    watch.run(&[&["token"], &server[..]].concat()).fails_after_output(4);
    watch.run(&[&["api", "GET", "/crm/v8/org"], &server[..]].concat()).fails_after_output(4);
    // As an SDK's token file, whole and broken.
    let sdk = Home::with_store("file:DIR/tokens.txt");
    sdk.import(&exported);
    let file = fs::read_to_string(sdk.path().join("tokens.txt")).unwrap();
    watch.home.file("sdk_tokens.txt", &file);
    watch.run(&["import", "sdk_tokens.txt"]).ok();
    let last_row = file.trim_end().rfind('\n').unwrap();
    watch.home.file("sdk_tokens.txt", &file[..last_row + 60]);
    watch.run(&["import", "sdk_tokens.txt"]).fails(1);
}

/// To other stores, where all goes well, where something stands in the way, and out of a file that
/// is cut.
fn migrate(watch: &Watch, url: &str) {
    let from = url.replace("DIR", &watch.home.path().display().to_string());
    for to in ["sqlite:moved.db", "file:moved.txt"] {
        let verb = ["migrate", "--from", &from, "--to", to, "-vvv"];
        watch.run(&[&verb[..], &["--dry-run"]].concat()).ok();
        watch.run(&[&verb[..], &["--page-size", "1"]].concat()).ok();
        // A value of what was moved becomes another one.
        let changed = json!({
            "user_name": "dora@example.com", "access_token": format!("test-access-beside-{to}"),
        });
        watch.home.import(&format!("{changed}\n"));
        watch.knows_what_is_stored();
        watch.run(&[&verb[..], &["--format", "json"]].concat()).fails_after_output_of_json(1);
        watch.run(&[&verb[..], &["--overwrite"]].concat()).ok();
    }
    watch.run(&["migrate", "--from", "file:sdk_tokens.txt", "--to", "sqlite:cut.db", "-vvv"]);
    let password = "test-database-password";
    watch.secrets.borrow_mut().insert(password.to_owned());
    for (server, database) in [("mysql", "d"), ("postgres", "d"), ("redis", "0")] {
        let to = format!("{server}://app:{password}@127.0.0.1:1/{database}?timeout=1");
        watch.run(&["migrate", "--from", &from, "--to", &to, "-vvv"]).code_is(5);
    }
}

/// With tokens in the spool, whole and broken.
fn recover(watch: &Watch) {
    let spool = watch.home.path().join("kept");
    watch.provider.emulator().configure(Config::new().rotate_refresh_tokens(true));
    #[cfg(unix)]
    {
        for number in 0..20 {
            let token = format!("test-access-{number}-{}", "x".repeat(2_000));
            let other = json!({ "user_name": format!("other-{number}@x"), "access_token": token });
            watch.home.import(&format!("{other}\n"));
        }
        for verb in [&["refresh", "1"][..], &["recover"]] {
            let arguments = [verb, &["--spool", "kept", "-vvv"]].concat();
            let ran = watch.home.run_unable_to_store(watch.command(&arguments));
            watch.saw(&format!("output of {arguments:?}"), ran.shown());
            assert_eq!(fs::read_dir(&spool).unwrap().count(), 1, "{}", ran.shown());
        }
    }
    watch.run(&["recover", "--spool", "kept", "--format", "json", "-vvv"]).ok();
    watch.knows_what_is_stored();
    fs::create_dir_all(&spool).unwrap();
    let secrets = watch.secrets.borrow().iter().cloned().collect::<Vec<_>>().join(" ");
    watch.home.file(&format!("kept/{}-{}.token", "ab".repeat(16), "cd".repeat(8)), secrets);
    watch.run(&["recover", "--spool", "kept", "-vvv"]);
    watch.run(&["doctor", "--offline", "--spool", "kept", "-vvv"]);
    let key = "test-key-that-is-none-of-the-right-length";
    watch.home.file("key", key);
    watch.secrets.borrow_mut().insert(key.to_owned());
    watch.run(&["recover", "--spool", "kept", "--spool-key-file", "key"]).fails(2);
    watch.run(&["recover", "--spool-key", key]).fails(2);
    watch.provider.emulator().configure(Config::new().rotate_refresh_tokens(false));
}

/// Until it has begun.
fn keep(watch: &Watch) {
    #[cfg(unix)]
    {
        let server = ["--accounts-server", watch.provider.url()];
        let mut child = watch.spawn(&[&["keep", "-vvv"], &server[..]].concat());
        let mut stderr = BufReader::with_capacity(1, child.stderr.as_mut().unwrap());
        let mut said = String::new();
        while !said.contains("until ctrl-c") {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
        }
        watch.saw("keep, begun", &said);
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        watch.ended("keep", child);
    }
}

/// The verbs that have an emulator of their own.
fn play(watch: &Watch) {
    let kept = "demo-kept";
    watch.run(&["demo", "--keep", kept, "-vvv"]).ok();
    let store = format!("sqlite:{kept}/tokens.db");
    let of_demo = watch.home.run(&["export", "--include-secrets", "--store", &store]).ok().stdout;
    for line in of_demo.lines() {
        let token: Value = serde_json::from_str(line).unwrap();
        for field in ["client_secret", "refresh_token", "access_token", "grant_token"] {
            watch.secrets.borrow_mut().extend(token[field].as_str().map(str::to_owned));
        }
    }
    watch.run(&["demo"]).ok();
    #[cfg(unix)]
    {
        let mut child = watch.spawn(&["emulator", "--port-file", "port"]);
        let mut url = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::with_capacity(1, stdout).read_line(&mut url).unwrap();
        let user = json!({
            "email": ALICE, "client_id": CLIENT, "client_secret": CLIENT_SECRET,
        });
        let answer = watch.provider.post_to(&format!("{}/emulator/users", url.trim()), &user);
        let user: Value = serde_json::from_str(&answer.body).unwrap();
        for field in ["grant_token", "refresh_token"] {
            watch.secrets.borrow_mut().insert(user[field].as_str().unwrap().to_owned());
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        watch.ended("emulator", child);
    }
}

fn end(watch: &Watch) {
    watch.run(&["delete", "1", "-vv"]).ok();
    watch.run(&["delete", "1"]);
    watch.run(&["revoke", "2", "-vvv"]);
    let server = ["--accounts-server", watch.provider.url()];
    watch.run(&[&["revoke", "--all", "--yes", "--format", "json"], &server[..]].concat());
    watch.run(&["delete", "--user", "nobody"]);
}

#[test]
fn no_secret_is_seen_with_a_database() {
    everything("sqlite:DIR/tokens.db");
}

#[test]
fn no_secret_is_seen_with_a_token_file() {
    everything("file:DIR/tokens.txt");
}
