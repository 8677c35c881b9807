//! From Kafka to clients: two gateways, and two bridges of which one is killed amid the stream. Every
//! record arrives, in the order of its partition, and an offset is committed only when the cluster has
//! taken the message.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gatemq_tests::cluster::{Builder, Kind};
use gatemq_tests::{Client, Cluster, Connect, Kafka, eventually, unique};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::reader::read_all;

const N_PARTITIONS: i32 = 4;
const N_KEYS: usize = 20;
const N_EACH: usize = 500;
const LIMIT: Duration = Duration::from_secs(120);

fn start(kafka: &Kafka, n_gateways: usize, rules: &str) -> Cluster {
    start_with(kafka, n_gateways, rules, "", &[])
}

fn start_with(
    kafka: &Kafka,
    n_gateways: usize,
    rules: &str,
    further: &str,
    settings: &[&str],
) -> Cluster {
    kafka.create_topic("orders", N_PARTITIONS as u32);
    let of_kafka = "[session.timeout.ms=6000, heartbeat.interval.ms=500]";
    let brokers = kafka.address();
    let kafka = format!("{{brokers: ['{brokers}'], settings: {of_kafka}}}");
    let from = "name: orders, topics: [orders], topic: 'o/${kafka.key}', start: earliest, \
                user-properties: [position]";
    let from = format!("{{{from}{further}}}");
    let setting = format!("bridge: {{kafka: [{kafka}], rules: [{rules}], from-kafka: [{from}]}}");
    let settings = settings.iter().copied().chain([&*setting]);
    let builder = settings.fold(Cluster::builder(), Builder::setting);
    builder.control(1).gateways(n_gateways).start()
}

fn producer(kafka: &Kafka) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address());
    config.set("acks", "all").set("enable.idempotence", "true");
    config.create().expect("a producer")
}

fn produce(producer: &BaseProducer, key: &str, value: &str) {
    let record = BaseRecord::to("orders").key(key).payload(value);
    producer.send(record).expect("there is room");
}

/// The sum of the offsets that the bridges' group has committed.
fn committed(kafka: &Kafka) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address());
    config.set("group.id", "gatemq-orders");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_range("orders", 0, N_PARTITIONS - 1);
    let found = consumer.committed_offsets(list, Duration::from_secs(10));
    let offsets = found.map(|list| list.to_topic_map()).unwrap_or_default();
    let offset = |offset| match offset {
        Offset::Offset(offset) => offset,
        _ => 0,
    };
    offsets.into_values().map(offset).sum()
}

/// Takes messages until each key has had all its values, in order; says how many came again.
fn judge(subscriber: &mut Client, mut on_each: impl FnMut(usize)) -> usize {
    let deadline = Instant::now() + LIMIT;
    let mut nexts: HashMap<String, usize> = HashMap::new();
    let (mut n_new, mut n_repeats) = (0, 0);
    while n_new < N_KEYS * N_EACH {
        assert!(Instant::now() < deadline, "{n_new} have come");
        let publish = subscriber.receive();
        let number: usize = String::from_utf8_lossy(&publish.payload)
            .parse()
            .expect("a number");
        let next = nexts.entry(publish.topic.clone()).or_default();
        assert!(number <= *next, "{}: {number} for {next}", publish.topic);
        if number < *next {
            n_repeats += 1;
            continue;
        }
        *next += 1;
        n_new += 1;
        on_each(n_new);
    }
    n_repeats
}

