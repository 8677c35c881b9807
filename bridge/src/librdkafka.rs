//! What librdkafka says of settings, looked at before anything begins and without a connection; in
//! words that may be in a log.

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaType;

/// Of a client that is there to be looked at, nothing is told.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// Whether a producer begins with these settings.
pub(crate) fn check_producer(config: &ClientConfig) -> Result<(), String> {
    let config = alone(config);
    let made = config.create_native_config();
    let kind = RDKafkaType::RD_KAFKA_PRODUCER;
    let made = made.and_then(|native| Client::new(&config, native, kind, Quiet));
    made.map(drop).map_err(|error| describe(&error))
}

/// Whether a consumer begins with these settings and topics: which of the two is wrong, and why.
pub(crate) fn check_consumer(
    config: &ClientConfig,
    topics: &[String],
) -> Result<(), (&'static str, String)> {
    let made = alone(config).create_with_context(Quiet);
    let made: BaseConsumer<Quiet> = made.map_err(|error| ("settings", describe(&error)))?;
    for topic in topics {
        if made.subscribe(&[topic]).is_err() {
            return Err(("topics", format!("{topic:?} is no topic of Kafka")));
        }
    }
    Ok(())
}

/// The same, but for nobody to be reached.
fn alone(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.remove("bootstrap.servers");
    config
}

/// What is wrong, without values: passwords are among them.
pub(crate) fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, what, name, _) if what.contains(name.as_str()) => what.clone(),
        KafkaError::ClientConfig(_, what, name, _) => format!("{name}: {what}"),
        KafkaError::ClientCreation(what) => what.clone(),
        other => other.to_string(),
    }
}
