//! A day of a fleet: several keepers of the same tokens, on a virtual clock, some of which die.
//!
//! The plan, the schedule in it and the freshness are the real ones. Around them stands what a keeper
//! and a refresh do, step by step, with what the store and the provider take for it: what is found
//! renewed is taken note of, a lease that another one holds is waited for, a node that dies leaves its
//! leases and what it asked for, and comes back with nothing but the store to look through. A lease is
//! not renewed in here, for no exchange takes as long as a third of one; and the clocks agree, so all
//! nodes begin what is due in a second at the same moment: the worst for leases.
//!
//! Groups of nodes, each with a store of its own, have nothing in common but the hours of the day: they
//! are simulated one after the other, and what they ask for in a second is added up.

mod simulation;

use std::fmt;

use self::simulation::{HOUR, LIFE, Millis, Simulation};

/// Renewals at a time that a keeper needs for 100,000 tokens, which is its default.
const CONCURRENCY: usize = 16;

/// Tokens that more than four nodes of one store keep, at most.
const MOST: usize = 1_000_000;

/// A fleet to be simulated.
#[derive(Clone, Copy, Debug)]
struct Fleet {
    tokens: usize,
    nodes: usize,
    /// Stores, each with its part of the tokens and of the nodes.
    stores: usize,
    /// Renewals at a time, each node.
    concurrency: usize,
    hours: Millis,
    /// Whether each node dies every one to three hours, and is back after one to four minutes.
    losses: bool,
}

/// What a day came to.
#[derive(Debug, Default)]
struct Day {
    /// Requests to the provider in each second.
    asked: Vec<u32>,
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
    /// Those of them whose margin began while no node was alive.
    orphaned: u64,
    /// Renewed after their end, or not at all.
    unserved: u64,
}

impl Fleet {
    fn day(self) -> Day {
        let store = Self {
            tokens: self.tokens / self.stores,
            nodes: self.nodes / self.stores,
            stores: 1,
            ..self
        };
        let stores = 1..=self.stores as u64;
        let days = stores.map(|seed| Simulation::new(store, seed).run());
        days.reduce(Day::and).expect("there is a store")
    }
}

impl Day {
    /// Both, on the same day.
    fn and(self, other: Self) -> Self {
        let asked = self.asked.iter().zip(&other.asked).map(|(one, two)| one + two);
        Self {
            asked: asked.collect(),
            saved: self.saved + other.saved,
            found: self.found + other.found,
            conflicts: self.conflicts + other.conflicts,
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
            pages: self.pages + other.pages,
            deaths: self.deaths + other.deaths,
            lost: self.lost + other.lost,
            doubles: self.doubles + other.doubles,
            failures: self.failures + other.failures,
            late: self.late + other.late,
            orphaned: self.orphaned + other.orphaned,
            unserved: self.unserved + other.unserved,
        }
    }

    fn refreshes(&self) -> u64 {
        self.asked.iter().copied().map(u64::from).sum()
    }

    fn mean(&self) -> f64 {
        self.refreshes() as f64 / self.asked.len() as f64
    }

    /// The busiest second of `part`, as a multiple of the mean of the day.
    fn peak(&self, part: std::ops::RangeFrom<usize>) -> f64 {
        let part = self.asked.get(part).unwrap_or_default();
        f64::from(part.iter().max().copied().unwrap_or(0)) / self.mean()
    }

    fn each(&self, count: u64) -> f64 {
        count as f64 / self.refreshes() as f64
    }
}

