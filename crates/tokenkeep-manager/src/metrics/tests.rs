use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use ::metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString,
    with_local_recorder,
};
use tokenkeep_core::{StoreError, StoreErrorKind, Timestamp, TokenId};

use super::*;
use crate::{Event, ManagerError, ManagerErrorKind, RecoveredFrom, RefreshReason, event::Events};

/// Remembers what it is told: the names by kind, and the values by name and labels.
#[derive(Default)]
struct Seen {
    described: Mutex<BTreeSet<(String, &'static str)>>,
    counted: Mutex<BTreeSet<(String, &'static str)>>,
    values: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl Seen {
    fn describe(&self, key: &KeyName, kind: &'static str, text: &SharedString) {
        assert!(!text.is_empty());
        assert!(self.described.lock().unwrap().insert((key.as_str().to_owned(), kind)), "{key:?}");
    }

    fn value(&self, key: &Key, kind: &'static str) -> Arc<AtomicU64> {
        self.counted.lock().unwrap().insert((key.name().to_owned(), kind));
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.values.lock().unwrap().entry(name).or_default())
    }

    /// The value that is an integer of a counter, and the bits of a number of the others.
    fn values(&self) -> Vec<(String, u64)> {
        let values = self.values.lock().unwrap();
        values.iter().map(|(name, value)| (name.clone(), value.load(SeqCst))).collect()
    }
}

/// The last one recorded.
struct Last(Arc<AtomicU64>);

impl HistogramFn for Last {
    fn record(&self, value: f64) {
        self.0.store(value.to_bits(), SeqCst);
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        assert_eq!(unit, Some(Unit::Count));
        self.describe(&key, "counter", &text);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        assert_eq!(unit, Some(Unit::Count));
        self.describe(&key, "gauge", &text);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        assert_eq!(unit, Some(Unit::Seconds));
        self.describe(&key, "histogram", &text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key, "counter"))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key, "gauge"))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Last(self.value(key, "histogram"))))
    }
}

/// One of each event there is.
fn kinds() -> Vec<EventKind> {
    use RefreshReason::{Ahead, Asked, Expired, Kept, Rejected};
    let took = Duration::from_millis(250);
    let error = ManagerError::new(ManagerErrorKind::Network, "a failure of the test");
    let unsaved = StoreError::new(StoreErrorKind::Full, "a failure of the test");
    let mut kinds = vec![
        EventKind::Adopted,
        EventKind::NeedsLogin,
        EventKind::LoggedIn,
        EventKind::Revoked,
        EventKind::unsaved(&unsaved),
        EventKind::LeaseLost { generation: 3 },
    ];
    for reason in [Expired, Ahead, Rejected, Asked, Kept] {
        kinds.push(EventKind::Refreshed { reason, rotated: false, took });
        kinds.push(EventKind::RefreshFailed { reason, error: error.clone() });
    }
    for from in [RecoveredFrom::Memory, RecoveredFrom::Spool, RecoveredFrom::Replay] {
        kinds.push(EventKind::Recovered { from });
    }
    kinds
}

/// Everything that can be counted, once; and the gauges as they are at the end.
fn everything() {
    let events = Events::new(Vec::new());
    for kind in kinds() {
        let token_id = TokenId::new("7").unwrap();
        events.emit(&Event { token_id, at: Timestamp::from_millis(0), kind });
    }
    for outcome in [Request::Issued, Request::Refused, Request::Lost] {
        requested(outcome);
    }
    for outcome in [Saved::Done, Saved::Superseded, Saved::Gone, Saved::Failed] {
        saved(outcome);
    }
    for by in [Throttle::Provider, Throttle::Budget] {
        throttled(by);
    }
    save_retried();
    rejected();
    kept_late();
    waited_for_lease(Duration::from_millis(500));
    let _unsaved = [Share::of_unsaved(), Share::of_unsaved()];
    let (mut tokens, mut due) = (Share::of_keeper_tokens(), Share::of_keeper_due());
    tokens.set(5);
    due.set(5);
    tokens.set(2);
}

