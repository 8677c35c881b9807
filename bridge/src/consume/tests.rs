//! The consumer against the Kafka that librdkafka mimics: what its group begins with, and records
//! that no client of ours would write.

use gatemq_node::credentials::Dialer;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::watch;

use super::*;
use crate::produce::{Acks, Compression, Partitioner, Settings};

mod raw;

const LIMIT: Duration = Duration::from_secs(30);
const GROUP: &str = "group";
const TOPIC: &str = "topic";
const N_PARTITIONS: i32 = 2;
const N_RECORDS: u64 = 10;

/// Consumers of a bridge that no gateway takes anything of.
struct Bridge {
    kafka: MockCluster<'static, DefaultProducerContext>,
    outbound: Outbound,
    _gateways: watch::Sender<Vec<String>>,
}

impl Bridge {
    fn new() -> Self {
        let kafka = MockCluster::new(1).expect("a mock");
        kafka.create_topic(TOPIC, N_PARTITIONS, 1).expect("a topic");
        let (gateways, watched) = watch::channel(Vec::new());
        let tasks = tokio_util::task::TaskTracker::new();
        let end = tokio_util::sync::CancellationToken::new();
        let dialer = Dialer::default();
        Self {
            kafka,
            outbound: Outbound::new(bytes::Bytes::new(), 9, watched, dialer, tasks, end),
            _gateways: gateways,
        }
    }

    fn start(&self) -> Consumer {
        self.start_with("t", None)
    }

    fn start_with(&self, topic: &str, dead_letters: Option<dead_letter::Options>) -> Consumer {
        let rule = Rule {
            name: "r".to_owned(),
            kafka: "main".to_owned(),
            topic: Template::parse(topic).expect("a topic"),
            qos: gatemq_proto::mqtt::Qos::AtLeastOnce,
            is_retained: false,
            expiry: None,
            properties: Vec::new(),
        };
        let options = Options {
            rule,
            brokers: vec![self.kafka.bootstrap_servers()],
            topics: vec![TOPIC.to_owned()],
            group: GROUP.to_owned(),
            start: Start::Latest,
            further: Vec::new(),
            patience: LIMIT,
            dead_letters,
        };
        Consumer::start(options, &self.outbound).expect("it starts")
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka.bootstrap_servers());
        config.set("group.id", GROUP);
        config
    }

    /// Where the group is, by partition.
    fn committed(&self) -> Vec<Offset> {
        let looks: BaseConsumer = self.client().create().expect("a client");
        let mut all = TopicPartitionList::new();
        all.add_partition_range(TOPIC, 0, N_PARTITIONS - 1);
        let committed = looks.committed_offsets(all, LIMIT).expect("it is told");
        committed.elements().iter().map(|it| it.offset()).collect()
    }

    fn produce(&self) {
        let producer: BaseProducer = self.client().create().expect("a client");
        for number in 0..N_RECORDS {
            let partition = i32::try_from(number).expect("a small one") % N_PARTITIONS;
            let record = BaseRecord::<(), str>::to(TOPIC);
            let record = record.partition(partition).payload("x");
            producer.send(record).map_err(|(why, _)| why).expect("room");
        }
        producer.flush(LIMIT).expect("kafka has them");
    }
}

async fn wait(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect(what);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_next_begins_where_this_one_began_as_long_as_nothing_is_settled() {
    let bridge = Bridge::new();
    bridge.produce(); // nobody is there yet
    let consumer = bridge.start();
    let begin = [Offset::Offset(5); 2];
    wait("the beginning is kept", || bridge.committed() == begin).await;
    bridge.produce();
    let gauge = consumer.gauge();
    wait("all are read", || gauge.figures().open == N_RECORDS).await;
    assert_eq!(bridge.committed(), begin);
}

/// Writes two records, of which the first has a header whose name is no text.
async fn produce_a_header_that_is_no_text(bridge: &Bridge) {
    let begin = [Offset::Offset(0); 2];
    wait("the beginning is kept", || bridge.committed() == begin).await;
    let address = bridge.kafka.bootstrap_servers();
    raw::produce(&address, TOPIC, &[(b"wild", b"#"), (b"\xff", b"x")]).await;
    raw::produce(&address, TOPIC, &[(b"wild", b"#")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_name_is_no_text_is_left_out_and_holds_nothing_up() {
    let bridge = Bridge::new();
    let consumer = bridge.start();
    produce_a_header_that_is_no_text(&bridge).await;
    let gauge = consumer.gauge();
    wait("both are read", || gauge.figures().open == 2).await;
    assert_eq!(gauge.figures().headers_left_out, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_that_it_has_not_all_headers() {
    let bridge = Bridge::new();
    bridge.kafka.create_topic("dead", 1, 1).expect("a topic");
    let settings = Settings {
        brokers: vec![bridge.kafka.bootstrap_servers()],
        acks: Acks::All,
        compression: Compression::None,
        partitioner: Partitioner::Murmur2,
        linger: Duration::ZERO,
        further: vec![],
    };
    let topic = "dead".to_owned();
    // None of the records has a valid topic of MQTT.
    let letters = dead_letter::Options { topic, settings };
    let consumer = bridge.start_with("t/${header.wild}", Some(letters));
    produce_a_header_that_is_no_text(&bridge).await;
    let gauge = consumer.gauge();
    wait("both are dead letters", || {
        gauge.figures().dead_letters == 2
    })
    .await;
    let reader: BaseConsumer = bridge.client().create().expect("a client");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("dead", 0, Offset::Beginning)
        .expect("an offset");
    reader.assign(&from).expect("it is there");
    let letter = reader.poll(LIMIT).expect("in time").expect("a record");
    let headers = headers::read(letter.headers()).all;
    assert_eq!(headers.first(), Some(&("wild", &b"#"[..])));
    assert!(headers.contains(&("gatemq-headers-left-out", b"1")));
}
