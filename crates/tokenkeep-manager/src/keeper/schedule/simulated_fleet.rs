//! A day of a fleet: several keepers of the same tokens, on a virtual clock, some of which die.
//!
//! The schedule and the freshness are the real ones. Around them stands what a keeper and a refresh
//! do, step by step, with what the store and the provider take for it: what is found fresh meanwhile
//! is taken note of, a lease that another one holds is waited for, a node that dies leaves its leases
//! and what it asked for, and comes back with nothing but the store to look through. A lease is not
//! renewed in here, for no exchange takes as long as a third of one; and the clocks agree, so all
//! nodes begin what is due in a second at the same moment: the worst for leases.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet, VecDeque},
    time::Duration,
};

use super::{simulated_day::Random, *};
use crate::freshness::Freshness;

/// Milliseconds since the day began.
type Millis = i64;

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;
const LIFE: Millis = HOUR;

/// As keepers and managers have them unless they are told otherwise.
const KEPT_MARGIN: Duration = Duration::from_secs(300);
const MARGIN: Duration = Duration::from_secs(60);
const LEASE: Millis = 10 * SECOND;
const SCAN_EVERY: Millis = 10 * MINUTE;
const PAGE: usize = 500;
const CONCURRENCY: usize = 16;
const DEADLINE: Millis = 60 * SECOND;
const RETRY_AFTER: Millis = 15 * SECOND;
const LOOK_FIRST: Millis = 10;
const LOOK_AT_MOST: Millis = 200;

/// What a server in the same network takes.
const READ: Millis = 1;
const WRITE: Millis = 2;
const READ_PAGE: Millis = 5;

/// A fleet to be simulated.
#[derive(Clone, Copy, Debug)]
struct Fleet {
    tokens: usize,
    nodes: usize,
    /// Renewals at a time, each node.
    concurrency: usize,
    hours: i64,
    /// Whether each node dies every one to three hours, and is back after one to four minutes.
    losses: bool,
}

/// What a day came to.
#[derive(Debug, Default)]
struct Day {
    /// Requests to the provider in each second.
    asked: Vec<u64>,
    saved: u64,
    /// Tokens looked at by a node when they had been renewed by another.
    found: u64,
    conflicts: u64,
    reads: u64,
    writes: u64,
    pages: u64,
    deaths: u64,
    /// Requests of nodes that died before the answer was stored.
    lost: u64,
    /// Requests with a grant that had been sent before and of which nothing had been stored.
    doubles: u64,
    /// Renewals given up, to be tried again.
    failures: u64,
    /// Renewed when less was left of them than the margin.
    late: u64,
    /// Renewed after their end, or not at all.
    unserved: u64,
}

#[derive(Clone, Copy)]
struct Token {
    ends: Millis,
    /// Nothing is known of a token that an SDK has left.
    issued: Option<Millis>,
    /// Whether the provider was asked with what is stored.
    asked: bool,
    /// By which incarnation of a node it is leased, and until when.
    lease: (u32, Millis),
}

struct Node {
    /// Names a process: another one after each death. `None` while it is dead.
    incarnation: Option<u32>,
    schedule: Schedule,
    holder: String,
    /// Until when each token lasts, as far as it knows.
    kept: Vec<Option<Millis>>,
    under_way: HashSet<u32>,
    /// Renewals that have ended and were not yet concluded.
    ended: VecDeque<(u32, Option<Millis>)>,
    scan_began: Option<Millis>,
    /// Where the next page begins, while the store is looked through.
    page: Option<usize>,
}

