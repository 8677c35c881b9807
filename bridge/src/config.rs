//! The bridge's part of a configuration: Kafkas, rules, the spool; and what it means.
//!
//! ```yaml
//! kafka:
//!   - name: main
//!     brokers: [kafka-1:9092, kafka-2:9092]
//!     settings: [security.protocol=SASL_SSL, sasl.mechanism=SCRAM-SHA-512,
//!       sasl.username=bridge, sasl.password=@/run/secrets/kafka]
//! rules:
//!   - name: telemetry
//!     filters: [site/+/telemetry/#]
//!     topic: telemetry-${topic.2}
//!     key: client-id
//!     ack: spool
//! spool: { path: ./spool, size: 1GiB, on-full: wait }
//! from-kafka:
//!   - {name: orders, topics: [orders], topic: "orders/${kafka.key}", qos: 1}
//! ```

pub mod comqtt;
pub mod from_kafka;
pub mod mqtt;

pub use from_kafka::FromKafka;
pub use mqtt::Mqtt;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use gatemq_node::config::{Period, Problem, Size};
use gatemq_proto::topic::{Bounds, Filter};
use serde::{Deserialize, Serialize};

use crate::bridge::{Plan, Way};
use crate::event;
use crate::produce::{Acks, Compression, Partitioner, Settings};
use crate::rule::value::Json;
use crate::rule::{Ack, Header, Key, Rule, Topic, Value};
use crate::spool::OnFull;

/// Kafkas, rules and the spool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "each is explained where it is defined")]
pub struct Config {
    pub kafka: Vec<Kafka>,
    pub rules: Vec<RuleConfig>,
    pub spool: SpoolConfig,
    pub from_kafka: Vec<FromKafka>,
    pub mqtt: Vec<Mqtt>,
}

/// One Kafka.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kafka {
    /// What rules call it.
    pub name: String,
    /// `HOST:PORT` of some of its brokers.
    pub brokers: Vec<String>,
    /// Who must have a record before it is confirmed.
    pub acks: Acks,
    /// How long records may wait for others to go with.
    pub linger: Period<0, 60_000>,
    /// `NAME=VALUE` by librdkafka's names; `NAME=@FILE` is what the file has.
    pub settings: Vec<String>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RuleConfig {
    /// Its name; its records in the spool are under it.
    pub name: String,
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
    /// How records are packed.
    pub compression: Compression,
    /// Which partition a key is for.
    pub partitioner: Partitioner,
    /// What it tells of beside messages.
    pub events: Vec<event::Kind>,
    /// Which filters it tells of when clients subscribe; all, if there is none.
    pub subscriptions: Vec<String>,
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

/// The spool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SpoolConfig {
    /// Its folder.
    pub path: String,
    /// How much each rule may have in it.
    pub size: Size<{ 1 << 20 }, { 1 << 44 }>,
    /// What happens then.
    pub on_full: OnFull,
}

// === impl Config ===

impl Config {
    /// One of everything, with every key.
    #[must_use]
    pub fn example() -> Self {
        Self {
            kafka: vec![Kafka {
                brokers: vec!["127.0.0.1:9092".to_owned()],
                settings: vec!["security.protocol=PLAINTEXT".to_owned()],
                ..Kafka::default()
            }],
            rules: vec![RuleConfig {
                filters: vec!["a/#".to_owned()],
                events: vec![event::Kind::Connect],
                subscriptions: vec!["a/#".to_owned()],
                ..RuleConfig::default()
            }],
            spool: SpoolConfig::default(),
            from_kafka: vec![FromKafka::example()],
            mqtt: vec![Mqtt::example()],
        }
    }

    /// What it means for the bridge. Files that settings name are read.
    ///
    /// # Errors
    ///
    /// Which key is wrong, from here on, and why.
    pub fn plan(&self) -> Result<Plan, Problem> {
        let mut plan = Plan {
            spool_bound: self.spool.size.get().unwrap_or(u64::MAX),
            on_full: self.spool.on_full,
            ..Plan::default()
        };
        self.check_names()?;
        let mut made: Vec<(&str, Compression, Partitioner)> = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let wrong =
                |(key, what): (&str, String)| Problem::new(format!("rules[{at}].{key}"), what);
            let parsed = rule.parse().map_err(wrong)?;
            let (number, kafka) = self.kafka_of(&rule.kafka).map_err(wrong)?;
            let kind = (kafka.name.as_str(), rule.compression, rule.partitioner);
            let way = made.iter().position(|other| *other == kind);
            let way = way.unwrap_or(made.len());
            if way == made.len() {
                let wrong = |(key, what)| Problem::new(format!("kafka[{number}].{key}"), what);
                plan.ways.push(Way {
                    name: kafka.name.clone(),
                    settings: kafka.settings(rule).map_err(wrong)?,
                });
                made.push(kind);
            }
            plan.rules.push((parsed, way));
        }
        self.plan_mqtt(&mut plan)?;
        Ok(plan)
    }

    fn check_names(&self) -> Result<(), Problem> {
        let kafkas = self.kafka.iter().map(|kafka| &kafka.name);
        check_unique("kafka", kafkas)?;
        check_unique("rules", self.rules.iter().map(|rule| &rule.name))
    }

    /// The Kafka of a rule, with its place.
    fn kafka_of(&self, name: &str) -> Result<(usize, &Kafka), (&'static str, String)> {
        if name.is_empty() {
            return match self.kafka.as_slice() {
                [only] => Ok((0, only)),
                [] => Err(("kafka", "there is none: write one below kafka".to_owned())),
                _ => Err(("kafka", "there are several: name one".to_owned())),
            };
        }
        let mut named = self.kafka.iter().enumerate();
        let found = named.find(|(_, kafka)| kafka.name == name);
        found.ok_or_else(|| ("kafka", format!("no kafka is called {name:?}")))
    }
}

