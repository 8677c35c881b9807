//! What librdkafka says of settings, in words that may be in a log.

use rdkafka::error::KafkaError;

/// What is wrong, without values: passwords are among them.
pub(crate) fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, what, name, _) if what.contains(name.as_str()) => what.clone(),
        KafkaError::ClientConfig(_, what, name, _) => format!("{name}: {what}"),
        other => other.to_string(),
    }
}
