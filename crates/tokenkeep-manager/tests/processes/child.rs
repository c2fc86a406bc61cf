//! One process: 32 tasks that ask for the token whenever the parent says so.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokenkeep_core::{AccessToken, TokenId, TokenStore};
use tokenkeep_manager::{FileSpool, TokenHandle, TokenManager};
use tokenkeep_oauth::{AccountsServer, ApiDomain, ProviderRules, Replay};
use tokenkeep_store_file::FileConfig;
use tokenkeep_store_sqlite::SqliteConfig;
use tokio::{sync::mpsc, time::Instant};

use crate::{clock::AheadClock, wire::Wire};

pub(crate) const TASKS: usize = 32;

/// How long a caller waits at most.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Shorter than the usual 10 seconds, so that the others need not wait that long for the lease of
/// one that was killed.
const LEASE: Duration = Duration::from_secs(2);

/// For how long a rotated refresh token still gets the reply of its rotation.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// How long a process may take to start, and to answer beyond the deadline of its callers.
const PATIENCE: Duration = Duration::from_secs(60);

const ORDERS: &str = "TOKENKEEP_TEST_CHILD";
const MARK: &str = "tokenkeep-child: ";

/// What a process is started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) store: String,
    pub(crate) spool: String,
    pub(crate) id: String,
    pub(crate) api_domain: String,
    pub(crate) rotates: bool,
}

/// What one process saw of a round.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) round: u64,
    /// The longest that one of its tasks waited.
    pub(crate) slowest_ms: u64,
    /// The tokens its tasks got, by their hashes, and how many got them.
    pub(crate) tokens: BTreeMap<String, usize>,
    /// How many were told that theirs is not in the store.
    pub(crate) unsaved: usize,
    pub(crate) errors: Vec<String>,
}

/// Opens the store at `path` by its extension.
pub(crate) fn open(path: &Path, clock: &Arc<AheadClock>) -> Arc<dyn TokenStore> {
    if path.extension().is_some_and(|extension| extension == "db") {
        Arc::new(SqliteConfig::new(path).clock(clock.clone()).open().unwrap())
    } else {
        Arc::new(FileConfig::new(path).clock(clock.clone()).open().unwrap())
    }
}

/// What a token is called in reports.
pub(crate) fn hash(token: &AccessToken) -> String {
    let hash = Sha256::digest(token.expose_secret());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A process that runs, as the parent sees it. It is killed when it is dropped.
pub(crate) struct Running {
    pub(crate) wire: Wire,
    process: Child,
    input: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Running {
    /// Starts one, and waits until it has its handle of the token.
    pub(crate) async fn start(orders: &Orders, wire: Wire, ahead: i64) -> Self {
        let told = serde_json::to_string(&(orders, wire.url(), ahead)).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::child", "--nocapture"])
            .env(ORDERS, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Some((_harness, told)) = line.split_once(MARK) else { continue };
                if sender.send(told.to_owned()).is_err() {
                    break;
                }
            }
        });
        let mut running = Self { wire, process, input, lines };
        let first = running.next_line().await;
        assert_eq!(first.as_deref(), Some("ready"), "a process did not start");
        running
    }

    /// Has its tasks ask for the token, by a clock that is so far ahead.
    pub(crate) fn go(&mut self, round: u64, ahead: i64) {
        writeln!(self.input, "{round} {ahead}").unwrap();
    }

    /// Kills it; what it had still told of the round, if its callers had their answers.
    pub(crate) async fn kill(&mut self) -> Option<Report> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.next_line().await.map(|line| serde_json::from_str(&line).unwrap())
    }

    /// What it saw of the round.
    pub(crate) async fn report(&mut self) -> Report {
        let line = self.next_line().await.expect("a process ended by itself");
        serde_json::from_str(&line).unwrap()
    }

    /// `None` when it has ended.
    async fn next_line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await;
        line.expect("a process does not answer")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What a process does; nothing when it is run as a test.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how a parent test tells its child what to do")]
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let (orders, server, ahead): (Orders, String, i64) = serde_json::from_str(&orders).unwrap();
    let clock = Arc::new(AheadClock::new(ahead));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let handle = runtime.block_on(handle(&orders, &server, &clock));
    println!("{MARK}ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (round, ahead) = line.split_once(' ').unwrap();
        clock.set_ahead(ahead.parse().unwrap());
        let report = runtime.block_on(ask(&handle, round.parse().unwrap()));
        println!("{MARK}{}", serde_json::to_string(&report).unwrap());
    }
}

async fn handle(orders: &Orders, server: &str, clock: &Arc<AheadClock>) -> TokenHandle {
    let mut rules = ProviderRules::zoho();
    let mut builder = TokenManager::builder(open(Path::new(&orders.store), clock))
        .clock(clock.clone())
        .accounts_server(AccountsServer::parse(server).unwrap())
        .api_domain(ApiDomain::parse(&orders.api_domain).unwrap())
        .lease(LEASE)
        .deadline(DEADLINE);
    if orders.rotates {
        rules = rules.with_replay(Replay::Within(GRACE));
        builder = builder.spool(FileSpool::in_directory(&orders.spool).unwrap());
    }
    let manager = builder.provider_rules(rules).build().unwrap();
    manager.handle_by_id(&TokenId::new(&orders.id).unwrap()).await.unwrap()
}

/// All tasks ask at once.
async fn ask(handle: &TokenHandle, round: u64) -> Report {
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                let answer = handle.access_token().await;
                (answer, began.elapsed())
            })
        })
        .collect();
    let mut report = Report { round, ..Report::default() };
    for task in tasks {
        let (answer, took) = task.await.unwrap();
        report.slowest_ms = report.slowest_ms.max(u64::try_from(took.as_millis()).unwrap());
        match answer {
            Ok(live) => {
                *report.tokens.entry(hash(live.access_token())).or_default() += 1;
                report.unsaved += usize::from(!live.is_saved());
            }
            Err(error) => report.errors.push(error.to_string()),
        }
    }
    report
}
