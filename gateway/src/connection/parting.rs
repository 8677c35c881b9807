//! A DISCONNECT that the client has sent and nobody has read when its connection ends: because it was
//! not read from, and then taken over, or ended, or found to have closed.
//!
//! Whoever says goodbye has no will published `[MQTT-3.14.4-3]`, whenever it is heard. What is before
//! the DISCONNECT is passed over: a publish of QoS 1 or 2 was not acknowledged, and one of QoS 0 may be
//! lost. Only what has arrived is read, so nobody waits for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::{Connection, SCRATCH};
use crate::proto::mqtt::{self, Frame, Packet};
use crate::session::End;

/// The most that is read for it, in bytes: a little more than a system lets wait in a socket.
const MOST: usize = 8 * 1024 * 1024;
/// DISCONNECT, in the upper half of the first byte of a packet.
const DISCONNECT: u8 = 14;

/// What is found in bytes that were not handled.
enum Found {
    /// A DISCONNECT, this one.
    Goodbye(End),
    /// Something that cannot be passed over.
    Nonsense,
    /// None, in so many bytes of whole packets.
    Nothing(usize),
}

impl Connection {
    /// How the client ended the connection itself, if it did and that was not read.
    pub(super) async fn unread_goodbye(&mut self) -> Option<End> {
        if self.is_ended_by_packet {
            return None;
        }
        poll_fn(|context| Poll::Ready(self.look_for_goodbye(context))).await
    }

    fn look_for_goodbye(&mut self, context: &mut Context<'_>) -> Option<End> {
        let mut n_read = 0;
        loop {
            match self.find_goodbye() {
                Found::Goodbye(end) => return Some(end),
                Found::Nonsense => return None,
                Found::Nothing(n_bytes) => self.unread.advance(n_bytes),
            }
            if n_read >= MOST {
                return None;
            }
            let has_read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let polled = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
                self.unread.keep(buffer.filled());
                n_read += buffer.filled().len();
                matches!(polled, Poll::Ready(Ok(()))) && !buffer.filled().is_empty()
            });
            if !has_read {
                return None;
            }
        }
    }

    fn find_goodbye(&self) -> Found {
        let limits = &self.broker.config.limits;
        let bytes = self.unread.as_slice();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let total = match mqtt::frame(self.version, rest, limits.maximum_packet_size) {
                Ok(Frame::Complete { total, .. }) => total,
                Ok(_) => break,
                Err(_) => return Found::Nonsense,
            };
            if rest[0] >> 4 == DISCONNECT {
                return match mqtt::decode(self.version, &rest[..total], &limits.decoding()) {
                    Ok(Packet::Disconnect(goodbye)) => {
                        Found::Goodbye(self.handle_disconnect(&goodbye))
                    }
                    _ => Found::Nonsense,
                };
            }
            at += total;
        }
        Found::Nothing(at)
    }
}
