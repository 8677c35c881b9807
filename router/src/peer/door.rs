//! A socket for other nodes, and how they reach it: bound before others are told of it.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// A socket for other nodes.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    /// What other nodes are told, `host:port`.
    pub address: String,
    /// Where it is, with the port that was taken.
    pub bound: SocketAddr,
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for other nodes: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

// === impl Door ===

impl Door {
    /// Binds the socket; others reach it by the host that is advertised, or at its address.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub async fn bind(address: SocketAddr, advertise: &str) -> Result<Self, BindError> {
        let cannot = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let address = match advertise {
            "" => bound.to_string(),
            host if host.contains(':') => format!("[{host}]:{}", bound.port()),
            host => format!("{host}:{}", bound.port()),
        };
        Ok(Self {
            listener,
            address,
            bound,
        })
    }

    /// The socket, to be served.
    #[must_use]
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_are_told_what_is_advertised_and_the_port_that_was_taken() {
        for (advertise, host) in [("", "127.0.0.1"), ("node-1", "node-1"), ("::1", "[::1]")] {
            let door = Door::bind(([127, 0, 0, 1], 0).into(), advertise).await;
            let door = door.expect("a free port");
            assert_eq!(door.address, format!("{host}:{}", door.bound.port()));
            let again = Door::bind(door.bound, "").await.map(drop);
            assert!(again.is_err_and(|error| error.address == door.bound));
        }
    }
}
