//! Who may depend on whom: the arrows of `ARCHITECTURE.md`, and what stays out of which tree.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::{Package, Workspace};
use crate::process;

const CORE: &str = "tokenkeep-core";
const CONNECT: &str = "tokenkeep-connect";
const CLI: &str = "tokenkeep-cli";
const SERVERS: &str = "tokenkeep-servers";
/// The packages that are run for development only.
const TASKS: [&str; 2] = ["tokenkeep-benches", "xtask"];

/// What needs a runtime, a network or a server.
const HEAVY: [&str; 7] =
    ["axum", "hyper", "native-tls", "openssl-sys", "reqwest", "rustls", "tokio"];
const WEB: [&str; 6] = ["axum", "hyper", "native-tls", "openssl-sys", "reqwest", "rustls"];
/// What the driver of a server must not bring either: servers, and TLS that is not ours.
const FOREIGN: [&str; 4] = ["axum", "native-tls", "openssl-sys", "ring"];
/// The stores that reach no server.
const LOCAL: [&str; 2] = ["tokenkeep-store-file", "tokenkeep-store-sqlite"];

/// Fails with every arrow that should not be there.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut wrong = Vec::new();
    for package in &workspace.packages {
        wrong.extend(wrong_arrows(package));
    }
    wrong.extend(found(CORE, &["--all-features"], &HEAVY)?);
    for store in workspace.packages.iter().filter(|package| is_store(package)) {
        let is_local = LOCAL.contains(&store.name.as_str());
        let forbidden: &[&str] = if is_local { &WEB } else { &FOREIGN };
        wrong.extend(found(&store.name, &["--all-features"], forbidden)?);
    }
    wrong.extend(found("tokenkeep", &[], &["axum"])?);
    if wrong.is_empty() { Ok(()) } else { bail!("wrong arrows:\n  {}", wrong.join("\n  ")) }
}

fn is_store(package: &Package) -> bool {
    package.directory.starts_with("stores/")
}

fn wrong_arrows(package: &Package) -> Vec<String> {
    let allowed = allowed(package);
    package
        .depends_on
        .iter()
        .filter(|(target, kind)| {
            let may_start_servers = kind == "dev" || TASKS.contains(&package.name.as_str());
            target == CLI
                || target == SERVERS && !may_start_servers
                || kind == "normal"
                    && allowed.is_some_and(|allowed| {
                        !allowed.iter().any(|prefix| target.starts_with(prefix))
                    })
        })
        .map(|(target, kind)| format!("{} -> {target} ({kind})", package.name))
        .collect()
}

/// The prefixes of the packages that `package` may use; `None`: all but the command line and the
/// servers of tests.
fn allowed(package: &Package) -> Option<&'static [&'static str]> {
    Some(match package.name.as_str() {
        CORE | SERVERS | "tokenkeep-model" => &[],
        "tokenkeep-oauth" | "tokenkeep-testkit" | "tokenkeep-emulator" | CONNECT => &[CORE],
        "tokenkeep-manager" => &[CORE, "tokenkeep-oauth"],
        "tokenkeep-crm" => &[CORE, "tokenkeep-oauth", "tokenkeep-manager"],
        "tokenkeep" => {
            &[CORE, "tokenkeep-oauth", "tokenkeep-manager", "tokenkeep-crm", "tokenkeep-store-"]
        }
        _ if is_store(package) && LOCAL.contains(&package.name.as_str()) => &[CORE],
        _ if is_store(package) => &[CORE, CONNECT],
        _ => return None,
    })
}

/// Those of `forbidden` that stand in the tree of `package`.
fn found(package: &str, features: &[&str], forbidden: &[&str]) -> Result<Vec<String>> {
    let tree = process::output(
        process::cargo(["tree", "--package", package, "--edges", "normal", "--prefix", "none"])
            .args(["--format", "{p}"])
            .args(features),
    )?;
    let crates: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    Ok(forbidden
        .iter()
        .filter(|name| crates.contains(*name))
        .map(|name| format!("{package} has {name} in its tree"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, directory: &str, target: &str, kind: &str) -> Package {
        Package {
            name: name.to_owned(),
            directory: directory.to_owned(),
            features: Vec::new(),
            depends_on: vec![(target.to_owned(), kind.to_owned())],
        }
    }

    #[test]
    fn a_store_has_core_and_what_connects_it_and_nothing_else_of_ours() {
        let store = |target| package("tokenkeep-store-x", "stores/x", target, "normal");
        assert!(wrong_arrows(&store(CORE)).is_empty());
        assert!(wrong_arrows(&store(CONNECT)).is_empty());
        assert_eq!(wrong_arrows(&store("tokenkeep-oauth")).len(), 1);
        let local = package(LOCAL[0], "stores/file", CONNECT, "normal");
        assert_eq!(wrong_arrows(&local).len(), 1);
    }

    #[test]
    fn tests_may_use_more_but_nobody_uses_the_command_line() {
        let dev = |target| package("tokenkeep-store-x", "stores/x", target, "dev");
        assert!(wrong_arrows(&dev("tokenkeep-testkit")).is_empty());
        assert_eq!(wrong_arrows(&dev(CLI)).len(), 1);
        assert_eq!(wrong_arrows(&package("anything", "examples", CLI, "normal")).len(), 1);
    }

    #[test]
    fn only_tests_tasks_and_benchmarks_start_servers() {
        let arrow = |name, kind| wrong_arrows(&package(name, "x", SERVERS, kind)).len();
        assert_eq!((arrow("anything", "dev"), arrow("xtask", "normal")), (0, 0));
        assert_eq!(arrow("tokenkeep-benches", "normal"), 0);
        assert_eq!((arrow("anything", "normal"), arrow("anything", "build")), (1, 1));
    }
}
