//! A client that was let in before, and goes on with the rights that it had then.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use super::{
    desk::{SECRET, password},
    knocks::{Knocking, Knocks, Shows},
};
use crate::{
    Connect, Node, Packet, Properties, Publish,
    history::Random,
    traffic::Link,
    unique,
    wire::{self, Ack},
};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const NOT_AUTHORIZED: u8 = 0x87;

/// One of them.
pub(super) struct Resident<'a> {
    node: &'a Node,
    shows: Shows,
    client: String,
    /// None when it is out.
    link: Option<Link>,
    set_aside: VecDeque<Packet>,
    last_id: u16,
}

// === impl Resident ===

impl<'a> Resident<'a> {
    /// Connects as this user, and subscribes to a topic of its own.
    pub(super) fn enter(node: &'a Node, shows: Shows, username: &str) -> io::Result<Self> {
        let client = unique("resident");
        let connect = Connect::new(5, &client).username(username);
        let connect = connect.password(password(username));
        let mut resident = Self {
            node,
            shows,
            link: Some(Link::open_within(PATIENCE, node.tcp(), &connect)?.0),
            client: client.clone(),
            set_aside: VecDeque::new(),
            last_id: 0,
        };
        resident.subscribe(&[(&client, 1)], &[1])?;
        Ok(resident)
    }

    /// It may do what it may, and nothing else; and stays when somebody comes with its client id of
    /// whom nobody can say who that is. What is not so, in words, once.
    pub(super) fn goes_on(&mut self, knocks: &Knocks, random: &mut Random) -> Result<(), String> {
        if self.link.is_none() {
            return Ok(());
        }
        self.try_all(knocks, random).map_err(|error| {
            self.link = None;
            format!("{}, who was there before: {error}", self.client)
        })
    }

    fn try_all(&mut self, knocks: &Knocks, random: &mut Random) -> io::Result<()> {
        let own = self.client.clone();
        self.publish(&own, 0)?;
        self.receive(&own)?;
        self.publish(&format!("{SECRET}/x"), NOT_AUTHORIZED)?;
        let free = format!("free/{own}/{}", self.last_id);
        let secret = format!("{SECRET}/#");
        self.subscribe(&[(&free, 1), (&secret, 1)], &[1, NOT_AUTHORIZED])?;
        Knocking::begin(self.node.tcp(), self.shows, &own, "", random).end(knocks);
        self.publish(&free, 0)?;
        self.receive(&free)
    }

    fn subscribe(&mut self, filters: &[(&str, u8)], codes: &[u8]) -> io::Result<()> {
        let id = self.next_id();
        let subscribe = wire::subscribe(5, id, &Properties::new(), filters);
        self.send(&subscribe)?;
        let suback = self.wait_for(wire::SUBACK)?.suback(wire::SUBACK, 5);
        match suback.codes == codes {
            true => Ok(()),
            false => wrong(format!("subscribing is answered {suback:02x?}")),
        }
    }

    /// Publishes, which is to be answered with this reason.
    fn publish(&mut self, topic: &str, reason: u8) -> io::Result<()> {
        let id = self.next_id();
        let publish = Publish::new(topic, "resident").qos(1, id);
        self.send(&publish.bytes(5))?;
        let ack: Ack = self.wait_for(wire::PUBACK)?.ack(wire::PUBACK, 5);
        match (ack.id, ack.reason) == (id, reason) {
            true => Ok(()),
            false => wrong(format!("publishing to {topic} is answered {ack:02x?}")),
        }
    }

    fn receive(&mut self, topic: &str) -> io::Result<()> {
        let came = self.wait_for(wire::PUBLISH)?.publish(5);
        self.send(&wire::ack(wire::PUBACK, came.id.unwrap_or_default()))?;
        match came.topic == topic {
            true => Ok(()),
            false => wrong(format!("{} comes instead of {topic}", came.topic)),
        }
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.link()?.send(bytes)
    }

    /// The next packet of this kind; messages are set aside.
    fn wait_for(&mut self, kind: u8) -> io::Result<Packet> {
        let is_it = |packet: &Packet| packet.kind == kind;
        if let Some(place) = self.set_aside.iter().position(is_it) {
            let found = self.set_aside.remove(place);
            return found.ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let packet = self.link()?.recv(left)?;
            let packet = packet.ok_or(io::ErrorKind::TimedOut)?;
            match packet.kind {
                wire::DISCONNECT => return wrong(format!("it is sent away: {packet:?}")),
                it if it == kind => return Ok(packet),
                _ => self.set_aside.push_back(packet),
            }
        }
    }

    fn link(&mut self) -> io::Result<&mut Link> {
        self.link.as_mut().ok_or(io::ErrorKind::NotConnected.into())
    }
}

fn wrong<T>(what: String) -> io::Result<T> {
    Err(io::Error::other(what))
}
