//! What is left of a test program that is killed.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use tokenkeep_servers::{Kind, start};

use crate::becomes;

const JOB: &str = "TOKENKEEP_TEST_JOB";

/// In the child: starts a server, gives it a second process, stops both, and waits to be killed.
/// `false` if this is not the child.
#[expect(clippy::print_stdout, reason = "tells its parent")]
pub(crate) fn child() -> bool {
    if env::var_os(JOB).is_none() {
        return false;
    }
    let mut server = start(Kind::Postgres).unwrap();
    let address = &server.nodes()[0];
    let mut connection = TcpStream::connect((address.host.as_str(), address.port)).unwrap();
    connection.write_all(b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0").unwrap();
    std::io::Read::read_exact(&mut connection, &mut [0]).unwrap();
    let place = address.ca.as_ref().and_then(|ca| ca.parent()).unwrap().to_owned();
    server.pause(0);
    println!("{}", place.display());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    true
}

pub(crate) fn nothing_is_left() {
    let mut child = Command::new(env::current_exe().unwrap())
        .env(JOB, "start")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut place = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut place).unwrap();
    let place = Path::new(place.trim_end());
    assert!(processes_in(place) > 1, "it has children");

    child.kill().unwrap();
    child.wait().unwrap();
    becomes("0 false", || Ok(format!("{} {}", processes_in(place), place.exists())));
}

fn processes_in(directory: &Path) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let directories = entries.filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok());
    directories.filter(|at| at.starts_with(directory)).count()
}
