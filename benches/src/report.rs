//! What was measured: a table, the targets, and the JSON for other programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{CACHED, MIGRATED, STORED, WAITERS, timer::Medians};

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) store: &'static str,
    /// How many tokens the store holds, or how many wait, or are cached.
    pub(crate) count: usize,
    unit: Unit,
    medians: Medians,
    peer: Option<(String, f64)>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes that were asked for.
    Bytes,
    /// Operations of a store.
    Operations,
    /// How many a second; more is better, so that ours is part of the limit.
    Rate,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    pairs: Vec<Pair>,
}

/// Tokens that were moved from one store to another.
#[derive(Debug)]
struct Pair {
    from: &'static str,
    to: &'static str,
    count: usize,
    /// How many a second.
    rate: f64,
}

impl Row {
    /// What there is no limit of has none.
    fn limit(&self) -> String {
        let limit = self.medians.limit;
        if limit > 0.0 { self.unit.show(limit) } else { "-".to_owned() }
    }
}

impl Report {
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        store: &'static str,
        count: usize,
        medians: Medians,
    ) {
        self.add_in(Unit::Time, name, store, count, medians);
    }

    /// The same for figures of another unit.
    pub(crate) fn add_in(
        &mut self,
        unit: Unit,
        name: &'static str,
        store: &'static str,
        count: usize,
        medians: Medians,
    ) {
        self.rows.push(Row { name, store, count, unit, medians, peer: None });
    }

    /// Puts a peer's figure beside ours, where we have one.
    pub(crate) fn add_peer(
        &mut self,
        name: &str,
        store: &str,
        count: usize,
        peer: &str,
        figure: f64,
    ) {
        if let Some(row) = self
            .rows
            .iter_mut()
            .find(|row| row.name == name && row.store == store && row.count == count)
        {
            row.peer = Some((peer.to_owned(), figure));
        }
    }

    /// How many tokens a second went from one store to another.
    pub(crate) fn add_pair(
        &mut self,
        from: &'static str,
        to: &'static str,
        count: usize,
        rate: f64,
    ) {
        self.pairs.push(Pair { from, to, count, rate });
    }

    /// Tokens a second from each store (a line) to each other (a column).
    pub(crate) fn matrix(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for pair in &self.pairs {
            if !names.contains(&pair.from) {
                names.push(pair.from);
            }
        }
        let mut text = String::new();
        if names.is_empty() {
            return text;
        }
        text.push_str(
            "\ntokens a second moved from a store (line) to another (column), verified\n",
        );
        push(&mut text, format_args!("{:<10}", ""));
        for name in &names {
            push(&mut text, format_args!("{name:>10}"));
        }
        for from in &names {
            push(&mut text, format_args!("\n{from:<10}"));
            for to in &names {
                let pair = self.pairs.iter().find(|pair| pair.from == *from && pair.to == *to);
                let rate = pair.map_or_else(|| "-".to_owned(), |pair| format!("{:.0}", pair.rate));
                push(&mut text, format_args!("{rate:>10}"));
            }
        }
        text.push('\n');
        text
    }

    fn ours(&self, name: &str, store: &str, count: usize) -> Option<Medians> {
        let row = self
            .rows
            .iter()
            .find(|row| row.name == name && row.store == store && row.count == count)?;
        Some(row.medians)
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "\n{:<16}{:<8}{:>8}{:>12}{:>12}{:>9}{:>12}{:>9}\n",
            "operation", "store", "count", "ours", "limit", "x limit", "peer", "x ours"
        );
        for row in &self.rows {
            let (peer, of_ours) = row.peer.as_ref().map_or_else(
                || ("-".to_owned(), "-".to_owned()),
                |(_, figure)| (row.unit.show(*figure), times(*figure, row.medians.ours, 1)),
            );
            push(
                &mut text,
                format_args!(
                    "{:<16}{:<8}{:>8}{:>12}{:>12}{:>9}{:>12}{:>9}\n",
                    row.name,
                    row.store,
                    row.count,
                    row.unit.show(row.medians.ours),
                    row.limit(),
                    row.unit.times(row.medians),
                    peer,
                    of_ours
                ),
            );
        }
        let mut peers: BTreeMap<(&str, &String), BTreeSet<&str>> = BTreeMap::new();
        for row in &self.rows {
            if let Some((peer, _)) = &row.peer {
                peers.entry((row.store, peer)).or_default().insert(row.name);
            }
        }
        for ((store, peer), rows) in peers {
            let rows: Vec<_> = rows.into_iter().collect();
            push(&mut text, format_args!("peer of {store} {}: {peer}\n", rows.join(", ")));
        }
        text
    }

    /// What the peer's figure is of ours, at the worst size.
    fn of_peer(&self, name: &str, store: &str) -> Option<f64> {
        let rows = self.rows.iter().filter(|row| row.name == name && row.store == store);
        rows.filter_map(|row| Some(row.peer.as_ref()?.1 / row.medians.ours)).reduce(f64::min)
    }

    /// What we set out to reach, and whether this run did. A noisy machine misses a target now
    /// and then, so a miss is said and is not a failure.
    pub(crate) fn targets(&self) -> String {
        let ratio = |name, store, tokens| {
            self.ours(name, store, tokens).map(|medians| medians.ours / medians.limit)
        };
        let growth = |name, store| {
            let few = self.ours(name, store, 1_000)?;
            Some(self.ours(name, store, 100_000)?.ours / few.ours)
        };
        let micros = |name, store, tokens| {
            self.ours(name, store, tokens).map(|medians| medians.ours / 1_000.0)
        };
        let saves = [10, 1_000, 10_000, 100_000]
            .into_iter()
            .filter_map(|tokens| ratio("save", "sqlite", tokens))
            .reduce(f64::max);
        let served = ratio("waiter_served", "memory", WAITERS);
        let waiting = ratio("waiter_memory", "memory", WAITERS);
        let gone = self.ours("user_gone", "list", CACHED).map(|bytes| bytes.ours);
        let each_store = |name| {
            let ratios = ["list", "sqlite", "file"].into_iter();
            ratios.filter_map(|store| ratio(name, store, STORED)).reduce(f64::max)
        };
        let targets = [
            ("fresh token, times its limit", ratio("fresh_token", "memory", 1), 1.5),
            ("fresh token on two threads, times its limit", ratio("fresh_same", "memory", 2), 1.5),
            (
                "an ask of 1,000 a second with its looks, times a fresh token's limit",
                each_store("ask_1000_hz"),
                1.5,
            ),
            ("waiters of one flight served, times the limit", served, 1.5),
            ("bytes a waiter, times the limit", waiting, 2.0),
            ("bytes a user that is gone", gone, 64.0),
            (
                "sqlite find by user at 100,000, times its limit",
                { ratio("find_by_user", "sqlite", 100_000) },
                1.5,
            ),
            ("sqlite save, times its limit, the worst size", saves, 1.3),
            ("sqlite find by user, 100,000 against 1,000", growth("find_by_user", "sqlite"), 1.3),
            ("sqlite find by id, 100,000 against 1,000", growth("find_by_id", "sqlite"), 1.3),
            ("file find by user, 100,000 against 1,000", growth("find_by_user", "file"), 1.3),
            ("file find by user at 10,000, µs", micros("find_by_user", "file", 10_000), 5.0),
            ("sqlite to sqlite, µs a token moved", micros("migrate", "sqlite", MIGRATED), 20.0),
        ];
        let mut text = String::from("\n");
        let mut verdict = |name: &str, measured: f64, is_met: bool, bound: &str| {
            let verdict = if is_met { "met" } else { "MISSED" };
            push(&mut text, format_args!("{verdict:<8}{name}: {measured:.2} ({bound})\n"));
        };
        for (name, measured, at_most) in targets {
            if let Some(measured) = measured {
                verdict(name, measured, measured <= at_most, &format!("at most {at_most}"));
            }
        }
        for store in ["mysql", "postgres", "redis"] {
            for (row, what) in [
                ("find_by_user", "find by user, times the bare driver"),
                ("find_looked_up", "find by user, times the bare driver that looks up and reads"),
                ("save", "save, times the bare driver's upsert"),
                ("save_decided", "save, times the bare driver that reads, decides and writes"),
            ] {
                let ratios = self.rows.iter().filter(|it| it.name == row && it.store == store);
                let worst = ratios.map(|it| it.medians.ours / it.medians.limit).reduce(f64::max);
                if let Some(worst) = worst {
                    let name = format!("{store} {what}, the worst size");
                    verdict(&name, worst, worst <= 1.3, "at most 1.3");
                }
            }
        }
        for (row, what, at_least) in
            [("find_by_user", "a find by user", 5.0), ("save", "a save", 2.0)]
        {
            if let Some(times) = self.of_peer(row, "mysql") {
                let name = format!("{what} of the SDK's DBStore, times mysql's, the worst size");
                verdict(&name, times, times >= at_least, &format!("at least {at_least}"));
            }
        }
        text
    }

    /// The array of `{name, store, count, ours_ns, limit_ns, peer, peer_ns}`, with `_bytes` or
    /// `_operations` in the place of `_ns` for what is not a time.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let round = |figure: f64| (figure * 10.0).round() / 10.0;
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let unit = row.unit.name();
                json!({
                    "name": row.name,
                    "store": row.store,
                    "count": row.count,
                    (format!("ours_{unit}")): round(row.medians.ours),
                    (format!("limit_{unit}")): round(row.medians.limit),
                    "peer": row.peer.as_ref().map(|(peer, _)| peer),
                    (format!("peer_{unit}")): row.peer.as_ref().map(|(_, figure)| round(*figure)),
                })
            })
            .collect();
        rows.extend(self.pairs.iter().map(|pair| {
            json!({
                "name": "migrate_pair",
                "from": pair.from,
                "to": pair.to,
                "count": pair.count,
                "ours_tokens_per_second": round(pair.rate),
            })
        }));
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        #[expect(clippy::disallowed_methods, reason = "a report, nothing that must survive")]
        fs::write(path, serde_json::to_string_pretty(&rows)? + "\n")
            .with_context(|| format!("could not write {}", path.display()))
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("writing to a string does not fail");
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Time => "ns",
            Self::Bytes => "bytes",
            Self::Operations => "operations",
            Self::Rate => "per_second",
        }
    }

    /// How many times the limit's cost ours is.
    fn times(self, medians: Medians) -> String {
        match self {
            Self::Rate if medians.limit > 0.0 => times(medians.limit, medians.ours, 2),
            Self::Time | Self::Bytes | Self::Operations | Self::Rate => {
                times(medians.ours, medians.limit, 2)
            }
        }
    }

    fn show(self, figure: f64) -> String {
        match self {
            Self::Time => time(figure),
            Self::Bytes => format!("{figure:.0} B"),
            Self::Operations => format!("{figure:.0}"),
            Self::Rate => format!("{figure:.0}/s"),
        }
    }
}

fn times(figure: f64, of: f64, decimals: usize) -> String {
    if of > 0.0 { format!("{:.decimals$}", figure / of) } else { "-".to_owned() }
}

fn time(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.1} ns"),
        ..1e6 => format!("{:.2} µs", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}
