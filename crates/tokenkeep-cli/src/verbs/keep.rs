//! `tokenkeep keep`

use std::time::Duration;

use serde::Serialize;
use tokenkeep::{Event, EventKind, EventStream, Missed, Recovery, TokenManager};

use crate::{
    context::Context,
    error::{Failure, with_causes},
    output::{Format, Printer},
    signals, time,
};

const HELP: &str = "\
It runs until it is told to stop (ctrl-c or SIGTERM), lets the renewals under way end, and exits
with 0. Programs on the same store then never wait for a refresh. Several of it, on several
machines, share the work: each token is renewed by one of them. What earlier commands could not
store is stored first.

What happens is said on stderr. With `--format json` it is on stdout, one object a line, with event
(`refreshed`, `adopted`, `refresh_failed`, `needs_login`, `revoked`, `unsaved`, `recovered`,
`lease_lost`, ...), token_id, at (ms since 1970, as a string) and what belongs to the event.

Examples:
  tokenkeep keep
  tokenkeep keep --margin 900               a provider may be down for a quarter of an hour
  tokenkeep keep --format json | jq -c 'select(.event == \"needs_login\")'";

/// Keeps all tokens of the store fresh, until it is told to stop
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// How many seconds before its end a token is renewed at the latest; never more than half of
    /// its life
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=86_400))]
    margin: u64,
    /// How many tokens are renewed at the same time, at most
    #[arg(long, value_name = "TOKENS", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_024))]
    concurrency: u16,
    /// How often the store is looked through for tokens that others have added
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    scan_every: u64,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if context.store_url()?.is_in_memory() {
        return Err(Failure::usage("a store in memory has no tokens to keep")
            .hint("name another one with `--store`"));
    }
    let stopped = signals::told_to_stop()?;
    let manager = context.manager().await?;
    let events = manager.events();
    recover(context, &manager).await?;
    let keeper = manager
        .keeper()
        .margin(Duration::from_secs(args.margin))
        .concurrency(args.concurrency.into())
        .scan_every(Duration::from_secs(args.scan_every))
        .start()?;
    context.printer.note("it keeps the tokens fresh until ctrl-c");
    let mut telling = Telling { events, printer: context.printer, renewed: 0, failed: 0 };
    let told = tokio::select! {
        () = stopped => Ok(()),
        failure = telling.all() => Err(failure),
    };
    let tokens = keeper.status().tokens;
    // Whatever the reason is: what is being renewed must not be lost.
    keeper.stop().await;
    told?;
    telling.rest().await?;
    let Telling { renewed, failed, .. } = telling;
    context.printer.note(&format!(
        "stopped: {tokens} tokens kept, {renewed} times renewed here, {failed} times failed"
    ));
    Ok(())
}

async fn recover(context: &Context, manager: &TokenManager) -> Result<(), Failure> {
    let Recovery { waiting, damage, .. } = manager.recover().await?;
    for damage in damage {
        context.printer.warn(&damage);
    }
    if waiting > 0 {
        context.printer.warn(&format!("{waiting} tokens in the spool still cannot be stored"));
    }
    Ok(())
}

/// Tells what happens, in the order in which it happens.
struct Telling {
    events: EventStream,
    printer: Printer,
    renewed: u64,
    failed: u64,
}

impl Telling {
    /// Tells all that happens; ends if it cannot be told.
    async fn all(&mut self) -> Failure {
        loop {
            match self.events.next().await {
                Some(event) => {
                    if let Err(failure) = self.tell(&event) {
                        return failure;
                    }
                }
                // The manager is there as long as this is, so there is no end.
                None => std::future::pending().await,
            }
        }
    }

