//! The parent: a provider, a store, and the processes that use both.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokenkeep_core::{Clock, OAuthToken, TokenId, TokenStore};
use tokenkeep_emulator::{Config, Emulator};

use crate::{
    child::{DEADLINE, GRACE, Orders, Report, Running, TASKS, hash, open},
    clock::AheadClock,
    figures::Figures,
    wire::Wire,
};

const PROCESSES: usize = 8;
const LATENCY: Duration = Duration::from_millis(300);

/// A kill comes this long after the tasks were told to ask, at most: before they ask, while they
/// do, or when they have their tokens.
const LATEST_KILL: Duration = Duration::from_millis(600);

/// How long it is to the next round. Tokens live for an hour, graces and budgets for less.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(2 * 3600);

const REFRESH: &str = "refresh_token";
const USER: &str = "alice@example.com";
const CLIENT_ID: &str = "test-client-id";
const CLIENT_SECRET: &str = "test-client-secret";

/// The store that the processes share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Sqlite,
    File,
}

/// Whether each refresh ends the refresh token it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    Off,
    On,
}

/// Processes, a store and a provider.
pub(crate) struct Herd {
    rotation: Rotation,
    clock: Arc<AheadClock>,
    emulator: Emulator,
    store: Arc<dyn TokenStore>,
    id: TokenId,
    orders: Orders,
    processes: Vec<Running>,
    dice: Dice,
    figures: Figures,
    _directory: TempDir,
}

