//! The lines of a run, their hash, and what must not have happened.

use std::{fmt, time::Duration};

pub(super) struct Log {
    pub(super) hash: u64,
    /// If it is wanted.
    pub(super) text: Option<String>,
    pub(super) violations: Vec<String>,
}

impl Log {
    pub(super) fn new(verbose: bool) -> Self {
        let text = verbose.then(String::new);
        Self { hash: 0xcbf2_9ce4_8422_2325, text, violations: Vec::new() }
    }

    pub(super) fn note(&mut self, now: Duration, what: fmt::Arguments<'_>) {
        // Writing to either cannot fail.
        let mut hashed = Hashed(self.hash);
        fmt::write(&mut hashed, format_args!("{} {what}", now.as_millis())).unwrap();
        self.hash = hashed.0;
        if let Some(text) = &mut self.text {
            fmt::write(text, format_args!("{:>12.3} {what}\n", now.as_secs_f64())).unwrap();
        }
    }

    pub(super) fn violation(&mut self, now: Duration, what: fmt::Arguments<'_>) {
        self.note(now, format_args!("VIOLATION {what}"));
        self.violations.push(format!("at {:.3} s: {what}", now.as_secs_f64()));
    }
}

/// FNV-1a of what is written.
struct Hashed(u64);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
