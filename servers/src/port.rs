//! Ports for servers.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    ops::Range,
};

/// Below what systems give to outgoing connections: one of those would keep a server from starting.
const PORTS: Range<u16> = 20_000..32_000;

/// A TCP port on loopback that no other test process is going to take.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// The UDP port of the same number, which nobody uses: whoever holds it may take the TCP one.
    _claim: UdpSocket,
}

impl Port {
    pub(crate) fn several<const N: usize>() -> io::Result<[Self; N]> {
        let ports: io::Result<Vec<_>> = (0..N).map(|_| Self::claim()).collect();
        ports?.try_into().map_err(|_ports| io::Error::other("fewer ports than asked for"))
    }

    pub(crate) fn claim() -> io::Result<Self> {
        let random = RandomState::new().build_hasher().finish();
        let count = PORTS.len() as u64;
        for step in 0..count {
            let number = PORTS.start + ((random % count + step) % count) as u16;
            let Ok(claim) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _claim: claim });
            }
        }
        Err(io::Error::other(format!("no port is free in {PORTS:?}")))
    }
}