/// Plays a day, and says what it came to.
///
/// Under `cargo xtask soak` it is a day of as many tokens as that says; else some hours.
#[track_caller]
fn play(mut fleet: Fleet, busiest: f64) -> Day {
    if let Some(tokens) = std::env::var_os("TOKENKEEP_FLEET_TOKENS") {
        let tokens = tokens.to_str().unwrap().parse().unwrap();
        // Sixteen plans of more than a million tokens are more memory than a machine has for a test.
        fleet.tokens = if fleet.nodes / fleet.stores > 4 { MOST.min(tokens) } else { tokens };
        fleet.hours = 24;
    }
    // What a fleet of 100,000 needs, so that each node could carry all of its store.
    fleet.concurrency = CONCURRENCY * (fleet.tokens / fleet.stores).div_ceil(100_000);
    let day = fleet.day();
    println!("figures: {fleet}: {day}");
    assert_eq!(day.unserved, 0, "tokens ended");
    assert_eq!(day.failures, 0, "renewals were given up");
    assert_eq!(day.deaths > 0, fleet.losses);
    assert!(day.doubles <= day.lost, "a request was sent again though nobody had died");
    // Each is renewed once in the second half of its life.
    let least = (fleet.hours * HOUR) as usize / LIFE as usize * fleet.tokens;
    assert!((least..2 * least).contains(&(day.saved as usize)), "{} renewals", day.saved);
    let peak = day.peak(0..);
    assert!(peak <= busiest, "the busiest second has {peak:.2} times the mean");
    day
}

const ONE: Fleet =
    Fleet { tokens: 100_000, nodes: 1, stores: 1, concurrency: 0, hours: 3, losses: false };

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, nodes, stores, concurrency, hours, losses } = self;
        let losses = if *losses { "losses" } else { "no losses" };
        write!(
            f,
            "{tokens} tokens, {stores} stores, {nodes} nodes of {concurrency}, {hours} h, {losses}"
        )
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} deaths; {:.1} refreshes a second, in the busiest {:.2} times that, after two hours \
             {:.2}; {} conflicts, {:.4} a refresh; {:.2} reads, {:.2} writes and {:.4} pages a \
             refresh, {:.2} found done; {} doubles for {} lost answers; {} late, {} of them since \
             no node was alive, {} given up, {} unserved",
            self.deaths,
            self.mean(),
            self.peak(0..),
            self.peak(7200..),
            self.conflicts,
            self.each(self.conflicts),
            self.each(self.reads),
            self.each(self.writes),
            self.each(self.pages),
            self.each(self.found),
            self.doubles,
            self.lost,
            self.late,
            self.orphaned,
            self.failures,
            self.unserved,
        )
    }
}

#[test]
fn one_node_keeps_all() {
    let day = play(ONE, 1.3);
    assert_eq!((day.conflicts, day.found, day.late), (0, 0, 0), "a node is in its own way");
}

#[test]
fn one_node_keeps_all_though_it_dies() {
    let day = play(Fleet { losses: true, ..ONE }, 2.2);
    // While it is dead some margins begin; and then it follows no faster than it may.
    assert!(day.late <= 4 * day.orphaned, "{} late, {} orphaned", day.late, day.orphaned);
}

#[test]
fn four_nodes_keep_all() {
    let day = play(Fleet { nodes: 4, ..ONE }, 2.0);
    assert_eq!(day.late, 0);
    // Most are those of the first hour.
    assert!(day.each(day.conflicts) <= 0.1, "{} conflicts", day.conflicts);
    // Three others look, unless they have seen it on a page.
    assert!(day.each(day.reads) <= 9.0, "{} reads", day.reads);
}

#[test]
fn four_nodes_keep_all_though_they_die() {
    let day = play(Fleet { nodes: 4, losses: true, ..ONE }, 2.2);
    assert_eq!(day.late, 0);
}

#[test]
fn sixteen_nodes_keep_all() {
    let day = play(Fleet { nodes: 16, tokens: 10_000, ..ONE }, 4.5);
    assert_eq!(day.late, 0);
}

#[test]
fn sixteen_nodes_keep_all_though_they_die() {
    let day = play(Fleet { nodes: 16, tokens: 10_000, losses: true, ..ONE }, 4.5);
    assert_eq!(day.late, 0);
}

#[test]
fn sixteen_nodes_of_four_stores_keep_all_though_they_die() {
    let fleet = Fleet { nodes: 16, stores: 4, tokens: 40_000, losses: true, ..ONE };
    assert_eq!(play(fleet, 2.6).late, 0);
}
