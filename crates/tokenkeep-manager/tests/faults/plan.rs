//! What happens in one run: who asks when, what breaks at which step, and who else is at work.

use std::{collections::BTreeMap, time::Duration};

use tokenkeep_oauth::{Budget, ProviderRules, Replay};

use crate::dice::Dice;

pub(crate) const USERS: usize = 2;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What befalls a step. What it means for a store, a provider and a spool is where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mishap {
    /// It fails, and is not done. A provider: 503.
    FailBefore,
    /// It is done, and the answer is an error. A provider: 502.
    FailAfter,
    /// It fails for a reason that trying again does not help with. A provider: 429.
    Refuse,
    /// The connection breaks, and it is not done. A store fails.
    DropBefore,
    /// The connection breaks, and it is done.
    DropAfter,
    /// A provider: an answer that makes no sense, after the effect. A store: full.
    Garbage,
    /// It takes a moment.
    ShortBefore,
    ShortAfter,
    /// It takes longer than a lease lives.
    LongBefore,
    LongAfter,
    /// It is never answered.
    HangBefore,
    HangAfter,
    /// It is done later than anyone waits for it.
    Late,
    /// The whole process stands still for longer than a lease lives, before it or after it.
    FreezeBefore,
    FreezeAfter,
    /// The process dies.
    CrashBefore,
    CrashAfter,
}

impl Mishap {
    pub(crate) const ALL: [Self; 17] = [
        Self::FailBefore,
        Self::FailAfter,
        Self::Refuse,
        Self::DropBefore,
        Self::DropAfter,
        Self::Garbage,
        Self::ShortBefore,
        Self::ShortAfter,
        Self::LongBefore,
        Self::LongAfter,
        Self::HangBefore,
        Self::HangAfter,
        Self::Late,
        Self::FreezeBefore,
        Self::FreezeAfter,
        Self::CrashBefore,
        Self::CrashAfter,
    ];

    /// Those that differ at a step of this kind: what is only read has no effect to come before or
    /// after, and a store and a spool have no connection that breaks.
    pub(crate) fn at(place: Place, what: &str) -> Vec<Self> {
        let reads = ["Find", "GetTokens", "State", "ChangeMark", "Page", "spool get", "spool list"];
        let reads = reads.iter().any(|read| what.starts_with(read));
        let differs = |it: &Self| match it {
            Self::DropBefore | Self::DropAfter => place == Place::Provider,
            Self::FailAfter
            | Self::Garbage
            | Self::ShortAfter
            | Self::LongAfter
            | Self::HangAfter
            | Self::Late
            | Self::CrashAfter => !reads,
            _ => true,
        };
        Self::ALL.into_iter().filter(differs).collect()
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| format!("{it:?}") == name)
    }

    /// Whether it lasts long enough for a lease to pass on, or ends a process.
    pub(crate) fn is_slow(self) -> bool {
        !matches!(
            self,
            Self::FailBefore
                | Self::FailAfter
                | Self::Refuse
                | Self::DropBefore
                | Self::DropAfter
                | Self::Garbage
                | Self::ShortBefore
                | Self::ShortAfter
        )
    }
}

/// What a mishap can befall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Store,
    Provider,
    Spool,
}

/// All steps of one kind go wrong for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) place: Place,
    /// For this host, or for all.
    pub(crate) host: Option<usize>,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) mishap: Mishap,
}

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Token,
    /// Says that the last token it got was refused by the API.
    Rejected,
    Refresh,
    /// Asks, and does not wait for the answer.
    Leave(Duration),
}

/// What somebody does who is no manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// Another program writes the row, and leaves the tokens as they are.
    Touch(usize),
    /// Another program writes the access token back that was there before.
    PutBack(usize),
    /// The user logs in anew elsewhere.
    LogIn(usize),
    Delete(usize),
    /// Another program gives the id of the user's token to another user's.
    GiveAway(usize),
    /// The user revokes the grant at the provider.
    Revoke(usize),
    /// The provider ends all access tokens.
    Expire,
    /// Somebody sets a clock: of a host, or of the store.
    SetClock(Option<usize>, i64),
    Kill(usize),
    Recover(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    Ask { host: usize, user: usize, ask: Ask },
    Other(Other),
}

/// One run. The same plan is the same run, to the last step.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What the emulator's tokens are made of.
    pub(crate) seed: u64,
    pub(crate) hosts: usize,
    /// Whether the store coordinates processes.
    pub(crate) shared: bool,
    pub(crate) spool: bool,
    /// Whether handles are kept, or got anew for each call.
    pub(crate) keep_handles: bool,
    pub(crate) lifetime: Duration,
    pub(crate) latency: Duration,
    /// With rotation, for how long a refresh token that was replaced gets the same answer again.
    pub(crate) rotation: Option<Duration>,
    pub(crate) reuse_detection: bool,
    pub(crate) budget: bool,
    pub(crate) store_timeout: Duration,
    pub(crate) deadline: Duration,
    /// How long until a process that has died is started again.
    pub(crate) restart_after: Duration,
    /// Whether one that starts stores what is in the spool.
    pub(crate) recover_at_start: bool,
    pub(crate) happenings: Vec<(Duration, Happening)>,
    pub(crate) faults: BTreeMap<u64, Mishap>,
    pub(crate) outages: Vec<Outage>,
    /// When all is well again.
    pub(crate) healed_at: Duration,
}

