//! What the same work costs with the Python stores.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokenkeep_servers::Address;

use crate::{options::Options, report::Report};

/// The variable that has the password of the database; a command line can be seen by others.
const PASSWORD: &str = "TOKENKEEP_BENCH_PASSWORD";

/// Runs `interop/bench_peer.py` on files and SQLite, and puts its figures beside ours.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let tokens: Vec<String> = options.tokens.iter().map(usize::to_string).collect();
    run(options, &tokens.join(","), |_| {}, report)
}

/// Runs it on a database with `count` tokens, with the official SDK's `DBStore`.
pub(crate) fn measure_mysql(
    options: &Options,
    address: &Address,
    database: &str,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let place = |command: &mut Command| {
        let Address { user, host, port, .. } = address;
        command.arg("--mysql").arg(format!("{user}@{host}:{port}/{database}"));
        command.env(PASSWORD, &address.password);
    };
    run(options, &count.to_string(), place, report)
}

fn run(
    options: &Options,
    tokens: &str,
    place: impl Fn(&mut Command),
    report: &mut Report,
) -> Result<()> {
    let python = env::var_os("TOKENKEEP_SDK_PYTHON").context(
        "TOKENKEEP_SDK_PYTHON names no interpreter; use `cargo xtask bench` or --no-peer",
    )?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/bench_peer.py");
    let mut command = Command::new(python);
    command.arg(script).arg("--tokens").arg(tokens);
    place(&mut command);
    if options.quick {
        command.arg("--quick");
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the peer failed: {}", output.status);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    for row in &rows {
        let text = |name: &str| row[name].as_str().with_context(|| format!("no {name}"));
        let tokens = row["tokens"].as_u64().context("no tokens")?.try_into()?;
        let ns = row["peer_ns"].as_f64().context("no peer_ns")?;
        report.add_peer(text("name")?, text("store")?, tokens, text("peer")?, ns);
    }
    Ok(())
}