/// Something that happens at a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Millis,
    /// Makes the order of those of one moment certain.
    number: u64,
    node: usize,
    /// If it is another one by then, the event is of a process that has died.
    incarnation: u32,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The token was read, before the lease was taken; since when and how long the next wait is.
    Looked {
        token: u32,
        since: Millis,
        pause: Millis,
    },
    /// The lease is asked for.
    Lease {
        token: u32,
        since: Millis,
        pause: Millis,
    },
    /// The token was read again, under the lease.
    ReadAgain {
        token: u32,
    },
    /// The request is on record and is sent.
    Asked {
        token: u32,
    },
    /// The answer is stored: of a request that was sent then.
    Saved {
        token: u32,
        asked: Millis,
    },
    /// The lease is given back; the token lasts until then.
    Released {
        token: u32,
        ends: Millis,
    },
    /// The task of the renewal has ended.
    Ended {
        token: u32,
        ends: Option<Millis>,
    },
    Page,
    Dies,
}

struct Simulation {
    fleet: Fleet,
    now: Millis,
    random: Random,
    tokens: Vec<Token>,
    nodes: Vec<Node>,
    /// Nodes that are dead, and when they are back.
    dead: Vec<(Millis, usize)>,
    events: BinaryHeap<Reverse<Event>>,
    numbers: u64,
    incarnations: u32,
    day: Day,
}

fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millis(1_764_000_000_000 + at)
}

fn id(token: u32) -> TokenId {
    TokenId::from_number(token.into())
}

impl Node {
    fn dead(tokens: usize) -> Self {
        Self {
            incarnation: None,
            schedule: Schedule::new(Settings::new(0)),
            holder: String::new(),
            kept: vec![None; tokens],
            under_way: HashSet::new(),
            ended: VecDeque::new(),
            scan_began: None,
            page: None,
        }
    }

    /// As `Task::plan`.
    fn plan(&mut self, token: u32, stored: Token, now: Millis) {
        if self.kept[token as usize].replace(stored.ends) == Some(stored.ends) {
            return;
        }
        let (settings, ends) = (self.schedule.settings(), timestamp(stored.ends));
        let window = match stored.issued {
            Some(issued) => {
                let renewed = settings.renewed(timestamp(issued), ends);
                Window { earliest: renewed.earliest.max(timestamp(now)), ..renewed }
            }
            None => settings.found(timestamp(now), ends),
        };
        self.schedule.insert(id(token), window, timestamp(now));
    }

    /// As `Task::conclude`.
    fn conclude(&mut self, token: u32, ends: Option<Millis>, now: Millis) {
        self.under_way.remove(&token);
        let Some(ends) = ends else {
            self.schedule.retry(&id(token), timestamp(now + RETRY_AFTER), timestamp(now));
            return;
        };
        self.kept[token as usize] = Some(ends);
        let window = self.schedule.settings().renewed(timestamp(now), timestamp(ends));
        self.schedule.insert(id(token), window, timestamp(now));
    }
}

impl Simulation {
    /// All tokens were issued at any moment of the last hour but for its first minutes, by others.
    fn new(fleet: Fleet, seed: u64) -> Self {
        let mut random = Random(seed);
        let least = 2 * KEPT_MARGIN.as_millis() as u64;
        let mut token = || Token {
            ends: (least + random.below(LIFE as u64 - least)) as Millis,
            issued: None,
            asked: false,
            lease: (0, Millis::MIN),
        };
        let tokens = (0..fleet.tokens).map(|_| token()).collect();
        let mut it = Self {
            fleet,
            now: 0,
            random,
            tokens,
            nodes: (0..fleet.nodes).map(|_| Node::dead(fleet.tokens)).collect(),
            dead: Vec::new(),
            events: BinaryHeap::new(),
            numbers: 0,
            incarnations: 0,
            day: Day::default(),
        };
        (0..fleet.nodes).for_each(|node| it.rises(node));
        it
    }

