//! Clients that are at two gateways at once: they keep the connection to the one that stands still and
//! go on reading there, while they are connected elsewhere by the same client id. What they had sent
//! to the one that stood still, it finds when it goes on, and another one is the owner by then: nothing
//! may come of it on the old connection, neither a message nor an acknowledgement (I8).

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Connect, Packet, Properties, Publish,
    history::{self, Ending, Event, History, Uid},
    patience::pause,
    traffic::{Journal, Link},
    unique,
    wire::{self, property},
};

/// How long an answer may take: sessions of a gateway that stands still are adopted first.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(50);
/// How soon a gateway that is not the owner any more closes what it has.
const CLOSED: Duration = Duration::from_secs(10);
/// A repeat would come now.
const QUIET: Duration = Duration::from_millis(300);
/// Messages of QoS 1 for itself. One of them it has, the others wait for its acknowledgement.
const N_WAITING: u16 = 4;
/// Packet ids: of the first of these, of the exchange of QoS 2 that is open, and of what waits in the
/// gateway's socket.
const FIRST: u16 = 10;
const OPEN: u16 = FIRST + N_WAITING;
const LATE: u16 = OPEN + 1;

/// One of them. It subscribes to a topic of its own, and takes one message at a time.
pub(super) struct Double {
    client: String,
    journal: Journal,
    history: Arc<History>,
    link: Option<Link>,
    /// The connection before, and its number.
    old: Option<(Link, u32)>,
    /// The packet id of what it has received and not acknowledged.
    held: Option<u16>,
    n_answers: u16,
    is_released: bool,
}

// === impl Double ===

impl Double {
    /// Connects there, with one message received and not acknowledged, some that wait behind it, and an
    /// exchange of QoS 2 that is not released.
    ///
    /// # Errors
    ///
    /// The gateway, which should, does not take it.
    pub(super) fn enter(address: SocketAddr, history: &Arc<History>) -> Result<Self, String> {
        let client = unique("double");
        let mut double = Self {
            journal: Journal::new(&client, history),
            client,
            history: Arc::clone(history),
            link: None,
            old: None,
            held: None,
            n_answers: 0,
            is_released: false,
        };
        let begun = double.begin(address);
        begun.map_err(|error| format!("{} does not come in: {error}", double.client))?;
        Ok(double)
    }

    fn begin(&mut self, address: SocketAddr) -> io::Result<()> {
        self.connect(address)?;
        self.journal.subscribing(&self.client, 1);
        let filters = [(self.client.as_str(), 1)];
        let subscribe = wire::subscribe(5, 1, &Properties::new(), &filters);
        self.link()?.send(&subscribe)?;
        let suback = self.next()?.suback(wire::SUBACK, 5);
        let granted = suback.codes[..] == [1];
        suback
            .codes
            .into_iter()
            .for_each(|code| self.journal.subscribed(&self.client, code));
        if !granted {
            return Err(io::Error::other("its subscription is not granted"));
        }
        for id in FIRST..=OPEN {
            self.publish(id)?;
        }
        while self.n_answers <= N_WAITING || self.held.is_none() {
            let packet = self.next()?;
            self.handle(&packet, self.journal.connection());
        }
        Ok(())
    }

    /// Releases, which its gateway finds when it goes on, and which needs the store to be answered.
    pub(super) fn release(&mut self) {
        let pubrel = wire::ack(wire::PUBREL, OPEN);
        let _lost = self.link().and_then(|link| link.send(&pubrel));
    }

    /// Acknowledges what it has, which its gateway finds when it goes on: there is room for the next.
    pub(super) fn acknowledge(&mut self) {
        let held = self.held.take().unwrap_or_default();
        let puback = wire::ack(wire::PUBACK, held);
        let _lost = self.link().and_then(|link| link.send(&puback));
    }

    /// Publishes, which its gateway finds when it goes on, and which needs nothing but a lease.
    pub(super) fn publish_late(&mut self) {
        let _lost = self.publish(LATE);
    }

