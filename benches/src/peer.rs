//! What the same work costs with the Python stores.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{options::Options, report::Report};

/// Runs `interop/bench_peer.py` and puts its figures beside ours.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let python = env::var_os("TOKENKEEP_SDK_PYTHON").context(
        "TOKENKEEP_SDK_PYTHON names no interpreter; use `cargo xtask bench` or --no-peer",
    )?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/bench_peer.py");
    let tokens: Vec<String> = options.tokens.iter().map(usize::to_string).collect();
    let mut command = Command::new(python);
    command.arg(script).arg("--tokens").arg(tokens.join(","));
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