    fn run(mut self) -> Day {
        for second in 0..self.fleet.hours * HOUR / SECOND {
            let begins = second * SECOND;
            while let Some(Reverse(event)) = self.events.peek().copied()
                && event.at < begins
            {
                self.events.pop();
                if self.nodes[event.node].incarnation == Some(event.incarnation) {
                    self.now = event.at;
                    self.happens(event.node, event.what);
                }
            }
            self.now = begins;
            self.day.asked.push(0);
            self.every_second();
        }
        let over = self.tokens.iter().filter(|token| token.ends <= self.now);
        self.day.unserved += over.count() as u64;
        self.day
    }

    fn every_second(&mut self) {
        let now = self.now;
        let back: Vec<_> = self.dead.extract_if(.., |(at, _)| *at <= now).collect();
        back.into_iter().for_each(|(_, node)| self.rises(node));
        for node in 0..self.nodes.len() {
            let it = &mut self.nodes[node];
            if it.incarnation.is_none() {
                continue;
            }
            if it.page.is_none() && it.scan_began.is_none_or(|began| now - began >= SCAN_EVERY) {
                (it.scan_began, it.page) = (Some(now), Some(0));
                self.later(node, READ_PAGE, What::Page);
            }
            self.start_what_is_due(node);
        }
    }

    fn rises(&mut self, node: usize) {
        self.incarnations += 1;
        let mut it = Node::dead(0);
        it.holder = format!("node-{}", self.incarnations);
        let mut settings = Settings::new(load::mix(self.incarnations.into()));
        settings.margin = KEPT_MARGIN;
        it.schedule = Schedule::new(settings);
        it.kept = vec![None; self.fleet.tokens];
        it.incarnation = Some(self.incarnations);
        self.nodes[node] = it;
        if self.fleet.losses {
            let lives = HOUR + self.random.below(2 * HOUR as u64) as Millis;
            self.later(node, lives, What::Dies);
        }
    }

    fn dies(&mut self, node: usize) {
        self.day.deaths += 1;
        self.nodes[node] = Node::dead(0);
        let back = self.now + MINUTE + self.random.below(3 * MINUTE as u64) as Millis;
        self.dead.push((back, node));
    }

    fn later(&mut self, node: usize, after: Millis, what: What) {
        let incarnation = self.nodes[node].incarnation.expect("only who lives plans");
        self.numbers += 1;
        let (at, number) = (self.now + after, self.numbers);
        self.events.push(Reverse(Event { at, number, node, incarnation, what }));
    }

    fn start_what_is_due(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let room = self.fleet.concurrency.saturating_sub(it.under_way.len());
        for id in it.schedule.due(timestamp(self.now), room) {
            let token = id.number().and_then(|number| u32::try_from(number).ok()).unwrap();
            // Who is under way already is joined, and gets its moment then.
            if self.nodes[node].under_way.insert(token) {
                // That it is there, then the token and its state.
                self.day.reads += 3;
                let what = What::Looked { token, since: self.now, pause: LOOK_FIRST };
                self.later(node, 3 * READ, what);
            }
        }
    }

    /// Whether the stored token is what the node wants: it lasts for longer than the one that was
    /// due, and need not be renewed yet.
    fn is_usable(&self, node: usize, token: u32) -> bool {
        let (node, stored) = (&self.nodes[node], self.tokens[token as usize]);
        node.kept[token as usize] < Some(stored.ends) && {
            let freshness = Freshness::new(MARGIN, &id(token), &node.holder);
            let issued = stored.issued.map(timestamp);
            timestamp(self.now) < freshness.renew_at(timestamp(stored.ends), issued)
        }
    }

