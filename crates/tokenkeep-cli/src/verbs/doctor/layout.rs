//! What is wrong with the layout of a store, for us or for an official SDK that shares it.

use tokenkeep::OpenedStore;

use super::{Check, Verdict, failed};

pub(super) async fn examine(store: &OpenedStore, damage: &[String], checks: &mut Vec<Check>) {
    let before = checks.len();
    match store {
        OpenedStore::File(store) => match store.inspect().await {
            Ok(inspection) => {
                for problem in &inspection.problems {
                    let kind = tokenkeep::stores::file::ProblemKind::OpenToOthers;
                    if problem.kind != kind {
                        checks.push(of_file(problem));
                    }
                }
            }
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::List(_) | OpenedStore::Sqlite(_) | _ => checks.extend(
            damage.iter().map(|damage| Check::new("layout", Verdict::Failed, damage.clone())),
        ),
    }
    if checks.len() == before {
        let detail = match store {
            OpenedStore::List(_) => "nothing shares a list in memory",
            OpenedStore::Sqlite(_) | OpenedStore::File(_) | _ => "every official SDK can read it",
        };
        checks.push(Check::new("layout", Verdict::Ok, detail));
    }
}

fn of_file(problem: &tokenkeep::stores::file::Problem) -> Check {
    let mut detail = words(&format!("{:?}", problem.kind));
    match problem.lines[..] {
        [] => {}
        [line] => detail = format!("{detail} on line {line}"),
        [first, .., last] => {
            detail = format!("{detail} on {} lines from {first} to {last}", problem.lines.len());
        }
    }
    if !problem.affects.is_empty() {
        let sdks: Vec<String> = problem.affects.iter().map(ToString::to_string).collect();
        detail = format!("{detail}; affects the SDKs for {}", sdks.join(", "));
    }
    let verdict = if problem.affects_us { Verdict::Failed } else { Verdict::Warning };
    Check::new("layout", verdict, detail).hint(problem.advice)
}

/// `DuplicateId` as `duplicate id`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn names_become_words() {
        assert_eq!(words("DuplicateId"), "duplicate id");
        assert_eq!(words("Quotes"), "quotes");
    }
}