impl Plan {
    pub(crate) const LEASE: Duration = Duration::from_secs(10);
    pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
    pub(crate) const MARGIN: Duration = Duration::from_secs(60);
    /// What is long, against a lease.
    pub(crate) const LONG: Duration = Duration::from_secs(13);
    pub(crate) const SHORT: Duration = Duration::from_millis(1500);
    /// What is late, against all that anyone waits for.
    pub(crate) const LATE: Duration = Duration::from_secs(45);

    pub(crate) fn rules(&self) -> ProviderRules {
        let rules = match self.rotation {
            None => ProviderRules::zoho(),
            Some(grace) if grace.is_zero() => ProviderRules::generic(),
            Some(grace) => ProviderRules::generic().with_replay(Replay::Within(grace)),
        };
        let budget = self.budget.then_some(Budget::new(10, Duration::from_secs(600)));
        rules.with_budget(budget)
    }

    /// How often the time alone makes a refresh necessary: once, and once each time that a token
    /// comes near its end.
    pub(crate) fn epochs(&self) -> u64 {
        let early = Self::MARGIN + Self::MARGIN.min(self.lifetime / 10);
        let each = self.lifetime - early.min(self.lifetime / 2);
        2 + u64::try_from(self.healed_at.as_millis() / each.as_millis()).unwrap()
    }

    /// Whether writes may be made after they were given up, in a store that compares nothing.
    pub(crate) fn writes_late(&self) -> bool {
        let late = |mishap: &Mishap| *mishap == Mishap::Late;
        let outage = |it: &Outage| late(&it.mishap);
        !self.shared && (self.faults.values().any(late) || self.outages.iter().any(outage))
    }

    /// Whether a user's token is deleted or its id given to another one, so that a handle of it has
    /// none although the user may have another by now.
    pub(crate) fn removes(&self) -> bool {
        self.others().any(|other| matches!(other, Other::GiveAway(..) | Other::Delete(..)))
    }

    /// Whether an SDK puts an old access token back, which the provider may not take any more.
    pub(crate) fn puts_back(&self) -> bool {
        self.others().any(|other| matches!(other, Other::PutBack(..)))
    }

    fn others(&self) -> impl Iterator<Item = &Other> {
        self.happenings.iter().filter_map(|(_, happening)| match happening {
            Happening::Other(other) => Some(other),
            Happening::Ask { .. } => None,
        })
    }

    pub(crate) fn sets_clocks(&self) -> bool {
        let sets =
            |it: &(Duration, Happening)| matches!(it.1, Happening::Other(Other::SetClock(..)));
        self.happenings.iter().any(sets)
    }

    /// The run in which single faults are tried one after another: several tasks of each process
    /// ask at the same moment, first for a token that has expired, then when its end is near, then
    /// after the API has refused one.
    pub(crate) fn scripted(rotation: Option<Duration>, hosts: usize, shared: bool) -> Self {
        let mut happenings = Vec::new();
        let asks = [
            (0, 0, Ask::Token),
            (0, 0, Ask::Token),
            (0, 1, Ask::Token),
            (100, 0, Ask::Leave(Duration::from_millis(50))),
            // Near its end: it is renewed while it is served.
            (540_000, 0, Ask::Token),
            (545_000, 0, Ask::Token),
            (700_000, 0, Ask::Rejected),
            (701_000, 0, Ask::Refresh),
            (702_000, 0, Ask::Token),
        ];
        for (at, user, ask) in asks {
            for host in 0..hosts {
                let happening = Happening::Ask { host, user, ask };
                happenings.push((Duration::from_millis(at), happening));
            }
        }
        Self {
            seed: 7,
            hosts,
            shared,
            spool: true,
            keep_handles: true,
            lifetime: 10 * MINUTE,
            latency: Duration::from_millis(300),
            rotation,
            reuse_detection: rotation.is_some_and(|grace| grace.is_zero()),
            budget: true,
            store_timeout: 10 * SECOND,
            deadline: 60 * SECOND,
            restart_after: 5 * SECOND,
            recover_at_start: false,
            happenings,
            faults: BTreeMap::new(),
            outages: Vec::new(),
            healed_at: Duration::from_secs(900),
        }
    }

