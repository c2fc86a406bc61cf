//! Keeps many tokens fresh: which of them are due, and when.

#[cfg_attr(not(test), expect(dead_code, reason = "the task that asks it is yet to come"))]
mod schedule;
