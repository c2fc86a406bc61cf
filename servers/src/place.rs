//! Where servers live, and how they are got rid of.

use std::{
    fs, io,
    io::Write as _,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::account;

const PREFIX: &str = "tokenkeep-servers-";
const GUARD: &str = include_str!("guard.sh");

/// A temporary directory with all that some servers write.
///
/// When it is dropped, or when this process ends in whatever way, all processes that work in it are
/// killed and it is removed.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    guard: Option<Child>,
}

impl Place {
    pub(crate) fn new() -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        let directory = directory.keep().canonicalize()?;
        // The servers may run as somebody else.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        let guard = Some(guard(&directory, Stdio::piped())?);
        Ok(Self { directory, guard })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// A directory in it that belongs to the servers.
    pub(crate) fn make(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        give(&path)?;
        Ok(path)
    }

    /// A file in it that only the servers read, or everybody if `public`.
    #[expect(clippy::disallowed_methods, reason = "nothing that must survive")]
    pub(crate) fn write(&self, name: &str, text: &str, public: bool) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text)?;
        let mode = if public { 0o644 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        give(&path)?;
        Ok(path)
    }

    /// Leaves it all behind, for [`clear`].
    pub(crate) fn keep(&mut self) -> io::Result<()> {
        if let Some(mut guard) = self.guard.take() {
            if let Some(mut stdin) = guard.stdin.take() {
                stdin.write_all(b"keep\n")?;
            }
            guard.wait()?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            if let Err(error) = guard.wait() {
                eprintln!("{} may be left behind: {error}", self.directory.display());
            }
        }
    }
}

/// Ends what lives in a directory that was [kept](Place::keep), and removes it.
pub(crate) fn clear(directory: &Path) -> io::Result<()> {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.starts_with(PREFIX) {
        return Err(io::Error::other(format!("{} is not ours", directory.display())));
    }
    guard(directory, Stdio::null())?.wait()?;
    Ok(())
}

/// The processes whose working directory is `directory`, or below it.
pub(crate) fn inhabitants(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let at = fs::read_link(entry.path().join("cwd")).ok()?;
            at.starts_with(directory).then_some(pid)
        })
        .collect()
}

fn guard(directory: &Path, stdin: Stdio) -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", GUARD, "guard"])
        .arg(directory)
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::null())
        // Away from the terminal's signals.
        .process_group(0)
        .spawn()
}

fn give(path: &Path) -> io::Result<()> {
    match account::of_servers() {
        Some(id) => chown(path, Some(id), Some(id)),
        None => Ok(()),
    }
}
