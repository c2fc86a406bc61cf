//! `cargo xtask ci`: everything that is checked on a change, by parts.

mod arrows;
mod hygiene;
mod minimum;

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, test};

/// One part of the checks.
type Part = fn(&Workspace) -> Result<()>;

/// The parts by name, in the order they run: the quick ones first.
const PARTS: [(&str, Part); 7] = [
    ("format", format),
    ("arrows", |workspace| {
        arrows::check(workspace)?;
        minimum::check(workspace)?;
        hygiene::check()
    }),
    ("clippy", clippy),
    ("features", features),
    ("docs", docs),
    ("deny", deny),
    ("tests", |_| test::run(&[], true)),
];

/// Runs the parts named, or all, each whatever became of those before it.
#[expect(clippy::disallowed_methods, reason = "shows how long a part took, nothing depends on it")]
pub(crate) fn run(names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        let known = PARTS.map(|(part, _)| part).join(", ");
        bail!("there is no part {unknown:?}; there are {known}");
    }
    let workspace = Workspace::read()?;
    let mut failed = Vec::new();
    for (name, part) in PARTS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            eprintln!("\n== {name}");
            let started = Instant::now();
            let verdict = match part(&workspace) {
                Ok(()) => "ok",
                Err(error) => {
                    eprintln!("{error:#}");
                    failed.push(name);
                    "FAILED"
                }
            };
            eprintln!("== {name}: {verdict}, {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("ci: failed: {}", failed.join(", ")) }
}

/// The packages of the workspace as cargo sees them.
#[derive(Debug)]
struct Workspace {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    name: String,
    /// Its directory, relative to the workspace's.
    directory: String,
    /// Its features, without `default`.
    features: Vec<String>,
    /// The packages of this workspace that it depends on: name and kind (`normal`, `dev`, `build`).
    depends_on: Vec<(String, String)>,
}

impl Workspace {
    fn read() -> Result<Self> {
        let text =
            process::output(&mut process::cargo(["metadata", "--no-deps", "--format-version=1"]))?;
        let metadata: Value = serde_json::from_str(&text)?;
        let listed = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let names: BTreeMap<&str, &Value> = listed
            .iter()
            .filter_map(|package| Some((package["name"].as_str()?, package)))
            .collect();
        let root = format!("{}/", metadata["workspace_root"].as_str().unwrap_or_default());
        let packages = names
            .iter()
            .map(|(name, package)| Package {
                name: (*name).to_owned(),
                directory: package["manifest_path"]
                    .as_str()
                    .and_then(|path| path.strip_prefix(&root)?.strip_suffix("/Cargo.toml"))
                    .unwrap_or_default()
                    .to_owned(),
                features: package["features"]
                    .as_object()
                    .into_iter()
                    .flat_map(|features| features.keys())
                    .filter(|feature| *feature != "default")
                    .cloned()
                    .collect(),
                depends_on: package["dependencies"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|dependency| {
                        let name = dependency["name"].as_str()?;
                        let kind = dependency["kind"].as_str().unwrap_or("normal");
                        names.contains_key(name).then(|| (name.to_owned(), kind.to_owned()))
                    })
                    .collect(),
            })
            .collect();
        Ok(Self { packages })
    }
}

fn format(_: &Workspace) -> Result<()> {
    process::run(&mut process::cargo(["fmt", "--all", "--check"]))
}

/// Each crate by itself: in one run, cargo would switch on the union of everybody's features.
fn clippy(workspace: &Workspace) -> Result<()> {
    let mut failures = Vec::new();
    for package in &workspace.packages {
        let alternatives: &[&[&str]] = if package.features.is_empty() {
            &[&[]]
        } else {
            &[&[], &["--no-default-features"], &["--all-features"]]
        };
        for features in alternatives {
            let result = process::run(
                process::cargo(["clippy", "--quiet", "--no-deps", "--all-targets", "--package"])
                    .arg(&package.name)
                    .args(*features)
                    .args(["--", "--deny", "warnings"]),
            );
            failures.extend(result.err().map(|error| error.to_string()));
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n  ")) }
}

fn features(workspace: &Workspace) -> Result<()> {
    for package in &workspace.packages {
        for feature in &package.features {
            process::run(&mut process::cargo([
                "check",
                "--quiet",
                "--package",
                &package.name,
                "--no-default-features",
                "--features",
                feature,
            ]))?;
        }
    }
    Ok(())
}

fn docs(_: &Workspace) -> Result<()> {
    process::run(
        process::cargo(["doc", "--workspace", "--all-features", "--no-deps"])
            .arg("--document-private-items")
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}

/// Advisories are left out: their database is not everywhere within reach.
fn deny(_: &Workspace) -> Result<()> {
    if process::output(&mut process::cargo(["deny", "--version"])).is_err() {
        eprintln!("left out: cargo-deny is not installed (cargo install cargo-deny)");
        return Ok(());
    }
    process::run(&mut process::cargo(["deny", "check", "licenses", "bans", "sources"]))
}
