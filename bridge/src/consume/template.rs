//! The topic of MQTT that a record is for: text with places, such as `orders/${kafka.key}`.
//!
//! | place | what it is |
//! |---|---|
//! | `${kafka.topic}`, `${kafka.partition}`, `${kafka.offset}` | where the record is |
//! | `${kafka.key}` | its key |
//! | `${header.NAME}` | its first header of that name |
//!
//! What a record does not have is empty. `$$` is a dollar. A slash in a key or a header is one in the
//! topic, too.

use gatemq_proto::topic::{self, Bounds};

use super::rule::Record;
use crate::rule::template::{self, Piece};

/// A topic with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Partition,
    Offset,
    Key,
    Header(String),
}

/// Why a text is no template of a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A place is not closed.
    #[error(transparent)]
    Open(#[from] template::Error),
    /// Something in braces that no record has.
    #[error(
        "{0:?} is nothing that a record has: use kafka.topic, kafka.key, kafka.partition, \
         kafka.offset or header.NAME"
    )]
    Unknown(String),
    /// It can never be a topic.
    #[error("{0:?} is no part of a topic: {1}")]
    Topic(String, topic::Error),
    /// There is none.
    #[error("there is none: write the topic of MQTT, such as orders/${{kafka.key}}")]
    Empty,
}

// === impl Template ===

impl Template {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// If a place is none, or its text can be in no topic.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let pieces = template::split(text)?;
        if pieces.is_empty() {
            return Err(Error::Empty);
        }
        let part = |piece| match piece {
            Piece::Text(text) => match topic::validate_name(&text, Bounds::NONE) {
                Ok(()) => Ok(Part::Text(text)),
                Err(error) => Err(Error::Topic(text, error)),
            },
            Piece::Place(name) => match &*name {
                "kafka.topic" => Ok(Part::Topic),
                "kafka.partition" => Ok(Part::Partition),
                "kafka.offset" => Ok(Part::Offset),
                "kafka.key" => Ok(Part::Key),
                _ => match name.strip_prefix("header.").filter(|it| !it.is_empty()) {
                    Some(header) => Ok(Part::Header(header.to_owned())),
                    None => Err(Error::Unknown(name)),
                },
            },
        };
        let parts: Result<_, Error> = pieces.into_iter().map(part).collect();
        parts.map(Self)
    }

    /// The topic for a record; `None` if that is no valid topic name.
    pub(super) fn render(&self, record: &Record<'_>) -> Option<String> {
        let mut out = String::new();
        for part in &self.0 {
            let bytes = match part {
                Part::Text(text) => text.as_bytes(),
                Part::Topic => record.topic.as_bytes(),
                Part::Key => record.key.unwrap_or_default(),
                Part::Header(name) => record.header(name).unwrap_or_default(),
                Part::Partition => {
                    out.push_str(&record.partition.to_string());
                    continue;
                }
                Part::Offset => {
                    out.push_str(&record.offset.to_string());
                    continue;
                }
            };
            out.push_str(std::str::from_utf8(bytes).ok()?);
        }
        topic::validate_name(&out, Bounds::NONE).ok()?;
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::rule::tests::sample;

    fn check(text: &str, expected: Option<&str>) {
        let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(template.render(&sample()).as_deref(), expected, "{text}");
    }

    #[test]
    fn places_are_filled() {
        check("plain/a", Some("plain/a"));
        check("x/${kafka.topic}/${kafka.key}", Some("x/orders/7/a"));
        check("${kafka.partition}-${kafka.offset}", Some("3-42"));
        check("${header.unit}/$$/${header.none}.", Some("celsius/$/."));
    }

    #[test]
    fn what_makes_no_topic_is_told() {
        check("${header.none}", None);
        check("a/${header.wild}", None);
        check("a/${header.binary}", None);
    }

    #[test]
    fn what_can_be_no_topic_is_refused() {
        for text in [
            "",
            "a/#",
            "+/${kafka.key}",
            "${topic}",
            "${header.}",
            "${kafka.key",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
