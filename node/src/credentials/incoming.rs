//! Connections of other nodes, as a gRPC server takes them: plain, or behind a TLS handshake that
//! has shown who calls. Until then not a byte of it reaches the server.
//!
//! Handshakes have a deadline and are done beside one another, up to a bound. Beyond it the oldest
//! one goes: whoever opens connections and says nothing keeps out others for no longer than it can
//! open new ones faster than a node shakes hands.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpIncoming};

use super::Credentials;
use super::certificate;
use super::guard::Caller;

/// The connections of a listener.
#[derive(Debug)]
pub struct Incoming {
    tcp: TcpIncoming,
    credentials: Option<Arc<Credentials>>,
    handshakes: JoinSet<Result<Connection, Refused>>,
    /// The same, the oldest first.
    order: VecDeque<AbortHandle>,
    told_at: Option<Instant>,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    caller: Caller,
}

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Somebody who is none of this cluster, or does not say so in time.
#[derive(Debug, thiserror::Error)]
#[error("{from}: {why}")]
struct Refused {
    from: SocketAddr,
    why: String,
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Handshakes at once: many more than a cluster has nodes.
const HANDSHAKES: usize = 256;
/// How often the log is told of refused ones.
const TELL: Duration = Duration::from_secs(10);

// === impl Incoming ===

impl Incoming {
    /// Takes connections, with credentials by TLS only. With TCP_NODELAY, which tonic sets only on
    /// sockets that it has bound itself.
    pub fn new(listener: TcpListener, credentials: Option<Arc<Credentials>>) -> Self {
        Self {
            tcp: TcpIncoming::from(listener).with_nodelay(Some(true)),
            credentials,
            handshakes: JoinSet::new(),
            order: VecDeque::new(),
            told_at: None,
        }
    }

    fn begin(&mut self, stream: TcpStream, credentials: &Credentials) {
        let acceptor = TlsAcceptor::from(credentials.server_config());
        while self.order.front().is_some_and(AbortHandle::is_finished) {
            self.order.pop_front();
        }
        if self.order.len() >= HANDSHAKES
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        let handshake = self.handshakes.spawn(shake_hands(acceptor, stream));
        self.order.push_back(handshake);
    }

    /// Anybody may cause it, so it is told now and then.
    fn tell(&mut self, refused: &Refused) {
        let now = Instant::now();
        if self.told_at.is_some_and(|at| now.duration_since(at) < TELL) {
            tracing::debug!(%refused, "a connection that is no node's");
        } else {
            self.told_at = Some(now);
            tracing::warn!(%refused, "a connection that is no node's; further ones are not told of for 10 s");
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let incoming = self.get_mut();
        loop {
            while let Poll::Ready(Some(ended)) = incoming.handshakes.poll_join_next(cx) {
                match ended {
                    Ok(Ok(connection)) => return Poll::Ready(Some(Ok(connection))),
                    Ok(Err(refused)) => incoming.tell(&refused),
                    Err(_) => {} // it had to go for a newer one
                }
            }
            let stream = match ready!(Pin::new(&mut incoming.tcp).poll_next(cx)) {
                Some(Ok(stream)) => stream,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match incoming.credentials.clone() {
                Some(credentials) => incoming.begin(stream, &credentials),
                None => return Poll::Ready(Some(Ok(Connection::plain(stream)))),
            }
        }
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream) -> Result<Connection, Refused> {
    let from = stream.peer_addr();
    let from = from.unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let refused = |why: String| Refused { from, why };
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(refused(error.to_string())),
        Err(_) => return Err(refused("it did not shake hands in time".to_owned())),
    };
    let shown = stream.get_ref().1.peer_certificates();
    let Some(shown) = shown.and_then(|chain| chain.first()) else {
        return Err(refused("it shows no certificate".to_owned()));
    };
    let read = certificate::read(shown).map_err(|error| refused(error.to_string()))?;
    Ok(Connection {
        wire: Wire::Tls(Box::new(stream)),
        caller: Caller::known(read.identity),
    })
}

// === impl Connection ===

impl Connection {
    fn plain(stream: TcpStream) -> Self {
        Self {
            wire: Wire::Plain(stream),
            caller: Caller::unknown(),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

/// Calls a method of whichever stream it is.
macro_rules! delegate {
    ($connection:expr, $method:ident $(, $argument:expr)*) => {
        match &mut $connection.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Wire::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read, cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown, cx)
    }
}
