//! The accounts server: what it issues, and which refresh tokens it takes.

use std::fmt;

use crate::{
    config::Rotation,
    token::{Grant, RefreshToken, Token},
};

/// More than one run can need. What is remembered of access tokens has a bit for each.
const ACCESS_TOKENS: u8 = 16;

/// What the provider answers to a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// A new access token and, if the provider rotates, a refresh token.
    Issued { refresh: Option<RefreshToken>, access: u8 },
    /// It does not take that refresh token, and never will again.
    Refused,
}

/// All that the provider knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Provider {
    first: Line,
    /// Of the login, once it was made.
    login: Option<Line>,
    /// The number of the access token issued last.
    pub(crate) issued: u8,
    /// How often it answered a refresh token with tokens.
    pub(crate) answered: u8,
    /// Whether it was ever sent a refresh token that it does not take.
    pub(crate) refused: bool,
}

/// The refresh tokens of one grant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Line {
    /// The rotation of the newest one.
    newest: u8,
    /// The access token that was issued with it.
    access: u8,
    /// Whether the one before it is still taken.
    grace: bool,
    /// All were made invalid, because one was used that had been replaced.
    revoked: bool,
    /// The answer with the newest one was lost before anybody could write it down, and no other
    /// copy of it is left.
    orphaned: bool,
}

impl Provider {
    pub(crate) const fn new() -> Self {
        let first = Line { newest: 0, access: 0, grace: false, revoked: false, orphaned: false };
        Self { first, login: None, issued: 0, answered: 0, refused: false }
    }

    fn line(&self, grant: Grant) -> Option<&Line> {
        match grant {
            Grant::First => Some(&self.first),
            Grant::Login => self.login.as_ref(),
        }
    }

    fn line_mut(&mut self, grant: Grant) -> Option<&mut Line> {
        match grant {
            Grant::First => Some(&mut self.first),
            Grant::Login => self.login.as_mut(),
        }
    }

    /// Answers `sent`, with all the effects that has.
    pub(crate) fn exchange(&mut self, rotation: Rotation, sent: RefreshToken) -> Answer {
        let next = self.issued + 1;
        assert!(next < ACCESS_TOKENS, "a run that asks without end, or faults without end");
        let Some(line) = self.line_mut(sent.grant) else { return Answer::Refused };
        let is_newest = sent.rotation == line.newest;
        let is_replay = line.grace && sent.rotation + 1 == line.newest;
        if line.revoked || !(is_newest || is_replay) {
            line.revoked |= rotation.detects_reuse();
            self.refused = true;
            return Answer::Refused;
        }
        let answer = match rotation {
            Rotation::None => Answer::Issued { refresh: None, access: next },
            // The same answer again.
            Rotation::Grace | Rotation::Strict | Rotation::Reuse if is_replay => {
                line.orphaned = false;
                let refresh = RefreshToken { rotation: line.newest, ..sent };
                Answer::Issued { refresh: Some(refresh), access: line.access }
            }
            Rotation::Grace | Rotation::Strict | Rotation::Reuse => {
                line.newest += 1;
                line.access = next;
                line.grace = rotation.has_grace();
                line.orphaned = false;
                let refresh = RefreshToken { rotation: line.newest, ..sent };
                Answer::Issued { refresh: Some(refresh), access: next }
            }
        };
        self.issued = if is_replay { self.issued } else { next };
        self.answered += 1;
        answer
    }

    /// A user logs in with an official SDK: what that stores.
    pub(crate) fn log_in(&mut self) -> Token {
        self.issued += 1;
        self.login = Some(Line { access: self.issued, ..Line::default() });
        let refresh = RefreshToken { grant: Grant::Login, rotation: 0 };
        Token { refresh: Some(refresh), access: self.issued }
    }

    /// The grant of the last login.
    pub(crate) fn current(&self) -> Grant {
        if self.login.is_some() { Grant::Login } else { Grant::First }
    }

    /// The newest refresh token of the last login, if the provider takes it.
    pub(crate) fn newest(&self) -> Option<RefreshToken> {
        let grant = self.current();
        let line = self.line(grant)?;
        (!line.revoked).then_some(RefreshToken { grant, rotation: line.newest })
    }

    /// Whether it would answer `refresh` with tokens.
    pub(crate) fn takes(&self, refresh: RefreshToken) -> bool {
        self.line(refresh.grant).is_some_and(|line| {
            !line.revoked
                && (refresh.rotation == line.newest
                    || line.grace && refresh.rotation + 1 == line.newest)
        })
    }

    pub(crate) fn has_grace(&self, grant: Grant) -> bool {
        self.line(grant).is_some_and(|line| line.grace)
    }

    pub(crate) fn end_grace(&mut self, grant: Grant) {
        if let Some(line) = self.line_mut(grant) {
            line.grace = false;
        }
    }

    /// Notes that nobody has `refresh` any more, and nobody could have written it down.
    pub(crate) fn orphan(&mut self, refresh: RefreshToken) {
        if let Some(line) = self.line_mut(refresh.grant)
            && line.newest == refresh.rotation
        {
            line.orphaned = true;
        }
    }

    pub(crate) fn is_orphaned(&self, refresh: RefreshToken) -> bool {
        self.line(refresh.grant)
            .is_some_and(|line| line.orphaned && line.newest == refresh.rotation)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grant = self.current();
        match (self.newest(), self.line(grant)) {
            (Some(newest), Some(line)) => {
                write!(f, "newest {newest:?}")?;
                if line.grace {
                    write!(f, " and the one before")?;
                }
                if line.orphaned {
                    write!(f, ", its answer lost")?;
                }
            }
            _ => write!(f, "revoked")?,
        }
        write!(f, ", {} answers", self.answered)
    }
}
