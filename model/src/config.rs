//! What a run of the model is made of: the provider's rule, the faults, the rule left out.

/// What the provider does with a refresh token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a choice of whoever runs the model")]
pub enum Rotation {
    /// It stays, and the answer has none (Zoho).
    None,
    /// Each answer brings a new one. The old one gets the same answer for a while, then none.
    Grace,
    /// Each answer brings a new one, and the old one is taken no more.
    Strict,
    /// As `Grace`; and whoever uses one that is taken no more costs the user the whole grant.
    Reuse,
}

impl Rotation {
    pub(crate) fn has_grace(self) -> bool {
        matches!(self, Self::Grace | Self::Reuse)
    }

    pub(crate) fn detects_reuse(self) -> bool {
        self == Self::Reuse
    }
}

/// The protocol, or the protocol without one of its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "each is a test of this crate")]
pub enum Variant {
    /// As it is built.
    Faithful,
    /// The store does not look whether the saver's lease is the newest.
    NoFence,
    /// The store does not look whether what it replaces is what the saver read.
    NoComparison,
    /// The holder of the lease goes on with what it read before it had it.
    NoReadUnderLease,
    /// Callers get the new token before it is kept anywhere.
    PublishBeforeSave,
    /// Nothing is spooled: a manager without a spool. A crash before the save costs the token.
    NoSpool,
    /// The spool entry goes before the save.
    SpoolRemovedBeforeSave,
    /// An answer without a refresh token clears the stored one.
    RefreshTokenCleared,
    /// No refresh is recorded as being in flight, so nobody asks again for a lost answer.
    NoRecordInFlight,
    /// The record of a refresh in flight is written without a comparison.
    RecordUncompared,
    /// Who has saved clears the record in flight, whoever wrote it.
    OthersRecordCleared,
    /// Who lost the lease drops what it was issued, rotated or not.
    DroppedWithTheLease,
    /// What was left unsaved is saved over whatever is stored of the same grant.
    OldLeftoversSaved,
    /// Who starts again because something else is stored does not look whether it has the lease.
    StartsAgainWithoutLease,
    /// A rotated token that is not saved yet is used to ask for the next one.
    RotatedAgainUnsaved,
    /// *Needs login* is written for the token that is stored, not for the one that was refused.
    MarkWithoutFingerprint,
}

impl Variant {
    /// All that leave out a rule.
    pub const BROKEN: [Self; 15] = [
        Self::NoFence,
        Self::NoComparison,
        Self::NoReadUnderLease,
        Self::PublishBeforeSave,
        Self::NoSpool,
        Self::SpoolRemovedBeforeSave,
        Self::RefreshTokenCleared,
        Self::NoRecordInFlight,
        Self::RecordUncompared,
        Self::OthersRecordCleared,
        Self::DroppedWithTheLease,
        Self::OldLeftoversSaved,
        Self::StartsAgainWithoutLease,
        Self::RotatedAgainUnsaved,
        Self::MarkWithoutFingerprint,
    ];
}

/// What may go wrong in one run, and how often at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "written out by whoever runs the model")]
pub struct Faults {
    /// Processes that die between two steps. One may die several times.
    pub crashes: u8,
    /// Answers of the provider that do not arrive.
    pub lost_answers: u8,
    /// Leases that end while their holder is alive and at work.
    pub lost_leases: u8,
    /// Saves that fail for good, or whose outcome stays unknown.
    pub failed_saves: u8,
    /// Logins that an official SDK writes to the store, without a lease or a comparison; at most
    /// one.
    pub logins: u8,
    /// How often all tokens issued so far become too old to be used, so that a further round
    /// begins with what the last one left.
    pub expiries: u8,
}

/// One run of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written out by whoever runs the model")]
pub struct Config {
    /// How many processes want the token, 1 to 3.
    pub processes: u8,
    /// What the provider does with refresh tokens.
    pub rotation: Rotation,
    /// What may go wrong.
    pub faults: Faults,
    /// The rule that is left out.
    pub variant: Variant,
}
