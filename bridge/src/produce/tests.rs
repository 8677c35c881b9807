//! The producer against the Kafka that librdkafka mimics: what a client does when it is refused.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use super::Outcome::{Accepted, Refused, Unknown};
use super::*;
use crate::record::Draft;

const LIMIT: Duration = Duration::from_secs(30);

fn settings(brokers: String) -> Settings {
    Settings {
        brokers: vec![brokers],
        acks: Acks::All,
        compression: Compression::None,
        partitioner: Partitioner::Murmur2,
        linger: Duration::ZERO,
        further: vec![],
    }
}

/// A Kafka with one topic, and a producer to it.
fn mocked() -> (MockCluster<'static, DefaultProducerContext>, Producer) {
    let kafka = MockCluster::new(1).expect("a mock");
    kafka.create_topic("topic", 1, 1).expect("a topic");
    let settings = settings(kafka.bootstrap_servers());
    let producer = Producer::start("mock", settings).expect("it starts");
    (kafka, producer)
}

fn record(topic: &str, text: &str) -> Record {
    let draft = Draft::new(topic, Some(b"key"), 0, 0);
    draft.finish(|out| out.extend_from_slice(text.as_bytes()))
}

/// Produces so many, and gives what will be heard of them.
async fn produce(entry: &Entry, topic: &str, n_records: usize) -> Receiver<(usize, Outcome)> {
    let (tell, told) = channel();
    for number in 0..n_records {
        let tell = tell.clone();
        let done = Box::new(move |outcome| {
            // A test that has failed does not listen any more.
            let _ = tell.send((number, outcome));
        });
        let record = record(topic, &number.to_string());
        assert!(entry.produce(Order { record, done }).await.is_ok());
    }
    told
}

fn outcomes(told: &Receiver<(usize, Outcome)>, n_records: usize) -> Vec<(usize, Outcome)> {
    let next = |_| told.recv_timeout(LIMIT).expect("something is heard of it");
    (0..n_records).map(next).collect()
}

fn all_accepted(n_records: usize) -> Vec<(usize, Outcome)> {
    (0..n_records).map(|number| (number, Accepted)).collect()
}

#[tokio::test]
async fn a_client_that_is_beyond_help_is_replaced_and_nothing_is_lost() {
    let (kafka, producer) = mocked();
    let entry = producer.open(Feed::Direct);
    let told = produce(&entry, "topic", 10).await;
    assert_eq!(outcomes(&told, 10), all_accepted(10));
    kafka.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    let told = produce(&entry, "topic", 100).await;
    // A real Kafka takes nothing behind a gap, by the sequence numbers; the mock does not look at them.
    let mut outcomes = outcomes(&told, 100);
    outcomes.sort_unstable_by_key(|(number, _)| *number);
    assert_eq!(outcomes, all_accepted(100));
    let figures = producer.figures();
    assert!(figures.failed > 0 && figures.replaced > 0, "{figures:?}");
    producer.stop();
}

#[tokio::test]
async fn a_record_that_kafka_will_never_take_is_refused_and_holds_nothing_up() {
    let (_kafka, producer) = mocked();
    let entry = producer.open(Feed::Direct);
    let (tell, told) = channel();
    for size in [10, 2_000_000, 10] {
        let tell = tell.clone();
        let record = record("topic", &"x".repeat(size));
        let done = Box::new(move |outcome| tell.send(outcome).expect("the test waits"));
        assert!(entry.produce(Order { record, done }).await.is_ok());
    }
    let mut heard: Vec<_> = (0..3)
        .map(|_| told.recv_timeout(LIMIT).expect("something is heard"))
        .collect();
    heard.sort_by_key(|outcome| *outcome == Refused);
    assert_eq!(heard, [Accepted, Accepted, Refused]);
}

#[tokio::test]
async fn what_is_not_confirmed_at_the_end_is_unknown() {
    // Nobody is there.
    let settings = settings("127.0.0.1:1".to_owned());
    let producer = Producer::start("nobody", settings).expect("it starts");
    let entry = producer.open(Feed::Direct);
    let told = produce(&entry, "topic", 5).await;
    producer.stop();
    let expected: Vec<_> = (0..5).map(|number| (number, Unknown)).collect();
    assert_eq!(outcomes(&told, 5), expected);
    let told = produce(&entry, "topic", 1).await;
    assert_eq!(outcomes(&told, 1), [(0, Unknown)]);
    assert!(producer.is_drained(), "who comes late finds no room taken");
}

#[tokio::test]
async fn what_a_flow_that_is_closed_has_may_go_by_another() {
    let (kafka, producer) = mocked();
    kafka.broker_down(1).expect("it goes");
    let (closed, stays) = (producer.open(Feed::Direct), producer.open(Feed::Direct));
    let of_closed = produce(&closed, "topic", 5).await;
    let of_other = produce(&stays, "topic", 5).await;
    let open = producer.close(&closed);
    let values: Vec<_> = open.iter().map(|order| order.record.value()).collect();
    assert_eq!(values, [b"0", b"1", b"2", b"3", b"4"]);
    let late = Order {
        record: record("topic", "late"),
        done: Box::new(|_| ()),
    };
    assert!(closed.produce(late).await.is_err());
    let next = producer.open(Feed::Direct);
    for order in open {
        assert!(next.take_over(order).is_ok());
    }
    kafka.broker_up(1).expect("it comes");
    for told in [of_other, of_closed] {
        assert_eq!(outcomes(&told, 5), all_accepted(5));
    }
    // Those who wait are told a moment before the room is given back.
    let drained = async {
        while !producer.is_drained() {
            tokio::task::yield_now().await;
        }
    };
    let drained = tokio::time::timeout(LIMIT, drained).await;
    assert!(drained.is_ok());
}