fn seen() -> Seen {
    let seen = Seen::default();
    with_local_recorder(&seen, || {
        describe();
        everything();
    });
    seen
}

/// The rows of the tables in the module's documentation, by cell.
fn documented() -> Vec<Vec<&'static str>> {
    let rows = include_str!("../metrics.rs").lines().filter_map(|line| line.strip_prefix("//! |"));
    rows.map(|row| row.trim_end_matches('|').split('|').map(str::trim).collect()).collect()
}

fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_names_that_are_documented_are_those_that_are_counted_and_described() {
    let seen = seen();
    let documented: BTreeSet<_> = documented()
        .iter()
        .filter_map(|row| match row[..] {
            [name, kind, _, _] => Some((name.strip_prefix("`tokenkeep_")?, kind)),
            _ => None,
        })
        .map(|(name, kind)| (format!("tokenkeep_{}", name.trim_end_matches('`')), kind))
        .collect();
    assert_eq!(documented.len(), 16);
    assert_eq!(*seen.counted.lock().unwrap(), documented);
    assert_eq!(*seen.described.lock().unwrap(), documented);
}

#[test]
fn the_labels_that_are_documented_are_those_that_are_counted() {
    let seen = seen();
    let mut labels = BTreeMap::<_, BTreeSet<_>>::new();
    let mut values = BTreeMap::<_, BTreeSet<_>>::new();
    for (name, _) in seen.values() {
        let (name, pairs) = name.trim_end_matches('}').split_once('{').unwrap();
        labels.entry(name.to_owned()).or_default();
        for (label, value) in pairs.split(',').filter_map(|pair| pair.split_once('=')) {
            labels.get_mut(name).unwrap().insert(label.to_owned());
            values.entry(label.to_owned()).or_default().insert(value.to_owned());
        }
    }
    let mut documented_labels = BTreeMap::new();
    let mut documented_values = BTreeMap::<_, BTreeSet<_>>::new();
    for row in documented() {
        match row[..] {
            [name, _, labels, _] if name.starts_with('`') => {
                documented_labels.insert(name.trim_matches('`').to_owned(), words(labels));
            }
            [label, allowed] if label.starts_with('`') => {
                // What an item is linked by is no value.
                let allowed = words(allowed.split(": see").next().unwrap());
                let label = words(label).into_iter().next().unwrap();
                documented_values.entry(label).or_default().extend(allowed);
            }
            _ => {}
        }
    }
    assert_eq!(labels, documented_labels);
    assert_eq!(values, documented_values);
}

#[test]
fn each_thing_is_counted_once() {
    for (name, value) in seen().values() {
        let expected = match name.trim_end_matches("{}") {
            REFRESH_SECONDS => 0.25_f64.to_bits(),
            LEASE_WAIT_SECONDS => 0.5_f64.to_bits(),
            // What is gone counts no more.
            UNSAVED_TOKENS | KEEPER_TOKENS | KEEPER_DUE => 0.0_f64.to_bits(),
            _ => 1,
        };
        assert_eq!(value, expected, "{name}");
    }
}

#[test]
fn a_gauge_is_the_sum_of_its_shares() {
    let seen = Seen::default();
    let is = |name: &str, value: f64| {
        let values: BTreeMap<_, _> = seen.values().into_iter().collect();
        assert_eq!(values[&format!("{name}{{}}")], value.to_bits());
    };
    with_local_recorder(&seen, || {
        let first = Share::of_unsaved();
        let second = Share::of_unsaved();
        is(UNSAVED_TOKENS, 2.0);
        drop(first);
        is(UNSAVED_TOKENS, 1.0);
        drop(second);
        is(UNSAVED_TOKENS, 0.0);
        let (mut one, mut other) = (Share::of_keeper_tokens(), Share::of_keeper_tokens());
        one.set(10);
        other.set(7);
        one.set(4);
        is(KEEPER_TOKENS, 11.0);
        drop(other);
        is(KEEPER_TOKENS, 4.0);
    });
}
