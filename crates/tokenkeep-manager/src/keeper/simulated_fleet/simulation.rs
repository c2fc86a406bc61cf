//! The nodes, the store and the provider of a simulated fleet.

use std::{num::NonZero, time::Duration};

use tokenkeep_core::{Timestamp, TokenId};

use super::{
    super::{
        plan::{Plan, Seen},
        schedule::{Settings, simulated_day::Random},
    },
    Day, Fleet,
};
use crate::freshness::Freshness;

/// Milliseconds since the day began.
pub(super) type Millis = u32;

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
pub(super) const HOUR: Millis = 60 * MINUTE;
pub(super) const LIFE: Millis = HOUR;

/// As keepers and managers have them unless they are told otherwise.
const KEPT_MARGIN: Millis = 300 * SECOND;
const MARGIN: Duration = Duration::from_secs(60);
const LEASE: Millis = 10 * SECOND;
const SCAN_EVERY: Millis = 10 * MINUTE;
const PAGE: usize = 500;
const DEADLINE: Millis = 60 * SECOND;
const LOOK_FIRST: Millis = 10;
const LOOK_AT_MOST: Millis = 200;

/// What a server in the same network takes.
const READ: Millis = 1;
const WRITE: Millis = 2;
const READ_PAGE: Millis = 5;

#[derive(Clone, Copy)]
struct Token {
    ends: Millis,
    /// Nothing is known of a token that an SDK has left.
    issued: Option<NonZero<Millis>>,
    /// It is leased until then, if it is.
    leased: Millis,
    /// By which incarnation of a node.
    holder: u16,
    /// Whether the provider was asked with what is stored.
    asked: bool,
}

struct Node {
    /// Names a process: another one after each death. `None` while it is dead.
    incarnation: Option<u16>,
    plan: Plan,
    holder: String,
    under_way: usize,
    scan_began: Option<Millis>,
    /// When the pass before that began.
    scanned: Option<Millis>,
    /// Where the next page begins, while the store is looked through.
    page: Option<usize>,
    dies: Millis,
}

/// Something that happens at a node, with a token.
#[derive(Clone, Copy)]
struct Event {
    token: u32,
    /// Until when the token lasted when it was due.
    beyond: Millis,
    /// Since when it is waited for, when it was asked for, or until when it lasts.
    moment: Millis,
    /// If it is another one by then, the event is of a process that has died.
    incarnation: u16,
    node: u8,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// The token was read, and nothing else.
    Found,
    /// The token and its state were read, before the lease was taken; how long the next wait is.
    Looked(u8),
    /// The lease is asked for.
    Lease(u8),
    /// The token was read again, under the lease.
    ReadAgain,
    /// The request is on record and is sent.
    Asked,
    /// The answer is stored.
    Saved,
    /// The lease is given back; the token was renewed by this node, or found to be.
    Released { ours: bool },
    /// A page was read.
    Page,
}

/// Events by the millisecond they happen in: none is further ahead than the ring is long.
struct Ring(Vec<Vec<Event>>);

const RING: Millis = 1024;

pub(super) struct Simulation {
    fleet: Fleet,
    now: Millis,
    random: Random,
    tokens: Vec<Token>,
    nodes: Vec<Node>,
    /// Nodes that are dead, and when they are back.
    dead: Vec<(Millis, usize)>,
    /// When no node was alive.
    outages: Vec<(Millis, Millis)>,
    events: Ring,
    incarnations: u16,
    day: Day,
}

fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millis(1_764_000_000_000 + i64::from(at))
}

fn millis(at: Timestamp) -> Millis {
    u32::try_from(at.as_millis() - 1_764_000_000_000).unwrap()
}

fn id(token: u32) -> TokenId {
    TokenId::from_number(token.into())
}

impl Token {
    fn issued(self) -> Option<Millis> {
        self.issued.map(Into::into)
    }

    fn seen(self, ours: bool) -> Seen {
        Seen { issued_at: self.issued().map(timestamp), expires_at: timestamp(self.ends), ours }
    }
}

impl Node {
    fn dead() -> Self {
        Self {
            incarnation: None,
            plan: Plan::new(Settings::new(0)),
            holder: String::new(),
            under_way: 0,
            scan_began: None,
            scanned: None,
            page: None,
            dies: Millis::MAX,
        }
    }
}

impl Ring {
    fn new() -> Self {
        Self((0..RING).map(|_| Vec::new()).collect())
    }

    fn at(&mut self, at: Millis) -> &mut Vec<Event> {
        &mut self.0[(at % RING) as usize]
    }
}

