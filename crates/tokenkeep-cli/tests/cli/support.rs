//! Runs the binary in a directory of its own, and shows what came of it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;
use tokenkeep_emulator::{Emulator, NewUser, Stats};
use tokio::runtime::Runtime;

pub(crate) const CLIENT: &str = "1000.CLIENT";
pub(crate) const CLIENT_SECRET: &str = "test-client-secret";

/// A directory that is the user's home, and a store in it.
pub(crate) struct Home {
    dir: TempDir,
    store: Option<String>,
}

impl Home {
    /// With the default store.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), store: None }
    }

    /// With this store, where `DIR` stands for the home.
    pub(crate) fn with_store(url: &str) -> Self {
        let mut home = Self::new();
        home.store = Some(url.replace("DIR", &home.path().display().to_string()));
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(content.as_ref()).unwrap();
        path
    }

    /// The command, with nothing of the caller's environment that it would read.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenkeep"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("RUST_BACKTRACE", "1")
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        if let Some(store) = &self.store {
            command.env("TOKENKEEP_STORE", store);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(self, self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
        Ran::new(self, self.command(arguments).envs(env.iter().copied()).output().unwrap())
    }

    pub(crate) fn run_stdin(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input has closed it.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        Ran::new(self, child.wait_with_output().unwrap())
    }

    /// Runs with a store that takes no new token, while everything around them still works. A
    /// database has a trigger; a token file has grown beyond the limit for files, within which all
    /// else is.
    pub(crate) fn run_unable_to_store(&self, command: Command) -> Ran {
        let (scheme, path) = self.store.as_ref().unwrap().split_once(':').unwrap();
        if scheme == "sqlite" {
            let (database, mut command) = (rusqlite::Connection::open(path).unwrap(), command);
            let trigger = "CREATE TRIGGER test BEFORE UPDATE ON oauthtoken
                           BEGIN SELECT RAISE(ABORT, 'the test takes no token'); END";
            database.execute_batch(trigger).unwrap();
            let ran = Ran::new(self, command.output().unwrap());
            database.execute_batch("DROP TRIGGER test").unwrap();
            return ran;
        }
        assert!(fs::metadata(path).unwrap().len() > 32 * 1024, "the token file is too small");
        let mut limited = Command::new("/bin/sh");
        // Blocks are of 512 bytes there; more, in some shells, is as good.
        limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]);
        limited.arg(command.get_program()).args(command.get_args()).env_clear();
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.current_dir(self.path()).stdin(Stdio::null());
        Ran::new(self, limited.output().unwrap())
    }

    /// Imports these lines.
    pub(crate) fn import(&self, lines: &str) {
        self.run_stdin(&["import", "-"], lines).ok();
    }

    /// The rows of `list --format json`.
    pub(crate) fn list(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.run(&["list", "--format", "json"]).ok().stdout).unwrap()
    }

    /// Shows output with what differs from run to run replaced.
    fn settled(&self, text: &str) -> String {
        text.replace(&self.path().display().to_string(), "[DIR]")
    }
}

/// What a run of the binary came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    shown: String,
}

impl Ran {
    pub(crate) fn new(home: &Home, output: Output) -> Self {
        let code = output.status.code().unwrap_or(-1);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let mut shown = format!("exit code {code}");
        for (name, text) in [("stdout", &stdout), ("stderr", &stderr)] {
            if !text.is_empty() {
                shown = format!("{shown}\n--- {name}\n{}", home.settled(text).trim_end());
            }
        }
        Self { code, stdout, stderr, shown }
    }

    /// Exit code, stdout and stderr, for a snapshot.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.shown);
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.shown);
        assert!(self.stderr.starts_with("error: "), "{}", self.shown);
        self
    }

    /// Fails after something was printed.
    #[track_caller]
    pub(crate) fn fails_after_output(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.shown);
        assert!(self.stderr.contains("\nerror: "), "{}", self.shown);
        self
    }

    /// Fails, and has printed its result as JSON before.
    #[track_caller]
    pub(crate) fn fails_after_output_of_json(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.shown);
        assert!(self.stderr.contains("error: "), "{}", self.shown);
        assert!(self.stdout.starts_with('{'), "{}", self.shown);
        self
    }

    #[track_caller]
    pub(crate) fn code_is(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.shown);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.shown.contains(part), "{part:?} is not in\n{}", self.shown);
        self
    }
}

