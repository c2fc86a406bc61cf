//! A session of our own: a bus and GNOME's keyring on it, in a temporary directory.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of it")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokenkeep_servers::{Missing, program};

/// A bus, and a keyring on it, that end with this.
pub(crate) struct Session {
    address: String,
    keyring: Option<Child>,
    bus: Child,
    directory: TempDir,
}

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// Why there can be no session here, if that is so.
pub(crate) fn missing() -> Option<Missing> {
    [("dbus-daemon", "dbus-daemon"), ("dbus-send", "dbus-bin"), (KEYRING, KEYRING_PACKAGE)]
        .into_iter()
        .find_map(|(name, package)| program(name, package).err())
}

const KEYRING: &str = "gnome-keyring-daemon";
const KEYRING_PACKAGE: &str = "gnome-keyring";

impl Session {
    /// A bus with nothing on it.
    pub(crate) fn bus() -> Self {
        // The daemon flushes its file at each change: in memory, where there is such a place.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::tempdir_in(place).unwrap();
        let runtime = directory.path().join("run");
        fs::create_dir(&runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        let socket = directory.path().join("bus");
        let config = directory.path().join("bus.conf");
        #[expect(clippy::disallowed_methods, reason = "a test's file")]
        fs::write(&config, BUS.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        let mut bus = program("dbus-daemon", "dbus-daemon")
            .unwrap()
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { address: address.trim().to_owned(), keyring: None, bus, directory }
    }

    /// A bus with a keyring that is unlocked.
    pub(crate) fn unlocked() -> Self {
        let mut session = Self::bus();
        session.start_keyring(Some("test-password"));
        session
    }

    /// Starts a keyring, unlocked if there is a password.
    pub(crate) fn start_keyring(&mut self, password: Option<&str>) {
        self.stop_keyring();
        let mut command = program(KEYRING, KEYRING_PACKAGE).unwrap();
        command.args(["--foreground", "--components=secrets"]);
        command.args(password.map(|_password| "--unlock"));
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut keyring = command.spawn().unwrap();
        let mut input = keyring.stdin.take().unwrap();
        input.write_all(password.unwrap_or_default().as_bytes()).unwrap();
        drop(input);
        self.keyring = Some(keyring);
        for _ in 0..3_000 {
            if self.has_keyring() {
                return;
            }
            pause();
        }
        panic!("the keyring does not come to the bus");
    }

    pub(crate) fn stop_keyring(&mut self) {
        if let Some(mut keyring) = self.keyring.take() {
            keyring.kill().unwrap();
            keyring.wait().unwrap();
        }
    }

    fn has_keyring(&self) -> bool {
        let asked = program("dbus-send", "dbus-bin")
            .unwrap()
            .arg(format!("--bus={}", self.address))
            .args(["--print-reply=literal", "--dest=org.freedesktop.DBus", "/"])
            .args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&asked.stdout).contains("true")
    }

    /// What a program needs to know to be in the session.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let directory = self.directory.path();
        vec![
            ("DBUS_SESSION_BUS_ADDRESS", self.address.clone().into()),
            ("XDG_RUNTIME_DIR", directory.join("run")),
            ("HOME", directory.to_owned()),
            ("XDG_DATA_HOME", directory.join("data")),
            ("XDG_CONFIG_HOME", directory.join("config")),
            ("XDG_CACHE_HOME", directory.join("cache")),
        ]
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// This very test program, in the session.
    pub(crate) fn this_program(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.envs(self.environment());
        command
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop_keyring();
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
    }
}

/// Between two looks at another process.
pub(crate) fn pause() {
    #[expect(clippy::disallowed_methods, reason = "another process has no event to wait for")]
    std::thread::sleep(Duration::from_millis(10));
}