    fn happens(&mut self, node: usize, what: What) {
        match what {
            What::Looked { token, since, pause } if !self.is_usable(node, token) => {
                self.later(node, WRITE, What::Lease { token, since, pause });
            }
            What::Looked { token, .. } => {
                self.day.found += 1;
                let ends = Some(self.tokens[token as usize].ends);
                self.happens(node, What::Ended { token, ends });
            }
            What::Lease { token, since, pause } => self.try_lease(node, token, since, pause),
            What::ReadAgain { token } if self.is_usable(node, token) => {
                self.day.found += 1;
                self.day.writes += 1;
                let ends = self.tokens[token as usize].ends;
                self.later(node, WRITE, What::Released { token, ends });
            }
            What::ReadAgain { token } => {
                self.day.writes += 1;
                self.later(node, WRITE, What::Asked { token });
            }
            What::Asked { token } => self.ask(node, token),
            What::Saved { token, asked } => self.save(node, token, asked),
            What::Released { token, ends } => {
                self.tokens[token as usize].lease.1 = Millis::MIN;
                self.happens(node, What::Ended { token, ends: Some(ends) });
            }
            What::Ended { token, ends } => {
                self.nodes[node].ended.push_back((token, ends));
                // Its task is reading a page: it comes to that later.
                if self.nodes[node].page.is_none() {
                    self.conclude_one(node);
                    self.start_what_is_due(node);
                }
            }
            What::Page => self.page(node),
            What::Dies => {
                let incarnation = self.nodes[node].incarnation;
                let lost = self.events.iter().filter(|Reverse(event)| {
                    Some(event.incarnation) == incarnation
                        && matches!(event.what, What::Saved { .. })
                });
                self.day.lost += lost.count() as u64;
                self.dies(node);
            }
        }
    }

    fn try_lease(&mut self, node: usize, token: u32, since: Millis, pause: Millis) {
        self.day.writes += 1;
        let me = self.nodes[node].incarnation.expect("only who lives acts");
        let (holder, until) = self.tokens[token as usize].lease;
        if holder == me || until <= self.now {
            self.tokens[token as usize].lease = (me, self.now + LEASE);
            self.day.reads += 2;
            self.later(node, 2 * READ, What::ReadAgain { token });
            return;
        }
        self.day.conflicts += 1;
        if self.now - since >= DEADLINE {
            self.day.failures += 1;
            self.happens(node, What::Ended { token, ends: None });
            return;
        }
        self.day.reads += 2;
        let next = (2 * pause).min(LOOK_AT_MOST);
        let what = What::Looked { token, since, pause: next };
        self.later(node, pause + 2 * READ, what);
    }

    fn ask(&mut self, node: usize, token: u32) {
        let stored = &mut self.tokens[token as usize];
        self.day.doubles += u64::from(stored.asked);
        stored.asked = true;
        *self.day.asked.last_mut().expect("a second has begun") += 1;
        self.day.writes += 1;
        let takes = 150 + self.random.below(300) as Millis;
        self.later(node, takes + WRITE, What::Saved { token, asked: self.now });
    }

    fn save(&mut self, node: usize, token: u32, asked: Millis) {
        let stored = &mut self.tokens[token as usize];
        let is_leased = stored.lease.1 > self.now;
        assert!(is_leased && Some(stored.lease.0) == self.nodes[node].incarnation, "the fence");
        self.day.unserved += u64::from(stored.ends <= self.now);
        // It may be due in the last second before its margin.
        let latest = stored.ends - KEPT_MARGIN.as_millis() as Millis + SECOND;
        self.day.late += u64::from(latest < asked);
        (stored.ends, stored.issued, stored.asked) = (asked + LIFE, Some(asked), false);
        self.day.saved += 1;
        // The state, read and written; and the lease.
        self.day.reads += 1;
        self.day.writes += 2;
        let ends = stored.ends;
        self.later(node, READ + 2 * WRITE, What::Released { token, ends });
    }

    /// A page is read: what is due is begun, and one renewal that has ended is concluded.
    fn page(&mut self, node: usize) {
        self.day.pages += 1;
        let it = &mut self.nodes[node];
        let from = it.page.expect("it is looking through the store");
        let until = (from + PAGE).min(self.tokens.len());
        for token in from..until {
            it.plan(u32::try_from(token).unwrap(), self.tokens[token], self.now);
        }
        let more = until < self.tokens.len();
        it.page = more.then_some(until);
        self.start_what_is_due(node);
        self.conclude_one(node);
        if more {
            self.later(node, READ_PAGE, What::Page);
            return;
        }
        while self.conclude_one(node) {}
        self.start_what_is_due(node);
    }

