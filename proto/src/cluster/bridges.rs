//! How messages find their way to bridges: each is shared among them, as among the members of a group
//! of subscribers whose name no client can use. What clients do goes the same way, as messages of a
//! topic that is no client's.
//!
//! And how it is known which messages come from bridges: by a client identifier that no client can use,
//! and by a user property that says where they were before. And which of those come again when they were
//! refused.

use crate::mqtt::Reason;

/// The name of that group.
pub const GROUP: &str = "$bridge";

/// The filter of a bridge that wants to know what clients do.
pub const EVENTS: &str = "$bridge/events/+";

/// What keys of the configuration begin with that are rules of bridges: the name follows.
pub const RULES: &str = "bridge.rules.";

/// What a bridge announces of a filter.
pub fn route(filter: &str) -> String {
    format!("$share/{GROUP}/{filter}")
}

/// Whether it is the group of bridges, as which clients may not subscribe.
pub fn is_reserved(group: &str) -> bool {
    group == GROUP
}

/// The user property of a message that a bridge has brought: where from, once for each place that it has
/// been to. It does not go back there. It counts only where the publisher is a bridge.
pub const CAME_FROM: &str = "gatemq-from";

/// The client identifier by which what a bridge brings is known.
pub fn client_id(rule: &str) -> String {
    format!("{CLIENTS}{rule}")
}

/// Whether it is one of a bridge, under which clients may not connect.
pub fn is_bridge(client_id: &str) -> bool {
    client_id.starts_with(CLIENTS)
}

/// The topic of what a client does: each has its own, so that one bridge gets all of it, in order.
pub fn events_of(client_id: &str) -> String {
    // FNV-1a: each gateway has to come to the same.
    let hash = client_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{PREFIX}{hash:016x}")
}

/// Whether a message of this topic says what a client did.
pub fn is_event(topic: &str) -> bool {
    topic.starts_with(PREFIX)
}

/// Whether a topic, or a filter without its group, is in the part of the topics that is not for
/// clients.
pub fn is_hidden(topic: &str) -> bool {
    let rest = topic.strip_prefix(GROUP);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a bridge brings a message once more that it was told this of; `is_last_try` as it said with
/// the message.
pub fn is_retried(reason: Reason, is_last_try: bool) -> bool {
    reason.is_error() && !is_for_good(reason) && !(is_last_try && is_bounded(reason))
}

/// Whether it is for the message that it is refused, and may pass: somebody that it is for is full,
/// or is a bridge that makes nothing of it. All else is the gateway's or the cluster's, and is
/// waited for without an end.
pub fn is_bounded(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::QuotaExceeded | Reason::ImplementationSpecificError
    )
}

// === private ===

/// Whether every gateway would say so of the message, at any time.
fn is_for_good(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::MalformedPacket
            | Reason::ProtocolError
            | Reason::NotAuthorized
            | Reason::TopicNameInvalid
            | Reason::PacketTooLarge
            | Reason::PayloadFormatInvalid
            | Reason::RetainNotSupported
            | Reason::QosNotSupported
    )
}

/// What those client identifiers begin with.
const CLIENTS: &str = "$bridge/";
/// What topics of events begin with.
const PREFIX: &str = "$bridge/events/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{self, Bounds, Filter};

    #[test]
    fn what_a_bridge_announces_is_a_filter_of_a_reserved_group() {
        for filter in ["a/+/#", EVENTS] {
            let text = route(filter);
            let parsed = Filter::parse(&text, Bounds::NONE).expect("a filter");
            assert_eq!((parsed.share, parsed.filter), (Some(GROUP), filter));
        }
        assert!(is_reserved(GROUP) && !is_reserved("$team"));
        assert!(is_bridge(&client_id("orders")) && !is_bridge("$bridge"));
    }

    #[test]
    fn what_is_refused_for_now_comes_again_unless_it_is_given_up() {
        for (reason, expected) in [
            (Reason::Success, [false, false]),
            (Reason::NoMatchingSubscribers, [false, false]),
            (Reason::PacketTooLarge, [false, false]),
            (Reason::QuotaExceeded, [true, false]),
            (Reason::ImplementationSpecificError, [true, false]),
            (Reason::UnspecifiedError, [true, true]),
            (Reason::ServerBusy, [true, true]),
        ] {
            let retried = [false, true].map(|is_last_try| is_retried(reason, is_last_try));
            assert_eq!(retried, expected, "{reason}");
        }
    }

    #[test]
    fn what_clients_do_has_topics_that_are_not_theirs() {
        let [one, other] = ["dev/1", "dev/2"].map(events_of);
        assert_eq!(one, "$bridge/events/859e0876093061a8");
        assert_ne!(one, other);
        for topic in [&one, &other] {
            assert!(topic::matches(EVENTS, topic) && !topic::matches("#", topic));
            assert!(is_event(topic) && is_hidden(topic));
        }
        assert!(is_hidden("$bridge") && is_hidden("$bridge/#") && is_hidden(EVENTS));
        assert!(!is_hidden("$bridges/a") && !is_hidden("a/$bridge") && !is_event("$bridge/x"));
    }
}
