//! Tokens as far as the protocol looks at them: numbers in the place of secrets.

use std::fmt;

/// Which login a refresh token comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Grant {
    /// The one that is stored at first.
    First,
    /// The one of the login that is made meanwhile.
    Login,
}

/// A refresh token: the grant, and how often the provider had rotated it before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RefreshToken {
    pub(crate) grant: Grant,
    pub(crate) rotation: u8,
}

/// A row of the store. Access tokens are numbered as the provider issued them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token {
    pub(crate) refresh: Option<RefreshToken>,
    pub(crate) access: u8,
}

/// A token that was issued and is not known to be stored, and what it is to take the place of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Unsaved {
    pub(crate) expected: Token,
    pub(crate) token: Token,
}

impl Token {
    /// What is stored before anything happens, and is too old to be used.
    pub(crate) const FIRST: Self =
        Self { refresh: Some(RefreshToken { grant: Grant::First, rotation: 0 }), access: 0 };

    pub(crate) fn is_of(&self, grant: Grant) -> bool {
        self.refresh.is_some_and(|refresh| refresh.grant == grant)
    }
}

impl Unsaved {
    /// Whether it was issued to the grant that is stored.
    pub(crate) fn is_of(&self, stored: &Token) -> bool {
        self.expected.refresh == stored.refresh
    }

    /// Whether the refresh token that is stored was replaced by another one.
    pub(crate) fn rotates(&self) -> bool {
        self.expected.refresh != self.token.refresh
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grant = match self.grant {
            Grant::First => "R",
            Grant::Login => "L",
        };
        write!(f, "{grant}{}", self.rotation)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.refresh {
            Some(refresh) => write!(f, "{refresh:?}/A{}", self.access),
            None => write!(f, "-/A{}", self.access),
        }
    }
}

impl fmt::Debug for Unsaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for {:?}", self.token, self.expected)
    }
}
