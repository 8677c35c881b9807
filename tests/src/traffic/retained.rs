//! A client of one retained topic, which it sets, clears and reads, at whichever gateway takes it.
//! Several of them at different gateways make the history that I10 judges.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    history::{self, Ending, Event, History, Name, Uid},
    patience::pause,
    wire::{self, Connect, Packet, Properties, Publish},
};

use super::{
    journal::Journal,
    link::{Link, Route},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a replay of nothing a live message may come that took its place.
const AFTER: Duration = Duration::from_millis(100);
const LEVEL: u8 = 5;

/// A client. After an error it goes to the next gateway of its route; what it did then is not
/// answered, and not done again.
pub struct Register {
    client: Name,
    topic: Name,
    /// A topic on which something is always retained. It is asked for behind the other one, and
    /// GateMQ replays filter by filter: when its message comes and the other's has not, there is
    /// none.
    sentinel: Name,
    route: Route,
    history: Arc<History>,
    journal: Journal,
    link: Option<Link>,
    next_seq: u64,
    last_id: u16,
}

/// What a subscription replayed.
struct Read {
    invoked: u64,
    returned: u64,
    value: Option<Uid>,
    /// A live message came too.
    is_disturbed: bool,
}

// === impl Register ===

impl Register {
    /// A client that has not connected yet. Two clients of one topic have different names, and
    /// one sentinel.
    pub fn new(client: &str, topic: &str, route: Route, history: &Arc<History>) -> Self {
        Self {
            client: client.into(),
            topic: topic.into(),
            sentinel: format!("{topic}/sentinel").into(),
            route,
            history: Arc::clone(history),
            journal: Journal::new(client, history),
            link: None,
            next_seq: 0,
            last_id: 0,
        }
    }

    /// Retains a message on the sentinel: once, before anybody reads.
    ///
    /// # Errors
    ///
    /// When the connection fails, or the broker refuses it.
    pub fn set_sentinel(&mut self) -> io::Result<()> {
        let publish = Publish::new(&self.sentinel.clone(), b"sentinel").retain();
        let reason = self.answered(|client| client.publish(publish))?;
        match reason {
            0..0x80 => Ok(()),
            _ => Err(io::Error::other(format!("refused: {reason:#04x}"))),
        }
    }

    /// Retains another message.
    ///
    /// # Errors
    ///
    /// When the connection fails: the message is retained, or will be, or not.
    pub fn set(&mut self) -> io::Result<()> {
        self.write(false)
    }

    /// Clears what is retained.
    ///
    /// # Errors
    ///
    /// When the connection fails: it is cleared, or will be, or not.
    pub fn clear(&mut self) -> io::Result<()> {
        self.write(true)
    }

    /// Reads what is retained; whether that counts. Where a message comes live while nothing is
    /// replayed, it took the place of what was to be replayed, and nobody can tell what that was.
    ///
    /// # Errors
    ///
    /// When the connection fails, or the broker refuses the subscription.
    pub fn read(&mut self) -> io::Result<bool> {
        let read = self.answered(Self::replay)?;
        let is_clear = !read.is_disturbed || read.value.is_some();
        if is_clear {
            self.history.record(Event::RetainedRead {
                client: self.client.clone(),
                topic: self.topic.clone(),
                value: read.value,
                invoked: read.invoked,
                returned: read.returned,
            });
        }
        Ok(is_clear)
    }

    fn write(&mut self, empty: bool) -> io::Result<()> {
        self.answered(|client| {
            let uid = Uid {
                publisher: client.client.clone(),
                topic: client.topic.clone(),
                seq: client.next_seq,
            };
            client.next_seq += 1;
            let payload = match empty {
                true => Vec::new(),
                false => history::encode(&uid, 40),
            };
            let connection = client.journal.connection();
            client.history.record(Event::Sent {
                uid: uid.clone(),
                connection,
                qos: 1,
                retain: true,
                dup: false,
                empty,
            });
            let reason = client.publish(Publish::new(&uid.topic, payload).retain())?;
            client.history.record(match reason {
                0..0x80 => Event::Accepted { uid, connection },
                _ => Event::Refused {
                    uid,
                    connection,
                    reason,
                },
            });
            Ok(())
        })
    }

    // --- the connection ---

    /// Does something on a connection; it ends when that fails.
    fn answered<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let done = self.connect().and_then(|()| act(self));
        if done.is_err() {
            self.link = None;
            self.journal.disconnected(Ending::Cut);
            self.route.turn();
        }
        done
    }

    fn connect(&mut self) -> io::Result<()> {
        if self.link.is_none() {
            let connect = self.route.sign(Connect::new(LEVEL, &*self.client));
            let address = self.route.current();
            self.journal.connecting(address, connect.clean);
            let (link, session_present, _) = Link::open_within(PATIENCE, address, &connect)?;
            self.journal.connected(session_present);
            self.link = Some(link);
        }
        Ok(())
    }

    fn link(&mut self) -> io::Result<&mut Link> {
        self.link
            .as_mut()
            .ok_or_else(|| ErrorKind::NotConnected.into())
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// The next packet, once it is acknowledged if it has to be.
    fn recv(&mut self, deadline: Instant) -> io::Result<Packet> {
        let link = self.link()?;
        let left = deadline.saturating_duration_since(Instant::now());
        let packet = link.recv(left)?.ok_or(ErrorKind::TimedOut)?;
        if packet.kind == wire::PUBLISH
            && let Some(id) = packet.publish(LEVEL).id
        {
            link.send(&wire::ack(wire::PUBACK, id))?;
        }
        Ok(packet)
    }

    /// Publishes with QoS 1; the reason in the PUBACK.
    fn publish(&mut self, publish: Publish) -> io::Result<u8> {
        let (id, deadline) = (self.next_id(), Instant::now() + PATIENCE);
        let bytes = publish.qos(1, id).bytes(LEVEL);
        self.link()?.send(&bytes)?;
        loop {
            let packet = self.recv(deadline)?;
            match packet.kind {
                wire::PUBACK => return Ok(packet.ack(wire::PUBACK, LEVEL).reason),
                // What the last read's subscription left behind.
                wire::PUBLISH => {}
                _ => return Err(io::Error::other(format!("unexpected {packet:?}"))),
            }
        }
    }

    /// Subscribes until all is replayed, and unsubscribes.
    fn replay(&mut self) -> io::Result<Read> {
        let (topic, sentinel) = (self.topic.clone(), self.sentinel.clone());
        let (id, deadline) = (self.next_id(), Instant::now() + PATIENCE);
        let filters = [(&*topic, 1), (&*sentinel, 1)];
        let mut read = Read {
            invoked: history::now(),
            returned: 0,
            value: None,
            is_disturbed: false,
        };
        let none = Properties::new();
        self.link()?
            .send(&wire::subscribe(LEVEL, id, &none, &filters))?;
        while read.returned == 0 {
            let packet = self.recv(deadline)?;
            match packet.kind {
                wire::SUBACK if packet.suback(wire::SUBACK, LEVEL).codes == [1, 1] => {}
                wire::PUBLISH => {
                    let publish = packet.publish(LEVEL);
                    if sentinel == publish.topic {
                        read.returned = history::now();
                    } else if publish.retain {
                        read.value = history::decode(&publish.payload);
                    } else {
                        read.is_disturbed = true;
                    }
                }
                _ => return Err(io::Error::other(format!("unexpected {packet:?}"))),
            }
        }
        if read.value.is_none() && !read.is_disturbed {
            pause(AFTER);
        }
        let bytes = wire::unsubscribe(LEVEL, id, &none, &[&*topic, &*sentinel]);
        self.link()?.send(&bytes)?;
        loop {
            match self.recv(deadline)?.kind {
                wire::UNSUBACK => return Ok(read),
                _ => read.is_disturbed = true,
            }
        }
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        let link = self.link.take();
        if let Some(link) = link {
            self.journal.disconnected(match link.disconnect() {
                Ok(()) => Ending::Orderly,
                Err(_) => Ending::Unclear,
            });
        }
    }
}
