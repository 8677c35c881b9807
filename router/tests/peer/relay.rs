//! A network for tests: TCP through a relay that can cut and stall.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to the connections that are there at the time; later ones are well.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Fate {
    /// Connections with a lower number are closed.
    cut: u64,
    /// Connections with a lower number bring nothing any more, and are not closed.
    stalled: u64,
}

/// A relay to one address.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    fate: watch::Sender<Fate>,
    n_connections: watch::Receiver<u64>,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fate = watch::channel(Fate::default()).0;
        let (count, n_connections) = watch::channel(0);
        let fates = fate.subscribe();
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(target).await else {
                    continue;
                };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::spawn(carry(number, near_in, far_out, fates.clone()));
                tokio::spawn(carry(number, far_in, near_out, fates.clone()));
                number += 1;
                count.send_replace(number);
            }
        });
        Self {
            address,
            fate,
            n_connections,
        }
    }

    /// Closes all connections that there are.
    pub(crate) fn cut(&self) {
        let n = *self.n_connections.borrow();
        self.fate.send_modify(|fate| fate.cut = n);
    }

    /// Nothing passes on the connections that there are, and nobody is told.
    pub(crate) fn stall(&self) {
        let n = *self.n_connections.borrow();
        self.fate.send_modify(|fate| fate.stalled = n);
    }

    pub(crate) fn n_connections(&self) -> u64 {
        *self.n_connections.borrow()
    }
}

async fn carry(
    number: u64,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut fates: watch::Receiver<Fate>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let fate = *fates.borrow_and_update();
        if number < fate.cut {
            return;
        }
        let n = tokio::select! {
            biased;
            changed = fates.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            n = from.read(&mut buffer), if number >= fate.stalled => n.unwrap_or(0),
        };
        if n == 0 || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
