//! The parent: a provider, a store on servers that die, and the processes that use both.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokenkeep_core::{Clock, OAuthToken, TokenStore};
use tokenkeep_emulator::{Config, Emulator};
use tokenkeep_servers::{Address, Server};
use tokio::time::Instant;

use crate::{
    child::{DEADLINE, Orders, Report, Running},
    clock::AheadClock,
    losses::Losses,
    place::{Engine, Place, prepare},
    soak,
    wire::Wire,
};

const PROCESSES: usize = 4;
const TOKENS: usize = 12;

/// How long the provider takes.
const LATENCY: Duration = Duration::from_millis(50);

/// How long it is to the next round. Tokens live for an hour, budgets for less.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(2 * 3600);

/// How long a node stays away.
const DOWN: Duration = Duration::from_secs(4);

const CLIENT_ID: &str = "test-client-id";
const CLIENT_SECRET: &str = "test-client-secret";

/// How long servers die, and how often.
struct Course {
    every: Duration,
    losses: usize,
}

impl Course {
    fn of() -> Self {
        if soak::is_on() {
            // Two minutes.
            Self { every: Duration::from_secs(20) - DOWN, losses: 6 }
        } else {
            Self { every: Duration::from_secs(2), losses: 1 }
        }
    }
}

/// What the rounds add up to.
#[derive(Default)]
struct Figures {
    rounds: u64,
    /// Rounds in which a server was lost or away.
    disturbed: u64,
    granted: u64,
    /// Refreshes that were made once more, because who had asked lost its server before it stored
    /// the answer.
    repeated: u64,
    asked: usize,
    errors: usize,
    unsaved: usize,
    saved: Vec<String>,
    save_errors: usize,
    unknown: usize,
    slowest_ms: u64,
    slowest_save_ms: u64,
}

struct Fleet {
    clock: Arc<AheadClock>,
    emulator: Emulator,
    refresh_tokens: Vec<String>,
    processes: Vec<Running>,
    /// How many nodes there are, where each process is on one of them.
    apart: Option<usize>,
    /// Whether the last round overlapped with a loss.
    settling: bool,
    figures: Figures,
}

/// The fleet works while servers die, and has lost nothing.
pub(crate) async fn lives_through(engine: Engine, server: Server) {
    let nodes = server.nodes().to_vec();
    prepare(engine, &nodes[0]).await;
    let clock = Arc::new(AheadClock::default());
    let emulator = Emulator::builder().clock(clock.clone()).start().await.unwrap();
    emulator.configure(Config::new().token_latency_ms(LATENCY.as_millis().try_into().unwrap()));
    let store = Place::of(engine, &nodes, 0).open(clock.clone()).await;
    let (mut ids, mut refresh_tokens) = (Vec::new(), Vec::new());
    for number in 0..TOKENS {
        let name = format!("kept{number}@example.com");
        let user = emulator.add_user(&name, CLIENT_ID, CLIENT_SECRET);
        refresh_tokens.push(user.refresh_token.clone());
        let token = OAuthToken::builder()
            .user_name(name)
            .client(CLIENT_ID, CLIENT_SECRET)
            .refresh_token(user.refresh_token)
            .access_token(format!("test-access-token-expired-{number}"))
            .expiry_time(clock.now());
        let saved = store.save_token(&token.build().unwrap()).await.unwrap();
        ids.push(saved.id().unwrap().clone());
    }
    drop(store);
    let mut processes = Vec::new();
    for number in 0..PROCESSES {
        let orders = Orders {
            name: format!("process{number}"),
            place: Place::of(engine, &nodes, number),
            ids: ids.clone(),
            api_domain: emulator.url().to_owned(),
        };
        let wire = Wire::to(emulator.port());
        processes.push(Running::start(&orders, wire, clock.ahead()).await);
    }
    let apart = (engine == Engine::Galera).then_some(nodes.len());
    let figures = Figures::default();
    let settling = false;
    let mut fleet = Fleet { clock, emulator, refresh_tokens, processes, apart, settling, figures };

    let course = Course::of();
    fleet.round(None, false).await;
    let losses = Losses::of(engine, server, course.every, DOWN, course.losses);
    let began = Instant::now();
    while losses.over() < course.losses {
        fleet.round(Some(&losses), false).await;
    }
    let (server, lost) = losses.end();
    // All are back: after a round in which leases of before end, nothing is wrong any more.
    fleet.round(None, true).await;
    fleet.round(None, false).await;
    let took = began.elapsed();
    fleet.nothing_is_lost(engine, &nodes).await;
    drop(server);
    fleet.figures.show(engine, lost, took);
}

