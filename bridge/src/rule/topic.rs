//! Which topic of Kafka a message goes to, and what may be one.
//!
//! What a client chose becomes letters that Kafka takes: `/` a dot, anything else an underscore. What
//! is no topic even so is refused, and so is a name that begins with `__`, where Kafka keeps its own.

use crate::Message;

use super::template::{self, Template};

/// The topic of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Always the same.
    Fixed(String),
    /// Made of what the message has.
    Template(Template),
}

/// Why a rule's topic is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its places are wrong.
    #[error(transparent)]
    Template(#[from] template::Error),
    /// What stands in it is wrong.
    #[error(transparent)]
    Name(#[from] BadName),
}

/// Why Kafka does not take a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No letter at all.
    #[error("the name of a topic in Kafka is not empty")]
    Empty,
    /// More than 249 letters.
    #[error("the name of a topic in Kafka has at most 249 letters")]
    TooLong,
    /// `.` or `..`.
    #[error("a topic in Kafka is not called . or ..")]
    Dots,
    /// Any other letter.
    #[error(
        "the name of a topic in Kafka has the letters a-z, A-Z, 0-9, dot, underscore and hyphen"
    )]
    Letter,
    /// `__…`.
    #[error("topics that begin with __ are Kafka's own")]
    Reserved,
}

// === impl Topic ===

impl Topic {
    /// Reads the topic of a rule.
    ///
    /// # Errors
    ///
    /// If a fixed one is no name in Kafka, or a template can never be one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let template = Template::parse_without_payload(text)?;
        if let Some(fixed) = template.as_fixed() {
            check_name(fixed)?;
            return Ok(Self::Fixed(fixed.to_owned()));
        }
        for part in template.parts() {
            if let template::Part::Text(text) = part
                && !text.bytes().all(is_letter)
            {
                return Err(BadName::Letter.into());
            }
        }
        Ok(Self::Template(template))
    }

    /// The topic for a message.
    ///
    /// # Errors
    ///
    /// If what the message has makes no topic.
    pub fn render(&self, message: &Message<'_>) -> Result<String, BadName> {
        match self {
            Self::Fixed(name) => Ok(name.clone()),
            Self::Template(template) => {
                let name: String = template.render(message).chars().map(letter).collect();
                check_name(&name)?;
                Ok(name)
            }
        }
    }
}

// === private ===

const LONGEST: usize = 249;

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// The letter that stands for another.
fn letter(letter: char) -> char {
    match letter {
        '/' => '.',
        _ if u8::try_from(letter).is_ok_and(is_letter) => letter,
        _ => '_',
    }
}

fn check_name(name: &str) -> Result<(), BadName> {
    match name {
        "" => Err(BadName::Empty),
        "." | ".." => Err(BadName::Dots),
        _ if name.len() > LONGEST => Err(BadName::TooLong),
        _ if name.starts_with("__") => Err(BadName::Reserved),
        _ if !name.bytes().all(is_letter) => Err(BadName::Letter),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::sample;
    use proptest::prelude::*;

    fn of(template: &str, topic: &str) -> Result<String, BadName> {
        let parsed = Topic::parse(template).expect("a topic");
        let topic = topic.to_owned();
        parsed.render(&Message {
            topic: &topic,
            ..sample()
        })
    }

    #[test]
    fn what_the_message_has_becomes_letters_of_kafka() {
        assert_eq!(of("fixed", "a/b"), Ok("fixed".to_owned()));
        assert_eq!(of("${topic}", "a/b c/ü"), Ok("a.b_c._".to_owned()));
        assert_eq!(of("site-${topic.2}", "a/b"), Ok("site-b".to_owned()));
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        assert_eq!(of("${topic.2}", "a"), Err(BadName::Empty));
        assert_eq!(of("${topic}", "/"), Err(BadName::Dots));
        assert_eq!(of("${topic}", &"a".repeat(250)), Err(BadName::TooLong));
        let own = of("${topic}", "__consumer_offsets");
        assert_eq!(own, Err(BadName::Reserved));
        assert_eq!(of("${topic}", "  x"), Err(BadName::Reserved));
        for fixed in ["", ".", "a/b", "a b", "__transaction_state", "ü"] {
            assert!(
                matches!(Topic::parse(fixed), Err(Error::Name(_))),
                "{fixed}"
            );
        }
        assert!(Topic::parse("a/${topic}").is_err());
        assert!(Topic::parse("${payload}").is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_message_has_the_topic_is_one_of_kafka(topic in "\\PC{1,300}") {
            if let Ok(name) = of("${topic}", &topic) {
                prop_assert_eq!(Topic::parse(&name), Ok(Topic::Fixed(name)));
            }
        }
    }
}
