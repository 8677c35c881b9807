//! The socket side of a connection: what is read by its task, and who may write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_rustls::server::TlsStream;

use crate::session::link::Socket;
use crate::session::{End, Session};

/// A two-way stream of bytes that only one task may write to: TLS, WebSocket.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// Whether the other side has closed its socket: see [`Stream::has_left`].
    fn has_left(&self) -> bool;
}

/// A connection's stream.
pub(crate) enum Stream {
    /// The reading half; anybody may write to the other one.
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
    /// All of it.
    Owned(Box<dyn Duplex>),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Unix(_) => "Unix",
            Self::Owned(_) => "Owned",
        })
    }
}

impl Stream {
    pub(crate) fn tcp(stream: TcpStream) -> (Self, Option<Arc<Socket>>) {
        let (read, write) = stream.into_split();
        (Self::Tcp(read), Some(Arc::new(Socket::Tcp(write))))
    }

    pub(crate) fn unix(stream: UnixStream) -> (Self, Option<Arc<Socket>>) {
        let (read, write) = stream.into_split();
        (Self::Unix(read), Some(Arc::new(Socket::Unix(write))))
    }

    pub(crate) fn owned(stream: impl Duplex + 'static) -> (Self, Option<Arc<Socket>>) {
        (Self::Owned(Box::new(stream)), None)
    }

    /// Whether the client has closed its socket, as far as is known by now. Nothing is read for that:
    /// what it sent before, however much, may still be.
    pub(crate) fn has_left(&self) -> bool {
        match self {
            Self::Tcp(half) => is_closed(half.ready(Interest::READABLE)),
            Self::Unix(half) => is_closed(half.ready(Interest::READABLE)),
            Self::Owned(stream) => stream.has_left(),
        }
    }

    /// Whether others write to the socket too.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self, Self::Owned(_))
    }

    /// Writes what waits in the session's outbox to a stream that only this task may write to.
    /// Returns whether something is left, and the task will be woken when it can go on; the bytes
    /// that were taken are added to `n_written`.
    pub(crate) fn poll_write_out(
        &mut self,
        context: &mut Context<'_>,
        session: &Session,
        now: u64,
        n_written: &mut u64,
    ) -> Result<bool, End> {
        let Self::Owned(stream) = self else {
            return Ok(false);
        };
        loop {
            let mut outbox = {
                let mut outbound = session.outbound.lock();
                let Some(link) = &mut outbound.link else {
                    return Ok(false);
                };
                link.is_dirty = false;
                std::mem::take(&mut link.outbox)
            };
            let n_before = outbox.len();
            let is_empty = outbox.is_empty();
            let mut is_full = false;
            while !outbox.is_empty() {
                let mut slices = [io::IoSlice::new(&[]); 1];
                outbox.slices(&mut slices);
                match Pin::new(&mut *stream).poll_write(context, &slices[0]) {
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Err(End::Lost),
                    Poll::Ready(Ok(n_bytes)) => outbox.advance(n_bytes),
                    Poll::Pending => {
                        is_full = true;
                        break;
                    }
                }
            }
            *n_written += (n_before - outbox.len()) as u64;
            let flushed = Pin::new(&mut *stream).poll_flush(context);
            let mut outbound = session.outbound.lock();
            let Some(link) = &mut outbound.link else {
                return Ok(false);
            };
            if is_full {
                let has_moved = outbox.len() < n_before;
                link.outbox.put_back(outbox);
                if !std::mem::replace(&mut link.is_blocked, true) || has_moved {
                    link.moved_at = now;
                }
                return Ok(true);
            }
            outbox.recycle();
            match flushed {
                Poll::Ready(Ok(())) if is_empty || link.outbox.is_empty() => {
                    link.is_awaited = false;
                    link.is_blocked = false;
                    return Ok(false);
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(End::Lost),
                Poll::Pending => {
                    if !std::mem::replace(&mut link.is_blocked, true) || n_before > 0 {
                        link.moved_at = now;
                    }
                    return Ok(true);
                }
            }
        }
    }
}

/// Whether a socket is one that nothing more comes from, if that is known at once.
fn is_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let ready = ready.now_or_never();
    ready.is_some_and(|ready| ready.is_ok_and(Ready::is_read_closed))
}

impl Duplex for TcpStream {
    fn has_left(&self) -> bool {
        is_closed(self.ready(Interest::READABLE))
    }
}

impl<S: Duplex> Duplex for TlsStream<S> {
    fn has_left(&self) -> bool {
        self.get_ref().0.has_left()
    }
}

#[cfg(test)]
impl Duplex for tokio::io::DuplexStream {
    fn has_left(&self) -> bool {
        false // nothing says so without reading
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_read(context, buffer),
            Self::Unix(half) => Pin::new(half).poll_read(context, buffer),
            Self::Owned(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}
