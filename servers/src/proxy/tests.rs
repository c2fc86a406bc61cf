use std::sync::atomic::AtomicU64;

use tokio::time::timeout;

use super::*;

/// What must happen does so within this time.
const LIMIT: Duration = Duration::from_secs(10);
/// What must not happen is waited for so long.
const QUIET: Duration = Duration::from_millis(50);

/// Answers with what it is told, and counts the bytes it was told.
struct Echo {
    address: SocketAddr,
    heard: Arc<AtomicU64>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut bytes = [0; 100];
                    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                        count.fetch_add(length as u64, Ordering::SeqCst);
                        if stream.write_all(&bytes[..length]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> u64 {
        self.heard.load(Ordering::SeqCst)
    }
}

struct Scene {
    echo: Echo,
    proxy: Proxy,
    client: TcpStream,
}

impl Scene {
    /// One request has been answered.
    async fn new() -> Self {
        let echo = Echo::start().await;
        let proxy = Proxy::start(echo.address).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let mut scene = Self { echo, proxy, client };
        assert_eq!(scene.ask().await, Some(*b"ping"));
        scene
    }

    async fn tell(&mut self) {
        self.client.write_all(b"ping").await.unwrap();
    }

    /// `None`: the connection is over.
    async fn hear(&mut self) -> Option<[u8; 4]> {
        let mut answer = [0; 4];
        in_time(self.client.read_exact(&mut answer)).await.ok().map(|_length| answer)
    }

    async fn ask(&mut self) -> Option<[u8; 4]> {
        self.tell().await;
        self.hear().await
    }

    async fn hears_nothing(&mut self) {
        let mut byte = [0];
        timeout(QUIET, self.client.read(&mut byte)).await.unwrap_err();
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it does not hang")
}

#[tokio::test]
async fn bytes_pass_and_requests_are_counted_from_the_fault_on() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.proxy.requests(), 1);
    scene.proxy.set(Fault::None);
    for request in 1..=3 {
        assert_eq!(scene.ask().await, Some(*b"ping"));
        assert_eq!(scene.proxy.requests(), request);
    }
}

#[tokio::test]
async fn what_is_cut_before_does_not_reach_the_server() {
    let mut scene = Scene::new().await;
    scene.proxy.set(Fault::CutBefore(2));
    assert_eq!(scene.ask().await, Some(*b"ping"));
    assert_eq!(scene.ask().await, None);
    assert_eq!(scene.echo.heard(), 8);
    // The third passes, on another connection.
    scene.client = TcpStream::connect(scene.proxy.address()).await.unwrap();
    assert_eq!(scene.ask().await, Some(*b"ping"));
}

#[tokio::test]
async fn what_is_cut_after_reaches_the_server_and_is_not_answered() {
    let mut scene = Scene::new().await;
    scene.proxy.set(Fault::CutAfter(2));
    assert_eq!(scene.ask().await, Some(*b"ping"));
    assert_eq!(scene.ask().await, None);
    assert_eq!(scene.echo.heard(), 12);
    scene.client = TcpStream::connect(scene.proxy.address()).await.unwrap();
    assert_eq!(scene.ask().await, Some(*b"ping"));
}

#[tokio::test]
async fn a_half_closed_connection_takes_requests_and_gives_no_answer() {
    let mut scene = Scene::new().await;
    scene.proxy.set(Fault::HalfClose(1));
    assert_eq!(scene.ask().await, None);
    scene.tell().await;
    in_time(async {
        while scene.echo.heard() < 12 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stalled_connection_goes_on_where_it_was() {
    let mut scene = Scene::new().await;
    scene.proxy.set(Fault::Stall);
    scene.tell().await;
    scene.hears_nothing().await;
    assert_eq!(scene.echo.heard(), 4);
    scene.proxy.set(Fault::None);
    assert_eq!(scene.hear().await, Some(*b"ping"));
}

#[tokio::test]
async fn a_delayed_request_arrives_late() {
    let mut scene = Scene::new().await;
    scene.proxy.set(Fault::Delay(QUIET * 4));
    scene.tell().await;
    scene.hears_nothing().await;
    assert_eq!(scene.hear().await, Some(*b"ping"));
}

#[tokio::test]
async fn new_connections_are_refused_and_open_ones_go_on() {
    let mut scene = Scene::new().await;
    scene.proxy.set(Fault::Refuse);
    let mut refused = TcpStream::connect(scene.proxy.address()).await.unwrap();
    let mut byte = [0];
    assert!(!matches!(in_time(refused.read(&mut byte)).await, Ok(1..)));
    assert_eq!(scene.ask().await, Some(*b"ping"));
}

#[tokio::test]
async fn all_connections_are_cut() {
    let mut scene = Scene::new().await;
    scene.proxy.cut_all();
    assert_eq!(scene.hear().await, None);
    scene.client = TcpStream::connect(scene.proxy.address()).await.unwrap();
    assert_eq!(scene.ask().await, Some(*b"ping"));
}

#[tokio::test]
async fn a_dropped_proxy_cuts_its_connections() {
    let mut scene = Scene::new().await;
    let Echo { address, .. } = scene.echo;
    scene.proxy = Proxy::start(address).await.unwrap();
    assert_eq!(scene.hear().await, None);
}
