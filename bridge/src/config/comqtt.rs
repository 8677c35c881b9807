//! comqtt's `bridge-kafka.yml`, as the configuration that means the same here.
//!
//! What differs, and why: all replicas confirm, whatever `required-acks` says; with `async: true` a
//! message is acknowledged when it is safe in the spool, not at once; the key is the client id, so that
//! what a client does stays in order (comqtt's key was another one every second).

use serde::Deserialize;

use super::{Config, Format, Kafka, RuleConfig};
use crate::event::Kind;
use crate::produce::{Acks, Compression, Partitioner};
use crate::rule::{Ack, Header};

/// What a file of comqtt's means.
#[derive(Clone, Debug, PartialEq)]
pub struct Translation {
    /// The configuration.
    pub config: Config,
    /// What was given but means something else here, or nothing.
    pub warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    kafka_options: Options,
    rules: Rules,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Options {
    brokers: Vec<String>,
    topic: String,
    balancer: u8,
    r#async: bool,
    required_acks: i64,
    compression: u8,
    write_timeout: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Rules {
    topics: Option<Vec<String>>,
    filters: Option<Vec<String>>,
}

/// Reads a file of comqtt's.
///
/// # Errors
///
/// Which key is wrong, and why.
pub fn translate(text: &str) -> Result<Translation, String> {
    let file: File = serde_path_to_error::deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| error.to_string())?;
    let File {
        kafka_options: options,
        rules,
    } = file;
    let mut warnings = Vec::new();
    if !matches!(options.required_acks, -1 | 255) {
        warnings.push("kafka-options.required-acks: all replicas confirm here".to_owned());
    }
    if options.write_timeout.is_some() {
        let what =
            "kafka-options.write-timeout: has no meaning here: what Kafka does not take waits";
        warnings.push(what.to_owned());
    }
    let compression = match options.compression {
        0 => Compression::None,
        1 => Compression::Gzip,
        2 => Compression::Snappy,
        3 => Compression::Lz4,
        4 => Compression::Zstd,
        other => return Err(format!("kafka-options.compression: {other} is not 0 to 4")),
    };
    let partitioner = match options.balancer {
        0 | 1 => {
            let what = "kafka-options.balancer: a client's records stay together, as with 2, so \
                        that their order holds";
            warnings.push(what.to_owned());
            Partitioner::Fnv1a
        }
        2 => Partitioner::Fnv1a,
        3 => Partitioner::Crc32,
        other => return Err(format!("kafka-options.balancer: {other} is not 0 to 3")),
    };
    let topics = rules.topics.unwrap_or_default();
    let rule = RuleConfig {
        name: "comqtt".to_owned(),
        // None named is all.
        filters: if topics.is_empty() {
            vec!["#".to_owned()]
        } else {
            topics
        },
        topic: options.topic,
        key: "client-id".to_owned(),
        headers: vec![Header::Id],
        value: Format::Comqtt,
        ack: if options.r#async {
            Ack::Spool
        } else {
            Ack::Kafka
        },
        compression,
        partitioner,
        events: vec![
            Kind::Connect,
            Kind::Disconnect,
            Kind::Subscribe,
            Kind::Unsubscribe,
        ],
        subscriptions: rules.filters.unwrap_or_default(),
        ..RuleConfig::default()
    };
    let kafka = Kafka {
        brokers: options.brokers,
        acks: Acks::All,
        ..Kafka::default()
    };
    let config = Config {
        kafka: vec![kafka],
        rules: vec![rule],
        ..Config::default()
    };
    Ok(Translation { config, warnings })
}

// === impl Options ===

impl Default for Options {
    /// comqtt's own.
    fn default() -> Self {
        Self {
            brokers: vec!["localhost:9092".to_owned()],
            topic: "comqtt".to_owned(),
            balancer: 0,
            r#async: false,
            required_acks: -1,
            compression: 0,
            write_timeout: None,
        }
    }
}
