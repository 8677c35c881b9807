//! How messages find their way to bridges: each is shared among them, as among the members of a group
//! of subscribers whose name no client can use.

//!
//! And how it is known which messages come from bridges: by a client identifier that no client can use,
//! and by a user property that says where they were before.

/// The name of that group.
pub const GROUP: &str = "$bridge";

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

/// What they begin with.
const CLIENTS: &str = "$bridge/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{Bounds, Filter};

    #[test]
    fn what_a_bridge_announces_is_a_filter_of_a_reserved_group() {
        let text = route("a/+/#");
        let filter = Filter::parse(&text, Bounds::NONE).expect("a filter");
        assert_eq!((filter.share, filter.filter), (Some(GROUP), "a/+/#"));
        assert!(is_reserved(GROUP) && !is_reserved("$team"));
        assert!(is_bridge(&client_id("orders")) && !is_bridge("$bridge"));
    }
}
