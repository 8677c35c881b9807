//! The rules of matching, in their plainest form: what every faster matcher is tested against.

use super::levels;

/// Whether a valid topic filter, without `$share/…/`, matches a valid topic name.
///
/// Takes time linear in the shorter of the two, and no memory.
pub fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = levels(topic);
    for filter_level in levels(filter) {
        if filter_level == "#" {
            // The parent level too: `a/#` matches `a`.
            return true;
        }
        match topic_levels.next() {
            Some(level) if filter_level == "+" || filter_level == level => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}