    /// What this seed says.
    pub(crate) fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let shared = dice.percent(85);
        let hosts = if shared { dice.pick(&[1, 2, 2, 3, 4]) } else { 1 };
        let rotation = dice.pick(&[None, None, Some(0), Some(5), Some(60), Some(3600)]);
        let lifetime = dice.pick(&[5 * MINUTE, 20 * MINUTE, 60 * MINUTE]);
        let healed_at = lifetime.mul_f64(2.5);
        let mut plan = Self {
            seed,
            hosts,
            shared,
            spool: dice.percent(75),
            keep_handles: dice.percent(60),
            lifetime,
            latency: dice.pick(&[0, 50, 300, 2000]).milliseconds(),
            rotation: rotation.map(Duration::from_secs),
            reuse_detection: dice.percent(50),
            budget: dice.percent(70),
            store_timeout: dice.pick(&[5 * SECOND, 10 * SECOND, 40 * SECOND]),
            deadline: dice.pick(&[10 * SECOND, 60 * SECOND]),
            restart_after: dice.pick(&[SECOND, 20 * SECOND, 10 * MINUTE]),
            recover_at_start: dice.percent(50),
            happenings: Vec::new(),
            faults: BTreeMap::new(),
            outages: Vec::new(),
            healed_at,
        };
        plan.throw_callers(&mut dice);
        plan.throw_others(&mut dice);
        plan.throw_faults(&mut dice);
        plan.happenings.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Tasks come in crowds: that is when they can get in each other's way.
    fn throw_callers(&mut self, dice: &mut Dice) {
        for crowd in 0..dice.between(3, 8) {
            let at = if crowd == 0 {
                Duration::ZERO
            } else {
                dice.duration(Duration::ZERO, self.healed_at)
            };
            let spread = dice.pick(&[1, 1, 100, 5_000]);
            for _ in 0..dice.between(1, 7) {
                let ask = match dice.below(12) {
                    0 => Ask::Rejected,
                    1 => Ask::Refresh,
                    2 => Ask::Leave(dice.duration(Duration::ZERO, SECOND)),
                    _ => Ask::Token,
                };
                let host = dice.below(self.hosts);
                let user = if dice.percent(75) { 0 } else { 1 };
                let at = at + dice.between(0, spread).milliseconds();
                self.happenings.push((at, Happening::Ask { host, user, ask }));
            }
        }
        if dice.percent(8) {
            // One who wants new ones all the time.
            let at = dice.duration(Duration::ZERO, self.healed_at / 2);
            for n in 0..14 {
                let host = dice.below(self.hosts);
                let happening = Happening::Ask { host, user: 0, ask: Ask::Refresh };
                self.happenings.push((at + n * 5 * SECOND, happening));
            }
        }
    }

    fn throw_others(&mut self, dice: &mut Dice) {
        let others = if dice.percent(50) { dice.between(1, 4) } else { 0 };
        for _ in 0..others {
            let user = usize::from(!dice.percent(75));
            let host = dice.below(self.hosts);
            let clock = dice.percent(70).then_some(host);
            let by = dice.pick(&[-3_600_000, -300_000, -20_000, 20_000, 300_000, 3_600_000]);
            let other = match dice.below(13) {
                0 | 1 => Other::Touch(user),
                2 => Other::PutBack(user),
                3 | 4 => Other::LogIn(user),
                5 => Other::Delete(user),
                6 => Other::GiveAway(user),
                7 => Other::Revoke(user),
                8 => Other::Expire,
                9 => Other::SetClock(clock, by),
                10 | 11 => Other::Kill(host),
                _ => Other::Recover(host),
            };
            // A store of six methods takes no other writers.
            let writes = matches!(
                other,
                Other::Touch(_)
                    | Other::PutBack(_)
                    | Other::LogIn(_)
                    | Other::Delete(_)
                    | Other::GiveAway(_)
            );
            if self.shared || !writes {
                // Most of them at a moment at which a refresh is under way.
                let at = if dice.percent(60) {
                    let crowd = self.happenings[dice.below(self.happenings.len())].0;
                    crowd + dice.duration(Duration::ZERO, self.latency + 3 * SECOND)
                } else {
                    dice.duration(Duration::ZERO, self.healed_at)
                };
                self.happenings.push((at.min(self.healed_at), Happening::Other(other)));
            }
        }
    }

    fn throw_faults(&mut self, dice: &mut Dice) {
        let within = dice.pick(&[12, 40, 150]);
        for _ in 0..dice.between(0, 7) {
            self.faults.insert(dice.between(1, within), dice.pick(&Mishap::ALL));
        }
        for _ in 0..2 {
            if !dice.percent(20) {
                continue;
            }
            let place = dice.pick(&[Place::Store, Place::Store, Place::Provider, Place::Spool]);
            let host = dice.percent(50).then_some(dice.below(self.hosts));
            let crowd = self.happenings[dice.below(self.happenings.len())].0;
            let from = crowd.saturating_sub(dice.duration(Duration::ZERO, SECOND));
            let to = from + dice.pick(&[SECOND, 10 * SECOND, 2 * MINUTE, 30 * MINUTE]);
            let mishap = dice.pick(&[
                Mishap::FailBefore,
                Mishap::FailAfter,
                Mishap::Refuse,
                Mishap::DropBefore,
                Mishap::DropAfter,
                Mishap::Garbage,
                Mishap::HangBefore,
                Mishap::HangAfter,
            ]);
            self.outages.push(Outage { place, host, from, to, mishap });
        }
    }
}

trait Milliseconds {
    fn milliseconds(self) -> Duration;
}

impl Milliseconds for u64 {
    fn milliseconds(self) -> Duration {
        Duration::from_millis(self)
    }
}