impl Simulation {
    /// All tokens were issued at any moment of the last hour but for its first minutes, by others.
    /// The nodes are started within a minute.
    pub(super) fn new(fleet: Fleet, seed: u64) -> Self {
        let mut random = Random(seed);
        let least = u64::from(2 * KEPT_MARGIN);
        let mut token = || Token {
            ends: (least + random.below(u64::from(LIFE) - least)) as Millis,
            issued: None,
            asked: false,
            holder: 0,
            leased: 0,
        };
        let tokens = (0..fleet.tokens).map(|_| token()).collect();
        let dead = (0..fleet.nodes).map(|node| {
            let starts = if node == 0 { 0 } else { random.below(MINUTE.into()) as Millis };
            (starts, node)
        });
        Self {
            fleet,
            now: 0,
            dead: dead.collect(),
            random,
            tokens,
            nodes: (0..fleet.nodes).map(|_| Node::dead()).collect(),
            outages: Vec::new(),
            events: Ring::new(),
            incarnations: 0,
            day: Day::default(),
        }
    }

    pub(super) fn run(mut self) -> Day {
        for now in 0..self.fleet.hours * HOUR {
            self.now = now;
            if now % SECOND == 0 {
                self.day.asked.push(0);
                self.every_second();
            }
            while let Some(node) = self.nodes.iter().position(|node| node.dies <= now) {
                self.dies(node);
            }
            let mut events = std::mem::take(self.events.at(now));
            for event in events.drain(..) {
                if self.nodes[usize::from(event.node)].incarnation == Some(event.incarnation) {
                    self.happens(event);
                }
            }
            *self.events.at(now) = events;
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
                it.scanned = it.scan_began.replace(now);
                it.page = Some(0);
                self.read_page(node);
            }
            self.start_what_is_due(node);
        }
    }

    fn is_all_dead(&self) -> bool {
        self.nodes.iter().all(|node| node.incarnation.is_none())
    }

    fn rises(&mut self, node: usize) {
        if self.is_all_dead()
            && let Some((_, until)) = self.outages.last_mut()
        {
            *until = self.now;
        }
        self.incarnations += 1;
        let mut settings = Settings::new(Random(self.incarnations.into()).below(u64::MAX));
        settings.margin = Duration::from_millis(KEPT_MARGIN.into());
        let lives = HOUR + self.random.below(u64::from(2 * HOUR)) as Millis;
        self.nodes[node] = Node {
            incarnation: Some(self.incarnations),
            plan: Plan::new(settings),
            holder: format!("node-{}", self.incarnations),
            dies: if self.fleet.losses { self.now + lives } else { Millis::MAX },
            ..Node::dead()
        };
    }

    fn dies(&mut self, node: usize) {
        let incarnation = self.nodes[node].incarnation;
        let lost =
            self.events.0.iter().flatten().filter(|event| {
                Some(event.incarnation) == incarnation && event.what == What::Saved
            });
        self.day.lost += lost.count() as u64;
        self.day.deaths += 1;
        self.nodes[node] = Node::dead();
        let back = self.now + MINUTE + self.random.below(u64::from(3 * MINUTE)) as Millis;
        self.dead.push((back, node));
        if self.is_all_dead() {
            self.outages.push((self.now, Millis::MAX));
        }
    }

    fn later(&mut self, after: Millis, event: Event) {
        assert!((1..RING).contains(&after));
        self.events.at(self.now + after).push(event);
    }

    fn then(&mut self, after: Millis, what: What, event: Event) {
        self.later(after, Event { what, ..event });
    }

    fn event(&self, node: usize, what: What) -> Event {
        let incarnation = self.nodes[node].incarnation.expect("only who lives plans");
        let node = u8::try_from(node).unwrap();
        Event { token: 0, beyond: 0, moment: 0, incarnation, node, what }
    }

    fn read_page(&mut self, node: usize) {
        self.day.pages += 1;
        self.nodes[node].plan.begin_page();
        let event = self.event(node, What::Page);
        self.later(READ_PAGE, event);
    }

    /// As `Task::start_what_is_due`, and where `renew` begins.
    fn start_what_is_due(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let room = self.fleet.concurrency.saturating_sub(it.under_way);
        for id in it.plan.due(timestamp(self.now), room) {
            let it = &mut self.nodes[node];
            it.under_way += 1;
            self.day.reads += 1;
            let beyond = millis(it.plan.ends(&id).expect("it is kept"));
            let token = id.number().and_then(|number| u32::try_from(number).ok()).unwrap();
            let event = self.event(node, What::Found);
            self.later(READ, Event { token, beyond, moment: self.now, ..event });
        }
    }

    /// As `Held::usable`: the stored token lasts for longer than the one that was due, and need not be
    /// renewed yet.
    fn is_usable(&self, event: Event) -> bool {
        let stored = self.tokens[event.token as usize];
        event.beyond < stored.ends && {
            let holder = &self.nodes[usize::from(event.node)].holder;
            let freshness = Freshness::new(MARGIN, &id(event.token), holder);
            let issued = stored.issued().map(timestamp);
            timestamp(self.now) < freshness.renew_at(timestamp(stored.ends), issued)
        }
    }

    fn happens(&mut self, event: Event) {
        let stored = self.tokens.get(event.token as usize).copied();
        let stored = stored.expect("a token of this store");
        match event.what {
            // As `renew`.
            What::Found if event.beyond.max(self.now + KEPT_MARGIN) < stored.ends => {
                self.day.found += 1;
                let seen = Seen { issued_at: None, ..stored.seen(false) };
                self.conclude(event, Some(seen));
            }
            What::Found => {
                self.day.reads += 2;
                self.then(2 * READ, What::Looked(0), event);
            }
            What::Looked(_) if self.is_usable(event) => {
                self.day.found += 1;
                self.conclude(event, Some(stored.seen(false)));
            }
            What::Looked(waits) => self.then(WRITE, What::Lease(waits), event),
            What::Lease(waits) => self.try_lease(event, waits),
            What::ReadAgain if self.is_usable(event) => {
                self.day.found += 1;
                self.day.writes += 1;
                self.then(WRITE, What::Released { ours: false }, event);
            }
            What::ReadAgain => {
                self.day.writes += 1;
                self.then(WRITE, What::Asked, event);
            }
            What::Asked => self.ask(event),
            What::Saved => self.save(event),
            What::Released { ours } => {
                self.tokens[event.token as usize].leased = 0;
                self.conclude(event, Some(stored.seen(ours)));
            }
            What::Page => self.take_page(usize::from(event.node)),
        }
    }

    fn try_lease(&mut self, event: Event, waits: u8) {
        self.day.writes += 1;
        let stored = &mut self.tokens[event.token as usize];
        if stored.holder == event.incarnation || stored.leased <= self.now {
            (stored.holder, stored.leased) = (event.incarnation, self.now + LEASE);
            self.day.reads += 2;
            return self.then(2 * READ, What::ReadAgain, event);
        }
        self.day.conflicts += 1;
        if self.now - event.moment >= DEADLINE {
            self.day.failures += 1;
            return self.conclude(event, None);
        }
        self.day.reads += 2;
        let pause = (LOOK_FIRST << waits.min(8)).min(LOOK_AT_MOST);
        self.then(pause + 2 * READ, What::Looked(waits.saturating_add(1)), event);
    }

    fn ask(&mut self, event: Event) {
        let stored = &mut self.tokens[event.token as usize];
        self.day.doubles += u64::from(stored.asked);
        stored.asked = true;
        *self.day.asked.last_mut().expect("a second has begun") += 1;
        self.day.writes += 1;
        let takes = 150 + self.random.below(300) as Millis;
        self.then(takes + WRITE, What::Saved, Event { moment: self.now, ..event });
    }

    fn save(&mut self, event: Event) {
        let (stored, asked) = (&mut self.tokens[event.token as usize], event.moment);
        assert!(stored.leased > self.now && stored.holder == event.incarnation, "the fence");
        self.day.unserved += u64::from(stored.ends <= self.now);
        let latest = stored.ends - KEPT_MARGIN;
        if latest < asked {
            self.day.late += 1;
            let outage = self.outages.iter().rev().find(|(from, _)| *from <= latest);
            self.day.orphaned += u64::from(outage.is_some_and(|(_, until)| latest <= *until));
        }
        stored.issued = NonZero::new(asked);
        (stored.ends, stored.asked) = (asked + LIFE, false);
        self.day.saved += 1;
        // The state, read and written; and the lease.
        self.day.reads += 1;
        self.day.writes += 2;
        self.then(READ + 2 * WRITE, What::Released { ours: true }, event);
    }

    /// As `Task::conclude`.
    fn conclude(&mut self, event: Event, seen: Option<Seen>) {
        let (node, token) = (usize::from(event.node), id(event.token));
        let it = &mut self.nodes[node];
        it.under_way -= 1;
        match seen {
            Some(seen) => it.plan.conclude(&token, seen, timestamp(self.now)),
            None => it.plan.fail(&token, None, timestamp(self.now)),
        }
        self.start_what_is_due(node);
    }

    /// As `Task::take_page`.
    fn take_page(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let from = it.page.expect("it is looking through the store");
        let until = (from + PAGE).min(self.tokens.len());
        // What was seen by the last pass and is as it was changes nothing, and need not be compared.
        let since = it.scanned.map(|scanned| scanned.saturating_sub(SECOND));
        for (token, stored) in (from..until).zip(&self.tokens[from..until]) {
            if since.is_none_or(|since| stored.issued().is_some_and(|issued| since <= issued)) {
                let token = id(u32::try_from(token).unwrap());
                it.plan.see_on_page(&token, stored.seen(false), timestamp(self.now));
            }
        }
        it.plan.end_page();
        it.page = (until < self.tokens.len()).then_some(until);
        if it.page.is_some() {
            self.read_page(node);
        }
        self.start_what_is_due(node);
    }
}
