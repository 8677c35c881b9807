//! One rule to Kafka as an operator writes it, in a file or for the API, and what it means.

use serde::{Deserialize, Serialize};

use super::check_filters;
use crate::event;
use crate::produce::{Compression, Partitioner};
use crate::rule::value::Json;
use crate::rule::{Ack, Header, Key, Rule, Topic, Value};

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RuleConfig {
    /// Its name; its records in the spool are under it.
    pub name: String,
    /// Whether it is in force: one that is not takes nothing.
    pub enabled: bool,
    /// Which messages it takes.
    pub filters: Vec<String>,
    /// The Kafka they go to; where there is one only, it need not be named.
    pub kafka: String,
    /// The topic there, with places ([`crate::rule::template`]).
    pub topic: String,
    /// `none`, `client-id`, `topic`, or text with places.
    pub key: String,
    /// What of a message becomes a header.
    pub headers: Vec<Header>,
    /// What the value is.
    pub value: Format,
    /// With `json`: JSON with places in its texts.
    pub template: String,
    /// When a message counts as taken over.
    pub ack: Ack,
    /// What happens to a record whose topic is not there, or may not be written.
    pub missing_topic: MissingTopic,
    /// How records are packed.
    pub compression: Compression,
    /// Which partition a key is for.
    pub partitioner: Partitioner,
    /// What it tells of beside messages.
    pub events: Vec<event::Kind>,
    /// Which filters it tells of when clients subscribe; all, if there is none.
    pub subscriptions: Vec<String>,
}

/// What happens to a record whose topic is not there, or may not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingTopic {
    /// As `refuse` if the topic is made from what clients say, else as `wait`.
    #[default]
    Auto,
    /// It waits for the topic, and what comes after it too.
    Wait,
    /// It is refused; one that is acknowledged, since it was in the spool, is lost and counted.
    Refuse,
}

/// What the value of a record is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The payload as it came.
    #[default]
    Raw,
    /// comqtt's JSON.
    Comqtt,
    /// JSON of one's own, by `template`.
    Json,
}

// === impl RuleConfig ===

impl Default for RuleConfig {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            enabled: true,
            filters: Vec::new(),
            kafka: String::new(),
            topic: "mqtt".to_owned(),
            key: "topic".to_owned(),
            headers: Header::DEFAULT.to_vec(),
            value: Format::Raw,
            template: String::new(),
            ack: Ack::Kafka,
            missing_topic: MissingTopic::default(),
            compression: Compression::default(),
            partitioner: Partitioner::default(),
            events: Vec::new(),
            subscriptions: Vec::new(),
        }
    }
}

impl RuleConfig {
    /// The rule, or which of its keys is wrong and why.
    pub(super) fn parse(&self) -> Result<Rule, (&'static str, String)> {
        if self.filters.is_empty() && self.events.is_empty() {
            return Err((
                "filters",
                "takes no message, and tells of no event".to_owned(),
            ));
        }
        check_filters(&self.filters).map_err(|what| ("filters", what))?;
        check_filters(&self.subscriptions).map_err(|what| ("subscriptions", what))?;
        let topic = Topic::parse(&self.topic).map_err(|error| ("topic", error.to_string()))?;
        if self.events.contains(&event::Kind::Publish) {
            let what = "publish is none: a rule takes messages by its filters";
            return Err(("events", what.to_owned()));
        }
        if !self.events.is_empty() && !matches!(topic, Topic::Fixed(_)) {
            let what = "an event has no topic of MQTT: needs a topic without places";
            return Err(("events", what.to_owned()));
        }
        let is_fixed = matches!(topic, Topic::Fixed(_));
        let value = match self.value {
            Format::Json => {
                let json = Json::parse(&self.template);
                Value::Json(json.map_err(|error| ("template", error.to_string()))?)
            }
            _ if !self.template.is_empty() => {
                return Err(("template", "needs value: json".to_owned()));
            }
            Format::Raw => Value::Raw,
            Format::Comqtt => Value::Comqtt,
        };
        Ok(Rule {
            name: self.name.clone(),
            filters: self.filters.clone(),
            topic,
            key: Key::parse(&self.key).map_err(|error| ("key", error.to_string()))?,
            headers: self.headers.clone(),
            value,
            ack: self.ack,
            refuses_missing: match self.missing_topic {
                MissingTopic::Auto => !is_fixed,
                MissingTopic::Wait => false,
                MissingTopic::Refuse => true,
            },
            events: self.events.clone(),
            subscriptions: self.subscriptions.clone(),
        })
    }
}