impl Fleet {
    /// All tokens expire, and all processes ask for all of them and save new ones.
    async fn round(&mut self, losses: Option<&Losses>, settles: bool) {
        let round = self.figures.rounds;
        let steps = || losses.map_or(0, Losses::steps);
        let before = steps();
        let minted = self.minted();
        let asked = self.asked();
        self.clock.advance(BETWEEN_ROUNDS);
        for process in &mut self.processes {
            process.go(round, self.clock.ahead());
        }
        let mut reports = Vec::new();
        for process in &mut self.processes {
            reports.push(process.report().await);
        }
        let overlaps = before % 2 == 1 || steps() != before;
        // What a loss left under way may end in the round after it.
        let disturbed = settles || overlaps || self.settling;
        self.settling = overlaps;

        let granted: Vec<_> =
            self.minted().iter().zip(minted).map(|(now, before)| now - before).collect();
        let asked: Vec<_> = self.asked().iter().zip(asked).map(|(now, then)| now - then).collect();
        let repeated: u64 = granted.iter().map(|granted| granted.saturating_sub(1)).sum();
        // Who may have asked in vain: those on the node that was lost; or all, if all had it.
        let by_the_lost: u64 = match (self.apart, losses) {
            (Some(nodes), Some(losses)) => {
                let lost = (0..PROCESSES).filter(|process| process % nodes == losses.node());
                lost.map(|process| asked[process]).sum()
            }
            _ => asked.iter().sum(),
        };
        let what = format!("round {round}, asked {asked:?}, granted {granted:?}");
        assert!(granted.iter().all(|granted| *granted <= 2), "{what}");
        assert!(repeated <= if disturbed { by_the_lost } else { 0 }, "{what}");
        self.all_got_live_tokens(&what, disturbed, &reports);

        let figures = &mut self.figures;
        figures.rounds += 1;
        figures.disturbed += u64::from(disturbed);
        figures.granted += granted.iter().sum::<u64>();
        figures.repeated += repeated;
        for report in reports {
            figures.asked += TOKENS;
            figures.errors += report.errors.len();
            figures.unsaved += report.unsaved;
            figures.unknown +=
                report.save_errors.iter().filter(|error| error.starts_with("Unknown")).count();
            figures.save_errors += report.save_errors.len();
            figures.saved.extend(report.saved);
            figures.slowest_ms = figures.slowest_ms.max(report.slowest_ms);
            figures.slowest_save_ms = figures.slowest_save_ms.max(report.slowest_save_ms);
        }
    }

    /// Each caller got a token that the provider takes, in time; or, while a server is lost, an
    /// error in time.
    fn all_got_live_tokens(&self, what: &str, disturbed: bool, reports: &[Report]) {
        for report in reports {
            for token in report.tokens.values() {
                assert!(self.emulator.is_live_access_token(token), "{what}: a dead token");
            }
            assert_eq!(report.tokens.len() + report.errors.len(), TOKENS, "{what}");
            // Beyond the deadline, what a busy machine takes to say so.
            let limit = DEADLINE + Duration::from_secs(2);
            assert!(Duration::from_millis(report.slowest_ms) < limit, "{what}: {report:?}");
            let failed = !report.errors.is_empty() || !report.save_errors.is_empty();
            assert!(disturbed || !failed, "{what}: {:?} {:?}", report.errors, report.save_errors);
        }
    }

    fn minted(&self) -> Vec<u64> {
        self.refresh_tokens.iter().map(|token| self.emulator.minted_with(token)).collect()
    }

    fn asked(&self) -> Vec<u64> {
        self.processes.iter().map(|process| process.wire.asked()).collect()
    }

    /// On each node that runs: what was said to be saved is there once, and each token that was
    /// kept is the one the provider takes.
    async fn nothing_is_lost(&self, engine: Engine, nodes: &[Address]) {
        let apart = self.apart.unwrap_or(1);
        for node in 0..apart {
            let store = Place::of(engine, nodes, node).open(self.clock.clone()).await;
            let tokens = store.get_tokens().await.unwrap();
            let mut times: BTreeMap<&str, usize> = BTreeMap::new();
            for token in &tokens {
                *times.entry(token.user_name().unwrap()).or_default() += 1;
            }
            assert!(times.values().all(|times| *times == 1), "{times:?}");
            for user in &self.figures.saved {
                assert!(times.contains_key(&**user), "{user} was acknowledged and is lost");
            }
            for (number, refresh_token) in self.refresh_tokens.iter().enumerate() {
                let name = format!("kept{number}@example.com");
                let kept = tokens.iter().find(|token| token.user_name() == Some(&*name)).unwrap();
                let access_token = kept.access_token().unwrap().expose_secret();
                assert!(self.emulator.is_live_access_token(access_token), "{name} is not live");
                assert_eq!(kept.refresh_token().unwrap().expose_secret(), refresh_token);
            }
        }
    }
}

impl Figures {
    /// One line: `cargo xtask soak` puts it into its table.
    fn show(&self, engine: Engine, lost: usize, took: Duration) {
        let Self { rounds, disturbed, granted, repeated, asked, errors, unsaved, .. } = self;
        let Self { saved, save_errors, unknown, slowest_ms, slowest_save_ms, .. } = self;
        println!(
            "figures: {engine:?}: {lost} losses in {} s, {rounds} rounds ({disturbed} disturbed), \
             {asked} asked, {errors} errors, {granted} refreshes ({repeated} repeated for one whose \
             server was lost), {unsaved} answers not saved yet, longest wait {slowest_ms} ms; \
             {} saved and all there, {save_errors} errors ({unknown} unknown), longest save \
             {slowest_save_ms} ms",
            took.as_secs(),
            saved.len(),
        );
    }
}
