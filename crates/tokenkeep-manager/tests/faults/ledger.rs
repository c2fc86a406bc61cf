//! What has really happened in a run, and what must not have.
//!
//! Each part of the book has a file of its own: what befell whom ([`steps`]), what the provider was
//! asked for and has issued ([`issued`]), where tokens are kept ([`kept`]), what callers got
//! ([`answers`]). From these it is judged how many refreshes were necessary ([`necessary`]) and why
//! a login was lost ([`excuse`]).

mod answers;
mod excuse;
mod issued;
mod kept;
mod log;
mod necessary;
mod steps;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use self::{answers::Answers, issued::Issues, kept::Kept, log::Log, steps::Steps};
use crate::plan::{Place, Plan};

pub(crate) use self::excuse::Excuse;

/// A process: its host, and how often one was started there before.
pub(crate) type Who = (usize, usize);

pub(crate) struct Name(pub(crate) Who);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host{}.{}", self.0.0, self.0.1)
    }
}

pub(crate) struct Ledger {
    start: Instant,
    rotation: Option<Duration>,
    has_spool: bool,
    writes_late: bool,
    book: Mutex<Book>,
}

struct Book {
    log: Log,
    /// The users' names, by their numbers.
    names: Vec<String>,
    /// How many refreshes each user's events may have made necessary.
    allowed: Vec<u64>,
    steps: Steps,
    issues: Issues,
    kept: Kept,
    answers: Answers,
}

impl Ledger {
    pub(crate) fn new(plan: &Plan, verbose: bool) -> Self {
        let book = Book {
            log: Log::new(verbose),
            names: Vec::new(),
            allowed: Vec::new(),
            steps: Steps::new(plan, verbose),
            issues: Issues::default(),
            kept: Kept::default(),
            answers: Answers::default(),
        };
        let (start, rotation) = (Instant::now(), plan.rotation);
        Self {
            start,
            rotation,
            has_spool: plan.spool,
            writes_late: plan.writes_late(),
            book: Mutex::new(book),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.book().note(now, what);
    }

    pub(crate) fn violation(&self, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.book().violation(now, what);
    }

    /// A user, and the number of that one.
    pub(crate) fn add_user(&self, name: &str) -> usize {
        let mut book = self.book();
        book.names.push(name.to_owned());
        book.issues.granted.push(0);
        book.allowed.push(0);
        book.names.len() - 1
    }

    pub(crate) fn name(&self, user: usize) -> String {
        self.book().names[user].clone()
    }

    pub(crate) fn close(&self) -> Closed {
        let book = &mut *self.book();
        Closed {
            violations: std::mem::take(&mut book.log.violations),
            hash: book.log.hash,
            text: book.log.text.take().unwrap_or_default(),
            steps: book.steps.of_storm,
            kinds: std::mem::take(&mut book.steps.kinds),
            mishaps: book.steps.hit.len(),
            answers: book.answers.given,
            refusals: std::mem::take(&mut book.answers.refusals),
            issued: book.issues.granted.iter().sum(),
        }
    }
}

/// What a ledger says at the end.
pub(crate) struct Closed {
    pub(crate) violations: Vec<String>,
    pub(crate) hash: u64,
    pub(crate) text: String,
    /// Until all was well again.
    pub(crate) steps: u64,
    /// What each one was, of a run that was to be told about.
    pub(crate) kinds: Vec<(Place, String)>,
    pub(crate) mishaps: usize,
    pub(crate) answers: u64,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) issued: u64,
}

impl Book {
    fn note(&mut self, now: Duration, what: fmt::Arguments<'_>) {
        self.log.note(now, what);
    }

    fn violation(&mut self, now: Duration, what: fmt::Arguments<'_>) {
        self.log.violation(now, what);
    }
}
