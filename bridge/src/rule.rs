//! A rule: which messages go to Kafka, and as what. It decides and does nothing.
//!
//! After [`crate::message`]; its [`Record`] continues in [`crate::spool`] or [`crate::produce`].

pub mod headers;
pub mod key;
pub mod template;
pub mod topic;
pub mod value;

pub use headers::Header;
pub use key::Key;
pub use template::Template;
pub use topic::{BadName, Topic};
pub use value::Value;

use gatemq_proto::topic as mqtt;

use crate::event::{self, Event};
use crate::message::{Message, Origin};
use crate::record::{Draft, Record};

/// Which messages go to Kafka, and as what.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, which no other has: its part of the spool is under it.
    pub name: String,
    /// Valid filters; a message that any of them matches is for the rule, once.
    pub filters: Vec<String>,
    /// The topic in Kafka.
    pub topic: Topic,
    /// The key in Kafka.
    pub key: Key,
    /// The headers in Kafka, in this order.
    pub headers: Vec<Header>,
    /// The value in Kafka.
    pub value: Value,
    /// When a message counts as taken over.
    pub ack: Ack,
    /// Whether a record is refused whose topic is not there, or may not be written; else everything of
    /// the rule waits for it.
    pub refuses_missing: bool,
    /// What it tells of beside messages, as JSON by its template or comqtt's; needs a topic that is
    /// fixed.
    pub events: Vec<event::Kind>,
    /// Which filters it tells of when clients subscribe and unsubscribe; all, if there is none.
    pub subscriptions: Vec<String>,
}

/// When a message counts as taken over, so that its publisher is told so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ack {
    /// Kafka has confirmed it.
    #[default]
    Kafka,
    /// It is safe on this node's disk.
    Spool,
}

// === impl Rule ===

impl Rule {
    /// Whether it tells of anything beside messages.
    #[must_use]
    pub fn wants_events(&self) -> bool {
        let mut kinds = self.events.iter();
        kinds.any(|kind| *kind != event::Kind::Publish)
    }

    /// Whether a message of this topic is for the rule.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let mut filters = self.filters.iter();
        filters.any(|filter| mqtt::matches(filter, topic))
    }

    /// What goes to Kafka for a message.
    ///
    /// # Errors
    ///
    /// If what the message has makes no topic of Kafka: it will never be one.
    pub fn render(&self, message: &Message<'_>) -> Result<Record, BadName> {
        let topic = self.topic.render(message)?;
        let key = self.key.render(message);
        let room = message.payload.len();
        let mut draft = Draft::new(&topic, key.as_deref(), message.at, room);
        for header in &self.headers {
            header.put(message, &mut draft);
        }
        headers::put_came_from(message, &mut draft);
        Ok(draft.finish(|out| self.value.write(message, out)))
    }

    /// What goes to Kafka for something that happened; nothing if the rule does not tell of it. The
    /// key is the client id, so that what a client does stays in order.
    #[must_use]
    pub fn render_event(&self, event: &Event<'_>, origin: Option<Origin>) -> Option<Record> {
        let Topic::Fixed(topic) = &self.topic else {
            return None;
        };
        if !self.events.contains(&event.kind) {
            return None;
        }
        let is_about_filters = matches!(
            event.kind,
            event::Kind::Subscribe | event::Kind::Unsubscribe
        );
        let filters = if is_about_filters {
            event::matching(&self.subscriptions, event.topics)
        } else {
            event.topics.to_vec()
        };
        if is_about_filters && filters.is_empty() {
            return None;
        }
        let event = Event {
            topics: &filters,
            ..*event
        };
        let key = Some(event.client_id.as_bytes()).filter(|key| !key.is_empty());
        let mut draft = Draft::new(topic, key, event.at, 256);
        let message = Message::of_event(event, origin);
        // All others are of messages.
        let of_events = [Header::Id, Header::ClientId];
        for header in self.headers.iter().filter(|it| of_events.contains(it)) {
            header.put(&message, &mut draft);
        }
        Some(draft.finish(|out| match &self.value {
            Value::Json(_) => self.value.write(&message, out),
            Value::Raw | Value::Comqtt => event.write(out),
        }))
    }
}

#[cfg(test)]
pub(crate) mod tests;
