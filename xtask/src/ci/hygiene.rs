//! What must not stand in the repository, and what must.

use std::{fs, process::Command};

use anyhow::{Result, bail};

use crate::process;

/// Past this many lines a file probably has two reasons to change.
const LONG: usize = 600;

const NEEDED: [&str; 9] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "deny.toml",
];

/// Hosts of package registries, by name and top-level domain.
const REGISTRIES: [(&str, &str); 4] =
    [("crates", "io"), ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org")];

/// Directories that exist on somebody's machine only.
const PLACES: [&str; 4] = ["home", "root", "Users", "work"];

/// Fails with every file that should not be as it is; warns of long ones.
pub(crate) fn check() -> Result<()> {
    let listed = process::output(
        Command::new("git").current_dir(process::root()).args(["ls-files", "--cached"]),
    )?;
    let files: Vec<&str> = listed.lines().collect();
    let mut wrong: Vec<String> = NEEDED
        .iter()
        .filter(|needed| !files.contains(needed))
        .map(|needed| format!("{needed} is not in the repository"))
        .collect();
    for file in &files {
        // Binary fixtures are not text, and a file may be deleted and not yet committed.
        let Ok(text) = fs::read_to_string(process::root().join(file)) else { continue };
        // Written by cargo, with the registry's index in every entry.
        if *file == "Cargo.lock" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if let Some(what) = fault(line) {
                wrong.push(format!("{file}:{}: {what}", number + 1));
            }
        }
        let lines = text.lines().count();
        if file.ends_with(".rs") && lines > LONG {
            eprintln!("warning: {file} has {lines} lines: one reason to change, or two?");
        }
    }
    wrong.extend(missing_tests(&files)?);
    if wrong.is_empty() { Ok(()) } else { bail!("hygiene:\n  {}", wrong.join("\n  ")) }
}

/// The tests that the documents name and nobody has.
fn missing_tests(files: &[&str]) -> Result<Vec<String>> {
    let mut sources = String::new();
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        sources.push_str(&fs::read_to_string(process::root().join(file)).unwrap_or_default());
    }
    let mut missing = Vec::new();
    for document in ["README.md", "SECURITY.md"] {
        let text = fs::read_to_string(process::root().join(document))?;
        missing.extend(
            named_tests(&text)
                .filter(|name| !sources.contains(&format!("fn {name}(")))
                .map(|name| format!("{document} names the test {name}, which is not there")),
        );
    }
    Ok(missing)
}

/// The tests in the tables of `document`: in backticks, after `*::` where a suite has them.
fn named_tests(document: &str) -> impl Iterator<Item = &str> {
    document
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .map(|code| code.trim_start_matches("*::"))
        .filter(|code| {
            code.matches('_').count() > 2
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
        })
}

fn fault(line: &str) -> Option<&'static str> {
    if REGISTRIES.iter().any(|(name, domain)| line.contains(&format!("{name}.{domain}"))) {
        return Some("names a package registry's host");
    }
    let names_a_place = PLACES.iter().any(|place| {
        let path = format!("/{place}/");
        line.match_indices(&path).any(|(at, _)| {
            !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "._-})>".contains(c))
        })
    });
    names_a_place.then_some("names a path of one machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_is_a_fault_and_a_relative_one_is_not() {
        let absolute = format!("see /{}/project/file", PLACES[1]);
        assert!(fault(&absolute).is_some());
        assert!(fault("see our/work/list").is_none());
    }

    #[test]
    fn the_tests_of_a_table_are_read() {
        let document = "`not_in_a_table_at_all`\n| `secure_delete` | `*::a_b_c_d`, `e_f_g_h` |";
        assert_eq!(named_tests(document).collect::<Vec<_>>(), ["a_b_c_d", "e_f_g_h"]);
    }

    #[test]
    fn a_registry_host_is_a_fault() {
        let (name, domain) = REGISTRIES[0];
        assert!(fault(&format!("https://{name}.{domain}/x")).is_some());
        assert!(fault("cargo add tokenkeep").is_none());
    }
}
