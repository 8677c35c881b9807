//! The relay's connections: taken or refused, tied to one of the target, and ended.

use std::{
    net::{self, SocketAddr},
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use super::{Counts, Ending, Fault, fork, pump};
use crate::history::Random;

/// How long the target may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the ends of a connection that is cut may take to close theirs.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// How soon a port is tried again that could not be listened on.
const AGAIN: Duration = Duration::from_millis(50);

/// What all connections of a relay have in common.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) address: SocketAddr,
    pub(super) target: SocketAddr,
    pub(super) up: watch::Receiver<Fault>,
    pub(super) down: watch::Receiver<Fault>,
    pub(super) is_open: watch::Receiver<bool>,
    pub(super) endings: watch::Receiver<Option<Ending>>,
    pub(super) counts: watch::Sender<Counts>,
    pub(super) n_hit: Arc<AtomicUsize>,
    pub(super) random: Arc<Mutex<Random>>,
}

impl Links {
    /// Takes connections as long as the relay is there. While it is closed nothing listens, so
    /// that the system refuses who comes.
    pub(super) async fn accept(mut self, listener: net::TcpListener) {
        let mut listener = TcpListener::from_std(listener).ok();
        loop {
            let is_open = *self.is_open.borrow_and_update();
            if is_open && listener.is_none() {
                listener = TcpListener::bind(self.address).await.ok();
            }
            if !is_open {
                listener = None;
            }
            let is_listening = listener.is_some();
            self.counts
                .send_modify(|counts| counts.is_listening = is_listening);
            tokio::select! {
                changed = self.is_open.changed() => if changed.is_err() { return },
                client = next(listener.as_ref(), is_open) => if let Some(client) = client {
                    // From here on it is one of those that an order ends.
                    let mut links = self.clone();
                    links.endings.mark_unchanged();
                    self.counts.send_modify(|counts| counts.n_open += 1);
                    tokio::spawn(links.carry(client));
                },
            }
        }
    }

    /// One connection, from its first byte to its end.
    async fn carry(mut self, mut client: TcpStream) {
        let connect = timeout(CONNECT_LIMIT, TcpStream::connect(self.target));
        let server = tokio::select! {
            server = connect => server.ok().and_then(Result::ok),
            _ = self.endings.changed() => None,
        };
        match server {
            Some(mut server) => match self.tie(&mut client, &mut server).await {
                Some(Ending::Cut) => {
                    let _already_gone = tokio::join!(client.shutdown(), server.shutdown());
                    self.counts.send_modify(|counts| counts.n_open -= 1);
                    tokio::join!(read_off(client), read_off(server));
                    return;
                }
                Some(Ending::Reset) => {
                    abort(client);
                    abort(server);
                }
                None => {}
            },
            // Nobody took it: that is an RST, too.
            None => abort(client),
        }
        self.counts.send_modify(|counts| counts.n_open -= 1);
    }

    /// Carries bytes until both are done or something ends it.
    async fn tie(&mut self, client: &mut TcpStream, server: &mut TcpStream) -> Option<Ending> {
        let _no_matter = client.set_nodelay(true).and(server.set_nodelay(true));
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let [ups, downs] = [&self.up, &self.down].map(|faults| pump::Faults {
            now: faults.clone(),
            n_hit: Arc::clone(&self.n_hit),
        });
        let up = pump::run(from_client, to_server, ups, fork(&self.random));
        let down = pump::run(from_server, to_client, downs, fork(&self.random));
        tokio::select! {
            done = async { tokio::try_join!(up, down) } => done.err(),
            changed = self.endings.changed() => match changed {
                Ok(()) => *self.endings.borrow(),
                Err(_) => Some(Ending::Reset),
            },
        }
    }
}

/// The next connection; `None` after a while where there is no listener, if there is to be one.
async fn next(listener: Option<&TcpListener>, is_open: bool) -> Option<TcpStream> {
    match listener {
        Some(listener) => match listener.accept().await {
            Ok((client, _)) => Some(client),
            Err(_) => {
                tokio::time::sleep(AGAIN).await;
                None
            }
        },
        None if is_open => {
            tokio::time::sleep(AGAIN).await;
            None
        }
        None => std::future::pending().await,
    }
}

/// Its end becomes an RST.
fn abort(stream: TcpStream) {
    let _already_gone = stream.set_zero_linger();
    drop(stream);
}

/// Reads until the other side closes: a socket with bytes that nobody has read would end with an
/// RST and not with the FIN that was sent.
async fn read_off(mut stream: TcpStream) {
    let mut rest = [0; 4096];
    let read = async { while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {} };
    let _in_time = timeout(CLOSE_LIMIT, read).await;
}
