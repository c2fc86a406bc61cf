//! Every finding on the official SDKs' stores is covered: by a case of the suite, or by a test of
//! the store or the manager that it is about.
//!
//! F03 is a statement that needs a SQLite built with an option that the bundled one lacks, so each
//! case that updates a row in SQLite shows it.

use std::{collections::BTreeSet, path::Path};

use tokenkeep_testkit::conformance::cases;

/// The findings that a token store or the manager answers for.
const FINDINGS: [&str; 25] = [
    "F01", "F02", "F04", "F05", "F06", "F07", "F08", "F09", "F10", "F11", "F13", "F14", "F15",
    "F16", "F17", "F18", "F19", "F20", "F22", "F23", "F24", "F27", "F30", "F33", "F34",
];

/// Findings that no case can show alike on every store: the finding, the file, and the test in it.
const BY_TESTS: [(&str, &str, &str); 10] = [
    ("F17", "stores/file/tests/damage.rs", "an_emptied_or_removed_file_is_an_empty_store"),
    ("F17", "stores/sqlite/tests/same_file.rs", "a_removed_file_is_made_again_and_saves_go_there"),
    (
        "F18",
        "stores/file/tests/damage.rs",
        "intact_rows_stay_readable_and_the_broken_one_is_reported",
    ),
    ("F18", "stores/sqlite/tests/failures.rs", "a_damaged_page_is_an_error_and_not_absence"),
    ("F19", "stores/file/tests/files.rs", "all_files_are_for_the_owner_only"),
    (
        "F19",
        "stores/sqlite/tests/failures.rs",
        "a_new_file_is_private_and_an_old_one_keeps_its_mode",
    ),
    (
        "F24",
        "crates/tokenkeep-manager/tests/manager/login.rs",
        "what_was_issued_and_cannot_be_stored_is_given_to_the_caller",
    ),
    ("F27", "stores/file/tests/processes.rs", "a_write_that_is_cut_short"),
    ("F27", "stores/sqlite/tests/failures.rs", "a_full_disk_is_an_error_and_loses_nothing"),
    (
        "F30",
        "crates/tokenkeep-manager/tests/manager/revoke.rs",
        "a_revoked_token_ends_at_the_provider_and_here",
    ),
];

#[test]
fn every_finding_is_covered() {
    let mut covered: BTreeSet<&str> =
        cases().iter().flat_map(|case| case.baseline).copied().collect();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (finding, file, test) in BY_TESTS {
        let source = std::fs::read_to_string(workspace.join(file)).unwrap();
        assert!(source.contains(&format!("fn {test}()")), "{file} has no test {test}");
        covered.insert(finding);
    }
    let missing: Vec<_> = FINDINGS.iter().filter(|finding| !covered.contains(*finding)).collect();
    assert!(missing.is_empty(), "no case covers {missing:?}");
}

#[test]
fn no_case_is_registered_twice() {
    let mut names = BTreeSet::new();
    for case in cases() {
        assert!(names.insert(case.name), "{} is registered twice", case.name);
    }
}