impl Herd {
    /// A token that is about to expire, and processes that have a handle of it.
    pub(crate) async fn start(kind: Kind, rotation: Rotation) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(match kind {
            Kind::Sqlite => "tokens.db",
            Kind::File => "tokens.csv",
        });
        let clock = Arc::new(AheadClock::default());
        let emulator = Emulator::builder().clock(clock.clone()).start().await.unwrap();
        let rotates = rotation == Rotation::On;
        emulator.configure(
            Config::new()
                .token_latency_ms(LATENCY.as_millis().try_into().unwrap())
                .rotate_refresh_tokens(rotates)
                .revoke_family_on_reuse(rotates)
                .grace_ms(GRACE.as_millis().try_into().unwrap()),
        );
        let user = emulator.add_user(USER, CLIENT_ID, CLIENT_SECRET);
        let token = OAuthToken::builder()
            .user_name(USER)
            .client(CLIENT_ID, CLIENT_SECRET)
            .refresh_token(user.refresh_token)
            .access_token("test-access-token-expired")
            .expiry_time(clock.now())
            .build()
            .unwrap();
        let store = open(&path, &clock);
        let id = store.save_token(&token).await.unwrap().id().unwrap().clone();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let orders = Orders {
            store: text(path),
            spool: text(directory.path().join("spool")),
            id: id.as_str().to_owned(),
            api_domain: emulator.url().to_owned(),
            rotates,
        };
        let seed = getrandom::u64().unwrap();
        println!("seed {seed:#018x}");
        let mut herd = Self {
            rotation,
            clock,
            emulator,
            store,
            id,
            orders,
            processes: Vec::new(),
            dice: Dice(seed),
            figures: Figures::new(seed),
            _directory: directory,
        };
        for _ in 0..PROCESSES {
            herd.add().await;
        }
        herd
    }

    async fn add(&mut self) {
        let wire = Wire::to(self.emulator.port());
        let running = Running::start(&self.orders, wire, self.clock.ahead()).await;
        self.processes.push(running);
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The token expires, all ask for it, one is killed: what the others got, and what it cost.
    pub(crate) async fn round(&mut self, round: u64) {
        let after = Duration::from_millis(self.dice.below(LATEST_KILL.as_millis() as u64));
        let any = usize::try_from(self.dice.below(PROCESSES as u64)).unwrap();
        let what = format!("round {round}, a kill after {after:?}");
        let before = self.emulator.stats();
        let asked_before: u64 = self.processes.iter().map(|it| it.wire.asked()).sum();
        let asked_each: Vec<_> = self.processes.iter().map(|it| it.wire.asked()).collect();

        self.clock.advance(BETWEEN_ROUNDS);
        for process in &mut self.processes {
            process.go(round, self.clock.ahead());
        }
        tokio::time::sleep(after).await;
        // In every second round it is the one that asks the provider, if there is one by then.
        let asking = (0..PROCESSES).find(|it| self.processes[*it].wire.asked() > asked_each[*it]);
        let victim = asking.filter(|_| !round.is_multiple_of(2)).unwrap_or(any);
        let mut killed = self.processes.remove(victim);
        let last_words = killed.kill().await;
        let mut reports: Vec<_> = last_words.into_iter().collect();
        let answered = !reports.is_empty();
        for process in &mut self.processes {
            reports.push(process.report().await);
        }

        self.all_got_the_stored_token(&what, round, &reports).await;
        let stats = self.emulator.stats();
        let asked: u64 = self.processes.iter().map(|it| it.wire.asked()).sum();
        let by_the_killed = killed.wire.asked() - asked_each[victim];
        let cost = Cost {
            granted: stats.refreshes_granted - before.refreshes_granted,
            replayed: stats.refreshes_replayed - before.refreshes_replayed,
            requests: stats.token_requests_of(REFRESH) - before.token_requests_of(REFRESH),
            by_the_killed,
            by_others: asked - (asked_before - asked_each[victim]),
        };
        cost.is_what_it_may_be(&what, self.rotation);
        self.figures.granted += cost.granted;
        self.figures.replayed += cost.replayed;
        self.figures.twice += u64::from(cost.granted == 2);
        self.figures.killed_before_the_end += u64::from(!answered);
        self.figures.killed_while_asking += u64::from(!answered && by_the_killed > 0);
        drop(killed);
        self.add().await;
    }

    /// All callers, those of the killed process too if they had an answer, got the token that is
    /// stored now, in time; the provider takes it, and will renew it.
    async fn all_got_the_stored_token(&mut self, what: &str, round: u64, reports: &[Report]) {
        let stored = self.store.find_token_by_id(&self.id).await.unwrap().unwrap();
        let access_token = stored.access_token().unwrap();
        for report in reports {
            let got = [(hash(access_token), TASKS)].into();
            assert!(report.errors.is_empty(), "{what}: {report:#?}");
            assert_eq!(report.tokens, got, "{what}: not all got the stored token: {report:#?}");
            assert_eq!((report.round, report.unsaved), (round, 0), "{what}: {report:#?}");
            let slowest = Duration::from_millis(report.slowest_ms);
            assert!(slowest < DEADLINE, "{what}: {report:#?}");
            self.figures.slowest_ms = self.figures.slowest_ms.max(report.slowest_ms);
        }
        let is_live = self.emulator.is_live_access_token(access_token.expose_secret());
        assert!(is_live, "{what}: the provider does not take the token");
        let refresh_token = stored.refresh_token().map(|token| token.expose_secret().to_owned());
        let newest = self.emulator.newest_refresh_token(USER);
        assert_eq!(refresh_token, newest, "{what}: the stored refresh token is not the live one");
    }
}

/// What a round cost at the provider.
#[derive(Debug)]
struct Cost {
    granted: u64,
    replayed: u64,
    requests: u64,
    /// Requests of the process that was killed.
    by_the_killed: u64,
    by_others: u64,
}

impl Cost {
    /// One refresh. A second request is due only if the killed process had sent the first one; it
    /// mints a second token only where the provider does not rotate, for there is nothing to
    /// replay then.
    fn is_what_it_may_be(&self, what: &str, rotation: Rotation) {
        assert_eq!(self.requests, self.by_the_killed + self.by_others, "{what}: {self:?}");
        assert_eq!(self.requests, self.granted + self.replayed, "{what}: refused: {self:?}");
        assert!(self.by_the_killed <= 1 && self.by_others <= 1, "{what}: {self:?}");
        assert!(self.requests >= 1, "{what}: nobody asked: {self:?}");
        let again = self.requests - 1;
        assert!(again == 0 || self.by_the_killed == 1 && self.by_others == 1, "{what}: {self:?}");
        let expected = match rotation {
            Rotation::Off => (self.requests, 0),
            Rotation::On => (1, again),
        };
        assert_eq!((self.granted, self.replayed), expected, "{what}: {self:?}");
    }
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
