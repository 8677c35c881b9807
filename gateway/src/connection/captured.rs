//! What a connection has to say to traces of clients.

use std::num::NonZeroU16;

use super::Connection;
use super::handshake::Peer;
use crate::broker::Broker;
use crate::capture::{About, Event};
use crate::proto::mqtt::{Ack, Publish, Reason};
use crate::session::End;
use crate::turn::Published;

/// Says what happened to a client before it has a connection, or that it has one now; `make` is called
/// if anybody wants to know.
#[inline]
pub(super) fn tell(
    broker: &Broker,
    peer: &Peer,
    client_id: &str,
    what: &'static str,
    make: impl FnOnce(Event) -> Event,
) {
    if broker.captures.is_any() {
        let about = About {
            client_id,
            address: peer.address,
            topic: None,
        };
        broker.captures.tell(&about, || {
            let event = Event::new(what).with_some("port", peer.port);
            make(event.with("listener", &*peer.listener))
        });
    }
}

impl Connection {
    /// Says what its client does, or what happens to it; `make` is called if anybody wants to know.
    #[inline]
    pub(super) fn capture(
        &self,
        what: &'static str,
        topic: Option<&str>,
        make: impl FnOnce(Event) -> Event,
    ) {
        if self.broker.captures.is_any() {
            let about = About {
                client_id: &self.session.client_id,
                address: self.session.life.lock().address,
                topic,
            };
            let event = || make(Event::new(what));
            self.broker.captures.tell(&about, event);
        }
    }

    /// A packet that acknowledges another one.
    #[inline]
    pub(super) fn capture_ack(&self, what: &'static str, ack: &Ack<'_>) {
        self.capture(what, None, |event| {
            let event = event.with("packet_id", ack.packet_id);
            event.with("reason", ack.reason.name())
        });
    }

    /// Filters of a packet, and what each of them is told.
    #[inline]
    pub(super) fn capture_filters<'f>(
        &self,
        what: &'static str,
        packet_id: NonZeroU16,
        filters: impl Iterator<Item = (&'f str, Option<u8>)>,
        reasons: &[Reason],
    ) {
        if !self.broker.captures.is_any() {
            return;
        }
        for ((filter, qos), reason) in filters.zip(reasons) {
            self.capture(what, Some(filter), |event| {
                let event = event.with("filter", filter).with_some("qos", qos);
                let event = event.with("packet_id", packet_id);
                event.with("reason", reason.name())
            });
        }
    }

    #[inline]
    pub(super) fn capture_publish(&self, publish: &Publish<'_>, topic: &str, done: &Published) {
        self.capture("publish", Some(topic), |event| {
            let event = event.with("topic", topic).with("qos", publish.qos as u8);
            let event = event.with_some("packet_id", publish.packet_id);
            let event = event
                .with("retain", publish.retain)
                .with("dup", publish.dup);
            let event = event.with("length", publish.payload.len());
            event.with("reason", done.reason().name())
        });
    }

    pub(super) fn capture_end(&self, end: &End) {
        self.capture("disconnect", None, |event| match end {
            End::Refused(reason, why) => event.with("reason", reason.name()).with("why", why),
            End::Lost => event.with("why", "the connection was closed without a DISCONNECT"),
            End::Disconnected { with_will, .. } => {
                let event = event.with("why", "the client said so");
                event.with("with_will", with_will)
            }
        });
    }
}
