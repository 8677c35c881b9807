//! Where messages of gateways come in: from the road between nodes into the bridge, and what became
//! of them back.
//!
//! Before it `router::peer::service`, which reads the streams; after it [`Bridge::accept`].

use std::fmt;
use std::sync::Arc;

use gatemq_node::trace::Context;
use gatemq_proto::mqtt::{Qos, Reason, UserProperties};
use gatemq_proto::topic::{self, Bounds};
use gatemq_router::peer::{self, Deliver, Flags, Inlet, Verdict};

use crate::produce::Outcome;
use crate::{Bridge, Message, Origin};

/// The bridge as a node that messages are forwarded to.
///
/// A message that comes again under its id goes to Kafka again, under that id. Gateways have to fill
/// in the client id of what they send here.
pub struct Reception {
    bridge: Arc<Bridge>,
    /// Milliseconds since 1970.
    now: Box<dyn Fn() -> u64 + Send + Sync>,
}

// === impl Reception ===

impl fmt::Debug for Reception {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reception").finish_non_exhaustive()
    }
}

impl Reception {
    /// One in front of a bridge, with a clock that gives milliseconds since 1970.
    #[must_use]
    pub fn new(bridge: Arc<Bridge>, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            bridge,
            now: Box::new(now),
        }
    }
}

impl Deliver for Reception {
    /// One Kafka that does not answer keeps nobody from hearing of another.
    const TELLS_EARLY: bool = true;

    async fn deliver(&self, inlet: &Arc<Inlet>, first: u64, messages: Vec<peer::Message>) {
        let now = (self.now)();
        for (number, message) in (first..).zip(&messages) {
            let flags = Flags::of(message).unwrap_or_default();
            let is_answered = flags.qos() != Qos::AtMostOnce;
            let Some(message) = read(message, flags, now) else {
                // Only a gateway with a fault sends such a thing.
                let source = inlet.source();
                tracing::warn!(source, "a message from another node makes no sense");
                if is_answered {
                    inlet.settle(number, verdict(Outcome::Refused));
                }
                continue;
            };
            let done: Box<dyn FnOnce(Outcome) + Send> = if is_answered {
                let inlet = Arc::clone(inlet);
                Box::new(move |outcome| inlet.settle(number, verdict(outcome)))
            } else {
                Box::new(|_| ())
            };
            self.bridge.accept(&message, done).await;
        }
    }
}

// === private ===

/// What a rule can read; `None` if it is no message.
fn read(message: &peer::Message, flags: Flags, now: u64) -> Option<Message<'_>> {
    let topic = std::str::from_utf8(&message.topic).ok()?;
    topic::validate_name(topic, Bounds::NONE).ok()?;
    let origin = (flags.qos() != Qos::AtMostOnce).then_some(Origin {
        source: message.source,
        id: message.id,
    });
    Some(Message {
        origin,
        qos: flags.qos(),
        is_retained: flags.is_retained(),
        topic,
        client_id: &message.client_id,
        username: &message.username,
        properties: UserProperties::from_block(&message.properties).ok()?,
        payload: &message.payload,
        trace: Context::from_bytes(&message.trace),
        at: now,
    })
}

/// What the gateway is told.
fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Accepted => Verdict::Accepted,
        Outcome::Refused => Verdict::Refused {
            reason: Reason::ImplementationSpecificError as u8,
            picks: Vec::new(),
        },
        Outcome::Unknown => Verdict::Moved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message() -> peer::Message {
        peer::Message {
            id: 7,
            flags: 1 | 1 << 2,
            topic: Bytes::from_static(b"a/b"),
            properties: Bytes::from_static(b"\x26\0\x01k\0\x01v"),
            payload: Bytes::from_static(b"x"),
            client_id: "dev-1".to_owned(),
            username: "ann".to_owned(),
            source: 5,
            ..peer::Message::default()
        }
    }

    fn check(message: &peer::Message) -> Option<Message<'_>> {
        read(message, Flags::of(message).expect("a QoS"), 77)
    }

    #[test]
    fn what_a_gateway_sends_is_what_a_rule_reads() {
        let sent = message();
        let read = check(&sent).expect("a message");
        assert_eq!(read.origin, Some(Origin { source: 5, id: 7 }));
        assert_eq!((read.qos, read.is_retained), (Qos::AtLeastOnce, true));
        assert_eq!((read.topic, read.client_id), ("a/b", "dev-1"));
        assert_eq!(read.username, "ann");
        assert_eq!((read.property("k"), read.at), (Some("v"), 77));
        assert_eq!(read.payload, b"x");
        let sent = peer::Message {
            flags: 0,
            ..message()
        };
        assert_eq!(check(&sent).expect("a message").origin, None);
    }

    #[test]
    fn what_makes_no_sense_is_no_message() {
        for topic in [&b""[..], b"a/#", b"\xff"] {
            let topic = Bytes::from_static(topic);
            assert!(check(&peer::Message { topic, ..message() }).is_none());
        }
        let properties = Bytes::from_static(b"\x26\0");
        let sent = peer::Message {
            properties,
            ..message()
        };
        assert!(check(&sent).is_none());
    }
}
