//! What the provider was asked for, and what it has issued.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{Ledger, Who};

/// A token that the provider has issued.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    /// What it is called in the log.
    pub(super) label: String,
    pub(super) user: usize,
    /// The login that it comes from.
    pub(super) family: usize,
    pub(super) number: usize,
    pub(super) at: Duration,
}

/// A request to the provider.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) refresh_token: String,
    pub(super) at: Duration,
    /// Whether it counts as one that may have been granted: it was not answered with an error.
    pub(super) counts: bool,
}

/// A refresh token that the provider put in the place of another one.
#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) at: Duration,
    pub(super) by: Who,
    /// When the request was made.
    pub(super) lost_by: Duration,
    pub(super) given_to: Vec<Who>,
    pub(super) spool_begun: bool,
    pub(super) spool_failed: bool,
    pub(super) spooled: bool,
    pub(super) stored_at: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Issues {
    /// How many logins there were.
    families: usize,
    pub(super) revoked: HashSet<usize>,
    pub(super) refresh_tokens: HashMap<String, Issued>,
    pub(super) access_tokens: HashMap<String, Issued>,
    pub(super) sent: Vec<Sending>,
    pub(super) rotations: Vec<Rotation>,
    /// What has arrived at a living process.
    pub(super) given_access: HashSet<(Who, String)>,
    /// How many access tokens each user was issued.
    pub(super) granted: Vec<u64>,
}

impl Issues {
    /// How `refresh` came into the place of another one, if it did.
    pub(super) fn rotation_to(&mut self, refresh: Option<&str>) -> Option<&mut Rotation> {
        self.rotations.iter_mut().find(|it| Some(&*it.to) == refresh)
    }
}

impl Ledger {
    /// A login of this user, with this refresh token.
    pub(crate) fn login(&self, user: usize, refresh_token: &str) {
        let now = self.now();
        let mut book = self.book();
        book.issues.families += 1;
        let family = book.issues.families;
        let number = book.issues.refresh_tokens.len();
        let label = format!("R{number}");
        book.note(now, format_args!("user {user} has {label}, login {family}"));
        let issued = Issued { label, user, family, number, at: now };
        book.issues.refresh_tokens.insert(refresh_token.to_owned(), issued);
    }

    /// An access token that was there before the run.
    pub(crate) fn old_access(&self, refresh_token: &str, access_token: &str) {
        let mut book = self.book();
        let mut issued = book.issues.refresh_tokens[refresh_token].clone();
        issued.label = format!("A-old-{}", issued.user);
        book.issues.access_tokens.insert(access_token.to_owned(), issued);
    }

    pub(crate) fn revoked(&self, refresh_token: &str) {
        let mut book = self.book();
        if let Some(family) = book.issues.refresh_tokens.get(refresh_token).map(|it| it.family) {
            book.issues.revoked.insert(family);
        }
    }

    pub(crate) fn sent(&self, refresh_token: &str, counts: bool) {
        let now = self.now();
        let mut book = self.book();
        let Some(issued) = book.issues.refresh_tokens.get(refresh_token).cloned() else {
            book.violation(now, format_args!("a refresh token was sent that nobody was given"));
            return;
        };
        book.note(now, format_args!("   sends {}", issued.label));
        let refresh_token = refresh_token.to_owned();
        book.issues.sent.push(Sending { refresh_token, at: now, counts });
    }

    /// The provider has issued these for `sent`, or says again what it had issued.
    pub(crate) fn issued(&self, by: Who, sent: &str, access: &str, refresh: Option<&str>) {
        let now = self.now();
        let mut book = self.book();
        let asked_at = book.issues.sent.iter().rev().find(|it| it.refresh_token == sent);
        let asked_at = asked_at.map_or(now, |it| it.at);
        if book.issues.access_tokens.contains_key(access) {
            book.note(now, format_args!("   the same answer again"));
            return;
        }
        let Some(grant) = book.issues.refresh_tokens.get(sent).cloned() else { return };
        book.issues.granted[grant.user] += 1;
        let number = book.issues.access_tokens.len();
        let label = format!("A{number}");
        let issued = Issued { label, number, at: now, ..grant };
        book.note(now, format_args!("   {} gets {}", grant.label, issued.label));
        book.issues.access_tokens.insert(access.to_owned(), issued);
        if let Some(to) = refresh {
            let number = book.issues.refresh_tokens.len();
            let label = format!("R{number}");
            book.note(now, format_args!("   {label} takes the place of {}", grant.label));
            let issued = Issued { label, number, at: now, ..grant };
            book.issues.refresh_tokens.insert(to.to_owned(), issued);
            book.issues.rotations.push(Rotation {
                from: sent.to_owned(),
                to: to.to_owned(),
                at: now,
                by,
                lost_by: asked_at,
                given_to: Vec::new(),
                spool_begun: false,
                spool_failed: false,
                spooled: false,
                stored_at: None,
            });
        }
    }

    /// The answer has reached a living process.
    pub(crate) fn given(&self, to: Who, access: &str, refresh: Option<&str>) {
        let mut book = self.book();
        book.issues.given_access.insert((to, access.to_owned()));
        if let Some(rotation) = book.issues.rotation_to(refresh) {
            rotation.given_to.push(to);
        }
    }
}
