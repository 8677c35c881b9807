//! Which topic here is which topic at another broker, as in the bridges of mosquitto: below a
//! prefix here is what is below a prefix there. Pure.

use gatemq_proto::topic::{self, Bounds, Filter};

/// Topics that two brokers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    local: String,
    remote: String,
    local_filters: Vec<String>,
    remote_filters: Vec<String>,
}

// === impl Mapping ===

impl Mapping {
    /// The topics that match a pattern behind the prefix.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn new(patterns: &[String], local: &str, remote: &str) -> Result<Self, String> {
        if patterns.is_empty() {
            return Err("there is none: write patterns of topics".to_owned());
        }
        for prefix in [local, remote] {
            if prefix.contains(['+', '#', '\0']) {
                return Err(format!("{prefix:?} is no prefix of topics"));
            }
        }
        let all = |prefix: &str| -> Result<Vec<String>, String> {
            let filters = patterns.iter().map(|pattern| format!("{prefix}{pattern}"));
            let checked = filters.map(|filter| match Filter::parse(&filter, Bounds::NONE) {
                Ok(parsed) if parsed.share.is_none() => Ok(filter),
                Ok(_) => Err(format!("{filter:?}: a rule is in no group")),
                Err(error) => Err(format!("{filter:?}: {error}")),
            });
            checked.collect()
        };
        Ok(Self {
            local: local.to_owned(),
            remote: remote.to_owned(),
            local_filters: all(local)?,
            remote_filters: all(remote)?,
        })
    }

    /// What matches here.
    #[must_use]
    pub fn local_filters(&self) -> &[String] {
        &self.local_filters
    }

    /// What matches there.
    #[must_use]
    pub fn remote_filters(&self) -> &[String] {
        &self.remote_filters
    }

    /// The topic there of one here; `None` if that is none.
    #[must_use]
    pub fn to_remote(&self, topic: &str) -> Option<String> {
        renamed(topic, &self.local, &self.remote, &self.remote_filters)
    }

    /// The topic here of one there.
    #[must_use]
    pub fn to_local(&self, topic: &str) -> Option<String> {
        renamed(topic, &self.remote, &self.local, &self.local_filters)
    }
}

/// Whether some topic matches both filters.
pub fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

// === private ===

/// The topic below another prefix. What begins with `$` there has to be named by a filter: without
/// the prefix, clients could write what is reserved there, with the bridge's rights.
fn renamed(topic: &str, from: &str, to: &str, filters: &[String]) -> Option<String> {
    let renamed = format!("{to}{}", topic.strip_prefix(from)?);
    topic::validate_name(&renamed, Bounds::NONE).ok()?;
    let is_named = filters.iter().any(|it| topic::matches(it, &renamed));
    is_named.then_some(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(patterns: &[&str], local: &str, remote: &str) -> Result<Mapping, String> {
        let patterns: Vec<_> = patterns.iter().map(|it| (*it).to_owned()).collect();
        Mapping::new(&patterns, local, remote)
    }

    #[test]
    fn a_prefix_takes_the_place_of_another() {
        let mapping = mapping(&["site/#"], "a/", "b/c/").expect("a mapping");
        assert_eq!(mapping.local_filters(), ["a/site/#"]);
        assert_eq!(mapping.remote_filters(), ["b/c/site/#"]);
        let there = mapping.to_remote("a/site/7");
        assert_eq!(there.as_deref(), Some("b/c/site/7"));
        let here = mapping.to_local("b/c/site/7");
        assert_eq!(here.as_deref(), Some("a/site/7"));
        assert_eq!(mapping.to_local("b/site/7"), None);
    }

    #[test]
    fn what_makes_no_topic_is_none() {
        let mapping = mapping(&["/#"], "a", "").expect("a mapping");
        assert_eq!(mapping.to_remote("a"), None, "it would be empty");
        assert_eq!(mapping.to_remote("a/b").as_deref(), Some("/b"));
    }

    #[test]
    fn a_prefix_that_is_taken_away_uncovers_nothing_that_is_reserved() {
        let all = mapping(&["#"], "up/", "").expect("a mapping");
        assert_eq!(all.to_remote("up/$CONTROL/dynamic-security/v1"), None);
        assert_eq!(all.to_remote("up/$share/g/x"), None);
        assert_eq!(all.to_remote("up/a/$x").as_deref(), Some("a/$x"));
        let named = mapping(&["$SYS/#"], "up/", "").expect("a mapping");
        assert_eq!(named.to_remote("up/$SYS/x").as_deref(), Some("$SYS/x"));
        assert_eq!(named.to_local("$SYS/x").as_deref(), Some("up/$SYS/x"));
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        assert!(mapping(&[], "", "").is_err());
        assert!(mapping(&["a/#/b"], "", "").is_err());
        assert!(mapping(&["a"], "+/", "").is_err());
        assert!(mapping(&["$share/g/a"], "", "").is_err());
        assert!(mapping(&["#"], "a+", "").is_err());
    }

    #[test]
    fn filters_overlap_if_a_topic_matches_both() {
        for (one, other, expected) in [
            ("#", "a", true),
            ("a/#", "a", true),
            ("a/+", "+/b", true),
            ("a/b", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "b/#", false),
            ("a/b/#", "a/+", true),
            ("a", "a/b", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }
}
