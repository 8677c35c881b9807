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
pub mod rule;

pub use from_kafka::FromKafka;
pub use mqtt::Mqtt;
pub use rule::{Format, RuleConfig};

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use gatemq_node::config::{Period, Problem, Size};
use gatemq_proto::topic::{Bounds, Filter};
use serde::{Deserialize, Serialize};

use crate::bridge::{Plan, Way};
use crate::event;
use crate::produce::{Acks, Compression, Partitioner, Settings};
use crate::rule::Rule;
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
        let rules = self.rules.iter().enumerate();
        let rules = rules.map(|(at, rule)| (format!("rules[{at}]"), rule));
        (plan.ways, plan.rules) = self.routes(rules)?;
        for (number, kafka) in self.kafka.iter().enumerate() {
            plan.kafkas
                .push(self.way(number, kafka, &RuleConfig::default())?);
        }
        self.plan_mqtt(&mut plan)?;
        Ok(plan)
    }

    /// The ways that these rules need, and those of them that are in force, each with the number of its
    /// way; `place` is what a problem calls a rule.
    pub(crate) fn routes<'a>(
        &self,
        rules: impl Iterator<Item = (String, &'a RuleConfig)>,
    ) -> Result<Routes, Problem> {
        let (mut ways, mut parsed) = (Vec::new(), Vec::new());
        let mut made: Vec<(&str, Compression, Partitioner)> = Vec::new();
        for (place, rule) in rules {
            let wrong = |(key, what): (&str, String)| Problem::new(format!("{place}.{key}"), what);
            let course = rule.parse().map_err(wrong)?;
            let (number, kafka) = self.kafka_of(&rule.kafka).map_err(wrong)?;
            if !rule.enabled {
                continue;
            }
            let kind = (kafka.name.as_str(), rule.compression, rule.partitioner);
            let way = made.iter().position(|other| *other == kind);
            let way = way.unwrap_or(made.len());
            if way == made.len() {
                ways.push(self.way(number, kafka, rule)?);
                made.push(kind);
            }
            parsed.push((course, way));
        }
        Ok((ways, parsed))
    }

    /// The way of a rule to a Kafka, which is the one of this number.
    fn way(&self, number: usize, kafka: &Kafka, rule: &RuleConfig) -> Result<Way, Problem> {
        let wrong = |(key, what)| Problem::new(format!("kafka[{number}].{key}"), what);
        Ok(Way {
            name: kafka.name.clone(),
            settings: kafka.settings(rule).map_err(wrong)?,
        })
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
        self.check_brokers()?;
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

    fn check_brokers(&self) -> Result<(), (&'static str, String)> {
        if self.brokers.is_empty() {
            return Err(("brokers", "there is none".to_owned()));
        }
        match self.brokers.iter().find(|broker| !is_broker(broker)) {
            Some(broker) => Err(("brokers", format!("{broker:?} is not HOST:PORT"))),
            None => Ok(()),
        }
    }

    fn further(&self) -> Result<Vec<(String, String)>, (&'static str, String)> {
        let further: Result<_, String> = self.settings.iter().map(|text| setting(text)).collect();
        further.map_err(|what| ("settings", what))
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

/// Ways, and rules with their numbers.
pub(crate) type Routes = (Vec<Way>, Vec<(Rule, usize)>);

/// The longest name.
const LONGEST: usize = 64;

fn check_unique<'a>(list: &str, names: impl Iterator<Item = &'a String>) -> Result<(), Problem> {
    let mut known = BTreeSet::new();
    for (at, name) in names.enumerate() {
        let wrong = |what: &str| Err(Problem::new(format!("{list}[{at}].name"), what));
        if let Err(what) = check_name(name) {
            return wrong(what);
        }
        if !known.insert(name) {
            return wrong("another one has this name");
        }
    }
    Ok(())
}

/// Whether something may be called so.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match name.is_empty() || name.len() > LONGEST || !name.bytes().all(is_letter) {
        true => Err("a name has 1 to 64 letters, digits, hyphens, dots and underscores"),
        false => Ok(()),
    }
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

/// Whether it is `HOST:PORT`, perhaps behind a protocol, as librdkafka has it.
fn is_broker(text: &str) -> bool {
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_host = !host.is_empty() && (is_bracketed || !host.contains(':'));
    let is_host = is_host && !host.contains([',', '/', ' ']);
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
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
