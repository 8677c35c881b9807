//! A network that keeps what was sent, and delivers it when the sender has long given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::store::redis::Address;

/// Stands between a store and a server.
pub(super) struct Proxy {
    pub(super) address: Address,
    /// Connections that began since the last [`Self::hold`].
    current: Arc<Mutex<Connections>>,
    held: Mutex<Vec<Connections>>,
    _accepting: JoinSet<()>,
}

struct Connections {
    is_held: watch::Sender<bool>,
    is_mute: Arc<AtomicBool>,
    /// How long an answer takes, in milliseconds.
    delay: Arc<AtomicU64>,
    /// How much is carried to the server, in bytes a millisecond; 0 for no bound.
    rate: Arc<AtomicU64>,
    /// Each ends when both sides have closed it.
    tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let current = Arc::new(Mutex::new(Connections::new()));
        let mut accepting = JoinSet::new();
        let connections = current.clone();
        accepting.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut connections = connections.lock();
                let is_held = connections.is_held.subscribe();
                let answers = (connections.is_mute.clone(), connections.delay.clone());
                let rate = connections.rate.clone();
                let carrying = carry(client, server, (is_held, rate), answers);
                connections.tasks.spawn(carrying);
            }
        });
        Self {
            address: Address::parse(&format!("127.0.0.1:{port}"), 0).expect("an address"),
            current,
            held: Mutex::default(),
            _accepting: accepting,
        }
    }

    /// What is sent from now on through the connections that there are is kept. Others are made
    /// as before.
    pub(super) fn hold(&self) {
        let connections = std::mem::replace(&mut *self.current.lock(), Connections::new());
        connections.is_held.send_replace(true);
        self.held.lock().push(connections);
    }

    /// What is sent from now on is kept, through whatever connection.
    pub(super) fn hold_all(&self) {
        self.current.lock().is_held.send_replace(true);
    }

    /// What was kept of that is delivered, and what is sent from now on.
    pub(super) fn let_through(&self) {
        self.current.lock().is_held.send_replace(false);
    }

    /// What the server answers through the connections that there are is lost from now on.
    pub(super) fn mute(&self) {
        self.current.lock().is_mute.store(true, Relaxed);
        self.hold();
        let held = self.held.lock();
        let last = held.last().expect("it was just held");
        last.is_held.send_replace(false);
    }

    /// What the server answers is lost from now on, through whatever connection.
    pub(super) fn mute_all(&self) {
        self.current.lock().is_mute.store(true, Relaxed);
    }

    /// What the server answers takes so long from now on, through whatever connection: what has come
    /// meanwhile comes with the next answer.
    pub(super) fn delay_answers(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.current.lock().delay.store(millis, Relaxed);
    }

    /// Each connection carries so much to the server from now on, in bytes a millisecond.
    pub(super) fn slow_down(&self, rate: u64) {
        self.current.lock().rate.store(rate, Relaxed);
    }

    /// Delivers what was kept, and waits until the server has answered all of it. The clients must
    /// have given these connections up.
    pub(super) async fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        for connections in held {
            connections.is_held.send_replace(false);
            connections.tasks.join_all().await;
        }
    }
}

impl Connections {
    fn new() -> Self {
        Self {
            is_held: watch::Sender::new(false),
            is_mute: Arc::default(),
            delay: Arc::default(),
            rate: Arc::default(),
            tasks: JoinSet::new(),
        }
    }
}

async fn carry(
    client: TcpStream,
    server: u16,
    (mut is_held, rate): (watch::Receiver<bool>, Arc<AtomicU64>),
    (is_mute, delay): (Arc<AtomicBool>, Arc<AtomicU64>),
) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut buffer = vec![0; 65_536];
        let mut kept = Vec::new();
        loop {
            let n = from_client.read(&mut buffer).await.unwrap_or(0);
            kept.extend_from_slice(&buffer[..n]);
            if *is_held.borrow() && n > 0 {
                continue;
            }
            let _ = is_held.wait_for(|is_held| !is_held).await;
            let millis = (kept.len() as u64).checked_div(rate.load(Relaxed));
            if let Some(millis) = millis.filter(|millis| *millis > 0) {
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            let _ = to_server.write_all(&kept).await;
            kept.clear();
            if n == 0 {
                let _ = to_server.shutdown().await;
                return;
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
            let millis = delay.load(Relaxed);
            if millis > 0 {
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            if !is_mute.load(Relaxed) {
                let _ = to_client.write_all(&buffer[..n]).await; // nobody may be there any more
            }
        }
    };
    tokio::join!(there, back);
}
