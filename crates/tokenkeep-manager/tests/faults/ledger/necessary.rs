//! How often the provider was asked, and how often that may have been necessary.

use std::{collections::BTreeMap, time::Duration};

use super::{Book, Ledger};

impl Ledger {
    /// So many refreshes more may be necessary for `user`, or for all.
    pub(crate) fn allow(&self, user: Option<usize>, more: u64) {
        let mut book = self.book();
        match user {
            Some(user) => book.allowed[user] += more,
            None => book.allow_all(more),
        }
    }

    /// How often the provider has issued for this user, and how often it may have been necessary.
    pub(crate) fn issued_to(&self, user: usize) -> (u64, u64) {
        let book = self.book();
        (book.issues.granted[user], book.allowed[user])
    }

    /// The largest number of requests within any such time for one login of this user, and what
    /// rotation made of it. Who asks again for a lost answer within the grace gets no new token.
    pub(crate) fn busiest(&self, user: usize, window: Duration) -> usize {
        let book = self.book();
        let mut of_login: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
        let grace = self.rotation.unwrap_or_default();
        let mut first: BTreeMap<&str, Duration> = BTreeMap::new();
        for sent in book.issues.sent.iter().filter(|sent| sent.counts) {
            let since = first.entry(&sent.refresh_token).or_insert(sent.at);
            if *since < sent.at && sent.at < *since + grace {
                continue;
            }
            *since = sent.at;
            let grant = &book.issues.refresh_tokens[&sent.refresh_token];
            if grant.user == user {
                of_login.entry(grant.family).or_default().push(sent.at);
            }
        }
        let busiest = |times: &Vec<Duration>| {
            let in_window = |from: &Duration| {
                times.iter().filter(|at| (*from..*from + window).contains(at)).count()
            };
            times.iter().map(in_window).max().unwrap_or(0)
        };
        of_login.values().map(busiest).max().unwrap_or(0)
    }
}

impl Book {
    pub(super) fn allow_all(&mut self, more: u64) {
        for allowed in &mut self.allowed {
            *allowed += more;
        }
    }
}