/// Compares with the stored snapshot; what differs from run to run is replaced.
macro_rules! snapshot {
    ($name:expr, $ran:expr) => {
        insta::with_settings!({
            filters => vec![
                (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
                (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
                (r"\d{13}", "[MILLIS]"),
                (r"state=[^&\s]+", "state=[STATE]"),
                (r"http%3A%2F%2F127\.0\.0\.1%3A\d+", "http%3A%2F%2F127.0.0.1%3A[PORT]"),
            ],
            omit_expression => true,
            prepend_module_to_snapshot => false,
        }, {
            insta::assert_snapshot!($name, $ran.shown());
        })
    };
}
pub(crate) use snapshot;

/// An emulator in this process.
pub(crate) struct Provider {
    runtime: Runtime,
    emulator: Option<Emulator>,
}

impl Provider {
    pub(crate) fn start() -> Self {
        Self::start_as("us")
    }

    pub(crate) fn start_as(location: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let emulator = runtime.block_on(Emulator::builder().location(location).start()).unwrap();
        Self { runtime, emulator: Some(emulator) }
    }

    pub(crate) fn emulator(&self) -> &Emulator {
        self.emulator.as_ref().unwrap()
    }

    pub(crate) fn url(&self) -> &str {
        self.emulator().url()
    }

    pub(crate) fn add_user(&self, email: &str) -> NewUser {
        self.emulator().add_user(email, CLIENT, CLIENT_SECRET)
    }

    /// What a browser gets that follows no redirect.
    pub(crate) fn get(&self, url: &str) -> Answer {
        self.runtime.block_on(async {
            let browser = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap();
            let answer = browser.get(url).send().await.unwrap();
            let location = answer.headers().get("location");
            Answer {
                status: answer.status().as_u16(),
                location: location.map(|text| text.to_str().unwrap().to_owned()),
                body: answer.text().await.unwrap(),
            }
        })
    }

    /// Posts JSON to the emulator; the status.
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> u16 {
        self.post_to(&format!("{}{path}", self.url()), body).status
    }

    /// Posts JSON.
    pub(crate) fn post_to(&self, url: &str, body: &serde_json::Value) -> Answer {
        self.runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.post(url).body(body.to_string()).send().await.unwrap();
            let status = answer.status().as_u16();
            Answer { status, location: None, body: answer.text().await.unwrap() }
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        self.emulator().stats()
    }

    /// Adds a user to the store by refresh token, and returns what the emulator knows of him.
    pub(crate) fn added(&self, home: &Home, email: &str) -> NewUser {
        let user = self.add_user(email);
        home.run_with(
            &[
                "add",
                "--accounts-server",
                self.url(),
                "--client-id",
                CLIENT,
                "--client-secret-env",
                "SECRET",
                "--refresh-token-env",
                "REFRESH",
            ],
            &[("SECRET", CLIENT_SECRET), ("REFRESH", &user.refresh_token)],
        )
        .ok();
        user
    }
}

/// What came back from a server.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(emulator) = self.emulator.take() {
            self.runtime.block_on(emulator.stop());
        }
    }
}

/// One JSON line.
pub(crate) fn line(user: &str) -> String {
    format!(
        "{{\"user_name\":\"{user}\",\"client_id\":\"{CLIENT}\",\"client_secret\":\"{CLIENT_SECRET}\",\
         \"refresh_token\":\"test-refresh-{user}\",\"access_token\":\"test-access-{user}\",\
         \"expiry_time\":\"1764000000000\",\"api_domain\":\"https://www.zohoapis.eu\"}}\n"
    )
}

/// A database as the sample store of the official Python SDK makes it, with one token.
pub(crate) fn sdk_database(home: &Home, name: &str) {
    let database = rusqlite::Connection::open(home.path().join(name)).unwrap();
    database
        .execute_batch(
            "create table oauthtoken (
               id varchar(10) NOT NULL, user_name varchar(255), client_id varchar(255),
               client_secret varchar(255), refresh_token varchar(255), access_token varchar(255),
               grant_token varchar(255), expiry_time varchar(20), redirect_url varchar(255),
               api_domain varchar(255), primary key (id));
             insert into oauthtoken (id, user_name, client_id, client_secret, refresh_token)
             values ('1', 'a@x', 'c', 's', 'test-refresh');",
        )
        .unwrap();
}
