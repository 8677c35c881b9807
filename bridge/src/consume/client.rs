//! The consumer of Kafka: gives records, commits, and gives partitions back when they are settled.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, Statistics, TopicPartitionList};

use super::beginning::Beginnings;
use super::{Options, SETTLE, Shared, Start};
use crate::librdkafka::check_consumer;

/// A member of a consumer group.
pub(super) struct Client {
    consumer: BaseConsumer<Context>,
}

/// What the client tells of.
struct Context {
    shared: Arc<Shared>,
    /// None if all partitions begin with what is there.
    beginnings: Option<Beginnings>,
}

// === impl Client ===

impl Client {
    /// Begins to look for Kafka.
    pub(super) fn start(options: &Options, shared: Arc<Shared>) -> Result<Self, KafkaError> {
        let is_late = options.start == Start::Latest;
        let context = Context {
            shared,
            beginnings: is_late.then(Beginnings::default),
        };
        let consumer: BaseConsumer<Context> = config(options).create_with_context(context)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(Self { consumer })
    }

    /// The next record, if there is one within this time.
    pub(super) fn poll(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(wait)
    }

    /// No more records for now: what else there is to be done goes on while it is polled.
    pub(super) fn pause(&self) {
        if let Ok(assignment) = self.consumer.assignment() {
            let _ = self.consumer.pause(&assignment); // of a partition that is just lost
        }
    }

    /// Records again.
    pub(super) fn resume(&self) {
        if let Ok(assignment) = self.consumer.assignment() {
            let _ = self.consumer.resume(&assignment);
        }
    }

    /// Commits what is settled, without waiting for Kafka, or with.
    pub(super) fn commit(&self, shared: &Shared, mode: CommitMode) {
        commit(&self.consumer, shared, mode);
    }
}

// === impl Context ===

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let rule = &self.shared.name;
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(rule, facility, text, "kafka client");
            }
            _ => tracing::info!(rule, facility, text, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let rule = &self.shared.name;
        tracing::info!(rule, %error, reason, "kafka client");
    }

    fn stats(&self, statistics: Statistics) {
        let topics = statistics.topics.values();
        let partitions = topics.flat_map(|topic| topic.partitions.values());
        let lag = sum(partitions.map(|it| it.consumer_lag));
        self.shared.lag.store(lag, Relaxed);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let rule = &self.shared.name;
        match rebalance {
            Rebalance::Assign(partitions) => {
                let n_partitions = partitions.count();
                tracing::info!(rule, n_partitions, "partitions of kafka are this bridge's");
                if let Some(beginnings) = &self.beginnings
                    && let Err(error) = beginnings.decide(consumer, partitions)
                {
                    // They begin with what comes now, as they were to; it is committed with the
                    // first record.
                    tracing::warn!(rule, %error, "where partitions begin is not committed");
                }
            }
            Rebalance::Revoke(partitions) => {
                let n_partitions = partitions.count();
                tracing::info!(rule, n_partitions, "partitions of kafka are given back");
                let given: Vec<_> = partitions.to_topic_map().into_keys().collect();
                let deadline = Instant::now() + SETTLE;
                let mut offsets = self.shared.offsets.lock();
                while offsets.n_open(&given) > 0 {
                    let settled = &self.shared.settled;
                    if settled.wait_until(&mut offsets, deadline).timed_out() {
                        break; // whoever has it next begins with what is not committed
                    }
                }
                drop(offsets);
                commit(consumer, &self.shared, CommitMode::Sync);
                let places = self.shared.offsets.lock().forget(&given);
                let mut revoked = self.shared.revoked.lock();
                revoked.partitions.extend(given);
                revoked.places.extend(places);
            }
            Rebalance::Error(error) => tracing::warn!(rule, %error, "kafka's group"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // What is committed next says it, too.
            let rule = &self.shared.name;
            tracing::info!(rule, %error, "offsets are not committed");
        }
    }
}

// === private ===

/// What partitions lag behind together: each says -1 where it is not known, and else what a broker
/// makes of it, be that ever so much.
fn sum(lags: impl Iterator<Item = i64>) -> u64 {
    let lags = lags.map(|lag| u64::try_from(lag).unwrap_or_default());
    lags.fold(0, u64::saturating_add)
}

fn commit(consumer: &BaseConsumer<Context>, shared: &Shared, mode: CommitMode) {
    let due = shared.offsets.lock().take_due();
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in &due {
        // An error: the offset is none, which it is.
        let _ = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
    }
    if due.is_empty() {
        return;
    }
    if let Err(error) = consumer.commit(&list, mode) {
        // Whoever has the partition next gets those records again.
        let rule = &shared.name;
        tracing::info!(rule, %error, "offsets are not committed");
    }
}

fn config(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    let start = match options.start {
        Start::Earliest => "earliest",
        Start::Latest => "latest",
    };
    let ours = [
        ("bootstrap.servers", options.brokers.join(",")),
        ("client.id", "gatemq-bridge".to_owned()),
        ("group.id", options.group.clone()),
        ("auto.offset.reset", start.to_owned()),
        ("enable.auto.commit", "false".to_owned()),
        ("enable.auto.offset.store", "false".to_owned()),
        ("allow.auto.create.topics", "false".to_owned()),
        // A bounded read ahead: what is in hand counts in the memory of this process.
        ("queued.max.messages.kbytes", "16384".to_owned()),
        ("topic.metadata.refresh.interval.ms", "10000".to_owned()),
        ("reconnect.backoff.max.ms", "1000".to_owned()),
        ("socket.keepalive.enable", "true".to_owned()),
        ("statistics.interval.ms", "5000".to_owned()),
        ("log_level", "6".to_owned()),
    ];
    for (name, value) in ours {
        config.set(name, value);
    }
    for (name, value) in &options.further {
        config.set(name, value);
    }
    config
}

/// Which of the options are wrong, `settings` or `topics`, and why.
pub(super) fn check(options: &Options) -> Result<(), (&'static str, String)> {
    let is_ours = |name: &str| OURS.iter().any(|ours| name.starts_with(ours));
    if let Some((name, _)) = options.further.iter().find(|(name, _)| is_ours(name)) {
        let what = format!("{name} is not yours to set: what is promised rests on it");
        return Err(("settings", what));
    }
    check_consumer(&config(options), &options.topics)
}

/// Beginnings of the names that may not be set.
const OURS: &[&str] = &[
    "auto.commit",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto",
    "enable.partition.eof",
    "group.id",
    "metadata.broker.list",
    "offset.store",
    "statistics.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_lag_behind_together_whatever_a_broker_says() {
        assert_eq!(sum([-1, 3, 0, 4].into_iter()), 7);
        assert_eq!(sum([i64::MAX; 3].into_iter()), u64::MAX);
    }
}
