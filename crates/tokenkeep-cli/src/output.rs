//! [`Printer`]: the only way to stdout and stderr.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::error::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for a person.
    #[default]
    Table,
    /// JSON for a program.
    Json,
}

/// Prints results to stdout, and everything else to stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    format: Format,
    quiet: bool,
}

impl Printer {
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// A result: as JSON, or as the text that `table` makes of it.
    pub(crate) fn result<T: Serialize + ?Sized>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let json = serde_json::to_string_pretty(value).map_err(|error| {
                    Failure::failed(format!("the result cannot be written as JSON: {error}"))
                })?;
                self.text(&json)
            }
            Format::Table => self.text(table(value).trim_end()),
        }
    }

    /// One of many results, as one line of JSON.
    pub(crate) fn line<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let json = serde_json::to_vec(value).map_err(|error| {
            Failure::failed(format!("the result cannot be written as JSON: {error}"))
        })?;
        self.bytes(&json, true)
    }

    /// A result that is text and nothing else.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes(), true)
    }

    /// A result that is bytes, with a newline at its end if there is none and `line` says so.
    pub(crate) fn bytes(&self, bytes: &[u8], line: bool) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let mut write = || {
            stdout.write_all(bytes)?;
            if line && !bytes.ends_with(b"\n") {
                stdout.write_all(b"\n")?;
            }
            stdout.flush()
        };
        match write() {
            // Whoever reads has enough, as in `tokenkeep list | head -1`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Something a person may want to know; `-q` hides it.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.stderr(text);
        }
    }

    /// Something a person must do for the command to go on.
    pub(crate) fn prompt(&self, text: &str) {
        self.stderr(text);
    }

    /// Something a person must know.
    pub(crate) fn warn(&self, text: &str) {
        self.stderr(&format!("warning: {text}"));
    }

    /// Why the command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.stderr(&failure.report());
    }

    /// A question on stderr, its answer from stdin: whether the user agrees.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Failure::usage("`--all` asks, and there is no terminal to ask on")
                .hint("add `--yes` if you mean all tokens of this store"));
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    fn stderr(&self, text: &str) {
        // With nowhere to say it, there is nothing left to do.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }
}

/// Columns under headings, without lines: easy to read, and easy to cut.
pub(crate) fn columns<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings);
    for row in rows {
        table.add_row(row.map(|cell| shown(&cell)));
    }
    trimmed(&table)
}

/// Names and values, one pair a line.
pub(crate) fn pairs<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in rows {
        table.add_row([name.to_owned(), shown(&value)]);
    }
    trimmed(&table)
}

fn trimmed(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let margin = lines
        .iter()
        .filter(|line| !line.is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    lines.iter().map(|line| line.get(margin..).unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Text from a store as it may be shown on a terminal: what would steer it is escaped.
pub(crate) fn shown(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            let (plain, escape) =
                if escaped { (None, Some(c.escape_default())) } else { (Some(c), None) };
            plain.into_iter().chain(escape.into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(shown("a\u{1b}[2J\nb\té"), "a\\u{1b}[2J\\nb\\té");
        assert_eq!(shown(""), "-");
    }

    #[test]
    fn columns_have_no_margin_and_no_trailing_blanks() {
        let text = columns(
            ["ID", "USER"],
            [["1".to_owned(), "alice".to_owned()], ["10".to_owned(), String::new()]],
        );
        assert_eq!(text, "ID  USER\n1   alice\n10  -");
    }
}