/// Takes all that is on its way, whatever comes of it.
async fn check_all_accepted(code: RDKafkaRespErr, refuses_missing: bool) {
    let (kafka, producer) = mocked();
    let entry = producer.open(Feed::Direct);
    entry.refuse_missing(refuses_missing);
    kafka.request_errors(RDKafkaApiKey::Produce, &[code]);
    let told = produce(&entry, "topic", 100).await;
    let mut outcomes = outcomes(&told, 100);
    outcomes.sort_unstable_by_key(|(number, _)| *number);
    assert_eq!(outcomes, all_accepted(100));
}

#[tokio::test]
async fn records_of_a_batch_that_is_too_large_go_by_themselves() {
    check_all_accepted(RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, true).await;
}

#[tokio::test]
async fn a_clock_that_is_ahead_is_no_reason_to_lose_records() {
    check_all_accepted(RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, true).await;
}

#[tokio::test]
async fn neighbours_of_a_record_that_is_refused_go_by_themselves() {
    check_all_accepted(RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, true).await;
    check_all_accepted(RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, true).await;
}

#[tokio::test]
async fn a_record_that_is_refused_by_itself_is_refused_and_no_other() {
    let (kafka, producer) = mocked();
    let entry = producer.open(Feed::Direct);
    let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    kafka.request_errors(RDKafkaApiKey::Produce, &[code]);
    let told = produce(&entry, "topic", 20).await;
    let replaced = async {
        while producer.figures().replaced == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let replaced = tokio::time::timeout(LIMIT, replaced).await;
    assert!(replaced.is_ok(), "they do not go by themselves");
    // A flow waits a moment before it sends again: this is for its first record, by itself.
    kafka.request_errors(RDKafkaApiKey::Produce, &[code]);
    let mut outcomes = outcomes(&told, 20);
    outcomes.sort_unstable_by_key(|(number, _)| *number);
    let mut expected = all_accepted(20);
    expected[0].1 = Refused;
    assert_eq!(outcomes, expected);
}

/// Time and `mqtt.timestamp` of each record of the topic, in order.
fn times(brokers: &str, n_records: usize) -> Vec<(i64, Option<String>)> {
    let mut config = rdkafka::ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "g");
    let reader: BaseConsumer = config.create().expect("a client");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("topic", 0, Offset::Beginning)
        .expect("an offset");
    reader.assign(&from).expect("it is there");
    let next = |_| {
        let message = reader.poll(LIMIT).expect("in time").expect("a record");
        let mut headers = message.headers().into_iter().flat_map(Headers::iter);
        let own = headers.find(|header| header.key == "mqtt.timestamp");
        let own = own.and_then(|header| header.value);
        let own = own.map(|value| String::from_utf8_lossy(value).into_owned());
        (message.timestamp().to_millis().expect("a time"), own)
    };
    (0..n_records).map(next).collect()
}

#[tokio::test]
async fn a_record_whose_time_is_refused_goes_with_the_time_of_now() {
    let (kafka, producer) = mocked();
    let entry = producer.open(Feed::Direct);
    let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
    kafka.request_errors(RDKafkaApiKey::Produce, &[code, code]);
    let (tell, told) = channel();
    let draft = Draft::new("topic", None, 1_234, 0);
    let order = Order {
        record: draft.finish(|out| out.push(b'x')),
        done: Box::new(move |outcome| tell.send(outcome).expect("the test waits")),
    };
    assert!(entry.produce(order).await.is_ok());
    assert_eq!(told.recv_timeout(LIMIT), Ok(Accepted));
    let (time, own) = times(&kafka.bootstrap_servers(), 1).remove(0);
    assert!(time > 1_700_000_000_000, "{time}");
    assert_eq!(own.as_deref(), Some("1234"));
}

#[tokio::test]
async fn a_topic_that_may_not_be_written_is_waited_for() {
    let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    check_all_accepted(code, false).await;
}

#[tokio::test]
async fn a_topic_that_is_not_there_holds_up_nothing_where_it_is_refused() {
    let (kafka, producer) = mocked();
    let entry = producer.open(Feed::Direct);
    entry.refuse_missing(true);
    kafka
        .topic_error(
            "absent",
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        )
        .expect("the mock takes it");
    let absent = produce(&entry, "absent", 5).await;
    let there = produce(&entry, "topic", 5).await;
    assert_eq!(outcomes(&there, 5), all_accepted(5));
    let refused: Vec<_> = (0..5).map(|number| (number, Refused)).collect();
    assert_eq!(outcomes(&absent, 5), refused);
    let again = produce(&entry, "absent", 1).await;
    let there = produce(&entry, "topic", 5).await;
    assert_eq!(outcomes(&there, 5), all_accepted(5));
    assert_eq!(outcomes(&again, 1), [(0, Refused)]);
}
