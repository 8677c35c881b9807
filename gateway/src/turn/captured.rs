//! What a turn has to say to traces of clients: that a client was given a message, or not.

use std::net::IpAddr;

use super::Turn;
use crate::proto::mqtt::Qos;
use crate::session::Session;
use crate::session::frames::{Delivery, Flags};
use crate::session::outbound::Outbound;
use crate::session::queued::Terms;

impl Turn<'_> {
    /// It is in the outbox.
    #[cold]
    pub(super) fn capture_sent(
        &self,
        session: &Session,
        outbound: &Outbound,
        delivery: &Delivery<'_>,
        terms: &Terms<'_>,
    ) {
        let qos = terms.qos.min(delivery.message.qos);
        let flags = Flags {
            dup: false,
            qos,
            retain: terms.retain,
            packet_id: outbound.last_packet_id().filter(|_| qos > Qos::AtMostOnce),
        };
        let (captures, address) = (&self.broker.captures, outbound.address());
        captures.tell_sent(&session.client_id, address, &delivery.message, flags);
    }

    /// It will not get it.
    #[inline]
    pub(super) fn capture_dropped(
        &self,
        session: &Session,
        address: Option<IpAddr>,
        delivery: &Delivery<'_>,
        why: &str,
    ) {
        let captures = &self.broker.captures;
        if captures.is_any() {
            captures.tell_dropped(&session.client_id, address, &delivery.message, why);
        }
    }
}
