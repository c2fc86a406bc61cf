//! Clients: the command-line ones that come with the servers, over TLS where there is TLS.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

use tokenkeep_servers::{Address, program};

/// Has a statement done; what came of it, or what the client complained of.
pub(crate) type Client = fn(&Address, &str) -> Result<String, String>;

pub(crate) fn mariadb(address: &Address, statement: &str) -> Result<String, String> {
    run(
        "mariadb",
        "mariadb-client",
        &[
            "--no-defaults",
            "--skip-column-names",
            "--batch",
            "--protocol=tcp",
            "--ssl-verify-server-cert",
            &format!("--ssl-ca={}", ca(address)),
            &format!("--host={}", address.host),
            &format!("--port={}", address.port),
            &format!("--user={}", address.user),
            &format!("--password={}", address.password),
            &format!("--execute={statement}"),
        ],
    )
}

pub(crate) fn postgres(address: &Address, statement: &str) -> Result<String, String> {
    let url = format!("{}/postgres?sslmode=verify-full&sslrootcert={}", address.url(), ca(address));
    run("psql", "postgresql-client", &["-X", "-q", "-A", "-t", "-d", &url, "-c", statement])
}

pub(crate) fn redis(address: &Address, statement: &str) -> Result<String, String> {
    let port = address.tls_port.unwrap_or_default().to_string();
    let mut arguments = vec!["-e", "-h", &address.host, "-p", &port, "--tls", "--no-auth-warning"];
    let ca = ca(address);
    arguments.extend(["--cacert", &ca, "--user", &address.user, "--pass", &address.password]);
    arguments.extend(statement.split(' '));
    run("redis-cli", "redis-tools", &arguments)
}

pub(crate) fn ask_sentinel(address: &Address, statement: &str) -> Result<String, String> {
    let port = address.port.to_string();
    let arguments: Vec<&str> = ["-e", "-h", &address.host, "-p", &port].into();
    run("redis-cli", "redis-tools", &[arguments, statement.split(' ').collect()].concat())
}

/// A property of a collection of the Secret Service.
pub(crate) fn bus(address: &Address, object: &str, property: &str) -> Result<String, String> {
    let said = run(
        "dbus-send",
        "dbus-bin",
        &[
            &format!("--bus={}", address.url()),
            "--print-reply=literal",
            "--dest=org.freedesktop.secrets",
            object,
            "org.freedesktop.DBus.Properties.Get",
            "string:org.freedesktop.Secret.Collection",
            &format!("string:{property}"),
        ],
    )?;
    Ok(said.split_whitespace().last().unwrap_or_default().to_owned())
}

/// The first line of the answer to a GET.
pub(crate) fn http(address: &Address, path: &str) -> Result<String, String> {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    )
}

/// The first line of what Vault answers to its root.
pub(crate) fn vault(address: &Address, method: &str, path: &str) -> Result<String, String> {
    let token = &address.admin_password;
    request(
        address,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Token: {token}\r\n\
             Connection: close\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}"
        ),
    )
}

fn request(address: &Address, text: &str) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect((address.host.as_str(), address.port))?;
        stream.write_all(text.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    ask().map_err(|error: std::io::Error| error.to_string())
}

fn ca(address: &Address) -> String {
    address.ca.as_ref().map(|ca| ca.display().to_string()).unwrap_or_default()
}

fn run(name: &str, package: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = program(name, package).map_err(|missing| missing.to_string())?;
    let output = command.args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
