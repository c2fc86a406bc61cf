//! Finds programs: what was fetched for us first, then what is installed.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Missing, rusty_vault};

/// Where packages are unpacked.
pub(crate) fn prefix() -> PathBuf {
    below_target("prefix")
}

/// A directory of ours under `target`.
pub(crate) fn below_target(name: impl AsRef<Path>) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).join("target/servers").join(name)
}

/// A lock between processes, until it is dropped.
pub(crate) fn lock(name: &str) -> io::Result<fs::File> {
    fs::create_dir_all(below_target(""))?;
    let mut options = fs::File::options();
    let file = options.create(true).truncate(false).write(true).open(below_target(name))?;
    file.lock()?;
    Ok(file)
}

/// A command that runs a program that comes with the servers, a client say, of the Debian package
/// `package`.
///
/// # Errors
///
/// That it is missing.
pub fn program(name: &str, package: &str) -> Result<Command, Missing> {
    Program::find(name, package).map(|program| program.command())
}

/// What a kind of server needs, in that order.
pub(crate) fn all<const N: usize>(needs: &[(&str, &str)]) -> Result<[Program; N], Missing> {
    let found: Result<Vec<_>, _> =
        needs.iter().map(|(name, package)| Program::find(name, package)).collect();
    found?
        .try_into()
        .map_err(|found: Vec<_>| Missing::fault(format!("{N} and not {}", found.len())))
}

/// A program that is there.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    is_ours: bool,
}

impl Program {
    /// The program or library called `name`, of the Debian package `package`.
    pub(crate) fn find(name: &str, package: &str) -> Result<Self, Missing> {
        let below = ["usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/galera"];
        let ours = below.map(|below| prefix().join(below)).into_iter();
        let ours = ours.chain(postgres(&prefix().join("usr/lib/postgresql")));
        let others = postgres(Path::new("/usr/lib/postgresql")).into_iter();
        let others = others.chain(on_path()).chain(["/usr/lib/galera".into()]);
        // What was installed or built here comes with the libraries that are installed.
        let built = Path::new(rusty_vault::ROOT).join("bin");
        let others = [below_target("venv/bin"), below_target(built)].into_iter().chain(others);
        ours.map(|directory| (directory, true))
            .chain(others.map(|directory| (directory, false)))
            .map(|(directory, is_ours)| Self { path: directory.join(name), is_ours })
            .find(|program| program.path.is_file())
            .ok_or_else(|| Missing::program(name, package))
    }

    /// A command that runs it, in our environment and wherever we are.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.envs(self.environment());
        command
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was fetched, and is not where it was built for.
    pub(crate) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// What it needs to find its libraries and helpers.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut path = on_path();
        if !self.is_ours {
            return vec![("PATH", join(path))];
        }
        let prefix = prefix();
        path.splice(0..0, ["usr/bin", "usr/sbin", "bin", "sbin"].map(|below| prefix.join(below)));
        let libraries = ["usr/lib", "lib"].into_iter().flat_map(|below| {
            let directory = prefix.join(below);
            subdirectories(&directory).into_iter().chain([directory])
        });
        vec![("PATH", join(path)), ("LD_LIBRARY_PATH", join(libraries))]
    }
}

/// The newest PostgreSQL comes first.
fn postgres(versions: &Path) -> Vec<PathBuf> {
    let mut versions = subdirectories(versions);
    versions.sort_by_key(|path| {
        let version = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(version)
    });
    versions.into_iter().map(|version| version.join("bin")).collect()
}

fn on_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.extend(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    directories
}

pub(crate) fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn join(paths: impl IntoIterator<Item = PathBuf>) -> OsString {
    // A directory with a colon in its name cannot be told to a linker.
    env::join_paths(paths).unwrap_or_default()
}
