//! Clients of a gateway that stops: they are told, they go elsewhere, and lack nothing.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Connect, Packet, Properties, Will,
    history::{self, Ending, Event, History, Uid},
    traffic::{Journal, Link},
    unique,
    wire::{self, property},
};

/// How long an answer may take, where all want one at the same time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A repeat would come now.
const QUIET: Duration = Duration::from_millis(200);
/// Server Shutting Down.
const STOPS: u8 = 0x8B;
/// One in so many has a will that does not wait for it.
const HASTY: usize = 30;

/// One of them. It subscribes to a topic of its own.
pub(super) struct Guest {
    client: String,
    level: u8,
    wills: String,
    /// In seconds: long enough to come back, or 0.
    delay: u32,
    journal: Journal,
    history: Arc<History>,
    link: Option<Link>,
    is_subscribed: bool,
}

// === impl Guest ===

impl Guest {
    /// The guest of this number, whose wills go to a topic below this one.
    pub(super) fn new(number: usize, wills: &str, history: &Arc<History>) -> Self {
        let client = unique("guest");
        Self {
            journal: Journal::new(&client, history),
            wills: format!("{wills}/{client}"),
            client,
            level: if number.is_multiple_of(4) { 4 } else { 5 },
            delay: if number.is_multiple_of(HASTY) { 0 } else { 60 },
            history: Arc::clone(history),
            link: None,
            is_subscribed: false,
        }
    }

    /// What it subscribes to.
    pub(super) fn topic(&self) -> String {
        format!("to/{}", self.client)
    }

    /// Connects, with a will, and subscribes.
    pub(super) fn enter(&mut self, address: SocketAddr) -> Result<(), String> {
        self.connect(address)
            .and_then(|()| self.subscribe())
            .map_err(|error| format!("{} does not come in: {error}", self.client))
    }

    /// Receives until its gateway sends it away, and goes to another one.
    pub(super) fn must_go(&mut self, one: SocketAddr, other: SocketAddr) -> Result<(), String> {
        let reason = self.until_closed();
        self.journal.disconnected(Ending::Cut);
        let next = if self.delay == 0 { one } else { other };
        self.connect(next)
            .map_err(|error| format!("{} is not let in again: {error}", self.client))?;
        match (self.level, reason) {
            (5, Ok(Some(STOPS))) | (4, Ok(None)) => Ok(()),
            (_, reason) => Err(format!(
                "{} of level {} was told {reason:02x?}",
                self.client, self.level
            )),
        }
    }

    /// Receives what it lacks, and leaves in order.
    pub(super) fn leave(&mut self) -> Result<(), String> {
        let received = self.receive_rest();
        let Some(link) = self.link.take() else {
            return Err(format!("{} has no connection", self.client));
        };
        let left = link.disconnect();
        self.journal.disconnected(match left {
            Ok(()) => Ending::Orderly,
            Err(_) => Ending::Unclear,
        });
        received.map_err(|error| format!("{}, at the end: {error}", self.client))
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        self.journal.connecting(address, false);
        let connection = self.journal.connection();
        let uid = Uid {
            publisher: (&self.client).into(),
            topic: (&self.wills).into(),
            seq: connection.into(),
        };
        // Before level 5 none waits.
        let has_will = self.level == 5 || self.delay == 0;
        let mut connect = Connect::persistent(self.level, &self.client);
        if has_will {
            let delay = if self.level == 5 { self.delay } else { 0 };
            self.history.record(Event::WillArmed {
                client: (&self.client).into(),
                connection,
                uid: uid.clone(),
                qos: 1,
                retain: false,
                delay,
            });
            let mut will = Will::new(&self.wills, history::encode(&uid, 20)).qos(1);
            if delay > 0 {
                let property = property::WILL_DELAY_INTERVAL;
                will.properties = Properties::new().four(property, delay);
            }
            connect = connect.will(will);
        }
        self.link = None;
        let (link, session_present, _) = Link::open_within(PATIENCE, address, &connect)?;
        self.journal.connected(session_present);
        self.link = Some(link);
        Ok(())
    }

    fn subscribe(&mut self) -> io::Result<()> {
        if self.is_subscribed {
            return Ok(());
        }
        let topic = self.topic();
        self.history.record(Event::Subscribing {
            client: (&self.client).into(),
            filter: (&topic).into(),
            qos: 1,
        });
        let filters = [(topic.as_str(), 1)];
        let packet = wire::subscribe(self.level, 1, &Properties::new(), &filters);
        let link = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        link.send(&packet)?;
        let packet = link.recv(PATIENCE)?.ok_or(io::ErrorKind::TimedOut)?;
        if packet.suback(wire::SUBACK, self.level).codes != [1] {
            return Err(io::Error::other(format!("{packet:?}")));
        }
        self.is_subscribed = true;
        self.history.record(Event::Subscribed {
            client: (&self.client).into(),
            filter: (&topic).into(),
            qos: 1,
        });
        Ok(())
    }

    /// Receives until the connection is closed; the reason of the DISCONNECT, if there was one.
    fn until_closed(&mut self) -> io::Result<Option<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut reason = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let link = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            match link.recv(left) {
                Ok(Some(packet)) if packet.kind == wire::DISCONNECT => {
                    reason = Some(packet.disconnect(wire::DISCONNECT).reason);
                }
                Ok(Some(packet)) => {
                    // The acknowledgement may be too late: then it comes again.
                    let _late = self.receive(&packet);
                }
                Ok(None) => return Err(io::ErrorKind::TimedOut.into()),
                Err(_closed) => return Ok(reason),
            }
        }
    }

    fn receive_rest(&mut self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            let link = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            match link.recv(QUIET)? {
                Some(packet) => self.receive(&packet)?,
                None if self.history.missing(&self.client) == 0 => break,
                // The judge tells what did not come.
                None if start.elapsed() > PATIENCE => break,
                None => {}
            }
        }
        let client = (&self.client).into();
        self.history.record(Event::Drained { client });
        Ok(())
    }

    fn receive(&mut self, packet: &Packet) -> io::Result<()> {
        if packet.kind != wire::PUBLISH {
            return Err(io::Error::other(format!("unexpected {packet:?}")));
        }
        let publish = packet.publish(self.level);
        self.journal.received(&publish);
        let link = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        match publish.id {
            Some(id) => link.send(&wire::ack(wire::PUBACK, id)),
            None => Ok(()),
        }
    }
}
