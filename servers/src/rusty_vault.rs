//! RustyVault, which speaks as Vault does: KV of version 1, AppRole, sealing.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::Command,
    sync::{Arc, OnceLock},
};

use serde_json::{Value, json};

use crate::{
    Address, Kind, Missing, Server,
    node::{Node, Plan, prepare},
    place::Place,
    port::Port,
    program, ready,
};

pub(crate) const NEEDS: &[(&str, &str)] = &[("rvault", "the crate rusty_vault")];

/// The version that is fetched.
const VERSION: &str = "0.2.1";

/// Where it is installed, below `target/servers`.
pub(crate) const ROOT: &str = "rusty-vault";

/// It does not read blocks of one line.
const CONFIG: &str = r#"storage "file" {
  path = "./data"
}

listener "tcp" {
  address     = "127.0.0.1:PORT"
  tls_disable = true
}

api_addr = "http://127.0.0.1:PORT"
log_level = "warn"
pid_file = "./pid"
work_dir = "./work"
"#;

/// What it said when it was made.
#[derive(Debug)]
struct Made {
    key: String,
    token: String,
}

/// The address's administrator is called `root`, and the password is the token of Vault.
pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let [program] = program::all(NEEDS)?;
    let place = Place::new()?;
    let directory = place.make("vault")?;
    let claim = Port::claim()?;
    let port = claim.number;
    let config = place.write("vault.hcl", &CONFIG.replace("PORT", &port.to_string()), true)?;
    let mut arguments = vec!["server".into(), "--config".into(), config.into()];
    arguments.extend(extra.iter().map(OsString::from));
    let made: Arc<OnceLock<Made>> = Arc::default();
    let mut node = Node::new(Plan {
        address: Address::local(Kind::RustyVault, port).without_password(),
        program,
        arguments,
        directory,
        ports: vec![claim],
        ready: Box::new({
            let made = Arc::clone(&made);
            move || is_open(port, &made).unwrap_or(false)
        }),
    });
    node.spawn()?;
    node.wait()?;
    let token = made.get().map(|made| made.token.clone());
    node.is_administered_by("root", &token.ok_or_else(|| Missing::fault("it has no token"))?);
    Ok(Server::of(Kind::RustyVault, place, vec![node]))
}

/// Makes the vault if there is none, and unseals it if it is sealed.
fn is_open(port: u16, made: &OnceLock<Made>) -> Option<bool> {
    let ask = |method, path, body: Value| -> Option<Value> {
        let said = ready::json(port, method, path, &body.to_string()).ok()?;
        serde_json::from_str(&said).ok()
    };
    if made.get().is_none() {
        let said = ask("PUT", "/v1/sys/init", json!({"secret_shares": 1, "secret_threshold": 1}))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let new = Made { key: text(&said["keys"][0])?, token: text(&said["root_token"])? };
        made.get_or_init(|| new);
    }
    let is_sealed = ask("GET", "/v1/sys/seal-status", Value::Null)?["sealed"].as_bool()?;
    if is_sealed {
        let said = ask("PUT", "/v1/sys/unseal", json!({ "key": made.get()?.key }))?;
        return Some(said["sealed"] == false);
    }
    Some(true)
}

/// Builds it under `target/servers/rusty-vault`, unless it is there. That takes some minutes.
pub(crate) fn fetch() -> Result<Option<&'static str>, Missing> {
    let Some(missing) = crate::missing(Kind::RustyVault) else { return Ok(None) };
    let absent = |error: Missing| Missing::absent(format!("{missing}: {error}"));
    let (root, build) = (program::below_target(ROOT), program::below_target("rusty-vault-build"));
    let mut install = Command::new("nice");
    install.args(["cargo", "install", "rusty_vault", "--version", VERSION, "--locked", "--quiet"]);
    // What it does for tests is little, and building it is most of what it costs.
    install.args(["--debug", "--root"]).arg(root).arg("--target-dir").arg(&build);
    install.env("CARGO_PROFILE_DEV_DEBUG", "false").env("CARGO_INCREMENTAL", "0");
    if !Path::new("/usr/include/openssl/ssl.h").exists() {
        install.envs(openssl().map_err(absent)?);
    }
    eprintln!("servers: building rusty_vault {VERSION}, once");
    prepare(&mut install).map_err(absent)?;
    fs::remove_dir_all(build)?;
    Ok(Some("rusty_vault"))
}

/// What tells its build where OpenSSL is that was unpacked for it.
fn openssl() -> Result<[(&'static str, OsString); 4], Missing> {
    crate::fetch::unpacked(&["libssl-dev"].into())?;
    let has = |below: &str, file: &str| {
        let directories = program::subdirectories(&program::prefix().join(below));
        let found = directories.into_iter().find(|directory| directory.join(file).exists());
        found.ok_or_else(|| Missing::absent(format!("libssl-dev has no {file}")))
    };
    let mut flags = OsString::from("-I");
    flags.push(has("usr/include", "openssl/opensslconf.h")?);
    Ok([
        ("OPENSSL_STATIC", "1".into()),
        ("OPENSSL_LIB_DIR", has("usr/lib", "libssl.a")?.into()),
        ("OPENSSL_INCLUDE_DIR", program::prefix().join("usr/include").into()),
        ("CFLAGS", flags),
    ])
}
