//! Every finding on the official SDKs' stores is covered: by a case of the suite, or by a test of
//! the store that it is about.

use std::{collections::BTreeSet, path::Path};

use tokenkeep_testkit::conformance::cases;

/// The findings that a token store answers for.
const FINDINGS: [&str; 23] = [
    "F01", "F02", "F04", "F05", "F06", "F07", "F08", "F09", "F10", "F11", "F13", "F14", "F15",
    "F16", "F17", "F18", "F19", "F20", "F22", "F23", "F27", "F33", "F34",
];

/// Findings about one kind of storage: the finding, the file, and the test in it.
const BY_STORES: [(&str, &str, &str); 4] = [
    ("F17", "stores/file/tests/damage.rs", "an_emptied_or_removed_file_is_an_empty_store"),
    (
        "F18",
        "stores/file/tests/damage.rs",
        "intact_rows_stay_readable_and_the_broken_one_is_reported",
    ),
    ("F19", "stores/file/tests/files.rs", "all_files_are_for_the_owner_only"),
    ("F27", "stores/file/tests/processes.rs", "a_write_that_is_cut_short"),
];

#[test]
fn every_finding_is_covered() {
    let mut covered: BTreeSet<&str> =
        cases().iter().flat_map(|case| case.baseline).copied().collect();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (finding, file, test) in BY_STORES {
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
