//! Rules from Kafka to MQTT, as an operator writes them.

use gatemq_node::config::{Period, Problem};
use gatemq_proto::mqtt::Qos;
use serde::{Deserialize, Serialize};

use super::{Config, Kafka, RuleConfig, check_unique};
use crate::consume::{Options, Property, Rule, Start, Template, dead_letter};
use crate::rule::Topic;

/// One rule from Kafka.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct FromKafka {
    /// Its name, which no other from Kafka has.
    pub name: String,
    /// The Kafka; where there is one only, it need not be named.
    pub kafka: String,
    /// Topics there; what begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// The consumer group; empty for `gatemq-` and the name.
    pub group: String,
    /// The topic of MQTT, with places ([`crate::consume::template`]).
    pub topic: String,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether it is kept for who subscribes later.
    pub retain: bool,
    /// Where a group begins that has committed nothing.
    pub start: Start,
    /// How long a message is of use; none for ever.
    pub expiry: Period<0, { u32::MAX as u64 * 1000 }>,
    /// What becomes user properties.
    pub user_properties: Vec<Property>,
    /// How long a message is tried again that is refused since a subscriber is full.
    pub retry: Period<0, LONGEST_RETRY>,
    /// The topic in Kafka for records that are refused; empty: they are left out.
    pub dead_letter: String,
}

/// The longest that a message is tried again: ten years.
pub(super) const LONGEST_RETRY: u64 = 3_650 * 24 * 3_600 * 1_000;
/// How long it is where nothing is set, in milliseconds.
pub(super) const RETRY: u64 = 30_000;

// === impl FromKafka ===

impl Default for FromKafka {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            kafka: String::new(),
            topics: Vec::new(),
            group: String::new(),
            topic: "${kafka.topic}/${kafka.key}".to_owned(),
            qos: 1,
            retain: false,
            start: Start::Latest,
            expiry: Period::new(0),
            user_properties: vec![Property::Headers],
            retry: Period::new(RETRY),
            dead_letter: String::new(),
        }
    }
}

impl FromKafka {
    pub(super) fn example() -> Self {
        Self {
            topics: vec!["orders".to_owned()],
            ..Self::default()
        }
    }

    fn rule(&self, kafka: &Kafka) -> Result<Rule, (&'static str, String)> {
        let topic = Template::parse(&self.topic).map_err(|error| ("topic", error.to_string()))?;
        let qos = Qos::from_bits(self.qos).ok_or_else(|| ("qos", "is 0, 1 or 2".to_owned()))?;
        let seconds = self.expiry.duration().as_secs();
        Ok(Rule {
            name: self.name.clone(),
            kafka: kafka.name.clone(),
            topic,
            qos,
            is_retained: self.retain,
            expiry: u32::try_from(seconds).ok().filter(|seconds| *seconds > 0),
            properties: self.user_properties.clone(),
        })
    }

    fn check_topics(&self) -> Result<(), (&'static str, String)> {
        if self.topics.is_empty() {
            return Err(("topics", "there is none: write topics of Kafka".to_owned()));
        }
        match self.topics.iter().find(|topic| topic.is_empty()) {
            Some(_) => Err(("topics", "one of them is empty".to_owned())),
            None => Ok(()),
        }
    }
}

impl FromKafka {
    /// Where records go that are refused.
    fn dead_letters(
        &self,
        kafka: &Kafka,
    ) -> Result<Option<dead_letter::Options>, (&'static str, String)> {
        let topic = self.dead_letter.clone();
        if topic.is_empty() {
            return Ok(None);
        }
        let wrong = |what: &str| Err(("dead-letter", what.to_owned()));
        match Topic::parse(&topic) {
            Ok(Topic::Fixed(_)) => {}
            Ok(_) => return wrong("is one topic, without places"),
            Err(error) => return wrong(&error.to_string()),
        }
        if self.topics.contains(&topic) {
            return wrong("is one of those that it reads: what is refused would come again");
        }
        let settings = kafka.settings(&RuleConfig::default())?;
        Ok(Some(dead_letter::Options { topic, settings }))
    }
}

// === impl Config ===

