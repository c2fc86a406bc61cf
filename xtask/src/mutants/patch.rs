//! The patches: what each takes away, and which tests must see it.

use std::{fmt, fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;

/// Where they are.
pub(super) const DIRECTORY: &str = "xtask/mutants";

/// A patch, as `git diff` writes it, under a header:
///
/// ```text
/// removes: the read under the lease
/// killed by: -p tokenkeep-manager --test manager -- refresh::a_test save::another_one
/// ```
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// What the code lacks with it.
    pub(super) removes: String,
    pub(super) killers: Vec<Killer>,
}

/// Tests of one target, all of which have to fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Killer {
    /// What tells cargo which target it is.
    pub(super) target: Vec<String>,
    /// Their full names.
    pub(super) tests: Vec<String>,
}

impl fmt::Display for Killer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -- {}", self.target.join(" "), self.tests.join(" "))
    }
}

/// All of them, by name.
pub(super) fn all() -> Result<Vec<Patch>> {
    let directory = process::root().join(DIRECTORY);
    let mut patches = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("no {DIRECTORY}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let text = fs::read_to_string(&path)?;
            patches.push(Patch::read(path, &text)?);
        }
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

impl Patch {
    fn read(path: PathBuf, text: &str) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (mut removes, mut killers) = (None, Vec::new());
        for line in text.lines().take_while(|line| !line.starts_with("diff ")) {
            if let Some(what) = line.strip_prefix("removes: ") {
                removes = Some(what.to_owned());
            } else if let Some(killer) = line.strip_prefix("killed by: ") {
                let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
                let (target, tests) = killer
                    .split_once(" -- ")
                    .with_context(|| format!("{name}: no `--` before the tests: {killer}"))?;
                killers.push(Killer { target: words(target), tests: words(tests) });
            } else if !line.is_empty() {
                bail!("{name}: neither `removes: ` nor `killed by: `: {line}");
            }
        }
        let removes =
            removes.with_context(|| format!("{name}: it does not say what it removes"))?;
        if killers.iter().all(|killer| killer.tests.is_empty()) {
            bail!("{name}: it names no test that must fail");
        }
        Ok(Self { name, path, removes, killers })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_patch_still_applies_and_its_tests_are_there() {
        let tests = process::root().join("crates/tokenkeep-manager/tests");
        let mut sources = String::new();
        for entry in fs::read_dir(tests).unwrap() {
            for file in fs::read_dir(entry.unwrap().path()).into_iter().flatten() {
                sources.push_str(&fs::read_to_string(file.unwrap().path()).unwrap_or_default());
            }
        }
        let patches = all().unwrap();
        assert!(patches.len() >= 14, "{}", patches.len());
        for patch in patches {
            let mut check = Command::new("git");
            check.current_dir(process::root()).args(["apply", "--check"]).arg(&patch.path);
            let output = check.output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} does not apply: {message}", patch.name);
            for test in patch.killers.iter().flat_map(|killer| &killer.tests) {
                let name = test.rsplit("::").next().unwrap();
                let there = sources.contains(&format!("fn {name}("));
                assert!(there, "{}: there is no test {test}", patch.name);
            }
        }
    }

    #[test]
    fn a_header_says_what_is_removed_and_who_sees_it() {
        let text =
            "removes: the fence\nkilled by: -p a --test b -- c::d e\n\ndiff --git a/f b/f\nx";
        let patch = Patch::read("some/fence.patch".into(), text).unwrap();
        assert_eq!((patch.name.as_str(), patch.removes.as_str()), ("fence", "the fence"));
        let killer = Killer {
            target: ["-p", "a", "--test", "b"].map(str::to_owned).into(),
            tests: ["c::d", "e"].map(str::to_owned).into(),
        };
        assert_eq!(patch.killers, [killer]);
        for text in [
            "killed by: -p a -- b\ndiff --git a/f b/f",
            "removes: the fence\ndiff --git a/f b/f",
            "removes: the fence\nkilled by: -p a b\ndiff --git a/f b/f",
            "removes: the fence\nkilled by: -p a -- b\nsomething\ndiff --git a/f b/f",
        ] {
            Patch::read("some/fence.patch".into(), text).unwrap_err();
        }
    }
}
