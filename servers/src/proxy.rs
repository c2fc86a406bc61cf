//! A TCP proxy that fails on request.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
};

/// How long a server may take to begin an answer that nobody gets.
const ANSWER: Duration = Duration::from_secs(5);

/// What goes wrong on all connections of a [`Proxy`], those that are open and those to come.
///
/// A request is a piece of what a client sends, as it arrives; with protocols that ask and wait it
/// is what the name says. They are counted over all connections, from one, since the fault was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing: bytes pass both ways.
    #[default]
    None,
    /// New connections are closed at once. Open ones go on.
    Refuse,
    /// Each request is sent on after this time.
    Delay(Duration),
    /// Nothing passes in either direction, and connections stay open. What arrived goes on once
    /// another fault is set.
    Stall,
    /// The n-th request is not sent on, and both sides are cut.
    CutBefore(u64),
    /// The n-th request is sent on; when the server begins to answer, or has not for five seconds,
    /// both sides are cut. The client does not get a byte of the answer.
    CutAfter(u64),
    /// The n-th request is sent on, and the client is told that nothing more is going to come. What
    /// it sends is still passed on.
    HalfClose(u64),
}

/// A TCP proxy on loopback in front of a server. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Listens on a port of its own, and passes connections to `upstream`.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults::default());
        let accepting = tokio::spawn(accept(listener, upstream, Arc::clone(&faults)));
        Ok(Self { address, faults, accepting: accepting.abort_handle() })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what goes wrong from now on, and counts requests from the beginning.
    pub fn set(&self, fault: Fault) {
        let mut current = self.faults.lock();
        *current = Current { fault, requests: 0 };
        self.faults.changed.send_modify(|change| change.faults += 1);
    }

    /// How many requests have arrived since the fault was set.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.faults.lock().requests
    }

    /// Cuts all connections that are open.
    pub fn cut_all(&self) {
        self.faults.changed.send_modify(|change| change.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections are its children, and end with it.
        self.accepting.abort();
    }
}

#[derive(Debug, Default)]
struct Faults {
    current: Mutex<Current>,
    changed: watch::Sender<Change>,
}

#[derive(Debug, Default)]
struct Current {
    fault: Fault,
    requests: u64,
}

/// Counts what connections wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    faults: u64,
    cuts: u64,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Fault {
        self.lock().fault
    }

    /// Counts a request; what is to go wrong with it.
    fn next(&self) -> Fault {
        let mut current = self.lock();
        current.requests += 1;
        let number = match current.fault {
            Fault::CutBefore(number) | Fault::CutAfter(number) | Fault::HalfClose(number) => {
                Some(number)
            }
            Fault::None | Fault::Refuse | Fault::Delay(_) | Fault::Stall => None,
        };
        let is_another = number.is_some_and(|number| number != current.requests);
        if is_another { Fault::None } else { current.fault }
    }

    /// Waits while everything stands still.
    async fn unless_stalled(&self) {
        let mut changed = self.changed.subscribe();
        while self.fault() == Fault::Stall {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until all connections of now are cut.
    fn cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changed = self.changed.subscribe();
        let before = changed.borrow_and_update().cuts;
        async move {
            let _change = changed.wait_for(|change| change.cuts != before).await;
        }
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if faults.fault() == Fault::Refuse {
            continue;
        }
        let (faults, cut) = (Arc::clone(&faults), faults.cut());
        connections.spawn(async move {
            tokio::select! {
                () = cut => {}
                _result = connection(client, upstream, &faults) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// How the requests of a connection end.
enum End {
    /// The client has nothing more to say.
    Closed,
    /// Both sides are cut.
    Cut,
}

/// What the direction of requests tells that of answers, and the other way round.
#[derive(Default)]
struct Answers {
    /// The client does not get them.
    are_kept: AtomicBool,
    /// The server has begun to answer, or is gone.
    begun: Notify,
    /// The client is told that there are no more.
    close: Notify,
}

async fn connection(client: TcpStream, upstream: SocketAddr, faults: &Faults) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let shared = Answers::default();
    let requests = requests(from_client, to_server, faults, &shared);
    let answers = answers(from_server, to_client, faults, &shared);
    tokio::pin!(requests, answers);
    tokio::select! {
        end = &mut requests => match end? {
            End::Cut => Ok(()),
            End::Closed => answers.await,
        },
        result = &mut answers => {
            result?;
            requests.await.map(|_end| ())
        }
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    faults: &Faults,
    answers: &Answers,
) -> io::Result<End> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut bytes).await?;
        if length == 0 {
            faults.unless_stalled().await;
            server.shutdown().await?;
            return Ok(End::Closed);
        }
        let fault = faults.next();
        match fault {
            Fault::CutBefore(_) => return Ok(End::Cut),
            Fault::CutAfter(_) => answers.are_kept.store(true, Ordering::SeqCst),
            Fault::HalfClose(_) => answers.close.notify_one(),
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Stall => faults.unless_stalled().await,
            Fault::None | Fault::Refuse => {}
        }
        server.write_all(&bytes[..length]).await?;
        if matches!(fault, Fault::CutAfter(_)) {
            // Late or not: it is cut.
            let _elapsed = tokio::time::timeout(ANSWER, answers.begun.notified()).await;
            return Ok(End::Cut);
        }
    }
}

async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    faults: &Faults,
    answers: &Answers,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    let mut is_closed = false;
    loop {
        let length = tokio::select! {
            biased;
            () = answers.close.notified() => {
                client.shutdown().await?;
                is_closed = true;
                continue;
            }
            length = server.read(&mut bytes) => length.unwrap_or(0),
        };
        if answers.are_kept.load(Ordering::SeqCst) {
            answers.begun.notify_one();
            if length == 0 {
                // Cut by the other direction.
                return Ok(());
            }
            continue;
        }
        faults.unless_stalled().await;
        if length == 0 {
            return client.shutdown().await;
        }
        if !is_closed {
            client.write_all(&bytes[..length]).await?;
        }
    }
}

#[cfg(test)]
mod tests;
