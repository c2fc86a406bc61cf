//! Whether servers answer, in as few bytes of their protocols as will tell.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(1);

/// It greets with version 10 of the protocol. It does not while it starts: it does not listen then.
pub(crate) fn mariadb(port: u16) -> bool {
    answer(port, b"").is_ok_and(|said| said.get(4) == Some(&10))
}

/// It asks for a password, rather than saying that it is starting.
pub(crate) fn postgres(port: u16) -> bool {
    let mut hello = vec![0, 0, 0, 0, 0, 3, 0, 0];
    hello.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
    hello[3] = hello.len() as u8;
    answer(port, &hello).is_ok_and(|said| said.first() == Some(&b'R'))
}

/// Its answer to a command has `wanted` in it.
pub(crate) fn redis_says(port: u16, command: &str, wanted: &str) -> bool {
    let hello = format!("AUTH {}\r\n{command}\r\n", crate::address::PASSWORD);
    all(port, hello.as_bytes()).is_ok_and(|said| said.contains(wanted))
}

/// It answers HTTP requests.
pub(crate) fn http(port: u16) -> bool {
    answer(port, b"GET / HTTP/1.0\r\n\r\n").is_ok_and(|said| said.starts_with(b"HTTP/1."))
}

/// The body of what is answered to an HTTP request with this one.
pub(crate) fn json(port: u16, method: &str, path: &str, body: &str) -> io::Result<String> {
    let length = body.len();
    let hello = format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut said = Vec::new();
    ask(port, hello.as_bytes())?.read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let body = said.split_once("\r\n\r\n").map(|(_head, body)| body.to_owned());
    body.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The same of a sentinel, which asks for no password.
pub(crate) fn sentinel_says(port: u16, command: &str, wanted: &str) -> bool {
    all(port, format!("{command}\r\n").as_bytes()).is_ok_and(|said| said.contains(wanted))
}

/// Everything that comes back.
fn all(port: u16, hello: &[u8]) -> io::Result<String> {
    let mut said = Vec::new();
    let mut stream = ask(port, hello)?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The first bytes that come back.
fn answer(port: u16, hello: &[u8]) -> io::Result<Vec<u8>> {
    let mut said = vec![0; 256];
    let length = ask(port, hello)?.read(&mut said)?;
    said.truncate(length);
    Ok(said)
}

fn ask(port: u16, hello: &[u8]) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(hello)?;
    Ok(stream)
}
