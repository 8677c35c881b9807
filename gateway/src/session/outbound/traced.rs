//! What traces tell of messages that were sent: spans of those that the client has not acknowledged yet,
//! and what a line of [`crate::capture`] says.

use std::net::IpAddr;
use std::num::NonZeroU16;

use gatemq_node::trace::Span;

use super::{Outbound, packet_id};
use crate::message::{Message, MessageRef};
use crate::proto::mqtt::Qos;
use crate::session::frames::Flags;
use crate::session::queued::{Lost, Shelf};
use crate::trace;

/// Spans that are open, by the numbers of their messages.
#[derive(Debug, Default)]
pub(super) struct Traced(Vec<(u64, Span)>);

/// What is kept for one session, and for one outbox: the span of another one ends at once.
pub(crate) const MOST: usize = 64;

impl Outbound {
    /// Where the client is, while it is there.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.link.as_ref()?.address
    }

    /// The packet identifier of what was sent last of QoS 1 and 2.
    pub(crate) fn last_packet_id(&self) -> Option<NonZeroU16> {
        self.window.back().map(|sent| packet_id(sent.seq))
    }

    /// Says what became of a message of the queue.
    pub(super) fn note(&mut self, message: &Message, fate: Result<Flags, Lost>, shelf: &dyn Shelf) {
        let message = message.as_ref();
        shelf.note(&message, self.address(), fate);
        if let Ok(flags) = fate {
            self.trace_sent(&message, flags.qos, shelf.client_id());
        }
    }

    /// Begins the span of a message that was just sent: until the socket has it, of QoS 0, or until
    /// the client has.
    pub(crate) fn trace_sent(&mut self, message: &MessageRef<'_>, qos: Qos, client_id: &str) {
        let Some(parent) = message.trace else {
            return;
        };
        let span = trace::deliver(parent, message.topic, qos, client_id);
        let sent = self.window.back().filter(|_| qos > Qos::AtMostOnce);
        match (sent, &mut self.link) {
            (Some(sent), _) => {
                let traced = self.traced.get_or_insert_default();
                if traced.0.len() < MOST {
                    traced.0.push((sent.seq, span));
                }
            }
            (None, Some(link)) => link.outbox.keep(span),
            (None, None) => {}
        }
    }

    /// The client has a message.
    #[inline]
    pub(super) fn end_trace(&mut self, seq: u64) {
        if let Some(traced) = &mut self.traced {
            traced.0.retain(|(number, _)| *number != seq);
            if traced.0.is_empty() {
                self.traced = None;
            }
        }
    }

    /// The connection has ended before the client had them.
    pub(super) fn break_traces(&mut self) {
        for (_, mut span) in self.traced.take().into_iter().flat_map(|traced| traced.0) {
            span.fail("the connection ended before the client had it");
        }
    }
}