// === impl Kafka ===

impl Default for Kafka {
    fn default() -> Self {
        Self {
            name: "main".to_owned(),
            brokers: Vec::new(),
            acks: Acks::All,
            linger: Period::new(5),
            settings: Vec::new(),
        }
    }
}

impl Kafka {
    fn settings(&self, rule: &RuleConfig) -> Result<Settings, (&'static str, String)> {
        if self.brokers.is_empty() {
            return Err(("brokers", "there is none".to_owned()));
        }
        let settings = Settings {
            brokers: self.brokers.clone(),
            acks: self.acks,
            compression: rule.compression,
            partitioner: rule.partitioner,
            linger: Duration::from_millis(self.linger.get().unwrap_or_default()),
            further: self.further()?,
        };
        settings.check().map_err(|what| ("settings", what))?;
        Ok(settings)
    }

    fn further(&self) -> Result<Vec<(String, String)>, (&'static str, String)> {
        let further: Result<_, String> = self.settings.iter().map(|text| setting(text)).collect();
        further.map_err(|what| ("settings", what))
    }
}

// === impl RuleConfig ===

impl Default for RuleConfig {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            filters: Vec::new(),
            kafka: String::new(),
            topic: "mqtt".to_owned(),
            key: "topic".to_owned(),
            headers: Header::DEFAULT.to_vec(),
            value: Format::Raw,
            template: String::new(),
            ack: Ack::Kafka,
            compression: Compression::default(),
            partitioner: Partitioner::default(),
            events: Vec::new(),
            subscriptions: Vec::new(),
        }
    }
}

impl RuleConfig {
    /// The rule, or which of its keys is wrong and why.
    fn parse(&self) -> Result<Rule, (&'static str, String)> {
        if self.filters.is_empty() && self.events.is_empty() {
            return Err((
                "filters",
                "takes no message, and tells of no event".to_owned(),
            ));
        }
        check_filters(&self.filters).map_err(|what| ("filters", what))?;
        check_filters(&self.subscriptions).map_err(|what| ("subscriptions", what))?;
        let topic = Topic::parse(&self.topic).map_err(|error| ("topic", error.to_string()))?;
        if !self.events.is_empty() && !matches!(topic, Topic::Fixed(_)) {
            let what = "an event has no topic of MQTT: needs a topic without places";
            return Err(("events", what.to_owned()));
        }
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
            events: self.events.clone(),
            subscriptions: self.subscriptions.clone(),
        })
    }
}

// === impl SpoolConfig ===

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            path: "./spool".to_owned(),
            size: Size::new(1 << 30),
            on_full: OnFull::Wait,
        }
    }
}

// === private ===

/// The longest name.
const LONGEST: usize = 64;

fn check_unique<'a>(list: &str, names: impl Iterator<Item = &'a String>) -> Result<(), Problem> {
    let mut known = BTreeSet::new();
    for (at, name) in names.enumerate() {
        let wrong = |what: &str| Err(Problem::new(format!("{list}[{at}].name"), what));
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(is_letter) {
            return wrong("a name has 1 to 64 letters, digits, hyphens, dots and underscores");
        }
        if !known.insert(name) {
            return wrong("another one has this name");
        }
    }
    Ok(())
}

fn check_filters(filters: &[String]) -> Result<(), String> {
    for filter in filters {
        let parsed = Filter::parse(filter, Bounds::NONE);
        let parsed = parsed.map_err(|error| format!("{filter:?}: {error}"))?;
        if parsed.share.is_some() {
            return Err(format!("{filter:?}: a rule is in no group"));
        }
    }
    Ok(())
}

/// `NAME=VALUE`, or `NAME=@FILE`.
fn setting(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("one of them is not NAME=VALUE".to_owned());
    };
    let value = match value.strip_prefix('@') {
        None => value.to_owned(),
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    Ok((name.trim().to_owned(), value))
}

#[cfg(test)]
mod tests;
