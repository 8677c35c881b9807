//! A client of one retained topic, which it sets, clears and reads, at whichever gateway takes it.
//! Several of them at different gateways make the history that I10 judges.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    history::{self, Ending, Event, History, Name, SessionEnd, Uid},
    patience::pause,
    wire::{self, Connect, Packet, Properties, Publish, property},
};

use super::{
    inflight::Inflight,
    journal::Journal,
    link::{Link, Route},
};

/// How long an answer may take, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a replay of nothing a live message may come that took its place.
const AFTER: Duration = Duration::from_millis(100);
const LEVEL: u8 = 5;

/// A client. After an error it goes to the next gateway of its route; what it did then is not
/// answered, and not done again, but for publishes of QoS 2 of who goes on with its session.
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
    patience: Duration,
    /// Whether its session outlives its connections.
    goes_on: bool,
    link: Option<Link>,
    next_seq: u64,
    inflight: Inflight,
}

/// One publish to the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// What it does.
    pub act: Act,
    /// 0 to 2.
    pub qos: u8,
}

/// What a publish does to what is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It takes its place.
    Set,
    /// It clears it.
    Clear,
    /// Nothing: it goes to who is there.
    Pass,
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
            patience: PATIENCE,
            goes_on: false,
            link: None,
            next_seq: 0,
            inflight: Inflight::new(LEVEL),
        }
    }

    /// The same; it waits for so long for each answer.
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same; it keeps its session, and on its next connection sends again what it was not told
    /// of with QoS 2. It does not read: what its session was to receive would come amid the next
    /// replay.
    pub fn going_on(mut self) -> Self {
        self.goes_on = true;
        self
    }

    /// Its client id.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Retains a message on the sentinel: once, before anybody reads.
    ///
    /// # Errors
    ///
    /// When the connection fails, or the broker refuses it.
    pub fn set_sentinel(&mut self) -> io::Result<()> {
        let set = Write {
            act: Act::Set,
            qos: 1,
        };
        let is_set = self.answered(|client| {
            client.send(&client.sentinel.clone(), set)?;
            client.settle()
        })?;
        match is_set {
            true => Ok(()),
            false => Err(io::Error::other("refused")),
        }
    }

    /// Publishes these, one behind the other, and waits for all answers.
    ///
    /// # Errors
    ///
    /// When the connection fails, or nothing is answered: each of them is done, or will be, or not.
    pub fn write(&mut self, writes: &[Write]) -> io::Result<()> {
        self.answered(|client| {
            client.send_all(writes)?;
            client.settle().map(drop)
        })
    }

    /// Publishes these, hears nothing of it while something else goes on, and leaves its gateway.
    ///
    /// # Errors
    ///
    /// When the connection has failed before that.
    pub fn write_unheard(&mut self, writes: &[Write], meanwhile: impl FnOnce()) -> io::Result<()> {
        self.answered(|client| client.send_all(writes))?;
        meanwhile();
        self.cut();
        Ok(())
    }

    /// Goes on, at one gateway or another, until all that it does not give up is answered.
    ///
    /// # Errors
    ///
    /// What failed last, when the time is over.
    pub fn finish(&mut self, limit: Duration) -> io::Result<()> {
        let start = Instant::now();
        while !self.inflight.is_empty() {
            // On each connection this comes first.
            match self.answered(|_| Ok(())) {
                Err(trouble) if start.elapsed() > limit => return Err(trouble),
                Err(_) => pause(Duration::from_millis(5)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Reads what is retained; whether that counts. Where a message comes live while nothing is
    /// replayed, it took the place of what was to be replayed, and nobody can tell what that was.
    ///
    /// # Errors
    ///
    /// When the connection fails, or the broker refuses the subscription.
    pub fn read(&mut self) -> io::Result<bool> {
        if self.goes_on {
            return Err(io::Error::other(
                "who goes on with its session does not read",
            ));
        }
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

    fn send_all(&mut self, writes: &[Write]) -> io::Result<()> {
        let topic = self.topic.clone();
        writes
            .iter()
            .try_for_each(|write| self.send(&topic, *write))
    }

    fn send(&mut self, topic: &Name, write: Write) -> io::Result<()> {
        let uid = Uid {
            publisher: self.client.clone(),
            topic: topic.clone(),
            seq: self.next_seq,
        };
        self.next_seq += 1;
        let payload = match write.act {
            Act::Clear => Vec::new(),
            Act::Set | Act::Pass => history::encode(&uid, 40),
        };
        let packet = Publish {
            qos: write.qos,
            retain: write.act != Act::Pass,
            ..Publish::new(topic, payload)
        };
        let bytes = self.inflight.begin(uid, packet, &self.journal);
        self.link()?.send(&bytes)
    }

    /// Waits for the answers to all that was sent; whether all of it was accepted.
    fn settle(&mut self) -> io::Result<bool> {
        let deadline = Instant::now() + self.patience;
        let mut are_accepted = true;
        while !self.inflight.is_empty() {
            let packet = self.recv(deadline)?;
            if packet.kind == wire::PUBLISH {
                continue; // what the last read's subscription left behind
            }
            if let Some(answer) = self.inflight.handle(&packet, &self.journal)? {
                are_accepted &= answer.reason.is_none_or(|reason| reason < 0x80);
                if let Some(reply) = answer.reply {
                    self.link()?.send(&reply)?;
                }
            }
        }
        Ok(are_accepted)
    }

    // --- the connection ---

    /// Does something on a connection; it ends when that fails.
    fn answered<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let done = self.connect().and_then(|()| act(self));
        if done.is_err() {
            self.cut();
        }
        done
    }

    /// Leaves its gateway for the next one, without a word.
    fn cut(&mut self) {
        self.link = None;
        self.journal.disconnected(Ending::Cut);
        self.route.turn();
        self.inflight.forget(1);
    }

    fn connect(&mut self) -> io::Result<()> {
        if self.link.is_some() {
            return Ok(());
        }
        let connect = match self.goes_on {
            true => Connect::persistent(LEVEL, &*self.client),
            false => Connect::new(LEVEL, &*self.client),
        };
        let connect = self.route.sign(connect);
        let address = self.route.current();
        self.journal.connecting(address, connect.clean);
        let (link, session_present, _) = Link::open_within(self.patience, address, &connect)?;
        self.journal.connected(session_present);
        self.link = Some(link);
        if !session_present {
            self.inflight.forget(2);
        }
        let again = self.inflight.again(&self.journal);
        self.link()?.send(&again)?;
        self.settle().map(drop)
    }

    fn link(&mut self) -> io::Result<&mut Link> {
        self.link
            .as_mut()
            .ok_or_else(|| ErrorKind::NotConnected.into())
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

    /// Subscribes until all is replayed, and unsubscribes.
    fn replay(&mut self) -> io::Result<Read> {
        let (topic, sentinel) = (self.topic.clone(), self.sentinel.clone());
        let (id, deadline) = (self.inflight.next_id(), Instant::now() + self.patience);
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
        let Some(link) = self.link.take() else {
            return;
        };
        let (client, reason) = (self.client.clone(), SessionEnd::Chosen);
        let left = if self.goes_on {
            self.history.record(Event::SessionEnded { client, reason });
            let end = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 0);
            link.end_with(&wire::disconnect_with(0, &end))
        } else {
            link.disconnect()
        };
        self.journal.disconnected(match left {
            Ok(()) => Ending::Orderly,
            Err(_) => Ending::Unclear,
        });
    }
}
