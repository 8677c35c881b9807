//! Reads all that a topic of Kafka has.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, Message},
};

/// How long each answer, and each partition, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A record as it is in Kafka.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its key as text.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// The header `mqtt.id`; empty if it has none.
    pub id: String,
    /// All headers, in order.
    pub headers: Vec<(String, String)>,
}

/// All records of a topic, each partition in its order.
///
/// # Panics
///
/// Kafka does not answer, or has no such topic.
#[track_caller]
pub fn read_all(brokers: &str, topic: &str, n_partitions: i32) -> Vec<Found> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut found = Vec::new();
    for partition in 0..n_partitions {
        let marks = consumer.fetch_watermarks(topic, partition, LIMIT);
        let (mut offset, end) = marks.expect("kafka answers");
        let mut assignment = TopicPartitionList::new();
        let start = assignment.add_partition_offset(topic, partition, Offset::Beginning);
        start.expect("an offset");
        consumer.assign(&assignment).expect("it is assigned");
        let deadline = Instant::now() + LIMIT;
        while offset < end {
            assert!(Instant::now() < deadline, "{offset} of {end}");
            let Some(message) = consumer.poll(Duration::from_secs(1)) else {
                continue;
            };
            let message = message.expect("a message");
            offset = message.offset() + 1;
            let text = |bytes: Option<&[u8]>| {
                String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
            };
            let headers = message.headers();
            let headers = headers.into_iter().flat_map(Headers::iter);
            let headers: Vec<(String, String)> = headers
                .map(|header| (header.key.to_owned(), text(header.value)))
                .collect();
            let id = headers.iter().find(|(name, _)| name == "mqtt.id");
            found.push(Found {
                key: text(message.key()),
                value: text(message.payload()),
                id: id.map_or_else(String::new, |(_, id)| id.clone()),
                headers,
            });
        }
    }
    found
}
