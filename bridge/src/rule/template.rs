//! Text with places that each message fills: `site-${topic.2}`.
//!
//! | place | what it is |
//! |---|---|
//! | `${topic}`, `${topic.2}` | the topic name; its second level |
//! | `${client-id}`, `${username}` | of who has published it |
//! | `${user.NAME}` | the first user property of that name |
//! | `${qos}`, `${retain}` | `0`, `1` or `2`; `true` or `false` |
//! | `${id}` | the name of the message in the cluster; QoS 0 has none |
//! | `${time}` | when it came, in milliseconds since 1970 |
//! | `${payload}` | as text; what is not UTF-8 is replaced |
//! | `${payload.base64}` | its bytes |
//! | `${payload.json}` | as it is, if it is JSON; else as text |
//! | `${event}` | `publish`; or of what a client did `connect`, `disconnect`, … |
//! | `${reason}` | why it was disconnected; nothing where it said goodbye |
//! | `${filters}` | to what it subscribed, or does no more |
//! | `${remote}`, `${listener}` | where it connected from, and where it came to |
//!
//! What a message does not have is empty. `$$` is a dollar.

use std::borrow::Cow;
use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use gatemq_proto::topic;

use crate::Message;

/// A text with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Place(Place),
}

/// What a message fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Topic,
    /// Counted from 0.
    Level(usize),
    ClientId,
    Username,
    Property(String),
    Qos,
    Retain,
    Id,
    Time,
    Payload,
    PayloadBase64,
    PayloadJson,
    Event,
    Reason,
    Filters,
    Remote,
    Listener,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `${` and no `}` after it.
    #[error("has ${{ without }}: write $$ for a dollar")]
    Open,
    /// Something in braces that no message has.
    #[error(
        "{0:?} is nothing that a message has: use topic, topic.1, client-id, username, user.NAME, \
         qos, retain, id, time, payload, payload.base64, payload.json, event, reason, filters, \
         remote or listener"
    )]
    Unknown(String),
    /// The payload where it makes no sense.
    #[error("the payload can only be in the value")]
    Payload,
}

/// A piece of a text with places, whatever those are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// What is in the braces.
    Place(String),
}

/// Takes a text with places apart.
///
/// # Errors
///
/// If a place is not closed.
pub(crate) fn split(text: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        plain.push_str(before);
        if let Some(after) = after.strip_prefix("${") {
            let (name, after) = after.split_once('}').ok_or(Error::Open)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Place(name.to_owned()));
            rest = after;
        } else {
            plain.push('$');
            rest = after.strip_prefix("$$").unwrap_or(&after[1..]);
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

// === impl Template ===

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// If a place is not closed, or none that there is.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let part = |piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text)),
            Piece::Place(name) => Place::parse(&name).map(Part::Place),
        };
        let parts: Result<_, Error> = split(text)?.into_iter().map(part).collect();
        Ok(Self { parts: parts? })
    }

    /// The same for where a payload makes no sense.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], or if the payload is in it.
    pub fn parse_without_payload(text: &str) -> Result<Self, Error> {
        let template = Self::parse(text)?;
        let is_payload = |part: &Part| matches!(part, Part::Place(place) if place.is_payload());
        if template.parts.iter().any(is_payload) {
            return Err(Error::Payload);
        }
        Ok(template)
    }

    /// Its text, if it has no place.
    #[must_use]
    pub fn as_fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What it is for a message.
    #[must_use]
    pub fn render(&self, message: &Message<'_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Place(place) => place.render(message, &mut out),
            }
        }
        out
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

// === impl Place ===

