//! Whether the minimum Rust version of each package is enough for what it depends on, by what that
//! declares. There is one toolchain here, so that it cannot be built with the oldest.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Package, Workspace};
use crate::process;

/// Features that need a newer Rust than their package does without them, which its manifest and
/// the README say: as new a one as this package of ours declares.
const NEWER: [(&str, &str, &str); 1] = [("tokenkeep", "aws", "tokenkeep-store-aws")];

/// Major, minor, patch.
type Version = [u64; 3];

/// The versions of Rust that packages declare, by `name vVERSION` as `cargo tree` shows them.
struct Declared(BTreeMap<String, Version>);

/// Fails with every package that says too little.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let declared = Declared::read()?;
    let mut wrong = Vec::new();
    for package in &workspace.packages {
        let features = package.features.iter().map(|feature| Some(feature.as_str()));
        for feature in [None].into_iter().chain(features) {
            wrong.extend(declared.too_new(package, feature)?);
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("rust-version:\n  {}", wrong.join("\n  ")) }
}

impl Declared {
    fn read() -> Result<Self> {
        let text = process::output(&mut process::cargo([
            "metadata",
            "--all-features",
            "--format-version=1",
        ]))?;
        let metadata: Value = serde_json::from_str(&text)?;
        let packages =
            metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let version = |package: &Value| {
            let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
            Some((format!("{name} v{version}"), parse(package["rust_version"].as_str()?)?))
        };
        Ok(Self(packages.iter().filter_map(version).collect()))
    }

    /// What of the tree of `package` needs a newer Rust than the package declares.
    fn too_new(&self, package: &Package, feature: Option<&str>) -> Result<Vec<String>> {
        let own = self.of(&package.name).with_context(|| format!("{} has none", package.name))?;
        let newer =
            NEWER.iter().find(|(name, of, _)| *name == package.name && Some(*of) == feature);
        let most = match newer {
            Some((_name, _feature, as_new_as)) => {
                self.of(as_new_as).with_context(|| format!("{as_new_as} has none"))?
            }
            None => own,
        };
        let mut command = process::cargo(["tree", "--package", &package.name, "--prefix", "none"]);
        command.args(["--edges", "normal,build", "--format", "{p}"]);
        command.args(feature.iter().flat_map(|feature| ["--features", feature]));
        let tree = process::output(&mut command)?;
        let of = feature.map_or_else(String::new, |feature| format!(" with {feature}"));
        Ok(too_new(&tree, most, &self.0)
            .into_iter()
            .map(|needs| format!("{}{of} says {}, but {needs}", package.name, show(most)))
            .collect())
    }

    /// What a package of ours declares.
    fn of(&self, name: &str) -> Option<Version> {
        let prefix = format!("{name} v");
        self.0.iter().find(|(package, _)| package.starts_with(&prefix)).map(|(_, version)| *version)
    }
}

/// Each package of a tree that needs a newer Rust than `most`.
fn too_new(tree: &str, most: Version, declared: &BTreeMap<String, Version>) -> BTreeSet<String> {
    tree.lines()
        .filter_map(|line| {
            // `name v1.2.3`, and where it is, and `(*)` where it was shown before.
            let mut words = line.split_whitespace();
            let package = format!("{} {}", words.next()?, words.next()?);
            let needed = *declared.get(&package)?;
            (needed > most).then(|| format!("{package} needs {}", show(needed)))
        })
        .collect()
}

fn parse(version: &str) -> Option<Version> {
    let mut parts = version.split('-').next()?.split('.').map(str::parse);
    let mut next = || parts.next().unwrap_or(Ok(0)).ok();
    Some([next()?, next()?, next()?])
}

fn show([major, minor, patch]: Version) -> String {
    if patch == 0 { format!("{major}.{minor}") } else { format!("{major}.{minor}.{patch}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_needs_a_newer_rust_is_told() {
        let declared = [("ours v0.1.0", "1.89"), ("old v2.0.0", "1.9.5"), ("new v1.2.3", "1.94.1")];
        let declared = declared.map(|(name, version)| (name.to_owned(), parse(version).unwrap()));
        let tree =
            "ours v0.1.0 (/somewhere)\nold v2.0.0\nnew v1.2.3\nnew v1.2.3 (*)\nsilent v1.0.0";
        let told = too_new(tree, [1, 89, 0], &declared.clone().into());
        assert_eq!(told.into_iter().collect::<Vec<_>>(), ["new v1.2.3 needs 1.94.1"]);
        assert!(too_new(tree, [1, 94, 1], &declared.into()).is_empty());
    }
}
