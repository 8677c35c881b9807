//! How messages find their way to bridges: each is shared among them, as among the members of a group
//! of subscribers whose name no client can use.

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
    }
}
