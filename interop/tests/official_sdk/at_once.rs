//! Official SDKs and programs of ours, each a process, write one table at the same time.
//!
//! An SDK updates by its criterion and inserts where that met no row, under the largest text plus
//! one. So two of them may insert one user twice, and one whose number was taken meanwhile fails:
//! that is counted to the SDK. What must hold is that nothing that anybody was told to be stored
//! is lost, and that we insert nobody twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::{Condvar, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokenkeep_core::{Field, StoreErrorKind, TokenId, TokenState, TokenStore, update_state};
use tokenkeep_store_mysql::MysqlStore;

use crate::{scene::Scene, sdk::Sdk, token::Columns};

const URL: &str = "TOKENKEEP_TEST_URL";
const NAME: &str = "TOKENKEEP_TEST_NAME";

const SDKS: usize = 4;
const OURS: usize = 2;
const ROUNDS: usize = 30;

/// What a program of ours says after a round.
const DONE: &str = "done";

/// All of its numbers have as many digits, so that the largest text is the largest number and SDKs
/// can insert.
const FIRST_ID: &str = "10000";
const SHARED: &str = "shared@example.com";

fn contested(round: usize) -> String {
    format!("contested{round}@example.com")
}

/// A program of ours; nothing where this is the test itself.
#[expect(clippy::disallowed_methods, reason = "what a parent tells its child")]
#[expect(clippy::print_stdout, reason = "what a child tells its parent")]
pub(crate) fn child() -> Option<ExitCode> {
    let (name, url) = (std::env::var(NAME).ok()?, std::env::var(URL).ok()?);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = MysqlStore::open(&url).await.unwrap();
        let id = TokenId::new(FIRST_ID).unwrap();
        for (round, line) in std::io::stdin().lines().enumerate() {
            line.unwrap();
            let token = Columns::of(&contested(round), format!("{name}-{round}")).token();
            match store.save_token(&token).await {
                Ok(saved) => println!("{}", Columns::from(&saved).to_json()),
                // SDKs have inserted this user twice already.
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Ambiguous, "{error:?}"),
            }

            let token = Columns::of(&format!("{name}-{round}@example.com"), round).token();
            let saved = store.save_token(&token).await.unwrap();
            println!("{}", Columns::from(&saved).to_json());
            let update = Columns::update(SHARED, format!("{name}-{round}"));
            store.save_token(&update.token()).await.unwrap();
            let count = |state: &mut TokenState| {
                let number = state.org_id.as_deref().map_or(0, |it| it.parse::<u32>().unwrap());
                state.org_id = Some((number + 1).to_string());
            };
            update_state(&store, &id, count).await.unwrap().unwrap();
            println!("{DONE}");
        }
    });
    Some(ExitCode::SUCCESS)
}

