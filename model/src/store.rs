//! The shared store: one row, its lease, and what is noted beside it. Each method is one
//! transaction.

use std::fmt;

use crate::{
    config::Variant,
    token::{Grant, RefreshToken, Token},
};

/// What is noted beside a token.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Notes {
    pub(crate) in_flight: Option<InFlight>,
    /// The refresh token that the provider refused.
    pub(crate) needs_login: Option<RefreshToken>,
}

/// The record of a refresh under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct InFlight {
    /// The generation of the lease it was written under.
    pub(crate) generation: u8,
    /// The refresh token that is sent.
    pub(crate) sent: RefreshToken,
}

/// What the store answers to a save.
pub(crate) enum Replaced {
    Saved,
    Changed,
    LeaseLost,
}

/// The lease that a save is made under.
#[derive(Clone, Copy)]
pub(crate) struct Saver {
    pub(crate) generation: u8,
    /// Whether the store is asked to look at the generation.
    pub(crate) fenced: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) token: Token,
    /// The newest generation of the lease, 0 before there was one.
    pub(crate) generation: u8,
    /// Whether that lease has neither ended nor been given back.
    pub(crate) held: bool,
    pub(crate) notes: Notes,
    pub(crate) seen: History,
}

/// What the properties remember. No step looks at it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// The access tokens that were ever stored, one bit each.
    stored: u16,
    /// The access tokens that a save under a lease has replaced, one bit each.
    replaced_by_lease: u16,
    /// A save passed the fence although a newer lease was out, or two passed it for one token.
    pub(crate) two_savers: bool,
    /// A save has replaced what it must not replace.
    pub(crate) overwritten: bool,
    /// A token was given to callers that was neither stored nor kept.
    pub(crate) served_unkept: bool,
}

impl Store {
    pub(crate) fn new() -> Self {
        let seen = History { stored: 1, ..History::default() };
        Self { token: Token::FIRST, generation: 0, held: false, notes: Notes::default(), seen }
    }

    /// Saves `token` in the place of `expected`, if that is what is stored, and, with a fence, if
    /// the saver's lease is the newest.
    pub(crate) fn replace(
        &mut self,
        variant: Variant,
        expected: Token,
        token: Token,
        saver: Saver,
    ) -> Replaced {
        let is_newest = saver.generation == self.generation;
        if saver.fenced && !is_newest && variant != Variant::NoFence {
            return Replaced::LeaseLost;
        }
        if self.token != expected && variant != Variant::NoComparison {
            return Replaced::Changed;
        }
        self.judge(expected, token, saver);
        self.put(token);
        Replaced::Saved
    }

    /// What an official SDK does: it writes.
    pub(crate) fn put(&mut self, token: Token) {
        self.token = token;
        self.seen.stored |= 1 << token.access;
    }

    pub(crate) fn was_stored(&self, token: Token) -> bool {
        self.seen.stored & 1 << token.access != 0
    }

    /// Looks at a save that is about to be made with the eyes of the properties.
    fn judge(&mut self, expected: Token, token: Token, saver: Saver) {
        let old = self.token;
        let is_newest = saver.generation == self.generation;
        if saver.fenced {
            let bit = 1 << expected.access;
            self.seen.two_savers |= !is_newest || self.seen.replaced_by_lease & bit != 0;
            self.seen.replaced_by_lease |= bit;
        }
        let over_a_login = old.is_of(Grant::Login) && !token.is_of(Grant::Login);
        // A refresh token that only this process has may take the place of the one that it was
        // issued for, whoever has the lease.
        let by_a_loser = !is_newest && old != expected && old.refresh == token.refresh;
        let by_an_older = old.refresh > token.refresh && token.refresh.is_some()
            || old.refresh == token.refresh && old.access > token.access;
        self.seen.overwritten |= over_a_login || by_a_loser || by_an_older;
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in flight by lease {}", self.sent, self.generation)
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(in_flight) = &self.in_flight {
            write!(f, ", {in_flight:?}")?;
        }
        if let Some(refused) = &self.needs_login {
            write!(f, ", {refused:?} needs login")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.held { "held" } else { "free" };
        write!(f, "{:?}, lease {} {held}{:?}", self.token, self.generation, self.notes)
    }
}
