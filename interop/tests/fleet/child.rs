//! One process of a fleet: it asks for all tokens and saves new ones whenever the parent says so.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokenkeep_core::{OAuthToken, TokenId, TokenStore};
use tokenkeep_manager::{TokenHandle, TokenManager};
use tokenkeep_oauth::{AccountsServer, ApiDomain};
use tokio::{sync::mpsc, time::Instant};

use crate::{clock::AheadClock, place::Place, wire::Wire};

/// How long a caller waits at most.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Shorter than the usual 10 seconds, so that the others need not wait that long for the lease of
/// one whose server is gone.
const LEASE: Duration = Duration::from_secs(4);

/// How many tokens each process saves in a round.
const SAVES: usize = 4;

/// How long a process may take to start, and to answer beyond the deadline of its callers.
const PATIENCE: Duration = Duration::from_secs(60);

const ORDERS: &str = "TOKENKEEP_TEST_CHILD";

/// What a process is started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) ids: Vec<TokenId>,
    pub(crate) api_domain: String,
}

/// What one process saw of a round.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The access token that its caller got, by the place of the token's id.
    pub(crate) tokens: BTreeMap<usize, String>,
    /// What callers were told who got none.
    pub(crate) errors: Vec<String>,
    /// How many were told that theirs is not in the store.
    pub(crate) unsaved: usize,
    /// The longest that a caller waited for a token.
    pub(crate) slowest_ms: u64,
    /// The users whose tokens were saved.
    pub(crate) saved: Vec<String>,
    /// What became of other saves.
    pub(crate) save_errors: Vec<String>,
    pub(crate) slowest_save_ms: u64,
}

/// A process that runs, as the parent sees it. It is killed when it is dropped.
pub(crate) struct Running {
    pub(crate) wire: Wire,
    process: Child,
    input: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Running {
    /// Starts one, and waits until it has its handles.
    pub(crate) async fn start(orders: &Orders, wire: Wire, ahead: i64) -> Self {
        let told = serde_json::to_string(&(orders, wire.url(), ahead)).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(ORDERS, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut running = Self { wire, process, input, lines };
        assert_eq!(running.next_line().await, "ready");
        running
    }

    /// Has its tasks ask for the tokens, by a clock that is so far ahead.
    pub(crate) fn go(&mut self, round: u64, ahead: i64) {
        writeln!(self.input, "{round} {ahead}").unwrap();
    }

    /// What it saw of the round.
    pub(crate) async fn report(&mut self) -> Report {
        serde_json::from_str(&self.next_line().await).unwrap()
    }

    async fn next_line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await;
        line.expect("a process does not answer").expect("a process ended by itself")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What a process does; nothing in the parent.
pub(crate) fn run() -> Option<ExitCode> {
    #[expect(clippy::disallowed_methods, reason = "how a parent test tells its child what to do")]
    let orders = std::env::var(ORDERS).ok()?;
    obey(&orders);
    Some(ExitCode::SUCCESS)
}

fn obey(orders: &str) {
    let (orders, server, ahead): (Orders, String, i64) = serde_json::from_str(orders).unwrap();
    let clock = Arc::new(AheadClock::new(ahead));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = runtime.block_on(orders.place.open(clock.clone()));
    let manager = TokenManager::builder(store.clone())
        .clock(clock.clone())
        .accounts_server(AccountsServer::parse(&server).unwrap())
        .api_domain(ApiDomain::parse(&orders.api_domain).unwrap())
        .lease(LEASE)
        .deadline(DEADLINE)
        .build()
        .unwrap();
    let handles = runtime.block_on(async {
        connect(&orders, &store).await;
        handles(&orders, &manager).await
    });
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (round, ahead) = line.split_once(' ').unwrap();
        clock.set_ahead(ahead.parse().unwrap());
        let report = runtime.block_on(work(&orders, &handles, &store, round));
        println!("{}", serde_json::to_string(&report).unwrap());
    }
}

/// Makes the connections that saves need, each of which takes its time on a busy machine: what is
/// slow only once is not what is tested.
async fn connect(orders: &Orders, store: &Arc<dyn TokenStore>) {
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..SAVES {
        let store = store.clone();
        let token = new(&format!("{}-first-{number}@example.com", orders.name));
        saves.spawn(async move { while store.save_token(&token).await.is_err() {} });
    }
    saves.join_all().await;
}

async fn handles(orders: &Orders, manager: &TokenManager) -> Vec<TokenHandle> {
    let mut handles = Vec::new();
    for id in &orders.ids {
        handles.push(manager.handle_by_id(id).await.unwrap());
    }
    handles
}

/// All tokens are asked for and some are saved, all at once.
async fn work(
    orders: &Orders,
    handles: &[TokenHandle],
    store: &Arc<dyn TokenStore>,
    round: &str,
) -> Report {
    let asks: Vec<_> = handles
        .iter()
        .map(|handle| {
            let handle = handle.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                (handle.access_token().await, began.elapsed())
            })
        })
        .collect();
    let saves: Vec<_> = (0..SAVES)
        .map(|number| {
            let store = store.clone();
            let user = format!("{}-{round}-{number}@example.com", orders.name);
            tokio::spawn(async move {
                let began = Instant::now();
                let saved = store.save_token(&new(&user)).await;
                (user, saved, began.elapsed())
            })
        })
        .collect();
    let mut report = Report::default();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    for (at, ask) in asks.into_iter().enumerate() {
        let (answer, took) = ask.await.unwrap();
        report.slowest_ms = report.slowest_ms.max(millis(took));
        match answer {
            Ok(live) => {
                report.tokens.insert(at, live.access_token().expose_secret().to_owned());
                report.unsaved += usize::from(!live.is_saved());
            }
            Err(error) => report.errors.push(error.to_string()),
        }
    }
    for save in saves {
        let (user, saved, took) = save.await.unwrap();
        report.slowest_save_ms = report.slowest_save_ms.max(millis(took));
        match saved {
            Ok(_) => report.saved.push(user),
            Err(error) => report.save_errors.push(format!("{:?}: {error}", error.outcome())),
        }
    }
    report
}

fn new(user: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(user)
        .client("test-client-id", "test-client-secret")
        .refresh_token(format!("test-refresh-{user}"))
        .build()
        .unwrap()
}
