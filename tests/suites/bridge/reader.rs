//! Reads all that a topic of Kafka has, and judges whether it is what was published.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const LIMIT: Duration = Duration::from_secs(60);

/// A record as it is in Kafka.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) id: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// All records of a topic, each partition in its order.
pub(crate) fn read_all(brokers: &str, topic: &str, n_partitions: i32) -> Vec<Found> {
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

/// Holds that each key has the values from 0 to `n_each`, in order, and that whatever is there again
/// has the id that it had. Returns how many are.
pub(super) fn judge(found: &[Found], n_keys: usize, n_each: u64) -> usize {
    let mut nexts: HashMap<&str, u64> = HashMap::new();
    let mut ids: HashMap<(&str, u64), &str> = HashMap::new();
    let mut n_repeats = 0;
    for Found { key, value, id, .. } in found {
        let number: u64 = value.parse().expect("a number");
        let next = nexts.entry(key).or_default();
        assert!(number <= *next, "{key}: {number} comes where {next} should");
        let known = *ids.entry((key, number)).or_insert(id);
        assert_eq!(known, id, "{key}: {number} is there under two ids");
        if number == *next {
            *next += 1;
        } else {
            n_repeats += 1;
        }
    }
    assert_eq!(nexts.len(), n_keys);
    assert!(nexts.values().all(|next| *next == n_each), "{nexts:?}");
    n_repeats
}
