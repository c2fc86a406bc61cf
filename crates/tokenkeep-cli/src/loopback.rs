//! The loopback redirect of a login: a listener for the one request that the browser comes back
//! with.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

/// The longest head of a request that is read.
const MAX_HEAD: usize = 32 * 1024;
/// How long a connection may take to send it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on loopback. Browsers open connections that they never use, so each is read on its own.
pub(crate) struct Loopback {
    address: SocketAddr,
    requests: mpsc::Receiver<Request>,
    accepting: JoinHandle<()>,
}

/// A request whose head has been read.
pub(crate) struct Request {
    stream: TcpStream,
    /// Path and query.
    pub(crate) target: String,
}

impl Loopback {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, requests) = mpsc::channel(8);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Ok(Some(request)) = timeout(PATIENCE, Request::read(stream)).await {
                        // Nobody waits any more once the login is over.
                        drop(sender.send(request).await);
                    }
                });
            }
        });
        Ok(Self { address, requests, accepting })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next request; `None` if the listener has failed.
    pub(crate) async fn next(&mut self) -> Option<Request> {
        self.requests.recv().await
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Request {
    /// `None` if it is no `GET` that can be read.
    async fn read(mut stream: TcpStream) -> Option<Self> {
        let mut head = Vec::new();
        while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            if head.len() > MAX_HEAD || stream.read_buf(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let line = std::str::from_utf8(&head).ok()?.lines().next()?;
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("GET"), Some(target)) => Some(Self { target: target.to_owned(), stream }),
            _ => None,
        }
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Answers with a small page. That the browser has gone does not matter any more.
    pub(crate) async fn answer(mut self, status: &str, title: &str, text: &str) {
        let page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>\
             <body style=\"font-family:sans-serif;margin:4em auto;max-width:32em\">\
             <h1>{title}</h1><p>{text}</p>"
        );
        let reply = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
             Connection: close\r\n\r\n{page}",
            page.len()
        );
        let send = async {
            self.stream.write_all(reply.as_bytes()).await?;
            self.stream.shutdown().await
        };
        drop(timeout(PATIENCE, send).await);
    }
}
