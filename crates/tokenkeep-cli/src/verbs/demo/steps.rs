//! The steps of the demo: what was expected, what was counted, and the table of it.

use std::sync::Arc;

use serde::Serialize;
use tokenkeep::{Clock, Timestamp};

use crate::output::{self, Printer};

/// Steps as they happen.
pub(super) struct Steps {
    clock: Arc<dyn Clock>,
    printer: Printer,
    begun: Timestamp,
    last: Timestamp,
    steps: Vec<Step>,
}

/// One step that was checked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    step: String,
    expected: String,
    counted: String,
    held: bool,
    took_ms: u128,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    /// Whether every step held.
    pub(super) held: bool,
    took_ms: u128,
    steps: Vec<Step>,
}

impl Steps {
    pub(super) fn new(clock: Arc<dyn Clock>, printer: Printer) -> Self {
        let begun = clock.now();
        Self { clock, printer, begun, last: begun, steps: Vec::new() }
    }

    /// A step holds if what was counted is what was expected, word for word.
    pub(super) fn check(
        &mut self,
        step: impl Into<String>,
        expected: impl Into<String>,
        counted: impl Into<String>,
    ) {
        let now = self.clock.now();
        let (step, expected, counted) = (step.into(), expected.into(), counted.into());
        let held = expected == counted;
        self.printer.note(&format!("{} {step}", if held { "ok  " } else { "FAIL" }));
        let took_ms = self.last.until(now).as_millis();
        self.steps.push(Step { step, expected, counted, held, took_ms });
        self.last = now;
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            held: !self.steps.is_empty() && self.steps.iter().all(|step| step.held),
            took_ms: self.begun.until(self.clock.now()).as_millis(),
            steps: self.steps.clone(),
        }
    }
}

impl Summary {
    pub(super) fn table(&self) -> String {
        let table = output::columns(
            ["STEP", "COUNTED", "HELD", "MS"],
            self.steps.iter().map(|step| {
                let counted = if step.held {
                    step.counted.clone()
                } else {
                    format!("{} (expected: {})", step.counted, step.expected)
                };
                let held = if step.held { "yes" } else { "NO" };
                [step.step.clone(), counted, held.to_owned(), step.took_ms.to_string()]
            }),
        );
        let held = self.steps.iter().filter(|step| step.held).count();
        format!("\n{table}\n\n{held} of {} steps held in {} ms.", self.steps.len(), self.took_ms)
    }
}
