//! [`Report`]: what a migration did.

use std::collections::BTreeMap;

use tokenkeep_core::{StoreError, TokenId};

/// What a migration did, or in a dry run would do. It holds no secret.
///
/// Each token that was read is counted once: as [`moved`](Self::moved), [`updated`](Self::updated),
/// [`unchanged`](Self::unchanged), merged into another, a conflict, or refused.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// How many tokens the source has, as far as it can be read.
    pub read: u64,
    /// How many became new tokens in the target.
    pub moved: u64,
    /// How many were saved over a token of the target.
    pub updated: u64,
    /// How many the target had already.
    pub unchanged: u64,
    /// Tokens that the source has more than once.
    pub merged: Vec<Merged>,
    /// Tokens that could not keep their ids.
    pub renamed: Vec<Renamed>,
    /// Tokens that are others in the target, and were left as they are there.
    pub conflicts: Vec<Conflict>,
    /// Tokens that the target does not take.
    pub refused: Vec<Refused>,
    /// What of the source could not be read, in words for a person.
    pub damage: Vec<String>,
    /// What of the target could not be read, in words for a person.
    pub target_damage: Vec<String>,
    /// How many had a state, and were moved to a store that keeps none.
    pub states_left: u64,
    /// What reading the target back came to; `None` in a dry run.
    pub verification: Option<Verification>,
}

impl Report {
    /// Whether all of the source is in the target now, or in a dry run could be.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.conflicts.is_empty()
            && self.refused.is_empty()
            && self.damage.is_empty()
            && self.verification.as_ref().is_none_or(|verification| verification.holds)
    }

    pub(super) fn merge(&mut self, into: &TokenId, from: &TokenId) {
        match self.merged.iter_mut().rev().find(|merged| merged.into == *into) {
            Some(merged) => merged.from.push(from.clone()),
            None => {
                self.merged.push(Merged { into: into.clone(), from: vec![from.clone()] });
            }
        }
    }

    pub(super) fn rename(&mut self, from: &TokenId, to: Option<&TokenId>) {
        if to != Some(from) {
            self.renamed.push(Renamed { from: from.clone(), to: to.cloned() });
        }
    }

    /// The ids of the source with those in the target, where they differ. Of several tokens that
    /// have one id in the source, the last.
    #[must_use]
    pub fn ids(&self) -> BTreeMap<&TokenId, &TokenId> {
        self.renamed.iter().filter_map(|it| Some((&it.from, it.to.as_ref()?))).collect()
    }
}

/// A token that the source has more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merged {
    /// The row that stands for all, by its id in the source.
    pub into: TokenId,
    /// The others.
    pub from: Vec<TokenId>,
}

/// A token that could not keep its id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renamed {
    /// Its id in the source.
    pub from: TokenId,
    /// Its id in the target; `None` if a dry run cannot know.
    pub to: Option<TokenId>,
}

/// A token that is another one in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// Its id in the source.
    pub from: TokenId,
    /// Its id in the target.
    pub to: TokenId,
}

/// A token that the target does not take.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Its id in the source.
    pub id: TokenId,
    /// Why.
    pub error: StoreError,
}

impl Refused {
    pub(super) fn new(id: TokenId, error: StoreError) -> Self {
        Self { id, error }
    }
}

impl Conflict {
    pub(super) fn new(from: TokenId, to: TokenId) -> Self {
        Self { from, to }
    }
}

/// What reading the target back came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// How many tokens the target has to hold.
    pub expected: u64,
    /// How many it holds.
    pub found: u64,
    /// Whether it holds exactly those that it has to, in all ten fields and the state.
    pub holds: bool,
}

impl Verification {
    pub(super) fn new(expected: u64, found: u64, same: bool) -> Self {
        Self { expected, found, holds: same && expected == found }
    }
}
