//! A client that was let in before, and goes on with the rights that it had then.

use std::time::Duration;

use super::{
    desk::{SECRET, password},
    knocks::{Knocking, Knocks, Shows},
};
use crate::{Client, Connect, Node, Properties, Publish, history::Random, unique, wire};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const NOT_AUTHORIZED: u8 = 0x87;

/// One of them.
pub(super) struct Resident<'a> {
    node: &'a Node,
    shows: Shows,
    client_id: String,
    client: Client,
    n_filters: usize,
}

// === impl Resident ===

impl<'a> Resident<'a> {
    /// Connects as this user, and subscribes to a topic of its own.
    #[track_caller]
    pub(super) fn enter(node: &'a Node, shows: Shows, username: &str) -> Self {
        let client_id = unique("resident");
        let connect = Connect::new(5, &client_id).username(username);
        let (mut client, _) = node.connect(&connect.password(password(username)));
        client.set_limit(PATIENCE);
        assert_eq!(client.subscribe(&client_id, 1), 1);
        Self {
            node,
            shows,
            client_id,
            client,
            n_filters: 0,
        }
    }

    /// It may do what it may, and nothing else; and stays when somebody comes with its client id of
    /// whom nobody can say who that is. What is not so, in words.
    #[track_caller]
    pub(super) fn goes_on(&mut self, knocks: &Knocks, random: &mut Random) -> Result<(), String> {
        let own = self.client_id.clone();
        self.publish(&own, 0)?;
        self.receive(&own)?;
        self.publish(&format!("{SECRET}/x"), NOT_AUTHORIZED)?;
        self.n_filters += 1;
        let free = format!("free/{own}/{}", self.n_filters);
        let secret = format!("{SECRET}/#");
        let asked = [(&*free, 1), (&*secret, 1)];
        let suback = self.client.subscribe_with(&Properties::new(), &asked);
        if suback.codes != [1, NOT_AUTHORIZED] {
            return Err(format!("{own}: subscribing is answered {suback:02x?}"));
        }
        Knocking::begin(self.node.tcp(), self.shows, &own, "", random).end(knocks);
        self.publish(&free, 0)?;
        self.receive(&free)
    }

    /// Publishes, which is to be answered with this reason.
    #[track_caller]
    fn publish(&mut self, topic: &str, reason: u8) -> Result<(), String> {
        let id = self.client.next_id();
        let publish = Publish::new(topic, "resident").qos(1, id);
        self.client.send(&publish.bytes(5));
        let ack = self.client.recv_kind(wire::PUBACK).ack(wire::PUBACK, 5);
        // That nobody subscribes is success as well.
        let is_so = ack.reason == reason || ack.reason.max(reason) < 0x80;
        match ack.id == id && is_so {
            true => Ok(()),
            false => Err(format!(
                "{}: publishing to {topic} is answered {ack:02x?}",
                self.client_id
            )),
        }
    }

    #[track_caller]
    fn receive(&mut self, topic: &str) -> Result<(), String> {
        let came = self.client.recv_kind(wire::PUBLISH).publish(5);
        let id = came.id.unwrap_or_default();
        self.client.send(&wire::ack(wire::PUBACK, id));
        match came.topic == topic {
            true => Ok(()),
            false => Err(format!(
                "{}: {} comes instead of {topic}",
                self.client_id, came.topic
            )),
        }
    }
}
