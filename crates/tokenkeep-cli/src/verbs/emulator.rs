//! `tokenkeep emulator`

use std::path::PathBuf;

use serde::Serialize;
use tokenkeep_emulator::Emulator;

use crate::{
    client::{self, DataCenterCode},
    context::Context,
    error::Failure,
    server, signals, whole,
};

const HELP: &str = "\
It runs until it is told to stop (ctrl-c or SIGTERM). Nothing of it is stored. Beside Zoho's own
paths it answers:

  GET  /emulator/stats          what it counted
  POST /emulator/users          {\"email\",\"client_id\",\"client_secret\"}: a user with a grant and a
                                refresh token
  POST /emulator/config         lifetimes, latency, limits, faults
  POST /emulator/expire         ends every access token
  POST /emulator/device/accept  {\"user_code\",\"email\"}: what the user does in a device flow
  POST /emulator/reset          forgets everything

Examples:
  tokenkeep emulator --port 8090
  tokenkeep emulator --port-file emulator.port --location eu &
  tokenkeep --accounts-server http://127.0.0.1:8090 add --client-id ID ...";

/// Serves Zoho accounts and CRM on a loopback port, for trying out and testing
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Writes the port to this file once it listens
    #[arg(long, value_name = "PATH")]
    port_file: Option<PathBuf>,
    /// The data centre it is: us, eu, in, au, cn, jp, ca, sa, uk or ae
    #[arg(long, default_value = "us", value_name = "DC")]
    #[arg(value_parser = DataCenterCode, hide_possible_values = true)]
    location: String,
}

#[derive(Serialize)]
struct Listening {
    url: String,
    port: u16,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let Args { port, port_file, location } = args;
    let mut builder =
        Emulator::builder().port(port).location(client::data_center(&location)?.code());
    if let Some(url) = context.api_domain() {
        builder = builder.api_domain(server::api_domain(url)?.as_str());
    }
    let stopped = signals::told_to_stop()?;
    let emulator = builder.start().await.map_err(|error| {
        Failure::failed(format!("{error}: {}", error.source))
            .hint("leave `--port` out to take a free one")
    })?;
    let listening = Listening { url: emulator.url().to_owned(), port: emulator.port() };
    context.printer.result(&listening, |listening| listening.url.clone())?;
    let port_file = port_file.map(|path| PortFile::write(path, emulator.port())).transpose()?;
    context.printer.note("the emulator runs until ctrl-c");
    stopped.await;
    drop(port_file);
    emulator.stop().await;
    Ok(())
}

/// The file with the port, there whole or not at all, and gone when the emulator stops.
struct PortFile(PathBuf);

impl PortFile {
    fn write(path: PathBuf, port: u16) -> Result<Self, Failure> {
        whole::write(&path, port.to_string().as_bytes())?;
        Ok(Self(path))
    }
}

impl Drop for PortFile {
    fn drop(&mut self) {
        // A port file that somebody has removed is gone already.
        drop(std::fs::remove_file(&self.0));
    }
}
