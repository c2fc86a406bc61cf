//! Runs commands: shows each before it starts, and names it when it fails.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The workspace's directory.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// A directory for what tasks make, under `target`.
pub(crate) fn target(below: &str) -> PathBuf {
    root().join("target").join(below)
}

/// The cargo that runs this task, in the workspace's directory.
pub(crate) fn cargo<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs `command` with its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("could not start: {shown}"))?;
    if status.success() { Ok(()) } else { bail!("failed ({status}): {shown}") }
}

/// Runs `command` and returns what it wrote to stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start: {shown}"))?;
    if !output.status.success() {
        bail!(
            "failed ({}): {shown}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("not UTF-8: the output of {shown}"))
}

/// Runs `command`, shows its stdout and stderr as they come, and hands each line, freed of
/// colours, to `on_line`. Returns whether it succeeded.
pub(crate) fn follow(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<bool> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let colour = if std::io::stdout().is_terminal() { "always" } else { "never" };
    let (reader, writer) = std::io::pipe()?;
    let mut child = command
        .env("CARGO_TERM_COLOR", colour)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("could not start: {shown}"))?;
    // The command holds our ends of the pipe: let go of them, or reading never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let mut stdout = std::io::stdout().lock();
    while reader.read_until(b'\n', &mut line)? > 0 {
        stdout.write_all(&line)?;
        stdout.flush()?;
        on_line(without_colours(&String::from_utf8_lossy(&line)).trim_end());
        line.clear();
    }
    Ok(child.wait()?.success())
}

/// Writes a file of a task's own, with the directories above it.
#[expect(clippy::disallowed_methods, reason = "a report under target, nothing that must survive")]
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(program.as_os_str()).to_string_lossy();
    let arguments = command.get_args().map(OsStr::to_string_lossy);
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        plain.push_str(&part[end..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_off() {
        assert_eq!(without_colours("\u{1b}[1m\u{1b}[32mok\u{1b}[0m done"), "ok done");
        assert_eq!(without_colours("plain"), "plain");
    }
}
