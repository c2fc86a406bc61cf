//! What was measured: a table, the targets, and the JSON for other programs.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::json;

use crate::timer::Medians;

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) store: &'static str,
    pub(crate) tokens: usize,
    medians: Medians,
    peer: Option<(String, f64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        store: &'static str,
        tokens: usize,
        medians: Medians,
    ) {
        self.0.push(Row { name, store, tokens, medians, peer: None });
    }

    /// Puts a peer's figure beside ours, where we have one.
    pub(crate) fn add_peer(&mut self, name: &str, store: &str, tokens: usize, peer: &str, ns: f64) {
        if let Some(row) = self
            .0
            .iter_mut()
            .find(|row| row.name == name && row.store == store && row.tokens == tokens)
        {
            row.peer = Some((peer.to_owned(), ns));
        }
    }

    fn ours(&self, name: &str, store: &str, tokens: usize) -> Option<Medians> {
        let row = self
            .0
            .iter()
            .find(|row| row.name == name && row.store == store && row.tokens == tokens)?;
        Some(row.medians)
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "\n{:<14}{:<8}{:>8}{:>12}{:>12}{:>9}{:>12}{:>9}\n",
            "operation", "store", "tokens", "ours", "limit", "x limit", "peer", "x ours"
        );
        for row in &self.0 {
            let (peer, times) = row.peer.as_ref().map_or_else(
                || ("-".to_owned(), "-".to_owned()),
                |(_, ns)| (time(*ns), format!("{:.1}", ns / row.medians.ours)),
            );
            push(
                &mut text,
                format_args!(
                    "{:<14}{:<8}{:>8}{:>12}{:>12}{:>9.2}{:>12}{:>9}\n",
                    row.name,
                    row.store,
                    row.tokens,
                    time(row.medians.ours),
                    time(row.medians.limit),
                    row.medians.ours / row.medians.limit,
                    peer,
                    times
                ),
            );
        }
        let mut peers: Vec<_> =
            self.0.iter().filter_map(|row| Some((row.store, &row.peer.as_ref()?.0))).collect();
        peers.sort_unstable();
        peers.dedup();
        for (store, peer) in peers {
            push(&mut text, format_args!("peer of {store}: {peer}\n"));
        }
        text
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
        let targets = [
            ("fresh token, times its limit", ratio("fresh_token", "memory", 1), 1.5),
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
        ];
        let mut text = String::from("\n");
        for (name, measured, at_most) in targets {
            if let Some(measured) = measured {
                let verdict = if measured <= at_most { "met" } else { "MISSED" };
                push(
                    &mut text,
                    format_args!("{verdict:<8}{name}: {measured:.2} (at most {at_most})\n"),
                );
            }
        }
        text
    }

    /// The array of `{name, store, tokens, ours_ns, limit_ns, peer, peer_ns}`.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let round = |ns: f64| (ns * 10.0).round() / 10.0;
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "store": row.store,
                    "tokens": row.tokens,
                    "ours_ns": round(row.medians.ours),
                    "limit_ns": round(row.medians.limit),
                    "peer": row.peer.as_ref().map(|(peer, _)| peer),
                    "peer_ns": row.peer.as_ref().map(|(_, ns)| round(*ns)),
                })
            })
            .collect();
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

fn time(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.1} ns"),
        ..1e6 => format!("{:.2} µs", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}
