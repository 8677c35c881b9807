//! Where to read on after a topic that did not match: over all that cannot match either.
//!
//! Topics are read in the order of their bytes. For the filter `a/+/c` and the topic `a/x/b/7`,
//! nothing matches before `a/x/c`; for `a/x/d`, nothing else below `a/x/`. So a filter with `+`
//! in the middle costs two steps for each topic that `+` stands for, however many lie below it.

/// The first text, in the order of bytes, that could match `filter` after `topic`, which does
/// not match; `None` where none could.
pub(super) fn next(filter: &str, topic: &str) -> Option<String> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return Some("%".to_owned()); // [MQTT-4.7.2-1]; `%` is the byte after `$`
    }
    let mut length = 0; // of the levels that agree, each with its `/`
    let mut previous = "";
    let mut filter_levels = filter.split('/');
    let mut levels = topic.split('/');
    loop {
        let prefix = &topic[..length.min(topic.len())];
        match (filter_levels.next(), levels.next()) {
            (Some(wanted), Some(level)) if wanted == "+" || wanted == level => {
                length += level.len() + 1;
                previous = wanted;
            }
            (Some(wanted), Some(_)) => return literal(prefix, wanted, topic),
            // The topic ends too early. After a `+`, a longer level is as good.
            (Some(_), None) if previous == "+" => return Some(format!("{topic}\0")),
            (Some(_), None) => return Some(format!("{topic}/")),
            // The topic goes on too long: nothing of this length or below matches.
            (None, _) => return below(prefix),
        }
    }
}

/// The next text with `wanted` as the level after `prefix`, or else after all of the prefix.
fn literal(prefix: &str, wanted: &str, topic: &str) -> Option<String> {
    let here = format!("{prefix}{wanted}");
    if *here > *topic {
        return Some(here);
    }
    let inside = format!("{here}/");
    if *inside > *topic && topic.starts_with(&here) {
        return Some(inside);
    }
    below(prefix)
}

/// The first text after all that begin with a prefix of whole levels.
fn below(prefix: &str) -> Option<String> {
    // `0` is the byte after `/`.
    prefix.strip_suffix('/').map(|prefix| format!("{prefix}0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::topic::matches;

    fn check(filter: &str, topic: &str, expected: Option<&str>) {
        assert_eq!(
            next(filter, topic).as_deref(),
            expected,
            "{filter} after {topic}"
        );
    }

    #[test]
    fn examples() {
        check("a/+/c", "a/x/b/7", Some("a/x/c"));
        check("a/+/c", "a/x/d", Some("a/x0"));
        check("a/+/c", "a/x", Some("a/x\0"));
        check("a/+/c/d", "a/x/c", Some("a/x/c/"));
        check("a/+/c", "a/x/c/d", Some("a/x/c0"));
        check("a/+/c", "a/x/c-1", Some("a/x/c/"));
        check("+/b", "$SYS/b", Some("%"));
        check("b/+", "c", None);
    }

    /// Every text of up to `n` bytes over an alphabet around `/`.
    fn texts(n: usize) -> Vec<String> {
        let mut texts = vec![String::new()];
        for length in 1..=n {
            let shorter: Vec<String> = texts
                .iter()
                .filter(|text| text.len() == length - 1)
                .cloned()
                .collect();
            for text in shorter {
                texts.extend(["$", "-", "/", "a", "b"].map(|byte| format!("{text}{byte}")));
            }
        }
        texts.sort();
        texts
    }

    #[test]
    fn nothing_that_matches_is_stepped_over_and_every_step_goes_on() {
        let topics = texts(4);
        for filter in [
            "a/+/b", "+/a", "a/+", "+/+/a", "a/+/#", "+/a/#", "+", "b/+/a", "$/+/a",
        ] {
            for (at, topic) in topics.iter().enumerate() {
                if topic.is_empty() || matches(filter, topic) {
                    continue;
                }
                let Some(next) = next(filter, topic) else {
                    let missed = topics[at..].iter().find(|topic| matches(filter, topic));
                    assert_eq!(missed, None, "{filter} after {topic}");
                    continue;
                };
                assert!(next > *topic, "{filter} after {topic} goes back to {next}");
                let between = topics[at..].iter().take_while(|topic| **topic < next);
                let missed = between.into_iter().find(|topic| matches(filter, topic));
                assert_eq!(missed, None, "{filter} after {topic} steps to {next}");
            }
        }
    }
}
