//! A session's connection, as far as those who deliver to it see it.
//!
//! Protocol of writing. Whoever has appended to the outbox marks the link dirty and calls
//! [`super::Session::flush`] when its turn is over. A flush takes the outbox out, lets go of the
//! session's lock, writes, and puts back what did not fit; meanwhile `is_writing` makes others
//! append only, and the writer writes their bytes too before it stops. A full socket sets
//! `is_blocked`; the connection's own task is woken, waits for the socket and flushes again.
//! A connection that ends sets `is_closing` and waits until nobody writes; what is left is its own
//! to write. TLS and WebSocket connections have no `socket` here: their own task does every write.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::Waker;

use tokio::net::{tcp, unix};

use super::frames::{Delivery, Flags};
use super::outbox::Outbox;
use crate::proto::mqtt::Version;
use crate::receipt::Owed;

/// Topics up to this length, in bytes, get an alias: longer ones would cost each connection memory.
const LONGEST_ALIASED: usize = 256;
/// What an alias may add to a packet: its property, and a byte each to the two lengths before it.
const ALIAS: usize = 3 + 1 + 1;

/// A socket that anybody may write to.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

/// The connection of a session.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which connection of the session this is.
    pub(crate) epoch: u64,
    pub(crate) version: Version,
    /// Where it comes from.
    pub(crate) address: Option<IpAddr>,
    pub(crate) outbox: Outbox,
    pub(crate) socket: Option<Arc<Socket>>,
    pub(crate) waker: Option<Waker>,
    /// Whether somebody has it in a list of links to flush.
    pub(crate) is_dirty: bool,
    pub(crate) is_writing: bool,
    pub(crate) is_blocked: bool,
    /// Whether the connection is ending: only its task writes from now on.
    pub(crate) is_closing: bool,
    /// Whether the task reads nothing until it is told to go on.
    pub(crate) is_paused: bool,
    /// Whether the task wants to know when the outbox is empty.
    pub(crate) is_awaited: bool,
    /// Whether it is sent what waits for it when there is a lease.
    pub(crate) waits_for_lease: bool,
    /// When the socket last took something or had nothing to take, in Unix milliseconds.
    pub(crate) moved_at: u64,
    /// Largest packet that the client takes, in bytes.
    pub(crate) maximum_packet_size: usize,
    /// QoS 1 and 2 messages that may be on their way at once.
    pub(crate) window: usize,
    pub(crate) aliases: Option<Box<Aliases>>,
    /// What the connection is owed and may not have yet: something before it is still waiting.
    pub(crate) held: Vec<Owed>,
}

/// The topic aliases that the broker has given out on a connection.
#[derive(Debug)]
pub(crate) struct Aliases {
    maximum: u16,
    by_topic: HashMap<Box<str>, NonZeroU16>,
}

impl Aliases {
    /// Room for the client's Topic Alias Maximum; `None` for 0.
    pub(crate) fn new(maximum: u16) -> Option<Box<Self>> {
        (maximum > 0).then(|| {
            Box::new(Self {
                maximum,
                by_topic: HashMap::new(),
            })
        })
    }

    /// The alias of a topic, if there is one or room for one, and whether the client knows it.
    pub(crate) fn of(&mut self, topic: &str) -> Option<(NonZeroU16, bool)> {
        if let Some(alias) = self.by_topic.get(topic) {
            return Some((*alias, true));
        }
        if self.by_topic.len() >= usize::from(self.maximum) {
            return None; // [MQTT-3.1.2-26]
        }
        let alias = NonZeroU16::new(self.by_topic.len() as u16 + 1)?;
        self.by_topic.insert(topic.into(), alias);
        Some((alias, false))
    }
}

impl Link {
    /// A link to nothing, with a window of so many messages.
    #[cfg(test)]
    pub(crate) fn any(window: usize) -> Box<Self> {
        Box::new(Self {
            address: None,
            epoch: 1,
            version: Version::V5,
            outbox: Default::default(),
            socket: None,
            waker: None,
            is_dirty: false,
            is_writing: false,
            is_blocked: false,
            is_closing: false,
            is_paused: false,
            is_awaited: false,
            waits_for_lease: false,
            moved_at: 0,
            maximum_packet_size: usize::MAX,
            window,
            aliases: None,
            held: Vec::new(),
        })
    }

    /// The task that reads nothing may go on: what wakes it, if it has to be.
    pub(crate) fn resume(&mut self) -> Option<Waker> {
        let is_paused = std::mem::take(&mut self.is_paused);
        self.waker.clone().filter(|_| is_paused)
    }

    /// Takes out what was held and has this number.
    pub(crate) fn take_held(&mut self, number: u64) -> Option<Owed> {
        let at = self.held.iter().position(|owed| owed.number == number)?;
        Some(self.held.swap_remove(at))
    }

    /// Appends a PUBLISH to the outbox. Returns `false` where the client does not take a packet of
    /// that size: it is dropped as if it had been delivered `[MQTT-3.1.2-25]`.
    pub(super) fn send(&mut self, delivery: &mut Delivery<'_>, ids: &[u32], flags: Flags) -> bool {
        let limit = self.maximum_packet_size;
        if ids.is_empty() && self.aliases.is_none() {
            let to = (&mut self.outbox, self.is_blocked);
            return delivery.append_shared(to, self.version, flags, limit);
        }
        let mut header = delivery.header(self.version, flags);
        header.subscription_ids = ids;
        let payload_length = delivery.message.payload.len();
        if let Some(aliases) = &mut self.aliases
            && header.topic.len() <= LONGEST_ALIASED
            && header.encoded_len(payload_length) + ALIAS <= limit
            && let Some((alias, is_known)) = aliases.of(header.topic)
        {
            header.topic_alias = Some(alias);
            if is_known {
                header.topic = "";
            }
        }
        delivery.append_own(&mut self.outbox, &header, limit)
    }
}

impl Socket {
    /// Writes from the front of the outbox until it is empty or the socket is full. Returns
    /// whether it is empty.
    pub(crate) fn write(&self, outbox: &mut Outbox) -> io::Result<bool> {
        while !outbox.is_empty() {
            let written = match outbox.single() {
                Some(slice) => self.try_write(slice),
                None => {
                    let mut slices = [io::IoSlice::new(&[]); 32];
                    let n_slices = outbox.slices(&mut slices);
                    self.try_write_vectored(&slices[..n_slices])
                }
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n_bytes) => outbox.advance(n_bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(bytes),
            Self::Unix(half) => half.try_write(bytes),
        }
    }

    fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write_vectored(slices),
            Self::Unix(half) => half.try_write_vectored(slices),
        }
    }

    /// Whether the socket has room again.
    pub(crate) fn poll_writable(
        &self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(context),
            Self::Unix(half) => half.as_ref().poll_write_ready(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_given_to_the_first_topics_and_never_more_than_the_client_takes() {
        let mut aliases = Aliases::new(2).expect("two aliases");
        let one = NonZeroU16::MIN;
        assert_eq!(aliases.of("a"), Some((one, false)));
        assert_eq!(aliases.of("a"), Some((one, true)));
        assert_eq!(aliases.of("b"), NonZeroU16::new(2).map(|two| (two, false)));
        assert_eq!(aliases.of("c"), None);
        assert!(Aliases::new(0).is_none());
    }
}