impl Place {
    fn parse(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "topic" => Self::Topic,
            "client-id" => Self::ClientId,
            "username" => Self::Username,
            "qos" => Self::Qos,
            "retain" => Self::Retain,
            "id" => Self::Id,
            "time" => Self::Time,
            "payload" => Self::Payload,
            "payload.base64" => Self::PayloadBase64,
            "payload.json" => Self::PayloadJson,
            "event" => Self::Event,
            "reason" => Self::Reason,
            "filters" => Self::Filters,
            "remote" => Self::Remote,
            "listener" => Self::Listener,
            _ => {
                let level = name.strip_prefix("topic.").map(str::parse::<usize>);
                let property = name.strip_prefix("user.").filter(|name| !name.is_empty());
                match (level, property) {
                    (Some(Ok(level)), _) if level > 0 => Self::Level(level - 1),
                    (None, Some(property)) => Self::Property(property.to_owned()),
                    _ => return Err(Error::Unknown(name.to_owned())),
                }
            }
        })
    }

    fn is_payload(&self) -> bool {
        matches!(
            self,
            Self::Payload | Self::PayloadBase64 | Self::PayloadJson
        )
    }

    /// What it is for a message, as text; `None` if the message does not have it.
    pub(super) fn text<'a>(&self, message: &Message<'a>) -> Option<Cow<'a, str>> {
        let some = |text: &'a str| Some(Cow::Borrowed(text)).filter(|text| !text.is_empty());
        let event = message.event;
        match self {
            Self::Qos | Self::Retain | Self::Payload | Self::PayloadBase64 | Self::PayloadJson
                if event.is_some() =>
            {
                None
            }
            Self::Event => Some(event.map_or("publish", |event| event.kind.name()).into()),
            Self::Reason => event
                .filter(|event| !event.payload.is_empty())
                .map(|event| String::from_utf8_lossy(event.payload)),
            Self::Filters => event
                .filter(|event| !event.topics.is_empty())
                .map(|event| event.topics.join(",").into()),
            Self::Remote => event.and_then(|event| some(event.remote)),
            Self::Listener => event.and_then(|event| some(event.listener)),
            Self::Topic => some(message.topic),
            Self::Level(number) => topic::levels(message.topic).nth(*number).map(Cow::Borrowed),
            Self::ClientId => some(message.client_id),
            Self::Username => some(message.username),
            Self::Property(name) => message.property(name).map(Cow::Borrowed),
            Self::Qos => Some((message.qos as u8).to_string().into()),
            Self::Retain => Some(if message.is_retained { "true" } else { "false" }.into()),
            Self::Id => message.origin.map(|origin| origin.to_string().into()),
            Self::Time => Some(message.at.to_string().into()),
            Self::Payload | Self::PayloadJson => Some(String::from_utf8_lossy(message.payload)),
            Self::PayloadBase64 => Some(BASE64_STANDARD.encode(message.payload).into()),
        }
    }

    fn render(&self, message: &Message<'_>, out: &mut String) {
        if let Some(text) = self.text(message) {
            // Into a string it does not fail.
            let _ = out.write_str(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::sample;

    fn check(text: &str, expected: &str) {
        let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(template.render(&sample()), expected, "{text}");
    }

    #[test]
    fn places_are_filled() {
        check("", "");
        check("plain", "plain");
        check("${topic}", "site/7/temp");
        check(
            "${topic.1}-${topic.2}-${topic.3}-${topic.4}.",
            "site-7-temp-.",
        );
        check("${client-id}/${username}", "dev-1/ann");
        check("${user.unit}${user.none}", "celsius");
        check(
            "${qos} ${retain} ${id} ${time}",
            "1 true 17-4711 1700000000123",
        );
        check("${payload} ${payload.base64}", "21.5 MjEuNQ==");
    }

    #[test]
    fn a_dollar_is_a_dollar() {
        check("5 $ and $$ and $${topic}", "5 $ and $ and ${topic}");
        check("ends with $", "ends with $");
        check("ü$é", "ü$é");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        assert_eq!(Template::parse("${topic"), Err(Error::Open));
        for name in [
            "", "topic.0", "topic.x", "user.", "user", "clientid", "topic.",
        ] {
            let parsed = Template::parse(&format!("a${{{name}}}"));
            assert_eq!(parsed, Err(Error::Unknown(name.to_owned())));
        }
        let parsed = Template::parse_without_payload("${payload.json}");
        assert_eq!(parsed, Err(Error::Payload));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_template_or_an_error(text in "[a-z.${}]{0,20}") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.render(&sample());
            }
        }
    }
}
