//! Files full of rows that have something in common.

use std::fmt::Write as _;

use tokenkeep::{ListStore, migrate::Migration};

use crate::{check_sum, entries, file, move_all};

/// A generator that is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % limit
    }

    /// One of few values, or none.
    fn one_of(&mut self, values: u64, text: &str) -> String {
        match self.below(values + 1) {
            0 => String::new(),
            number => format!("{text}{number}"),
        }
    }
}

fn rows(dice: &mut Dice, count: u64) -> String {
    let mut text = String::new();
    for _ in 0..count {
        let id = 1 + dice.below(count);
        let user = dice.one_of(6, "user");
        let client = dice.one_of(2, "test-client-");
        let [refresh, access, grant] =
            ["refresh", "access", "grant"].map(|kind| dice.one_of(9, &format!("test-{kind}-")));
        let expiry = dice.one_of(4, "176400000000");
        let domain = dice.one_of(2, "https://www.zohoapis.");
        writeln!(text, "{id},{user},{client},,{refresh},{access},{grant},{expiry},,{domain}")
            .unwrap();
    }
    text
}

/// Whatever rows the source has, and wherever a run stops: each is counted once, what is written is
/// what is there, and running again changes nothing more.
#[tokio::test]
async fn any_source_comes_to_rest() {
    let seeds = if std::env::var_os("TOKENKEEP_SOAK").is_some() { 500 } else { 20 };
    for seed in 0..seeds {
        let mut dice = Dice(seed);
        let directory = tempfile::tempdir().unwrap();
        let count = 2 + dice.below(25);
        let from = file(directory.path(), &rows(&mut dice, count));
        let to = ListStore::new();
        let first = move_all(&from, &to).await;
        let stored = entries(&to).await;
        assert_eq!(first.moved, stored.len() as u64, "seed {seed}");
        let second = move_all(&from, &to).await;
        assert_eq!((second.moved, second.updated), (0, 0), "seed {seed}: {second:?}");
        assert_eq!(second.merged, first.merged, "seed {seed}");
        assert_eq!(entries(&to).await, stored, "seed {seed}");

        // One that stops after some pages, and is run again.
        let stopped = ListStore::new();
        let stop = tokio::sync::Notify::new();
        let pages = std::sync::atomic::AtomicU64::new(dice.below(12));
        let migration = Migration::new(&from, &stopped).page_size(2).on_progress(|_| {
            if pages.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                stop.notify_one();
            }
        });
        tokio::select! {
            biased;
            () = stop.notified() => {}
            report = migration.run() => check_sum(&report.unwrap()),
        }
        drop(migration);
        move_all(&from, &stopped).await;
        let without_ids = |all: Vec<tokenkeep::Entry>| {
            let mut all: Vec<_> = all
                .into_iter()
                .map(|entry| {
                    let token = entry.token.without_id();
                    token.expose_columns().map(|column| column.unwrap_or_default().into_owned())
                })
                .collect();
            all.sort();
            all
        };
        assert_eq!(without_ids(entries(&stopped).await), without_ids(stored), "seed {seed}");
    }
}
