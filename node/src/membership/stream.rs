//! The streams of gossip: TCP, but for what the crate `memberlist` (0.8.5) would make room for.
//!
//! It peeks at the first byte of a message, reads its head, and makes as much room as the head says,
//! up to 4 GiB, before anybody has shown that it has a key. So heads are looked at here: every
//! message has to be sealed, and no longer than all that is known of a cluster could be.

use memberlist::net::stream_layer::{Listener, PromisedStream, StreamLayer};
use memberlist::proto::ProtoReader;
use memberlist::tokio::TokioTcp;
use memberlist::transport::Connection;
use std::io;
use std::net::SocketAddr;

type Tcp = <TokioTcp as StreamLayer>::Stream;
type TcpListener = <TokioTcp as StreamLayer>::Listener;

/// TCP whose messages are looked at.
pub(super) struct Streams(TokioTcp);

pub(super) struct StreamListener(TcpListener);

pub(super) struct Stream {
    tcp: Tcp,
    look: Look,
}

/// The half that is read from.
pub(super) struct Half {
    reader: <Tcp as Connection>::Reader,
    look: Look,
}

/// Where in a message the reader is.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    /// It has peeked at the first byte, and the head is next.
    is_before_head: bool,
}

/// What begins with anything else is not sealed.
const SEALED: u8 = 15;
/// Its tag, how it is sealed, and its length.
const HEAD: usize = 6;
/// Bytes of the longest message: everything that is known of several thousand names.
const LONGEST: u32 = 4 << 20;

// === impl Look ===

impl Look {
    fn peeked(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_before_head = true;
        match bytes.first() {
            None | Some(&SEALED) => Ok(()),
            Some(_) => Err(refusal("it is not sealed")),
        }
    }

    fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_head = std::mem::take(&mut self.is_before_head);
        match bytes {
            [SEALED, _, length @ ..] if is_head && bytes.len() == HEAD => {
                let length = length.iter();
                let length = length.fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
                match length {
                    0..=LONGEST => Ok(()),
                    _ => Err(refusal("it is too long")),
                }
            }
            _ => Ok(()),
        }
    }
}

fn refusal(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

// === reading ===

impl ProtoReader for Half {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.reader.read(buffer).await?;
        self.look.read(&buffer[..n_bytes.min(buffer.len())])?;
        Ok(n_bytes)
    }

    async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer).await?;
        self.look.read(buffer)
    }

    async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.reader.peek(buffer).await?;
        self.look.peeked(&buffer[..n_bytes.min(buffer.len())])?;
        Ok(n_bytes)
    }

    async fn peek_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.peek_exact(buffer).await?;
        self.look.peeked(buffer)
    }
}

impl Connection for Stream {
    type Reader = Half;
    type Writer = <Tcp as Connection>::Writer;

    fn split(self) -> (Self::Reader, Self::Writer) {
        let (reader, writer) = self.tcp.split();
        let look = self.look;
        (Half { reader, look }, writer)
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.tcp.read(buffer).await?;
        self.look.read(&buffer[..n_bytes.min(buffer.len())])?;
        Ok(n_bytes)
    }

    async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.tcp.read_exact(buffer).await?;
        self.look.read(buffer)
    }

    async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.tcp.peek(buffer).await?;
        self.look.peeked(&buffer[..n_bytes.min(buffer.len())])?;
        Ok(n_bytes)
    }

    async fn peek_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.tcp.peek_exact(buffer).await?;
        self.look.peeked(buffer)
    }

    async fn write_all(&mut self, payload: &[u8]) -> io::Result<()> {
        self.tcp.write_all(payload).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.tcp.close().await
    }
}

impl PromisedStream for Stream {
    type Instant = <Tcp as PromisedStream>::Instant;

    fn local_addr(&self) -> SocketAddr {
        self.tcp.local_addr()
    }

    fn peer_addr(&self) -> SocketAddr {
        self.tcp.peer_addr()
    }
}

// === connecting ===

impl Listener for StreamListener {
    type Stream = Stream;

    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (tcp, peer) = self.0.accept().await?;
        Ok((Stream::over(tcp), peer))
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    async fn shutdown(&self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

impl StreamLayer for Streams {
    type Runtime = <TokioTcp as StreamLayer>::Runtime;
    type Listener = StreamListener;
    type Stream = Stream;
    type Options = ();

    async fn new((): ()) -> io::Result<Self> {
        Ok(Self(TokioTcp::new()))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        Ok(Stream::over(self.0.connect(address).await?))
    }

    async fn bind(&self, address: SocketAddr) -> io::Result<StreamListener> {
        Ok(StreamListener(self.0.bind(address).await?))
    }

    fn is_secure() -> bool {
        false
    }
}

impl Stream {
    fn over(tcp: Tcp) -> Self {
        let look = Look::default();
        Self { tcp, look }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(message: &[u8]) -> bool {
        let mut look = Look::default();
        let head = &message[..HEAD.min(message.len())];
        look.peeked(&message[..1]).is_ok() && look.read(head).is_ok() && look.read(message).is_ok()
    }

    #[test]
    fn a_head_that_promises_too_much_is_refused() {
        let sealed = |length: u32| [&[SEALED, 1][..], &length.to_be_bytes()].concat();
        assert!(reads(&sealed(0)) && reads(&sealed(LONGEST)));
        assert!(!reads(&sealed(LONGEST + 1)) && !reads(&sealed(u32::MAX)));
        // Nor is anything read that is not sealed.
        for tag in (0..=u8::MAX).filter(|tag| *tag != SEALED) {
            assert!(!reads(&[tag, 1, 0, 0, 0, 0]), "{tag}");
        }
        // What is within a message is no head.
        let mut look = Look::default();
        assert!(look.read(&sealed(u32::MAX)).is_ok());
    }
}
