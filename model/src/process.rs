//! One process: where it is in the protocol, and what it has in memory and on its disk.

use std::fmt;

use crate::{
    provider::Answer,
    store::Notes,
    token::{RefreshToken, Token, Unsaved},
};

/// How a flight ends for the callers who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Token,
    NeedsLogin,
    /// No answer, and nobody will ask again.
    Failed,
}

/// What follows when the spool entry is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Then {
    Clear,
    StartAgain,
    /// In the variant that removes the entry too early.
    Save,
}

/// What a process does next. Each is one transaction of the store, one request, or one write to
/// the process's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    /// It is dead.
    Down,
    /// Take the lease, or use what somebody else has stored (2).
    TakeLease,
    /// Start again: with the lease it has, if nobody else took it since.
    Renew,
    /// Read the token, what is noted, and the spool under the lease (3).
    ReadAgain,
    /// Write that a refresh is in flight (4).
    Record,
    /// Send the refresh token (5).
    Ask,
    /// The provider has answered; take that, or lose it (5).
    Receive,
    /// Write the new token to the spool (6).
    Spool,
    /// Save the new token (7).
    Save,
    /// Read what is stored, for nobody knows what became of the save (7).
    ReadBack,
    /// Remove the spool entry (7).
    Unspool(Then),
    /// Clear the record of the flight (8).
    Clear,
    /// Give the lease back (8).
    Release(Outcome),
    /// The grant was refused: read whether that one is still stored.
    ReadRefused,
    /// Note that the grant that was refused needs a login.
    Mark,
    /// The callers have their answer.
    Done(Outcome),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) step: Step,
    /// The generation of the lease it took, held or lost; 0 without one.
    pub(crate) lease: u8,
    /// Whether its save asks the store to look at the lease.
    pub(crate) fenced: bool,
    /// What it read last of the token.
    pub(crate) read: Token,
    /// What it read last of the notes.
    pub(crate) seen: Notes,
    /// On its way from the provider.
    pub(crate) answer: Option<Answer>,
    /// The recovery slot.
    pub(crate) unsaved: Option<Unsaved>,
    /// The spool file, which outlives the process.
    pub(crate) spool: Option<Unsaved>,
    /// The access token that callers got from this flight.
    pub(crate) served: u8,
}

impl Process {
    /// A process that wants a token, and has nothing but what is on its disk.
    pub(crate) fn started(spool: Option<Unsaved>) -> Self {
        Self {
            step: Step::TakeLease,
            lease: 0,
            fenced: true,
            read: Token::FIRST,
            seen: Notes::default(),
            answer: None,
            unsaved: None,
            spool,
            served: 0,
        }
    }

    /// What is left when it dies.
    pub(crate) fn dead(&self) -> Self {
        Self { step: Step::Down, ..Self::started(self.spool) }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.step != Step::Down
    }

    /// The newest token it knows of: the stored one, or one that could not be stored.
    pub(crate) fn newest(&self) -> Token {
        self.unsaved.map_or(self.read, |unsaved| unsaved.token)
    }

    /// Whether `refresh` is in its memory, or on its way there.
    pub(crate) fn remembers(&self, refresh: RefreshToken) -> bool {
        let arriving = match self.answer {
            Some(Answer::Issued { refresh, .. }) => refresh,
            Some(Answer::Refused) | None => None,
        };
        self.is_alive()
            && (arriving == Some(refresh)
                || self.unsaved.is_some_and(|unsaved| unsaved.token.refresh == Some(refresh)))
    }

    /// Whether `refresh` is on its disk.
    pub(crate) fn has_spooled(&self, refresh: RefreshToken) -> bool {
        self.spool.is_some_and(|spooled| spooled.token.refresh == Some(refresh))
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.step)?;
        if self.lease > 0 {
            write!(f, ", lease {}", self.lease)?;
        }
        if let Some(answer) = &self.answer {
            write!(f, ", arriving {answer:?}")?;
        }
        if let Some(unsaved) = &self.unsaved {
            write!(f, ", slot {unsaved:?}")?;
        }
        if let Some(spooled) = &self.spool {
            write!(f, ", spool {spooled:?}")?;
        }
        Ok(())
    }
}
