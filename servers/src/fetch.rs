//! Gets what is missing out of packages, without installing any.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Kind, Missing, moto,
    program::{self, Program},
    rusty_vault,
};

/// Gets what servers of these kinds take and this machine lacks: out of Debian packages, unpacked
/// under `target/servers/prefix`, of Python's, in `target/servers/venv`, and a crate, which is built
/// in `target/servers/rusty-vault`. It needs no root, and nothing outside of these directories is
/// changed. Returns the packages.
///
/// # Errors
///
/// What is missing, if packages are out of reach; what could be had was fetched.
pub fn fetch(kinds: &[Kind]) -> Result<Vec<String>, Missing> {
    // Others may be at it.
    let _lock = program::lock("fetch.lock")?;
    let debian = debian(kinds);
    let python = if kinds.contains(&Kind::Moto) { moto::fetch() } else { Ok(None) };
    let built = if kinds.contains(&Kind::RustyVault) { rusty_vault::fetch() } else { Ok(None) };
    let mut packages = debian?;
    packages.extend(python?.map(str::to_owned));
    packages.extend(built?.map(str::to_owned));
    Ok(packages)
}

fn debian(kinds: &[Kind]) -> Result<Vec<String>, Missing> {
    let lacking: BTreeSet<&str> = kinds
        .iter()
        .filter(|kind| !matches!(kind, Kind::Moto | Kind::RustyVault))
        .flat_map(|kind| kind.needs())
        .filter(|(program, package)| Program::find(program, package).is_err())
        .map(|(_program, package)| *package)
        .collect();
    if lacking.is_empty() { Ok(Vec::new()) } else { unpacked(&lacking) }
}

/// Gets these Debian packages, and what they depend on and is not installed.
pub(crate) fn unpacked(lacking: &BTreeSet<&str>) -> Result<Vec<String>, Missing> {
    for tool in ["apt-get", "dpkg-deb"] {
        Program::find(tool, "apt").map_err(|_missing| {
            let names: Vec<&str> = lacking.iter().copied().collect();
            Missing::absent(format!("no {tool} here; install {} by hand", names.join(" ")))
        })?;
    }
    let packages = match download(lacking, &[]) {
        Ok(packages) => packages,
        // No lists here, or old ones: get some of our own.
        Err(_error) => {
            let options = own_lists()?;
            apt(&options, &["update".into()])?;
            download(lacking, &options)?
        }
    };
    unpack()?;
    Ok(packages)
}

/// Fetches the packages with all that they depend on and that is not installed.
fn download(lacking: &BTreeSet<&str>, options: &[OsString]) -> Result<Vec<String>, Missing> {
    let mut simulation: Vec<OsString> =
        ["install", "--simulate", "--no-install-recommends"].map(OsString::from).into();
    simulation.extend(lacking.iter().map(OsString::from));
    let listed = apt(options, &simulation)?;
    let packages: Vec<String> = listed.lines().filter_map(wanted).map(str::to_owned).collect();
    let mut download = vec![OsString::from("download")];
    download.extend(packages.iter().map(OsString::from));
    apt(options, &download)?;
    Ok(packages)
}

/// The package of a line such as `Inst redis-tools (5:7.0.15-1 Debian:12 [amd64])`, unless servers
/// run without it.
fn wanted(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let is_upgrade = rest.starts_with('[');
    let is_perl = name.contains("perl");
    // Compilers of queries, and what only an installation takes.
    let is_idle = ["libllvm", "libz3", "ssl-cert", "socat", "ucf", "postgresql-common"]
        .iter()
        .any(|idle| name.starts_with(idle));
    (!is_upgrade && !is_perl && !is_idle).then_some(name)
}

fn unpack() -> Result<(), Missing> {
    for entry in fs::read_dir(packages())? {
        let package = entry?.path();
        let mut command = Command::new("dpkg-deb");
        run(command.arg("--extract").args([package.as_path(), &program::prefix()]))?;
        fs::remove_file(package)?;
    }
    Ok(())
}

fn packages() -> PathBuf {
    program::below_target("packages")
}

/// Where apt keeps lists that need no root.
fn own_lists() -> io::Result<Vec<OsString>> {
    let (state, cache) = (program::below_target("apt/state"), program::below_target("apt/cache"));
    fs::create_dir_all(state.join("lists/partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    let option = |name: &str, path: &Path| {
        let mut option = OsString::from(name);
        option.push("=");
        option.push(path);
        option
    };
    let settings = [
        option("Dir::State", &state),
        option("Dir::State::lists", &state.join("lists")),
        option("Dir::State::status", Path::new("/var/lib/dpkg/status")),
        option("Dir::Cache", &cache),
        "Debug::NoLocking=1".into(),
    ];
    Ok(settings.into_iter().flat_map(|setting| ["-o".into(), setting]).collect())
}

fn apt(options: &[OsString], arguments: &[OsString]) -> Result<String, Missing> {
    let directory = packages();
    fs::create_dir_all(&directory)?;
    let mut command = Command::new("apt-get");
    // Root need not become somebody who cannot write there.
    command.args(["-q", "-o", "APT::Sandbox::User=root"]).args(options).args(arguments);
    run(command.current_dir(directory).env("LC_ALL", "C"))
}

fn run(command: &mut Command) -> Result<String, Missing> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let program = command.get_program().to_string_lossy();
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Missing::absent(format!("{program} {} failed: {}", arguments.join(" "), errors.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_libraries_are_wanted_and_nothing_else() {
        assert_eq!(wanted("Inst galera-4 (26.4 Debian:12 [amd64])"), Some("galera-4"));
        assert_eq!(wanted("Inst libc6 [2.36-9] (2.36-10 Debian:12 [amd64])"), None);
        assert_eq!(wanted("Inst libdbi-perl (1.643-4 Debian:12 [amd64])"), None);
        assert_eq!(wanted("Conf galera-4 (26.4 Debian:12 [amd64])"), None);
    }
}
