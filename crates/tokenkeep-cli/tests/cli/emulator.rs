#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::support::{Home, Provider, snapshot};

#[test]
fn it_runs_until_it_is_told_to_stop() {
    for signal in ["-TERM", "-INT"] {
        let home = Home::new();
        let mut child = home
            .command(&["emulator", "--port-file", "port", "--location", "eu"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        // The note comes after the port file.
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("ctrl-c"), "{line}");
        let port: u16 = fs::read_to_string(home.path().join("port")).unwrap().parse().unwrap();
        let browser = Provider::start();
        let stats = browser.get(&format!("http://127.0.0.1:{port}/emulator/stats"));
        assert_eq!(stats.status, 200);
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout, format!("http://127.0.0.1:{port}\n"));
        assert!(!home.path().join("port").exists(), "the port file goes with the port");
    }
}

#[test]
fn a_port_that_is_taken_is_said_to_be() {
    let taken = Provider::start();
    let port = taken.emulator().port().to_string();
    let ran = Home::new().run(&["emulator", "--port", &port]).fails(1);
    assert!(ran.stderr.contains("cannot listen on 127.0.0.1:"));
    Home::new().run(&["emulator", "--port-file", "missing/port"]).says("cannot write missing/port");
    snapshot!("emulator_bad_port", Home::new().run(&["emulator", "--port", "x"]));
}

#[test]
fn an_unknown_location_is_refused() {
    Home::new().run(&["emulator", "--location", "mars"]).fails(2).says("no data centre `mars`");
}
