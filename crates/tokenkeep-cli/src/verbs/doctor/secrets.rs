//! What is wrong with a store in a cloud, in Vault or in a keyring.

use tokenkeep::stores::{aws::dynamodb, keyring, vault};

use super::{Check, Verdict, common::Common, layout::list};

/// An index of this many bytes comes near to what Vault's storages take.
const LONG_INDEX: usize = 400 * 1024;
/// A keyring is written whole at each change.
const MANY_IN_A_KEYRING: usize = 100;

pub(super) fn of_dynamodb(inspection: &dynamodb::Inspection, checks: &mut Vec<Check>) {
    let it = inspection;
    let billing = it.billing.as_deref().map(|billing| format!(", {billing}"));
    let common = Common {
        name: format!("DynamoDB, table {}{}", it.table, billing.unwrap_or_default()),
        tls: None,
        tokens: it.tokens,
        duplicates: &it.duplicates,
        damage: &it.damage,
    };
    common.check(checks);
    let mut add = |check, verdict, detail: String, hint: &str| {
        checks.push(Check::new(check, verdict, detail).hint(hint));
    };
    if !it.deletion_protection {
        let hint = "switch on the table's deletion protection, and point-in-time recovery";
        add("server", Verdict::Warning, "the table can be deleted by mistake".to_owned(), hint);
    }
    if !it.not_findable.is_empty() {
        let detail = format!("tokens that not every query finds: ids {}", list(&it.not_findable));
        add("layout", Verdict::Failed, detail, "save them by id, while nobody else writes");
    }
    if it.dangling > 0 {
        let detail = format!("entries of keys whose tokens are gone: {}", it.dangling);
        let hint = "expired tokens leave them; the next save of such a key mends it";
        add("layout", Verdict::Warning, detail, hint);
    }
}

pub(super) fn of_vault(inspection: &vault::Inspection, checks: &mut Vec<Check>) {
    let it = inspection;
    let version = it.server_version.as_deref().unwrap_or("of unknown version");
    let common = Common {
        name: format!("Vault {version}"),
        tls: Some(it.tls),
        tokens: it.tokens as u64,
        duplicates: &[],
        damage: &it.damage,
    };
    common.check(checks);
    if it.index_bytes > LONG_INDEX {
        let detail = format!("the index has {} KiB", it.index_bytes / 1024);
        let hint = "Vault takes 1 MiB, and 512 KiB on Consul: move the tokens to a database";
        checks.push(Check::new("server", Verdict::Warning, detail).hint(hint));
    }
    checks.push(left_over(it.left_over, "let the policy list PREFIX/tokens"));
}

pub(super) fn of_keyring(inspection: &keyring::Inspection, checks: &mut Vec<Check>) {
    let it = inspection;
    let common = Common {
        name: format!("the keyring's service {}", it.service),
        tls: None,
        tokens: it.tokens as u64,
        duplicates: &[],
        damage: &it.damage,
    };
    common.check(checks);
    if it.tokens > MANY_IN_A_KEYRING {
        let detail = format!("{} tokens are many for a keyring", it.tokens);
        let hint = "each change writes all of it: move them to sqlite:PATH";
        checks.push(Check::new("server", Verdict::Warning, detail).hint(hint));
    }
    checks.push(left_over(Some(it.left_over), ""));
}

/// Secrets that a killed process left.
fn left_over(count: Option<usize>, hint: &str) -> Check {
    match count {
        Some(0) => Check::new("layout", Verdict::Ok, "nothing is left of stopped processes"),
        Some(count) => Check::new(
            "layout",
            Verdict::Ok,
            format!("left of stopped processes: {count}; the next change removes it"),
        ),
        None => Check::new(
            "layout",
            Verdict::Warning,
            "what stopped processes leave cannot be seen, and stays",
        )
        .hint(hint),
    }
}
