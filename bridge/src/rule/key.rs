//! What Kafka puts messages together by: those of one key are in one partition, in order.

use crate::Message;

use super::template::{Error, Template};

/// The key of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// None: messages go to partitions as the partitioner likes.
    None,
    /// The client id of who has published it.
    ClientId,
    /// The topic of MQTT, so that the order of a topic holds in Kafka.
    #[default]
    Topic,
    /// Anything else of the message.
    Template(Template),
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Its places are wrong.
    #[error(transparent)]
    Template(#[from] Error),
    /// No name of a key, and no place.
    #[error("{0:?} is not none, client-id, topic, or text with places such as ${{topic.1}}")]
    Unknown(String),
}

// === impl Key ===

impl Key {
    /// Reads the key of a rule.
    ///
    /// # Errors
    ///
    /// If it is no name of a key and has no place, or a wrong one.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Ok(match text {
            "none" => Self::None,
            "client-id" => Self::ClientId,
            "topic" => Self::Topic,
            _ => {
                let template = Template::parse_without_payload(text)?;
                if template.as_fixed().is_some() {
                    return Err(KeyError::Unknown(text.to_owned()));
                }
                Self::Template(template)
            }
        })
    }

    /// The key of a message; a template that comes out empty gives none.
    #[must_use]
    pub fn render(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        let key = match self {
            Self::None => return None,
            Self::ClientId => message.client_id.to_owned(),
            Self::Topic => message.topic.to_owned(),
            Self::Template(template) => template.render(message),
        };
        (!key.is_empty()).then(|| key.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::sample;

    fn check(text: &str, expected: Option<&str>) {
        let key = Key::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let rendered = key.render(&sample());
        assert_eq!(rendered.as_deref(), expected.map(str::as_bytes), "{text}");
    }

    #[test]
    fn each_key_is_what_it_says() {
        check("none", None);
        check("client-id", Some("dev-1"));
        check("topic", Some("site/7/temp"));
        check("${username}/${topic.2}", Some("ann/7"));
        check("${user.none}", None);
    }

    #[test]
    fn a_key_that_is_the_same_for_all_is_a_mistake() {
        let unknown = Key::parse("clientid").unwrap_err();
        assert!(unknown.to_string().contains("client-id"), "{unknown}");
        assert!(Key::parse("").is_err());
        assert!(Key::parse("${payload}").is_err());
    }
}
