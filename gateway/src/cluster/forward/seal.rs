//! A message in the form in which it goes to other nodes.

use gatemq_node::trace::Span;
use gatemq_router::peer::{Draft, Outgoing};

use crate::message::MessageRef;
use crate::session::received::Origin;

/// A message as it is sent from its span.
pub(super) fn on_from(outgoing: Outgoing, span: Option<&Span>) -> Outgoing {
    match span {
        Some(span) => outgoing.traced(span.context().to_bytes()),
        None => outgoing,
    }
}

/// A message as all its destinations get it.
/// `knows` as in [`Turn::knows`](crate::turn::Turn::knows).
pub(super) fn seal(
    message: &MessageRef<'_>,
    origin: Option<Origin>,
    client_id: &str,
    knows: u64,
) -> Outgoing {
    let draft = Draft {
        id: origin.map_or(0, |origin| origin.id),
        source: origin.map_or(0, |origin| origin.source),
        qos: message.qos,
        is_retained: message.retain,
        publisher: message.publisher,
        expires_at: (message.expires_at != u64::MAX).then_some(message.expires_at),
        topic: message.topic.as_bytes(),
        properties: message.properties,
        payload: message.payload,
        client_id,
        knows: origin.map_or(0, |_| knows),
    };
    draft.seal()
}
