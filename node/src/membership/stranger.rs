//! What listens at an address that is no gossip: the other ports of a node are taken for it now and
//! then.

use super::join::JoinError;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The same error, or a better one if HTTP is spoken there, as gRPC is.
pub(super) async fn explain(address: SocketAddr, error: JoinError) -> JoinError {
    match error {
        JoinError::Unreachable(text, _) if speaks_http(address).await => {
            JoinError::Unreachable(text, OTHER_PORT.to_owned())
        }
        error => error,
    }
}

async fn speaks_http(address: SocketAddr) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(PREFACE).await.ok()?;
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        Some(is_http(&head))
    };
    timeout(LIMIT, asking).await.ok().flatten().unwrap_or(false)
}

/// Whether an answer to the preface of HTTP/2 is its SETTINGS, or a refusal by HTTP/1.
fn is_http(head: &[u8; 9]) -> bool {
    const SETTINGS: u8 = 4;
    head.starts_with(b"HTTP/1.") || (head[0] == 0 && head[3..] == [SETTINGS, 0, 0, 0, 0, 0])
}

/// What a client of HTTP/2 begins with: a fixed text, and settings, of which it has none.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const LIMIT: Duration = Duration::from_secs(1);
const OTHER_PORT: &str = "it speaks HTTP, as --raft-port, --grpc-port and --http do: name the port \
                          of its gossip, --gossip-port (7946 unless it is set)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_known_by_its_first_bytes() {
        assert!(is_http(b"HTTP/1.1 "));
        assert!(is_http(&[0, 0, 18, 4, 0, 0, 0, 0, 0]));
        assert!(!is_http(&[0, 0, 18, 7, 0, 0, 0, 0, 0]));
        assert!(!is_http(b"-ERR unkn"));
    }
}
