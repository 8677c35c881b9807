//! Any two texts, the first a line, as filter and topic.

use gatemq_proto::topic::{Bounds, Filter, matches, validate_name};

const BOUNDS: Bounds = Bounds {
    levels: 128,
    length: 4096,
};

/// Panics where the match is not the one of the definition.
pub(crate) fn match_any(text: &str) {
    let (filter, topic) = text.split_once('\n').unwrap_or((text, text));
    let is_name = validate_name(topic, BOUNDS).is_ok();
    let Ok(filter) = Filter::parse(filter, BOUNDS) else {
        return;
    };
    assert!(filter.levels().count() <= 128);
    let expected = by_recursion(
        &filter.filter.split('/').collect::<Vec<_>>(),
        &topic.split('/').collect::<Vec<_>>(),
    );
    let hidden = topic.starts_with('$') && filter.filter.starts_with(['+', '#']);
    assert_eq!(matches(filter.filter, topic), expected && !hidden);
    if is_name && !filter.has_wildcard() {
        assert_eq!(filter.matches(topic), filter.filter == topic);
    }
}

fn by_recursion(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([first, filter @ ..], [level, topic @ ..]) if *first == "+" || first == level => {
            by_recursion(filter, topic)
        }
        _ => false,
    }
}
