//! The table of cases.

mod operations;

use super::Case;

/// All cases, in the order they are reported.
#[must_use]
pub fn cases() -> Vec<Case> {
    [operations::CASES].concat()
}
