//! What the client itself publishes at QoS 2: `connection/publish.rs`, `shared/exchange.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::gateway::Owed;
use super::redis::Write;
use crate::proto::mqtt::PacketId;
use crate::session::received::{Known, Origin};

/// Packet identifiers that the client uses.
const IDENTIFIERS: u16 = 4;

#[derive(Default)]
pub(super) struct Exchanges {
    /// Those of the client that are open, by packet identifier.
    open: BTreeMap<PacketId, Exchange>,
    /// Under which origins each publish was routed.
    routed: Vec<BTreeSet<(u64, u64)>>,
    n_origins: u64,
    n_done: usize,
}

#[derive(Clone, Copy)]
struct Exchange {
    publish: usize,
    /// PUBREC has come.
    is_received: bool,
}

/// What is routed when its identifier is stored.
#[derive(Clone, Copy)]
pub(super) struct Routed {
    packet_id: PacketId,
    publish: usize,
    origin: Origin,
    connection: u64,
}

impl Exchanges {
    pub(super) fn n_done(&self) -> usize {
        self.n_done
    }

    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn check_done(&self) {
        assert!(self.open.is_empty(), "an exchange is not finished");
        let is_once = |origins: &BTreeSet<_>| origins.len() == 1;
        assert!(self.routed.iter().all(is_once), "{:?}", self.routed);
    }
}

impl World {
    /// The client publishes one more.
    pub(super) fn publish_exchange(&mut self) {
        let id = PacketId::MIN.saturating_add(self.dice.roll(u64::from(IDENTIFIERS)) as u16);
        if self.client.connection == 0 || self.exchanges.open.contains_key(&id) {
            return;
        }
        let exchange = Exchange {
            publish: self.exchanges.routed.len(),
            is_received: false,
        };
        self.exchanges.routed.push(BTreeSet::new());
        self.exchanges.open.insert(id, exchange);
        self.send(id, exchange);
    }

    /// On a new connection the client goes on with what is open [MQTT-4.4.0-1].
    pub(super) fn send_exchanges_again(&mut self) {
        for (id, exchange) in self.exchanges.open.clone() {
            self.send(id, exchange);
        }
    }

    /// The client sends PUBLISH or PUBREL.
    fn send(&mut self, packet_id: PacketId, exchange: Exchange) {
        let connection = self.client.connection;
        let last = self.last();
        let exchanges = &mut self.exchanges;
        let here = self.gateways.last_mut().and_then(Option::as_mut);
        let here = here.expect("the last one is there");
        let batch = &mut here.batch;
        if exchange.is_received {
            drop(here.received.remove(packet_id));
            batch.writes.push(Write::Released(packet_id));
            return batch.owed.push((connection, Owed::Complete(packet_id)));
        }
        let origin = match here.received.known(packet_id) {
            Known::New => {
                exchanges.n_origins += 1;
                Origin {
                    source: last as u64 + 1,
                    id: exchanges.n_origins,
                }
            }
            Known::Unknown(origin) => origin,
            Known::Safe => return batch.owed.push((connection, Owed::Received(packet_id))),
            // In the gateway it waits; here the client asks again on its next connection.
            Known::Routing => return,
        };
        here.received.insert_routing(packet_id);
        batch.writes.push(Write::Identifier(packet_id, origin));
        batch.published.push(Routed {
            packet_id,
            publish: exchange.publish,
            origin,
            connection,
        });
    }

    /// Its identifier is stored: it is routed, and PUBREC goes out.
    pub(super) fn route_exchange(&mut self, at: usize, routed: Routed) {
        let origins = &mut self.exchanges.routed[routed.publish];
        origins.insert((routed.origin.source, routed.origin.id));
        assert!(
            origins.len() == 1,
            "a publish is routed as two: {origins:?}"
        );
        if let Some(here) = &mut self.gateways[at] {
            drop(here.received.conclude(routed.packet_id));
        }
        // To the connection that there is: the gateway has it wait, see above.
        let is_there = at == self.last() && self.client.connection >= routed.connection;
        if is_there && self.client.connection > 0 {
            self.client.owed(Owed::Received(routed.packet_id));
        }
    }

    /// The client is told, and goes on.
    pub(super) fn go_on_with_exchanges(&mut self) {
        for owed in std::mem::take(&mut self.client.told) {
            match owed {
                Owed::Received(id) => {
                    let Some(exchange) = self.exchanges.open.get_mut(&id) else {
                        continue;
                    };
                    assert!(
                        !self.exchanges.routed[exchange.publish].is_empty(),
                        "not routed"
                    );
                    exchange.is_received = true;
                    let exchange = *exchange;
                    self.send(id, exchange);
                }
                Owed::Complete(id) => {
                    self.exchanges.n_done += usize::from(self.exchanges.open.remove(&id).is_some());
                }
                Owed::Release(_) => unreachable!("it is answered at once"),
            }
        }
    }
}