#[test]
fn every_record_arrives_in_order_though_a_bridge_was_killed() {
    let kafka = Kafka::start();
    let mut cluster = start(&kafka, 2, "");
    let mut subscriber = cluster.node("g1").v5(&unique("subscriber"));
    subscriber.set_limit(LIMIT);
    subscriber.subscribe("o/#", 1);
    for name in ["b1", "b2"] {
        cluster.add(Kind::Bridge, name);
    }
    let producer = producer(&kafka);
    for number in 0..N_EACH {
        for key in 0..N_KEYS {
            produce(&producer, &format!("k{key}"), &number.to_string());
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(LIMIT).expect("kafka takes all");
    let n_repeats = judge(&mut subscriber, |n| {
        if n == N_KEYS * N_EACH / 10 {
            cluster.node("b1").kill();
        }
    });
    println!("{n_repeats} came again");
    let all = (N_KEYS * N_EACH) as i64;
    eventually!(LIMIT, committed(&kafka) == all);
}

#[test]
fn nothing_is_committed_before_the_cluster_has_it() {
    let kafka = Kafka::start();
    let mut cluster = start(&kafka, 1, "");
    cluster.node("g1").kill();
    cluster.add(Kind::Bridge, "b1");
    let producer = producer(&kafka);
    for number in 0..10 {
        produce(&producer, "k", &number.to_string());
    }
    producer.flush(LIMIT).expect("kafka takes all");
    let metric = |name: &str| {
        let name = format!("bridge_from_kafka_{name}{{rule=\"orders\"}}");
        cluster.node("b1").metric(&name)
    };
    eventually!(LIMIT, metric("open") == Some(10.0));
    assert_eq!(committed(&kafka), 0);
    cluster.node("g1").restart();
    eventually!(LIMIT, committed(&kafka) == 10);
    assert_eq!(metric("accepted_total"), Some(10.0));
}

#[test]
fn what_came_from_kafka_does_not_go_back_there_and_what_has_no_topic_is_left_out() {
    let kafka = Kafka::start();
    let mut cluster = start(&kafka, 1, "{filters: ['o/#'], topic: orders}");
    cluster.add(Kind::Bridge, "b1");
    let mut client = cluster.node("g1").v5(&unique("client"));
    client.set_limit(LIMIT);
    client.subscribe("o/#", 1);
    let producer = producer(&kafka);
    produce(&producer, "#", "no topic");
    producer.flush(LIMIT).expect("kafka takes it");
    client.publish("o/x", b"hi", 1);
    let mut topics = [client.receive().topic, client.receive().topic];
    topics.sort();
    assert_eq!(topics, ["o/o/x", "o/x"]);
    let metric = |name: &str| cluster.node("b1").metric(name);
    eventually!(metric("bridge_returning_total") == Some(1.0));
    let refused = "bridge_from_kafka_refused_total{rule=\"orders\"}";
    assert_eq!(metric(refused), Some(1.0));
    eventually!(LIMIT, committed(&kafka) == 2);
    assert_eq!(read_all(&kafka.address(), "orders", N_PARTITIONS).len(), 2);
    client.expect_silence(200);
}

#[test]
fn clients_are_not_called_as_bridges_are() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let connect = Connect::new(5, "$bridge/orders");
    let (_, connack) = cluster.node("g1").attempt(&connect);
    assert_eq!(connack.code, 0x85);
}

/// A subscriber that is away and has room for ten messages holds up nothing but what is for it.
fn a_full_subscriber_holds_up_nothing(dead_letter: &str, n_dead: usize) {
    let kafka = Kafka::start();
    kafka.create_topic("dead", 1);
    let further = format!(", retry: 1s{dead_letter}");
    let settings = [
        "limits: {max-queued-messages: 10}",
        "session: {on-full: reject}",
    ];
    let mut cluster = start_with(&kafka, 1, "", &further, &settings);
    let away = Connect::persistent(5, unique("away"));
    let mut client = cluster.node("g1").attempt(&away).0;
    client.subscribe("o/full", 1);
    client.disconnect();
    let mut there = cluster.node("g1").v5(&unique("there"));
    there.set_limit(LIMIT);
    there.subscribe("o/other", 1);
    cluster.add(Kind::Bridge, "b1");
    let producer = producer(&kafka);
    for number in 0..30 {
        produce(&producer, "full", &number.to_string());
    }
    produce(&producer, "#", "no topic");
    // Behind them in the same partition, whichever that is.
    for number in 0..30 {
        for key in ["full", "other"] {
            produce(&producer, key, &number.to_string());
        }
    }
    producer.flush(LIMIT).expect("kafka takes all");
    for number in 0..30 {
        assert_eq!(there.receive().payload, number.to_string().into_bytes());
    }
    eventually!(LIMIT, committed(&kafka) == 91);
    let metric = |name: &str| {
        let name = format!("bridge_from_kafka_{name}{{rule=\"orders\"}}");
        cluster.node("b1").metric(&name)
    };
    assert_eq!(metric("refused_total"), Some(51.0), "ten of full fit");
    assert_eq!(metric("accepted_total"), Some(40.0));
    assert!(metric("retried_total") > Some(0.0));
    assert_eq!(metric("dead_letters_total"), Some(n_dead as f64));
    let dead = read_all(&kafka.address(), "dead", 1);
    assert_eq!(dead.len(), n_dead);
    for (letter, number) in dead
        .iter()
        .filter(|it| it.key == "full")
        .zip((10..30).chain(0..30))
    {
        assert_eq!(letter.value, number.to_string());
        let header = |name: &str| {
            let mut headers = letter.headers.iter();
            headers
                .find(|it| it.0 == name)
                .map(|it| it.1.clone())
                .unwrap_or_default()
        };
        assert!(
            header("gatemq-refused").contains("Quota exceeded"),
            "{letter:?}"
        );
        assert_eq!(header("gatemq-topic"), "orders");
        assert_eq!(header("gatemq-refused-by"), "orders");
        assert!(header("gatemq-offset").parse::<u64>().is_ok());
    }
}

#[test]
fn what_is_refused_becomes_a_dead_letter_before_its_offset_is_committed() {
    a_full_subscriber_holds_up_nothing(", dead-letter: dead", 51);
}

#[test]
fn without_dead_letters_what_is_refused_is_left_out_and_counted() {
    a_full_subscriber_holds_up_nothing("", 0);
}

#[test]
fn no_offset_is_committed_while_kafka_does_not_take_the_dead_letter() {
    let kafka = Kafka::start();
    let mut cluster = start_with(&kafka, 1, "", ", dead-letter: dead", &[]);
    cluster.add(Kind::Bridge, "b1");
    let producer = producer(&kafka);
    produce(&producer, "#", "no topic");
    producer.flush(LIMIT).expect("kafka takes all");
    let metric = |name: &str| {
        let name = format!("bridge_from_kafka_{name}{{rule=\"orders\"}}");
        cluster.node("b1").metric(&name)
    };
    eventually!(LIMIT, metric("refused_total") == Some(1.0));
    assert_eq!((committed(&kafka), metric("open")), (0, Some(1.0)));
    kafka.create_topic("dead", 1); // which was not there
    eventually!(LIMIT, committed(&kafka) == 1);
    let dead = read_all(&kafka.address(), "dead", 1);
    assert_eq!(dead[0].value, "no topic");
    assert_eq!(metric("dead_letters_total"), Some(1.0));
}
