//! Where a partition begins of which the group has committed nothing, when it begins with what comes:
//! decided when it is assigned, and committed before its first record is read. Else whoever has it
//! next would begin with what comes then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

/// Decides for one consumer.
#[derive(Default)]
pub(super) struct Beginnings {
    seen: Mutex<Seen>,
}

/// The partitions that there were when this consumer was first assigned some.
#[derive(Default)]
struct Seen(Option<HashMap<String, usize>>);

/// How long Kafka is waited for, in all.
const LIMIT: Duration = Duration::from_secs(5);

// === impl Beginnings ===

impl Beginnings {
    /// Commits where these partitions begin, unless it is known.
    ///
    /// # Errors
    ///
    /// If Kafka does not say what there is, or does not keep what is decided.
    pub(super) fn decide<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        partitions: &TopicPartitionList,
    ) -> KafkaResult<()> {
        let deadline = Instant::now() + LIMIT;
        let left = || deadline.saturating_duration_since(Instant::now());
        let is_first = self.seen.lock().0.is_none();
        if is_first {
            let metadata = consumer.fetch_metadata(None, left())?;
            let topics = metadata.topics().iter();
            let topics = topics.map(|it| (it.name().to_owned(), it.partitions().len()));
            self.seen.lock().0 = Some(topics.collect());
        }
        if partitions.count() == 0 {
            return Ok(());
        }
        let committed = consumer.committed_offsets(partitions.clone(), left())?;
        let mut decided = TopicPartitionList::new();
        for partition in committed.elements() {
            if partition.offset() != Offset::Invalid {
                continue;
            }
            let (topic, number) = (partition.topic(), partition.partition());
            let bounds = consumer.fetch_watermarks(topic, number, left())?;
            let begin = self.seen.lock().begin(topic, number, bounds);
            decided.add_partition_offset(topic, number, Offset::Offset(begin))?;
        }
        match decided.count() {
            0 => Ok(()),
            _ => consumer.commit(&decided, CommitMode::Sync),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Where a partition begins that has offsets from one up to another. What has come into one that is
    /// newer than this consumer has come since it began.
    fn begin(&self, topic: &str, partition: i32, (first, next): (i64, i64)) -> i64 {
        let is_new = self.0.as_ref().is_some_and(|seen| {
            let n_partitions = seen.get(topic).copied().unwrap_or_default();
            usize::try_from(partition).is_ok_and(|partition| partition >= n_partitions)
        });
        if is_new { first } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_begins_with_what_comes_and_what_is_new_with_what_is_there() {
        let seen = Seen(Some(HashMap::from([("t".to_owned(), 2)])));
        for (topic, partition, begin) in [("t", 0, 9), ("t", 1, 9), ("t", 2, 5), ("new", 0, 5)] {
            assert_eq!(seen.begin(topic, partition, (5, 9)), begin);
        }
        assert_eq!(Seen(None).begin("t", 0, (5, 9)), 9);
    }
}
