//! How a client of Kafka is set up: what the promises rest on is ours, everything else may be set by
//! the names that librdkafka has for it.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::librdkafka::check_producer;

/// How records get to one Kafka.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `HOST:PORT` of some brokers.
    pub brokers: Vec<String>,
    /// Who must have a record.
    pub acks: Acks,
    /// How records are packed.
    pub compression: Compression,
    /// Which partition a key is for.
    pub partitioner: Partitioner,
    /// How long records may wait for others to go with.
    pub linger: Duration,
    /// Further settings by librdkafka's names: TLS, SASL, time limits.
    pub further: Vec<(String, String)>,
}

/// Who must have a record before it counts as confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acks {
    /// All replicas that are in sync; nothing is doubled or out of order within a client's life.
    #[default]
    All,
    /// The leader of the partition: what it has not passed on is lost with it.
    Leader,
    /// Nobody: it counts as confirmed when it was sent.
    None,
}

/// How records are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are called what they are")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    #[default]
    Lz4,
    Zstd,
}

/// Which partition a key is for; records without a key go anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioner {
    /// As Kafka's own clients do it.
    #[default]
    Murmur2,
    /// As librdkafka does it.
    Crc32,
    /// As Sarama and kafka-go do it.
    Fnv1a,
    /// Anywhere, whatever the key.
    Random,
}

// === impl Settings ===

impl Settings {
    /// Looks at the further settings.
    ///
    /// # Errors
    ///
    /// What is wrong with the first that is.
    pub fn check(&self) -> Result<(), String> {
        let is_ours = |name: &str| OURS.iter().any(|ours| name.starts_with(ours));
        if let Some((name, _)) = self.further.iter().find(|(name, _)| is_ours(name)) {
            return Err(format!(
                "{name} is not yours to set: what is promised rests on it"
            ));
        }
        check_producer(&self.config())
    }

    /// How large a record may be, with its key and headers.
    pub(crate) fn most_bytes(&self) -> usize {
        let mut further = self.further.iter().rev();
        let set = further.find_map(|(name, value)| {
            let is_it = name == "message.max.bytes";
            is_it.then(|| value.parse::<usize>().ok()).flatten()
        });
        // What the protocol adds to each.
        set.unwrap_or(MAX_BYTES).saturating_sub(OF_PROTOCOL)
    }

    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        let ours = [
            ("bootstrap.servers", self.brokers.join(",")),
            ("client.id", "gatemq-bridge".to_owned()),
            ("acks", self.acks.name().to_owned()),
            ("compression.type", self.compression.name().to_owned()),
            ("partitioner", self.partitioner.name().to_owned()),
            ("linger.ms", self.linger.as_millis().to_string()),
            // Without an end: a record waits here, not in a loop of its own, until Kafka is back.
            ("message.timeout.ms", "0".to_owned()),
            // How much is under way is bounded by what the rules hand over.
            ("queue.buffering.max.messages", "0".to_owned()),
            ("queue.buffering.max.kbytes", "2097151".to_owned()),
            ("topic.metadata.propagation.max.ms", "5000".to_owned()),
            ("reconnect.backoff.max.ms", "1000".to_owned()),
            ("socket.keepalive.enable", "true".to_owned()),
            ("log_level", "6".to_owned()),
        ];
        for (name, value) in ours {
            config.set(name, value);
        }
        if self.acks == Acks::All {
            config.set("enable.idempotence", "true");
            config.set("max.in.flight.requests.per.connection", "5");
            // A record that Kafka does not take ends the client, so that none overtakes it.
            config.set("enable.gapless.guarantee", "true");
        } else {
            config.set("max.in.flight.requests.per.connection", "1");
        }
        for (name, value) in &self.further {
            config.set(name, value);
        }
        config
    }
}

impl fmt::Debug for Settings {
    /// Without the values of further settings: passwords are among them.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.further.iter().map(|(name, _)| name).collect();
        out.debug_struct("Settings")
            .field("brokers", &self.brokers)
            .field("acks", &self.acks)
            .field("compression", &self.compression)
            .field("partitioner", &self.partitioner)
            .field("linger", &self.linger)
            .field("further", &names)
            .finish()
    }
}

// === impl Acks, Compression, Partitioner ===

impl Acks {
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Leader => "1",
            Self::None => "0",
        }
    }
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl Partitioner {
    fn name(self) -> &'static str {
        match self {
            Self::Murmur2 => "murmur2_random",
            Self::Crc32 => "consistent_random",
            Self::Fnv1a => "fnv1a_random",
            Self::Random => "random",
        }
    }
}

// === private ===

/// Beginnings of the names that may not be set.
const OURS: &[&str] = &[
    "acks",
    "bootstrap.servers",
    "compression",
    "delivery.",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "max.in.flight",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "queue.buffering.",
    "request.required.acks",
    "retries",
    "transaction",
];

/// `message.max.bytes` where it is not set.
const MAX_BYTES: usize = 1_000_000;
/// The most that the protocol adds to a record: more than librdkafka reckons with.
const OF_PROTOCOL: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<(), String> {
        let settings = Settings {
            brokers: vec!["127.0.0.1:9092".to_owned()],
            acks: Acks::All,
            compression: Compression::Zstd,
            partitioner: Partitioner::Murmur2,
            linger: Duration::from_millis(5),
            further: vec![(name.to_owned(), value.to_owned())],
        };
        settings.check()
    }

    #[test]
    fn what_librdkafka_knows_may_be_set() {
        assert_eq!(check("security.protocol", "SSL"), Ok(()));
        assert_eq!(check("sasl.mechanism", "SCRAM-SHA-256"), Ok(()));
        assert_eq!(check("message.max.bytes", "5000000"), Ok(()));
    }

    #[test]
    fn what_it_does_not_know_and_what_is_ours_is_refused() {
        let error = check("sasl.pasword", "hunter2").unwrap_err();
        assert!(error.contains("sasl.pasword"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(check("security.protocol", "TELNET").is_err());
        let refused = check("enable.idempotence", "false").unwrap_err();
        assert!(refused.contains("not yours"), "{refused}");
    }

    #[test]
    fn every_choice_is_one_that_librdkafka_has() {
        let mut settings = Settings {
            brokers: vec!["127.0.0.1:9092".to_owned()],
            acks: Acks::All,
            compression: Compression::None,
            partitioner: Partitioner::Murmur2,
            linger: Duration::ZERO,
            further: vec![],
        };
        use {Compression as C, Partitioner as P};
        for acks in [Acks::All, Acks::Leader, Acks::None] {
            for compression in [C::None, C::Gzip, C::Snappy, C::Lz4, C::Zstd] {
                for partitioner in [P::Murmur2, P::Crc32, P::Fnv1a, P::Random] {
                    settings.acks = acks;
                    settings.compression = compression;
                    settings.partitioner = partitioner;
                    assert_eq!(settings.check(), Ok(()), "{settings:?}");
                }
            }
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let settings = Settings {
            brokers: vec![],
            acks: Acks::All,
            compression: Compression::None,
            partitioner: Partitioner::Murmur2,
            linger: Duration::ZERO,
            further: vec![("sasl.password".to_owned(), "hunter2".to_owned())],
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
