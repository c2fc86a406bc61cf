//! `cargo xtask mutants`: breaks the refresh protocol on purpose, one rule at a time, and fails if
//! a test does not see it that is said to.

mod patch;
mod tree;

use std::time::Instant;

use anyhow::{Context, Result, bail};

use self::{patch::Patch, tree::Tree};
use crate::process;

/// Tries the patches whose names contain one of `names`, or all if there are none.
///
/// # Errors
///
/// If a test that is to fail does not pass on the tree as it is; if a patch does not apply, does
/// not build, or leaves a test that it names as it was.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let mut patches = patch::all()?;
    patches.retain(|it| names.is_empty() || names.iter().any(|name| it.name.contains(name)));
    if patches.is_empty() {
        bail!("there is no such patch in {}", patch::DIRECTORY);
    }
    let tree = Tree::of_head()?;
    eprintln!("the tests that are to fail, on {} as it is", tree.commit());
    for patch in &patches {
        sees_nothing(&tree, patch)?;
    }
    let mut rows = Vec::new();
    for patch in &patches {
        eprintln!("{}: without {}", patch.name, patch.removes);
        rows.push(Row::of(&tree, patch));
    }
    let survivors = rows.iter().filter(|row| row.verdict.is_err()).count();
    print!("{}", table(&rows));
    if survivors == 0 { Ok(()) } else { bail!("mutants: {survivors} of {} survive", rows.len()) }
}

/// On the tree as it is the tests pass, so that it is the patch that makes them fail.
fn sees_nothing(tree: &Tree, patch: &Patch) -> Result<()> {
    for killer in &patch.killers {
        let outcome = tree.test(killer)?;
        if !outcome.failed.is_empty() || outcome.passed != killer.tests.len() {
            bail!(
                "{}: without the patch, {} of {killer} pass; failed: {:?}",
                patch.name,
                outcome.passed,
                outcome.failed
            );
        }
    }
    Ok(())
}

/// What became of one patch.
struct Row {
    name: String,
    /// The tests that failed, or why none did.
    verdict: Result<Vec<String>>,
    seconds: f64,
}

impl Row {
    #[expect(clippy::disallowed_methods, reason = "shows how long it took, nothing depends on it")]
    fn of(tree: &Tree, patch: &Patch) -> Self {
        let began = Instant::now();
        let verdict = kill(tree, patch);
        Self { name: patch.name.clone(), verdict, seconds: began.elapsed().as_secs_f64() }
    }
}

/// The tests that fail with the patch: all that it names. What they wrote is under `target`.
fn kill(tree: &Tree, patch: &Patch) -> Result<Vec<String>> {
    let _applied = tree.apply(patch).context("does not apply")?;
    let (mut failed, mut log) = (Vec::new(), String::new());
    for killer in &patch.killers {
        let outcome = tree.test(killer)?;
        log.push_str(&outcome.output);
        failed.extend(outcome.failed);
    }
    process::write(&process::target("mutants").join(format!("{}.log", patch.name)), &log)?;
    let named = patch.killers.iter().flat_map(|killer| &killer.tests);
    let blind: Vec<_> = named.filter(|test| !failed.contains(test)).map(String::as_str).collect();
    if blind.is_empty() { Ok(failed) } else { bail!("SURVIVES {}", blind.join(", ")) }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = String::from("\n");
    for Row { name, verdict, seconds } in rows {
        let verdict = match verdict {
            Ok(failed) => format!("killed by {}", failed.join(", ")),
            Err(error) => format!("{error:#}"),
        };
        text.push_str(&format!("{name:width$}  {seconds:>4.0} s  {verdict}\n"));
    }
    text
}
