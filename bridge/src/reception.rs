//! Where messages of gateways come in: from the road between nodes into the bridge, and what became
//! of them back.
//!
//! Before it `router::peer::service`, which reads the streams; after it [`Bridge::accept`].

use std::fmt;
use std::sync::Arc;

use gatemq_node::trace::Context;
use gatemq_proto::cluster::bridges;
use gatemq_proto::cluster::peer::{Event as Happening, event::Kind as Told};
use gatemq_proto::mqtt::{Qos, Reason, UserProperties};
use gatemq_proto::topic::{self, Bounds};
use gatemq_router::peer::{self, Deliver, Flags, Inlet, Verdict};
use prost::Message as _;

use crate::event::{Event, Kind};
use crate::produce::{Done, Outcome};
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

impl Reception {
    async fn tell(&self, message: &Message<'_>, happening: &Happening, done: Done) {
        let topics: Vec<&str> = happening.filters.iter().map(String::as_str).collect();
        match read_event(message, happening, &topics) {
            Some(event) => self.bridge.tell(&event, message.origin, done).await,
            // Of a later version.
            None => done(Outcome::Accepted),
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
            let happening = happening(&message);
            let done: Box<dyn FnOnce(Outcome) + Send> = if is_answered {
                let inlet = Arc::clone(inlet);
                Box::new(move |outcome| inlet.settle(number, verdict(outcome)))
            } else {
                Box::new(|_| ())
            };
            match &happening {
                None => self.bridge.accept(&message, done).await,
                Some(happening) => self.tell(&message, happening, done).await,
            }
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
        block: &message.properties,
        expires_at: message.expires_in.map(|it| now.saturating_add(it)),
        payload: &message.payload,
        trace: Context::from_bytes(&message.trace),
        at: now,
        event: None,
    })
}

/// What a client did, if that is what the message says. What cannot be read is nothing.
fn happening(message: &Message<'_>) -> Option<Happening> {
    if !bridges::is_event(message.topic) {
        return None;
    }
    Some(Happening::decode(message.payload).unwrap_or_default())
}

/// It as rules read it; `None` for a kind that is not known here.
fn read_event<'a>(
    message: &Message<'a>,
    happening: &'a Happening,
    topics: &'a [&'a str],
) -> Option<Event<'a>> {
    let kind = match happening.kind() {
        Told::Unknown => return None,
        Told::Connect => Kind::Connect,
        Told::Disconnect => Kind::Disconnect,
        Told::Subscribe => Kind::Subscribe,
        Told::Unsubscribe => Kind::Unsubscribe,
    };
    Some(Event {
        kind,
        remote: &happening.remote,
        listener: &happening.listener,
        topics,
        payload: happening.reason.as_bytes(),
        protocol_version: u8::try_from(happening.protocol_level).unwrap_or_default(),
        clean: happening.is_clean,
        ..Event::new(message.client_id, message.username, happening.at)
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
            expires_in: Some(1_000),
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
        assert_eq!(
            (read.block, read.expires_at),
            (&*sent.properties, Some(1_077))
        );
        let sent = peer::Message {
            flags: 0,
            ..message()
        };
        assert_eq!(check(&sent).expect("a message").origin, None);
    }

    #[test]
    fn what_a_client_did_is_read_as_such() {
        let told = Happening {
            kind: Told::Subscribe.into(),
            at: 1_700_000_000_123,
            filters: vec!["a/#".to_owned()],
            ..Happening::default()
        };
        let sent = peer::Message {
            topic: bridges::events_of("dev-1").into(),
            payload: told.encode_to_vec().into(),
            ..message()
        };
        let sent = check(&sent).expect("a message");
        let found = happening(&sent).expect("an event");
        let event = read_event(&sent, &found, &["a/#"]).expect("one that is known");
        assert_eq!((event.kind, event.topics), (Kind::Subscribe, &["a/#"][..]));
        assert_eq!((event.client_id, event.username), ("dev-1", "ann"));
        assert_eq!(event.seconds, 1_700_000_000);
        let unknown = Happening::default();
        assert!(read_event(&sent, &unknown, &[]).is_none());
        assert!(happening(&check(&message()).expect("a message")).is_none());
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
