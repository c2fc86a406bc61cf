//! The Secret Service of a desktop, without one: gnome-keyring on a message bus of its own.

use std::ffi::OsString;

use crate::{
    Address, Kind, Missing, Server,
    address::PASSWORD,
    node::{Node, Plan, prepare},
    place::Place,
    program::{self, Program},
};

pub(crate) const NEEDS: &[(&str, &str)] = &[
    ("dbus-run-session", "dbus-daemon"),
    ("dbus-daemon", "dbus-daemon"),
    ("dbus-send", "dbus-bin"),
    ("gnome-keyring-daemon", "gnome-keyring"),
];

/// Anybody may connect: servers may run as somebody else.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"#;

pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let [session, _bus, send, keyring] = program::all(NEEDS)?;
    let place = Place::new()?;
    let directory = place.make("keyring")?;
    // The keyring `login` is made with this password, and open.
    let password = place.write("password", PASSWORD, false)?;
    let address = Address::bus(directory.join("bus"));
    let bus = place.write("bus.conf", &BUS.replace("SOCKET", &address.host), true)?;

    let mut arguments: Vec<OsString> = vec!["--config-file".into(), bus.into()];
    arguments.extend(["--", "sh", "-c", "exec \"$@\" <\"$0\""].map(OsString::from));
    arguments.extend([password.into(), "env".into(), "XDG_RUNTIME_DIR=.".into()]);
    for (name, value) in keyring.environment() {
        let mut pair = OsString::from(format!("{name}="));
        pair.push(value);
        arguments.push(pair);
    }
    arguments.push(keyring.path().into());
    let options = ["--unlock", "--foreground", "--components=secrets", "--control-directory=."];
    arguments.extend(options.iter().chain(extra).map(OsString::from));
    let ready = {
        let address = address.clone();
        move || has_keyring(&send, &address)
    };
    let node = Node::new(Plan {
        address,
        program: session,
        arguments,
        directory,
        ports: Vec::new(),
        ready: Box::new(ready),
    });
    Server::start(Kind::SecretService, place, vec![node])
}

/// It is there, and has a keyring for those who name none.
fn has_keyring(send: &Program, address: &Address) -> bool {
    let mut command = send.command();
    command.arg(format!("--bus={}", address.url())).args([
        "--print-reply",
        "--dest=org.freedesktop.secrets",
        "/org/freedesktop/secrets",
        "org.freedesktop.Secret.Service.ReadAlias",
        "string:default",
    ]);
    prepare(&mut command).is_ok_and(|said| said.contains("/collection/"))
}
