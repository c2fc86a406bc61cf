//! The line from one process to the emulator, which counts what that process asks for.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// How a request for a token begins.
const REQUEST: &[u8] = b"POST /oauth/v2/token ";

/// A port of one process's own that leads to the emulator. So it is known who asked: the emulator
/// itself cannot tell its callers apart.
pub(crate) struct Wire {
    port: u16,
    asked: Arc<AtomicU64>,
}

impl Wire {
    /// A line to the emulator's port. Its threads end with the test's process.
    pub(crate) fn to(emulator: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(near) = connection else { break };
                let Ok(far) = TcpStream::connect(("127.0.0.1", emulator)) else { break };
                relay(near, far, Arc::clone(&counted));
            }
        });
        Self { port, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many requests for a token have been passed on.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Passes on what comes, both ways, until one side closes. A process that is killed closes its
/// side; what it had sent has been passed on.
fn relay(near: TcpStream, far: TcpStream, asked: Arc<AtomicU64>) {
    let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::spawn(move || {
        let mut counter = Counter { asked, tail: Vec::new() };
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from_near.read(&mut buffer) {
            counter.see(&buffer[..length]);
            if to_far.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        close(&to_far);
    });
    let (mut from_far, mut to_near) = (far, near);
    thread::spawn(move || {
        // It ends in an error if the process was killed.
        drop(io::copy(&mut from_far, &mut to_near));
        close(&to_near);
    });
}

fn close(stream: &TcpStream) {
    // The other side may have closed it already.
    drop(stream.shutdown(Shutdown::Write));
}

/// Counts requests in a stream, however it is cut into pieces.
struct Counter {
    asked: Arc<AtomicU64>,
    tail: Vec<u8>,
}

impl Counter {
    fn see(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        let found = self.tail.windows(REQUEST.len()).filter(|part| *part == REQUEST).count();
        self.asked.fetch_add(found as u64, Ordering::SeqCst);
        // Too short to be counted twice.
        let keep = self.tail.len().min(REQUEST.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
    }
}

#[test]
fn requests_are_counted_however_they_are_cut() {
    let stream = [REQUEST, b"HTTP/1.1\r\n\r\n", REQUEST, b"POST /oauth/v2/token/revoke "].concat();
    for size in 1..stream.len() {
        let asked = Arc::new(AtomicU64::new(0));
        let mut counter = Counter { asked: Arc::clone(&asked), tail: Vec::new() };
        for piece in stream.chunks(size) {
            counter.see(piece);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{size}");
    }
}