    fn conclude_one(&mut self, node: usize) -> bool {
        let it = &mut self.nodes[node];
        let ended = it.ended.pop_front();
        if let Some((token, ends)) = ended {
            it.conclude(token, ends, self.now);
        }
        ended.is_some()
    }
}

impl Day {
    fn refreshes(&self) -> u64 {
        self.asked.iter().sum()
    }

    fn mean(&self) -> f64 {
        self.refreshes() as f64 / self.asked.len() as f64
    }

    /// The busiest second, as a multiple of the mean.
    fn peak(&self) -> f64 {
        self.asked.iter().max().copied().unwrap_or(0) as f64 / self.mean()
    }

    fn each(&self, count: u64) -> f64 {
        count as f64 / self.refreshes() as f64
    }
}

/// Plays a day without losses and one with them, and says what they came to.
///
/// Each node levels its own load to 1.3 times the mean, and does not know of the others': the busiest
/// second of all may have as many times that as there are nodes.
///
/// Under `cargo xtask soak` it is a day of as many tokens as that says; else some hours.
#[track_caller]
fn play(nodes: usize, tokens: usize, busiest: f64) {
    let long = std::env::var_os("TOKENKEEP_FLEET_TOKENS");
    let hours = if long.is_some() { 24 } else { 3 };
    let tokens = long.map_or(tokens, |long| long.to_str().unwrap().parse().unwrap());
    // What a fleet of 100,000 needs, so that each node could carry all.
    let concurrency = CONCURRENCY * tokens.div_ceil(100_000);
    for losses in [false, true] {
        let fleet = Fleet { tokens, nodes, concurrency, hours, losses };
        let day = Simulation::new(fleet, 1).run();
        println!("figures: {fleet}: {day}");
        assert_eq!(day.unserved, 0, "tokens ended");
        assert_eq!(day.failures, 0, "renewals were given up");
        assert_eq!(day.deaths > 0, losses);
        assert!(day.doubles <= day.lost, "a request was sent again though nobody had died");
        // Each is renewed once in the second half of its life.
        let least = (hours * HOUR) as usize / LIFE as usize * tokens;
        assert!((least..2 * least).contains(&(day.saved as usize)), "{} renewals", day.saved);
        let peak = day.peak();
        assert!(peak <= busiest, "the busiest second has {peak:.2} times the mean");
        assert!(nodes > 1 || day.conflicts == 0 || losses, "a node is in its own way");
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, nodes, concurrency, hours, losses } = self;
        let losses = if *losses { "losses" } else { "no losses" };
        write!(f, "{tokens} tokens, {nodes} nodes of {concurrency}, {hours} h, {losses}")
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} deaths; {:.1} refreshes a second, in the busiest {:.2} times that; {} conflicts, \
             {:.4} a refresh; {:.1} reads, {:.1} writes and {:.4} pages a refresh, {:.2} found done; \
             {} doubles for {} lost answers; {} late, {} given up, {} unserved",
            self.deaths,
            self.mean(),
            self.peak(),
            self.conflicts,
            self.each(self.conflicts),
            self.each(self.reads),
            self.each(self.writes),
            self.each(self.pages),
            self.each(self.found),
            self.doubles,
            self.lost,
            self.late,
            self.failures,
            self.unserved,
        )
    }
}

#[test]
fn one_node_keeps_all_though_it_dies() {
    play(1, 100_000, 3.0);
}

#[test]
fn four_nodes_keep_all_though_they_die() {
    play(4, 100_000, 4.0 * 1.3);
}

#[test]
fn sixteen_nodes_keep_all_though_they_die() {
    play(16, 10_000, 16.0 * 1.3);
}