    /// Tells what has happened and was not told yet.
    async fn rest(&mut self) -> Result<(), Failure> {
        while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, self.events.next()).await {
            self.tell(&event)?;
        }
        Ok(())
    }

    fn tell(&mut self, event: &Result<Event, Missed>) -> Result<(), Failure> {
        let line = match event {
            Ok(event) => {
                self.renewed += u64::from(matches!(event.kind, EventKind::Refreshed { .. }));
                self.failed += u64::from(matches!(event.kind, EventKind::RefreshFailed { .. }));
                Line::of(event)
            }
            Err(missed) => {
                Line { error: Some(missed.to_string()), ..Line::new("missed".to_owned()) }
            }
        };
        match self.printer.format() {
            Format::Json => self.printer.line(&line),
            Format::Table => {
                self.printer.note(&line.text());
                Ok(())
            }
        }
    }
}

/// An event as a line.
#[derive(Debug, Default, Serialize)]
struct Line {
    event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    /// Milliseconds since the epoch as decimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<String>,
    /// For a person.
    #[serde(skip)]
    moment: String,
}

impl Line {
    fn new(event: String) -> Self {
        Self { event, ..Self::default() }
    }

    fn of(event: &Event) -> Self {
        let line = Self::of_kind(&event.kind);
        Self {
            token_id: Some(event.token_id.to_string()),
            at: Some(time::column(event.at)),
            moment: time::show(event.at),
            ..line
        }
    }

    fn of_kind(kind: &EventKind) -> Self {
        let named = |name: &str| Self::new(name.to_owned());
        match kind {
            EventKind::Refreshed { reason, rotated, took, .. } => Self {
                reason: Some(reason.as_str()),
                rotated: Some(*rotated),
                took_ms: Some(took.as_millis()),
                ..named("refreshed")
            },
            EventKind::Adopted => named("adopted"),
            EventKind::RefreshFailed { reason, error, .. } => Self {
                reason: Some(reason.as_str()),
                error: Some(with_causes(error)),
                retry_at: error.retry_at().map(time::column),
                ..named("refresh_failed")
            },
            EventKind::NeedsLogin => named("needs_login"),
            EventKind::LoggedIn => named("logged_in"),
            EventKind::Revoked => named("revoked"),
            EventKind::Unsaved { message, .. } => {
                Self { error: Some(message.clone()), ..named("unsaved") }
            }
            EventKind::Recovered { from, .. } => {
                Self { from: Some(from.as_str()), ..named("recovered") }
            }
            EventKind::LeaseLost { .. } => named("lease_lost"),
            // What a newer manager tells.
            _ => named("other"),
        }
    }

    /// It for a person.
    fn text(&self) -> String {
        let mut text = self.event.replace('_', " ");
        if let Some(id) = &self.token_id {
            text = format!("{}  token {id}: {text}", self.moment);
        }
        if let Some(reason) = self.reason {
            text = format!("{text} ({reason})");
        }
        if let Some(from) = self.from {
            text = format!("{text} from {from}");
        }
        if let Some(took) = self.took_ms {
            text = format!("{text} in {took} ms");
        }
        match &self.error {
            Some(error) => format!("{text}: {error}"),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_belongs_to_the_event_and_no_more() {
        let line = Line {
            token_id: Some("7".to_owned()),
            at: Some("1764000000000".to_owned()),
            moment: "2025-11-24T16:00:00Z".to_owned(),
            reason: Some("kept"),
            ..Line::new("refreshed".to_owned())
        };
        let refreshed = Line { rotated: Some(false), took_ms: Some(12), ..line };
        assert_eq!(
            serde_json::to_string(&refreshed).unwrap(),
            r#"{"event":"refreshed","token_id":"7","at":"1764000000000","reason":"kept","rotated":false,"took_ms":12}"#
        );
        let text = "2025-11-24T16:00:00Z  token 7: refreshed (kept) in 12 ms";
        assert_eq!(refreshed.text(), text);
        let needs_login = Line::of_kind(&EventKind::NeedsLogin);
        assert_eq!(serde_json::to_string(&needs_login).unwrap(), r#"{"event":"needs_login"}"#);
        let failed = Line { error: Some("no answer".to_owned()), ..Line::new("x_y".to_owned()) };
        assert_eq!(failed.text(), "x y: no answer");
    }
}