    /// Goes to another gateway, and gets there all that it lacks. The old connection stays.
    ///
    /// # Errors
    ///
    /// It is not let in there, or does not get all.
    pub(super) fn go(&mut self, address: SocketAddr) -> Result<(), String> {
        let number = self.journal.connection();
        self.old = self.link.take().map(|link| (link, number));
        let start = Instant::now();
        let mut connected = self.connect(address);
        while connected.is_err() && start.elapsed() < PATIENCE {
            pause(AGAIN);
            connected = self.connect(address);
        }
        connected
            .and_then(|()| self.link()?.send(&wire::ack(wire::PUBREL, OPEN)))
            .and_then(|()| self.receive_all())
            .map_err(|error| format!("{}, elsewhere: {error}", self.client))
    }

    /// Reads what comes on the old connection until it is closed.
    ///
    /// # Errors
    ///
    /// It is not closed.
    pub(super) fn until_closed(&mut self) -> Result<(), String> {
        let Some((mut link, number)) = self.old.take() else {
            return Ok(());
        };
        let deadline = Instant::now() + CLOSED;
        loop {
            match link.recv(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(packet)) => self.handle(&packet, number),
                Ok(None) => return Err(format!("{}: the old connection stays", self.client)),
                Err(_closed) => break,
            }
        }
        self.history.record(Event::Disconnected {
            client: (&self.client).into(),
            connection: number,
            ending: Ending::Cut,
        });
        Ok(())
    }

    /// Receives what may be left, and leaves.
    ///
    /// # Errors
    ///
    /// It does not get all.
    pub(super) fn leave(mut self) -> Result<(), String> {
        let received = self.receive_all();
        received.map_err(|error| format!("{}, at the end: {error}", self.client))?;
        let client = (&self.client).into();
        self.history.record(Event::Drained { client });
        let left = self.link.take().map(Link::disconnect);
        self.journal.disconnected(match left {
            Some(Ok(())) => Ending::Orderly,
            _ => Ending::Unclear,
        });
        Ok(())
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut connect = Connect::persistent(5, &self.client);
        connect.properties = connect.properties.two(property::RECEIVE_MAXIMUM, 1);
        self.journal.connecting(address, connect.clean);
        let (link, session_present, _) = Link::open_within(PATIENCE, address, &connect)?;
        self.journal.connected(session_present);
        self.link = Some(link);
        Ok(())
    }

    fn publish(&mut self, id: u16) -> io::Result<()> {
        let qos = if id == OPEN { 2 } else { 1 };
        let uid = self.uid(id);
        let packet = Publish::new(&uid.topic, history::encode(&uid, 20)).qos(qos, id);
        self.journal.sent(&uid, &packet);
        self.link()?.send(&packet.bytes(5))
    }

    /// Receives and acknowledges until it lacks nothing, and for a little longer.
    fn receive_all(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(packet) = self.link()?.recv(QUIET)? {
                self.handle(&packet, self.journal.connection());
                if let Some(id) = self.held.take() {
                    self.link()?.send(&wire::ack(wire::PUBACK, id))?;
                }
            } else if self.is_released && self.history.missing(&self.client) == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    fn handle(&mut self, packet: &Packet, connection: u32) {
        match packet.kind {
            wire::PUBLISH => {
                let publish = packet.publish(5);
                self.journal.received_on(connection, &publish);
                self.held = publish.id;
            }
            kind @ (wire::PUBACK | wire::PUBREC) => {
                let ack = packet.ack(kind, 5);
                let uid = self.uid(ack.id);
                self.journal.answered_on(connection, uid, ack.reason);
                self.n_answers += 1;
            }
            wire::PUBCOMP => {
                let ack = packet.ack(wire::PUBCOMP, 5);
                let uid = self.uid(ack.id);
                self.journal.completed_on(connection, uid, ack.reason, true);
                self.is_released = true;
            }
            _ => {}
        }
    }

    fn uid(&self, id: u16) -> Uid {
        let client = &self.client;
        Uid {
            publisher: client.into(),
            // That one is for nobody.
            topic: match id {
                LATE => format!("{client}/late").into(),
                _ => client.into(),
            },
            seq: id.into(),
        }
    }

    fn next(&mut self) -> io::Result<Packet> {
        self.link()?
            .recv(PATIENCE)?
            .ok_or(ErrorKind::TimedOut.into())
    }

    fn link(&mut self) -> io::Result<&mut Link> {
        self.link.as_mut().ok_or(ErrorKind::NotConnected.into())
    }
}
