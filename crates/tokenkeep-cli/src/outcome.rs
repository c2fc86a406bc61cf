//! What became of each token, for the verbs that work on several.

use serde::Serialize;
use tokenkeep::{OAuthToken, TokenManager};

use crate::{context::Context, error::Failure, output, progress, select::SomeTokens};

/// What became of one token.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TokenOutcome {
    id: String,
    user_name: Option<String>,
    /// What was done, or `failed`.
    result: &'static str,
    /// Milliseconds since the epoch as decimal digits.
    expiry_time: Option<String>,
    error: Option<String>,
    #[serde(skip)]
    detail: String,
}

impl TokenOutcome {
    /// It was done. `detail` is for a person.
    pub(crate) fn done(token: &OAuthToken, result: &'static str, detail: String) -> Self {
        Self {
            id: token.id().map(ToString::to_string).unwrap_or_default(),
            user_name: token.user_name().map(str::to_owned),
            result,
            expiry_time: None,
            error: None,
            detail,
        }
    }

    pub(crate) fn with_expiry(mut self, at: tokenkeep::Timestamp) -> Self {
        self.expiry_time = Some(crate::time::column(at));
        self
    }

    fn failed(token: &OAuthToken, failure: &Failure) -> Self {
        let mut this = Self::done(token, "failed", failure.message.clone());
        this.error = Some(failure.message.clone());
        this
    }
}

/// Does `work` on each of the tokens, one after the other, and prints what became of them. The
/// words are for the question and for the progress bar.
pub(crate) async fn of_each<W>(
    tokens: &SomeTokens,
    context: &Context,
    [verb, doing]: [&'static str; 2],
    work: W,
) -> Result<(), Failure>
where
    W: AsyncFn(&TokenManager, &OAuthToken) -> Result<TokenOutcome, Failure>,
{
    let manager = context.manager().await?;
    let found = tokens.find(manager.store(), verb, context.printer).await?;
    let bar = progress::bar(doing, found.len());
    let mut outcomes = Vec::new();
    for token in found {
        let outcome = work(&manager, &token).await;
        outcomes.push((token, outcome));
        bar.inc(1);
    }
    bar.finish_and_clear();
    report(context, outcomes, tokens.all())
}

/// Prints what became of the tokens. With one token, its failure is the command's; with several,
/// all are listed, and the command fails with the code they have in common, else with 1.
fn report(
    context: &Context,
    outcomes: Vec<(OAuthToken, Result<TokenOutcome, Failure>)>,
    several: bool,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    for (token, outcome) in outcomes {
        match outcome {
            Ok(row) => rows.push(row),
            Err(failure) if !several => return Err(failure),
            Err(failure) => {
                rows.push(TokenOutcome::failed(&token, &failure));
                failures.push(failure);
            }
        }
    }
    context.printer.result(&rows[..], table)?;
    let Some(first) = failures.first() else { return Ok(()) };
    let same = failures.iter().all(|failure| failure.code == first.code);
    let code = if same { first.code } else { crate::exit::FAILED };
    Err(Failure::new(code, format!("{} of {} tokens failed", failures.len(), rows.len())))
}

fn table(rows: &[TokenOutcome]) -> String {
    if rows.is_empty() {
        return "The store is empty.".to_owned();
    }
    output::columns(
        ["ID", "USER", "RESULT", "DETAIL"],
        rows.iter().map(|row| {
            [
                row.id.clone(),
                row.user_name.clone().unwrap_or_default(),
                row.result.to_owned(),
                row.detail.clone(),
            ]
        }),
    )
}