/// A process of ours.
struct Program {
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(url: &str, name: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(NAME, name)
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, input, lines }
    }

    /// What it was told to be stored. What only it writes is at once in `known` as well.
    fn run(mut self, gate: &Gate, known: &Known) -> Vec<Columns> {
        let mut stored = Vec::new();
        for round in 0..ROUNDS {
            gate.pass(round);
            writeln!(self.input).unwrap();
            loop {
                let line = self.lines.next().expect("a program of ours ended by itself").unwrap();
                if line == DONE {
                    break;
                }
                let told: Value = serde_json::from_str(&line).unwrap();
                let token = Columns::from_json(&told);
                if token.user() != contested(round) {
                    known.0.lock().unwrap().push(token.clone());
                }
                stored.push(token);
            }
        }
        stored
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Where all wait for each other, so that they begin each round at the same time.
#[derive(Default)]
struct Gate {
    arrived: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    /// How long the slowest may take to a round. One that failed never comes.
    const LIMIT: Duration = Duration::from_secs(60);

    fn pass(&self, round: usize) {
        let all = (round + 1) * (OURS + SDKS);
        let mut arrived = self.arrived.lock().unwrap();
        *arrived += 1;
        self.changed.notify_all();
        let waiting = |arrived: &mut usize| *arrived < all;
        let waited = self.changed.wait_timeout_while(arrived, Self::LIMIT, waiting).unwrap();
        assert!(!waited.1.timed_out(), "not all came to round {round}");
    }
}

/// Tokens of ours that nobody else writes, as they are stored.
#[derive(Default)]
struct Known(Mutex<Vec<Columns>>);

/// What became of what an SDK did.
#[derive(Default)]
struct Report {
    /// What it inserted, as it is to be found.
    inserted: Vec<Columns>,
    /// Whom it inserted of those that others insert too, and the id.
    contested: Vec<(String, TokenId)>,
    /// Inserts that failed.
    refused: usize,
    finds: usize,
}

/// A program on an SDK: it keeps a user of its own, adds users, and looks for those of ours.
fn use_sdk(mut sdk: Sdk, own: Columns, name: &str, gate: &Gate, known: &Known) -> Report {
    let mut report = Report::default();
    let mut own = own;
    for round in 0..ROUNDS {
        gate.pass(round);
        let new = Columns::of(&contested(round), format!("{name}-{round}"));
        match sdk.try_save(&new) {
            // What it updated has no id for it.
            Ok(saved) if saved == new => {}
            Ok(saved) => report.contested.push((contested(round), saved.id())),
            Err(_taken) => report.refused += 1,
        }
        let new = Columns::of(&format!("{name}-{round}@example.com"), round);
        match sdk.try_save(&new) {
            Ok(saved) => report.inserted.push(saved),
            Err(_taken) => report.refused += 1,
        }
        let update = Columns::update(own.user(), format!("{name}-{round}"));
        sdk.save(&update);
        own = own.merged(&update);
        sdk.save(&Columns::update(SHARED, format!("{name}-{round}")));

        let (first, last) = {
            let known = known.0.lock().unwrap();
            (known[round % known.len()].clone(), known[known.len() - 1].clone())
        };
        for token in [first, last] {
            let found = sdk.find_user(token.user());
            assert_eq!(found.as_ref(), Some(&token), "{name} does not find what we saved");
            report.finds += 1;
        }
        assert_eq!(sdk.find_by_id(&own.id()).unwrap(), own, "{name} lost its own");
    }
    report.inserted.push(own);
    report
}

#[expect(clippy::print_stdout, reason = "figures for those who read what tests say")]
pub(crate) async fn nothing_of_anybody_is_lost_when_all_write_at_once(mut scene: Scene) {
    let ours = scene.open_both().await;
    let first = Columns::of(SHARED, "first").with(Field::Id, FIRST_ID);
    let first = ours.save(&first).await;
    let known = Known::default();
    for number in 0..3 {
        let token = ours.save(&Columns::of(&format!("before{number}@example.com"), number)).await;
        known.0.lock().unwrap().push(token);
    }
    let url = scene.database().url();
    let location = scene.location();
    let languages: Vec<_> = scene.sdks().map(|sdk| sdk.language).collect();
    let mut sdks = Vec::new();
    for language in languages {
        for number in 0..SDKS / 2 {
            let name = format!("{}{number}", language.name());
            let mut sdk = Sdk::start(language);
            sdk.open(&location).unwrap();
            let own = sdk.save(&Columns::of(&format!("{name}@example.com"), &name));
            sdks.push((sdk, own, name));
        }
    }

    let gate = Gate::default();
    let (stored, reports) = thread::scope(|scope| {
        let (gate, known) = (&gate, &known);
        let mut programs = Vec::new();
        for number in 0..OURS {
            let program = Program::start(&url, &format!("ours{number}"));
            programs.push(scope.spawn(move || program.run(gate, known)));
        }
        let mut users = Vec::new();
        for (sdk, own, name) in sdks {
            users.push(scope.spawn(move || use_sdk(sdk, own, &name, gate, known)));
        }
        let stored: Vec<_> = programs.into_iter().map(|it| it.join().unwrap()).collect();
        let reports: Vec<_> = users.into_iter().map(|it| it.join().unwrap()).collect();
        (stored, reports)
    });

    let rows = ours.tokens().await;
    let ids: BTreeSet<_> = rows.iter().map(Columns::id).collect();
    assert_eq!(ids.len(), rows.len(), "an id stands twice");
    let mut by_user: BTreeMap<&str, Vec<&Columns>> = BTreeMap::new();
    for row in &rows {
        by_user.entry(row.user()).or_default().push(row);
    }

    // What only one writes is there once, as it was last written.
    let known = known.0.lock().unwrap().clone();
    let of_sdks = reports.iter().flat_map(|report| &report.inserted);
    for token in known.iter().chain(of_sdks) {
        assert_eq!(by_user.remove(token.user()), Some(vec![token]), "{}", token.user());
    }
    // What all have written is what one of them wrote, and what nobody wrote is untouched.
    let shared = by_user.remove(SHARED).unwrap();
    let last =
        Columns::update(SHARED, "").with(Field::AccessToken, shared[0].get(Field::AccessToken));
    assert_eq!(shared, [&first.merged(&last)]);
    let last_round = format!("-{}", ROUNDS - 1);
    assert!(shared[0].get(Field::AccessToken).ends_with(&last_round), "{shared:?}");
    let state = ours.shared().state(&first.id()).await.unwrap().unwrap();
    assert_eq!(state.org_id, Some((OURS * ROUNDS).to_string()));

    // Whom all have inserted: as often as SDKs did, and by us once at most.
    let mut duplicates = 0;
    for round in 0..ROUNDS {
        let user = contested(round);
        let theirs: BTreeSet<_> = reports
            .iter()
            .flat_map(|report| &report.contested)
            .filter_map(|(who, id)| (*who == user).then_some(id.clone()))
            .collect();
        let told = stored.iter().flatten().filter(|token| token.user() == user);
        let by_us: BTreeSet<_> = told.map(Columns::id).filter(|id| !theirs.contains(id)).collect();
        assert!(by_us.len() <= 1, "{user} was inserted twice by us: {by_us:?}");
        let there: BTreeSet<_> =
            by_user.remove(&*user).unwrap_or_default().iter().map(|row| row.id()).collect();
        assert_eq!(there, theirs.union(&by_us).cloned().collect(), "{user}");
        duplicates += there.len() - 1;
    }
    assert_eq!(by_user.len(), 0, "nobody saved these: {by_user:?}");

    let refused: usize = reports.iter().map(|report| report.refused).sum();
    let finds: usize = reports.iter().map(|report| report.finds).sum();
    println!(
        "figures: {} rows, {} of ours; the SDKs failed to insert {refused} times, inserted a user \
         again {duplicates} times, and found ours {finds} of {finds} times",
        rows.len(),
        known.len(),
    );
}
