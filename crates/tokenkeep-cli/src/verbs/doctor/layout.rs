//! What is wrong with the layout of a store, for us or for an official SDK that shares it.

use tokenkeep::{
    OpenedStore, TokenId,
    stores::{
        file::{Problem, ProblemKind},
        sqlite::Inspection,
    },
};

use super::{Check, Verdict, databases, failed, secrets};

pub(super) async fn examine(store: &OpenedStore, damage: &[String], checks: &mut Vec<Check>) {
    let before = checks.len();
    match store {
        OpenedStore::File(store) => match store.inspect().await {
            // Permissions have a check of their own.
            Ok(inspection) => checks.extend(
                inspection
                    .problems
                    .iter()
                    .filter(|problem| problem.kind != ProblemKind::OpenToOthers)
                    .map(of_file),
            ),
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::Sqlite(store) => match store.inspect().await {
            Ok(inspection) => of_database(&inspection, damage, checks),
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::Postgres(store) => match store.inspect().await {
            Ok(inspection) => databases::of_postgres(&inspection, checks),
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::Redis(store) => match store.inspect().await {
            Ok(inspection) => databases::of_redis(&inspection, checks),
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::Mysql(store) => match store.inspect().await {
            Ok(inspection) => databases::of_mysql(&inspection, checks),
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::DynamoDb(store) => match store.inspect().await {
            Ok(inspection) => secrets::of_dynamodb(&inspection, checks),
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::Vault(store) => match store.inspect().await {
            Ok(inspection) => secrets::of_vault(&inspection, checks),
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::Keyring(store) => match store.inspect().await {
            Ok(inspection) => secrets::of_keyring(&inspection, checks),
            Err(error) => checks.push(failed("layout", error.into())),
        },
        OpenedStore::SecretsManager(_) => {
            checks.extend(
                damage.iter().map(|damage| {
                    Check::new("layout", Verdict::Failed, format!("damage: {damage}"))
                }),
            );
            checks.push(Check::new("server", Verdict::Ok, "AWS Secrets Manager answers"));
        }
        OpenedStore::List(_) | _ => {}
    }
    if checks.len() == before {
        checks.push(Check::new("layout", Verdict::Ok, "nothing that an official SDK trips over"));
    }
}

fn of_database(inspection: &Inspection, damage: &[String], checks: &mut Vec<Check>) {
    let mut add = |verdict, detail: String, hint: &str| {
        checks.push(Check::new("layout", verdict, detail).hint(hint));
    };
    for damage in inspection.damage.iter().chain(damage) {
        let hint = "save a copy of the file, export what can be read, and import it to a new store";
        add(Verdict::Failed, format!("damage: {damage}"), hint);
    }
    if inspection.sdk_cannot_insert {
        add(
            Verdict::Warning,
            "an official SDK cannot add a user: it takes the largest id as text for the last one"
                .to_owned(),
            "add users with tokenkeep; the SDKs can use and update those that are there",
        );
    }
    if !inspection.text_ids.is_empty() {
        add(
            Verdict::Warning,
            format!("ids that are no numbers: {}", list(&inspection.text_ids)),
            "the SDKs for Python and Java cannot add a user beside them",
        );
    }
    if !inspection.unreadable_expiry.is_empty() {
        add(
            Verdict::Warning,
            format!("expiry_time is no number: ids {}", list(&inspection.unreadable_expiry)),
            "taken for absent: such a token counts as expired until it is refreshed",
        );
    }
    if !inspection.too_long.is_empty() {
        let values: Vec<String> = inspection
            .too_long
            .iter()
            .take(LISTED)
            .map(|(id, field)| format!("{field} of id {id}"))
            .collect();
        add(
            Verdict::Warning,
            format!("longer than the official layout says: {}", values.join(", ")),
            "SQLite keeps such values; a database like MySQL would cut them",
        );
    }
    if inspection.orphans > 0 {
        add(
            Verdict::Warning,
            format!("states of tokens that are gone: {}", inspection.orphans),
            "another program deleted these tokens; what is left of them does no harm",
        );
    }
}

/// At most this many are listed of one kind.
const LISTED: usize = 10;

pub(super) fn list(ids: &[TokenId]) -> String {
    let mut text = ids.iter().take(LISTED).map(TokenId::as_str).collect::<Vec<_>>().join(", ");
    if ids.len() > LISTED {
        text = format!("{text} and {} more", ids.len() - LISTED);
    }
    text
}

fn of_file(problem: &Problem) -> Check {
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
