//! JSON whose texts have places: `{"device": "${client-id}", "qos": "${qos}"}`.
//!
//! A text that is one place and nothing else becomes what the place is: a number for `${qos}` and
//! `${time}`, true or false for `${retain}`, any JSON for `${payload.json}`, null where the message has
//! nothing. `${filters}` becomes a list. Names of members are as they stand.

use serde_json::Value;

use crate::Message;
use crate::rule::template::{self, Part, Place, Template};

/// JSON with places.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(Node);

/// Why a text is no such JSON.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON.
    #[error("is no JSON: {0}; places stand in quotes, as in {{\"a\": \"${{topic}}\"}}")]
    Json(#[from] serde_json::Error),
    /// Its places are wrong.
    #[error(transparent)]
    Template(#[from] template::Error),
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Fixed(Value),
    Text(Template),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

// === impl Json ===

impl Json {
    /// Reads JSON with places.
    ///
    /// # Errors
    ///
    /// If it is no JSON, or a place is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self(Node::new(serde_json::from_str(text)?)?))
    }

    /// Appends what it is for a message.
    pub(super) fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let value = self.0.render(message);
        // A value without maps of other keys than text is written without fail.
        let _ = serde_json::to_writer(out, &value);
    }
}

// === impl Node ===

impl Node {
    fn new(value: Value) -> Result<Self, template::Error> {
        Ok(match value {
            Value::String(text) => Self::Text(Template::parse(&text)?),
            Value::Array(items) => {
                let items = items.into_iter().map(Self::new);
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let members = members.into_iter();
                let members = members.map(|(name, value)| Ok((name, Self::new(value)?)));
                Self::Object(members.collect::<Result<_, _>>()?)
            }
            fixed => Self::Fixed(fixed),
        })
    }

    fn render(&self, message: &Message<'_>) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => match template.parts() {
                [Part::Place(place)] => alone(place, message),
                _ => Value::String(template.render(message)),
            },
            Self::List(items) => items.iter().map(|item| item.render(message)).collect(),
            Self::Object(members) => {
                let members = members.iter();
                let members = members.map(|(name, node)| (name.clone(), node.render(message)));
                Value::Object(members.collect())
            }
        }
    }
}

/// What a place is where it stands alone.
fn alone(place: &Place, message: &Message<'_>) -> Value {
    match place {
        Place::Qos | Place::Retain | Place::PayloadJson if message.event.is_some() => Value::Null,
        Place::Filters => match message.event {
            Some(event) if !event.topics.is_empty() => event.topics.into(),
            _ => Value::Null,
        },
        Place::Qos => (message.qos as u8).into(),
        Place::Retain => message.is_retained.into(),
        Place::Time => message.at.into(),
        Place::PayloadJson => serde_json::from_slice(message.payload)
            .unwrap_or_else(|_| String::from_utf8_lossy(message.payload).into()),
        _ => place
            .text(message)
            .map_or(Value::Null, |text| text.into_owned().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Kind};
    use crate::rule::tests::sample;

    fn check(template: &str, expected: &str) {
        check_payload(template, b"21.5", expected);
    }

    fn check_payload(template: &str, payload: &[u8], expected: &str) {
        let json = Json::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        let mut out = Vec::new();
        let payload = payload.to_owned();
        let message = Message {
            payload: &payload,
            ..sample()
        };
        json.write(&message, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{template}");
    }

    #[test]
    fn a_place_alone_is_what_it_is() {
        check(
            r#"{"q": "${qos}", "r": "${retain}", "t": "${time}", "n": "${user.none}"}"#,
            r#"{"n":null,"q":1,"r":true,"t":1700000000123}"#,
        );
        check(
            r#"["x-${qos}", 5, null, "plain"]"#,
            r#"["x-1",5,null,"plain"]"#,
        );
    }

    #[test]
    fn a_payload_is_json_or_text() {
        check(r#""${payload}""#, r#""21.5""#);
        check(r#""${payload.json}""#, "21.5");
        check_payload(
            r#"{"v": "${payload.json}"}"#,
            br#"{"a": [1]}"#,
            r#"{"v":{"a":[1]}}"#,
        );
        check_payload(r#""${payload.json}""#, b"no json", r#""no json""#);
        check_payload(r#""${payload.base64}""#, &[0, 255], r#""AP8=""#);
    }

    #[test]
    fn an_event_has_no_payload_and_a_message_no_reason() {
        let template = r#"["${event}", "${reason}", "${filters}", "${qos}", "${payload.json}", "${listener}"]"#;
        check(template, r#"["publish",null,null,1,21.5,null]"#);
        let event = Event {
            kind: Kind::Subscribe,
            topics: &["a/#", "b"],
            listener: "tcp",
            ..Event::new("dev-1", "ann", 7)
        };
        let json = Json::parse(template).expect("a template");
        let mut out = Vec::new();
        json.write(&Message::of_event(event, None), &mut out);
        let expected = r#"["subscribe",null,["a/#","b"],null,null,"tcp"]"#;
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn what_a_client_says_cannot_leave_its_quotes() {
        check_payload(
            r#"{"v": "<${payload}>"}"#,
            br#"", "x": ""#,
            r#"{"v":"<\", \"x\": \">"}"#,
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let error = Json::parse(r#"{"a": ${topic}}"#).unwrap_err();
        assert!(error.to_string().contains("in quotes"), "{error}");
        assert!(Json::parse(r#"{"a": "${nothing}"}"#).is_err());
    }
}
