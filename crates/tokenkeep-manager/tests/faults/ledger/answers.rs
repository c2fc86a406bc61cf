//! What callers get.

use std::collections::BTreeMap;

use super::{Ledger, Name, Who};

#[derive(Default)]
pub(super) struct Answers {
    /// How many got a token.
    pub(super) given: u64,
    /// How many did not, by the reason.
    pub(super) refusals: BTreeMap<String, u64>,
}

impl Ledger {
    /// A caller who asked for `user` has got this.
    pub(crate) fn answered(&self, who: Who, user: usize, access: &str, saved: bool) {
        let now = self.now();
        let mut book = self.book();
        book.answers.given += 1;
        let Some(issued) = book.issues.access_tokens.get(access).cloned() else {
            book.violation(now, format_args!("a caller got a token that nobody issued"));
            return;
        };
        let label = &issued.label;
        book.note(now, format_args!("{} answers user {user} with {label}, {saved}", Name(who)));
        if issued.user != user {
            book.violation(now, format_args!("user {user} got {label} of user {}", issued.user));
        }
        let stored = book.kept.stored_access.contains(access);
        let has = book.issues.given_access.contains(&(who, access.to_owned()))
            || book.kept.spooled_access.contains(&(who.0, access.to_owned()));
        if saved && !stored {
            book.violation(now, format_args!("{label} is said to be saved and is not"));
        } else if !stored && !has {
            book.violation(now, format_args!("{label} is neither stored nor in that process"));
        }
    }

    pub(crate) fn refused(&self, who: Who, user: usize, kind: &str) {
        let now = self.now();
        let mut book = self.book();
        book.note(now, format_args!("{} answers user {user}: {kind}", Name(who)));
        *book.answers.refusals.entry(kind.to_owned()).or_default() += 1;
    }
}