impl Config {
    /// What the rules from Kafka mean. Files that settings name are read.
    ///
    /// # Errors
    ///
    /// Which key is wrong, from here on, and why.
    pub fn consumers(&self) -> Result<Vec<Options>, Problem> {
        let names = self.from_kafka.iter().map(|rule| &rule.name);
        check_unique("from-kafka", names)?;
        let mut all = Vec::with_capacity(self.from_kafka.len());
        for (at, rule) in self.from_kafka.iter().enumerate() {
            let wrong =
                |(key, what): (&str, String)| Problem::new(format!("from-kafka[{at}].{key}"), what);
            rule.check_topics().map_err(wrong)?;
            let (number, kafka) = self.kafka_of(&rule.kafka).map_err(wrong)?;
            let parsed = rule.rule(kafka).map_err(wrong)?;
            let below = |(key, what)| Problem::new(format!("kafka[{number}].{key}"), what);
            kafka.check_brokers().map_err(below)?;
            let options = Options {
                patience: rule.retry.duration(),
                dead_letters: rule.dead_letters(kafka).map_err(wrong)?,
                group: match &*rule.group {
                    "" => format!("gatemq-{}", rule.name),
                    group => group.to_owned(),
                },
                rule: parsed,
                brokers: kafka.brokers.clone(),
                topics: rule.topics.clone(),
                start: rule.start,
                further: kafka.further().map_err(below)?,
            };
            options.check().map_err(|problem| match problem.0 {
                "topics" => wrong(problem),
                _ => below(problem),
            })?;
            all.push(options);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAFKA: &str = "kafka: [{brokers: ['127.0.0.1:9092']}]\n";

    fn read(rule: &str) -> Config {
        let text = format!("{KAFKA}from-kafka: [{{name: r, {rule}}}]");
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[track_caller]
    fn check(rule: &str, key: &str, what: &str) {
        let problem = read(rule).consumers().err().expect("something is wrong");
        assert_eq!(problem.key, key, "{}", problem.what);
        assert!(problem.what.contains(what), "{}", problem.what);
    }

    #[test]
    fn a_rule_becomes_a_consumer() {
        let config = read(
            "topics: ['^o.*'], topic: 'o/${kafka.key}', qos: 2, retain: true, expiry: 90s, \
                  dead-letter: dead, retry: 2s",
        );
        let options = config.consumers().expect("a consumer").remove(0);
        assert_eq!(
            (&*options.group, options.start),
            ("gatemq-r", Start::Latest)
        );
        let dead_letters = options.dead_letters.as_ref().map(|it| &*it.topic);
        assert_eq!(dead_letters, Some("dead"));
        assert_eq!(options.patience.as_secs(), 2);
        let rule = &options.rule;
        assert_eq!((rule.qos, rule.is_retained), (Qos::ExactlyOnce, true));
        assert_eq!((rule.expiry, &*rule.kafka), (Some(90), "main"));
        assert_eq!(rule.properties, [Property::Headers]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("topic: a", "from-kafka[0].topics", "none");
        check("topics: ['']", "from-kafka[0].topics", "empty");
        check("topics: [t], topic: 'a/#'", "from-kafka[0].topic", "a/#");
        check(
            "topics: [t], topic: '${topic}'",
            "from-kafka[0].topic",
            "kafka.topic",
        );
        check("topics: [t], qos: 3", "from-kafka[0].qos", "0, 1 or 2");
        let dead = "topics: [t], dead-letter";
        let key = "from-kafka[0].dead-letter";
        check(&format!("{dead}: t"), key, "come again");
        check(&format!("{dead}: 'a b'"), key, "letters");
        check(&format!("{dead}: 'a${{topic}}'"), key, "places");
        check("topics: [t], kafka: other", "from-kafka[0].kafka", "other");
        let mut config = read("topics: [t]");
        config.from_kafka.push(config.from_kafka[0].clone());
        let problem = config.consumers().err().expect("two of one name");
        assert_eq!(problem.key, "from-kafka[1].name");
        let mut config = read("topics: [t]");
        config.kafka[0].settings = vec!["group.id=x".to_owned()];
        let problem = config.consumers().err().expect("it is ours");
        assert_eq!(problem.key, "kafka[0].settings");
        let mut config = read("topics: [t]");
        config.kafka[0].settings = vec!["sasl.pasword=hunter2".to_owned()];
        let problem = config.consumers().err().expect("a typo");
        assert!(problem.what.contains("sasl.pasword"), "{}", problem.what);
        assert!(!problem.what.contains("hunter2"), "{}", problem.what);
    }

    #[test]
    fn what_librdkafka_would_not_begin_with_is_named() {
        check("topics: [t, '^(']", "from-kafka[0].topics", "^(");
        let mut config = read("topics: [t]");
        config.kafka[0].settings = vec!["sasl.mechanism=PLAIN".to_owned(), SASL.to_owned()];
        let problem = config.consumers().err().expect("no user");
        assert_eq!(problem.key, "kafka[0].settings");
        assert!(problem.what.contains("username"), "{}", problem.what);
    }

    const SASL: &str = "security.protocol=SASL_PLAINTEXT";
}
