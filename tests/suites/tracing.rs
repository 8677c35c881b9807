//! Traces of messages: what a collector gets of one publish over two gateways, a bridge and Kafka, or
//! another broker, and of what comes from there; what subscribers and readers get with it, and what
//! happens without a collector.

mod clients;
mod own;

use std::time::Duration;

use gatemq_tests::cluster::{Builder, Kind};
use gatemq_tests::collector::Span;
use gatemq_tests::mosquitto::Mosquitto;
use gatemq_tests::{
    Client, Cluster, Collector, Connect, Kafka, Properties, Publish, eventually, pause, unique,
};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::bridge::reader::read_all;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const LIMIT: Duration = Duration::from_secs(30);

fn builder(endpoint: &str, ratio: f64) -> Builder {
    let setting = format!("tracing: {{endpoint: '{endpoint}', ratio: {ratio}}}");
    let builder = Cluster::builder().control(1).gateways(2);
    builder.setting(&setting).setting("sys-interval: 0s")
}

fn named(topic: &str, flags: &str) -> Publish {
    let parent = format!("00-{TRACE}-{CALLER}-{flags}");
    let properties = Properties::default();
    Publish {
        properties: properties
            .user("traceparent", &parent)
            .user("tracestate", "vendor=x"),
        ..Publish::new(topic, "hello")
    }
}

fn publish(client: &mut Client, publish: Publish, qos: u8) {
    let id = (qos > 0).then(|| client.next_id());
    let publish = Publish { qos, id, ..publish };
    let ack = client.publish_packet(publish);
    assert!(ack.is_none_or(|ack| ack.reason < 0x80));
}

/// The value of a user property of what a subscriber got.
fn user(received: &Publish, name: &str) -> Vec<String> {
    let users = received.properties.users().into_iter();
    let named = users.filter(|(found, _)| *found == name);
    named.map(|(_, value)| value.to_owned()).collect()
}

/// The only span of a name that there is to be in the trace.
#[track_caller]
fn only(collector: &Collector, name: &str) -> Span {
    let mut found = collector.named(TRACE, name);
    assert_eq!(found.len(), 1, "{name}: {found:#?}");
    found.remove(0)
}

#[track_caller]
fn has(span: &Span, pairs: &[(&str, &str)]) {
    for (name, value) in pairs {
        let found = span.attributes.get(*name).map(String::as_str);
        assert_eq!(found, Some(*value), "{name} of {span:#?}");
    }
}

#[test]
fn one_publish_is_one_trace_over_two_gateways_a_bridge_and_kafka() {
    let (kafka, collector) = (Kafka::start(), Collector::start());
    let rules = ["direct", "spooled"].map(|name| {
        kafka.create_topic(name, 1);
        let ack = if name == "direct" { "kafka" } else { "spool" };
        format!("{{name: {name}, filters: ['site/#'], topic: {name}, ack: {ack}}}")
    });
    let brokers = kafka.address();
    let bridge = format!(
        "bridge: {{kafka: [{{brokers: ['{brokers}']}}], rules: [{}]}}",
        rules.join(", ")
    );
    let builder = builder(&collector.endpoint(), 0.0).setting(&bridge);
    let mut cluster = builder.start();
    cluster.add(Kind::Bridge, "b1");
    let (of_publisher, of_subscriber) = (unique("publisher"), unique("subscriber"));
    let mut subscriber = cluster.node("g2").v5(&of_subscriber);
    subscriber.subscribe("site/+", 1);
    let mut publisher = cluster.node("g1").v5(&of_publisher);
    publisher.set_limit(LIMIT);
    publish(&mut publisher, named("site/7", "01"), 1);
    let received = subscriber.receive();
    eventually!(LIMIT, collector.named(TRACE, "kafka.produce").len() == 2);
    eventually!(LIMIT, !collector.named(TRACE, "deliver").is_empty());
    eventually!(LIMIT, !collector.named(TRACE, "publish").is_empty());

    let begun = only(&collector, "publish");
    assert_eq!((&*begun.parent, &*begun.node), (CALLER, "g1"));
    assert_eq!(begun.service, "gatemq-gateway");
    has(
        &begun,
        &[
            ("messaging.system", "mqtt"),
            ("messaging.destination.name", "site/7"),
            ("messaging.client.id", &of_publisher),
            ("messaging.mqtt.qos", "1"),
            ("messaging.message.body.size", "5"),
            ("gatemq.node", "g1"),
        ],
    );
    let route = only(&collector, "route");
    assert_eq!((&route.parent, &*route.node), (&begun.id, "g1"));
    let forwards = collector.named(TRACE, "forward");
    assert_eq!(forwards.len(), 2, "to g2, and to b1: {forwards:#?}");
    assert!(
        forwards
            .iter()
            .all(|it| it.parent == route.id && it.node == "g1")
    );
    let deliver = only(&collector, "deliver");
    assert_eq!(deliver.node, "g2");
    assert!(forwards.iter().any(|forward| forward.id == deliver.parent));
    has(
        &deliver,
        &[
            ("messaging.client.id", &of_subscriber),
            ("messaging.destination.name", "site/7"),
            ("gatemq.node", "g2"),
        ],
    );
    let produced = collector.named(TRACE, "kafka.produce");
    let to_bridge = forwards.iter().find(|it| it.id != deliver.parent);
    let to_bridge = to_bridge.expect("it goes to the bridge, too");
    assert!(
        produced
            .iter()
            .all(|it| it.parent == to_bridge.id && it.node == "b1")
    );
    let all = collector.spans();
    assert!(
        all.iter()
            .all(|span| !span.has_failed && span.times.0 <= span.times.1)
    );
    assert!(
        begun.times.1 >= to_bridge.times.1,
        "it ends when all have it"
    );

    // Whoever gets it goes on from there.
    let told = format!("00-{TRACE}-{}-01", begun.id);
    assert_eq!(user(&received, "traceparent"), [told]);
    assert_eq!(user(&received, "tracestate"), ["vendor=x"]);
    for topic in ["direct", "spooled"] {
        let records = read_all(&brokers, topic, 1);
        let header = |name: &str| -> Vec<&str> {
            let headers = records.iter().flat_map(|record| &record.headers);
            let named = headers.filter(|(found, _)| found == name);
            named.map(|(_, value)| value.as_str()).collect()
        };
        let told = format!("00-{TRACE}-{}-01", to_bridge.id);
        assert_eq!(header("traceparent"), [told], "{topic}");
        assert_eq!(header("tracestate"), ["vendor=x"], "{topic}");
    }
}

#[test]
fn what_goes_to_another_broker_and_what_comes_from_there_stays_in_its_trace() {
    let mosquitto = Mosquitto::start().expect("a mosquitto");
    let (address, collector) = (mosquitto.tcp(), Collector::start());
    let both = "to: [{topics: ['up/#']}], from: [{topics: ['down/#']}]";
    let bridge = format!("bridge: {{mqtt: [{{name: hq, address: '{address}', {both}}}]}}");
    let mut cluster = builder(&collector.endpoint(), 0.0).setting(&bridge).start();
    cluster.add(Kind::Bridge, "b1");
    let mut there = Client::connect_tcp(address);
    assert_eq!(there.handshake(&Connect::new(5, unique("there"))).code, 0);
    there.subscribe("up/#", 1);
    let mut here = cluster.node("g1").v5(&unique("here"));
    here.set_limit(LIMIT);
    publish(&mut here, named("up/7", "01"), 1);
    let received = there.receive();
    eventually!(LIMIT, !collector.named(TRACE, "mqtt.forward").is_empty());
    eventually!(LIMIT, !collector.named(TRACE, "forward").is_empty());
    let (to_bridge, sent) = (
        only(&collector, "forward"),
        only(&collector, "mqtt.forward"),
    );
    assert_eq!((&sent.parent, &*sent.node), (&to_bridge.id, "b1"));
    has(
        &sent,
        &[
            ("messaging.destination.name", "up/7"),
            ("messaging.system", "mqtt"),
        ],
    );
    let told = format!("00-{TRACE}-{}-01", to_bridge.id);
    assert_eq!(user(&received, "traceparent"), [told]);

    let mut subscriber = cluster.node("g2").v5(&unique("subscriber"));
    subscriber.subscribe("down/7", 1);
    eventually!(LIMIT, {
        // Until the bridge has subscribed nobody takes it.
        let probe = Publish::new("down/probe", "");
        let id = Some(there.next_id());
        let ack = there.publish_packet(Publish {
            qos: 1,
            id,
            ..probe
        });
        ack.is_some_and(|ack| ack.reason == 0)
    });
    publish(&mut there, named("down/7", "01"), 1);
    let received = subscriber.receive();
    eventually!(LIMIT, !collector.named(TRACE, "mqtt.receive").is_empty());
    eventually!(LIMIT, !collector.named(TRACE, "deliver").is_empty());
    let begun = only(&collector, "mqtt.receive");
    assert_eq!((&*begun.parent, &*begun.node), (CALLER, "b1"));
    comes_below(&collector, &begun, &received);
}

/// Holds that what a subscriber got goes on from a span, by the publish of the gateway that took it.
fn comes_below(collector: &Collector, begun: &Span, received: &Publish) {
    let below = |name: &str, above: &str| {
        let mut found = collector.named(TRACE, name);
        found.retain(|span| span.parent == above);
        found.pop()
    };
    eventually!(LIMIT, below("publish", &begun.id).is_some());
    let publish = below("publish", &begun.id).expect("it is there");
    let route = below("route", &publish.id);
    let route = route.expect("it is routed below it");
    let deliver = only(collector, "deliver");
    let mut above = collector.named(TRACE, "forward");
    above.retain(|forward| forward.parent == route.id);
    let is_below = above.iter().any(|forward| forward.id == deliver.parent);
    assert!(is_below || deliver.parent == route.id, "{deliver:#?}");
    let told = format!("00-{TRACE}-{}-01", publish.id);
    assert_eq!(user(received, "traceparent"), [told]);
}

#[test]
fn a_record_of_kafka_stays_in_its_trace() {
    let (kafka, collector) = (Kafka::start(), Collector::start());
    kafka.create_topic("orders", 1);
    let brokers = kafka.address();
    let from = "{name: orders, topics: [orders], topic: 'o/${kafka.key}', start: earliest}";
    let bridge = format!("bridge: {{kafka: [{{brokers: ['{brokers}']}}], from-kafka: [{from}]}}");
    let mut cluster = builder(&collector.endpoint(), 0.0).setting(&bridge).start();
    let mut subscriber = cluster.node("g2").v5(&unique("subscriber"));
    subscriber.set_limit(LIMIT);
    subscriber.subscribe("o/#", 1);
    cluster.add(Kind::Bridge, "b1");
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config
        .set("bootstrap.servers", &brokers)
        .create()
        .expect("a producer");
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let headers = OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value: Some(&parent),
    });
    let record = BaseRecord::to("orders").key("7").payload("hello");
    let sent = producer.send(record.headers(headers));
    sent.expect("there is room");
    producer.flush(LIMIT).expect("kafka takes it");
    let received = subscriber.receive();
    assert_eq!(received.topic, "o/7");
    eventually!(LIMIT, !collector.named(TRACE, "kafka.consume").is_empty());
    eventually!(LIMIT, !collector.named(TRACE, "deliver").is_empty());
    let begun = only(&collector, "kafka.consume");
    assert_eq!((&*begun.parent, &*begun.node), (CALLER, "b1"));
    has(
        &begun,
        &[
            ("messaging.system", "kafka"),
            ("messaging.destination.name", "orders"),
        ],
    );
    comes_below(&collector, &begun, &received);
}

#[test]
fn what_is_not_sampled_has_no_span_and_stays_as_it_was() {
    let collector = Collector::start();
    let cluster = builder(&collector.endpoint(), 0.0).start();
    let mut subscriber = cluster.node("g2").v5(&unique("subscriber"));
    subscriber.subscribe("site/+", 1);
    let mut publisher = cluster.node("g1").v5(&unique("publisher"));
    for qos in [0, 1, 2] {
        publish(&mut publisher, Publish::new("site/7", "hello"), qos);
        let received = subscriber.receive();
        assert_eq!(user(&received, "traceparent"), [""; 0]);
        publish(&mut publisher, named("site/7", "00"), qos);
        let received = subscriber.receive();
        let told = format!("00-{TRACE}-{CALLER}-00");
        assert_eq!(user(&received, "traceparent"), [told]);
    }
    // One that is malformed is as good as none.
    let malformed = Publish {
        properties: Properties::default().user("traceparent", "00-nonsense"),
        ..Publish::new("site/7", "hello")
    };
    publish(&mut publisher, malformed, 1);
    subscriber.receive();
    // What comes behind all that is the first to be seen.
    publish(&mut publisher, named("site/7", "01"), 1);
    subscriber.receive();
    eventually!(LIMIT, !collector.named(TRACE, "deliver").is_empty());
    eventually!(LIMIT, !collector.named(TRACE, "publish").is_empty());
    assert_eq!(collector.spans().len(), 4, "{:#?}", collector.spans());
}

#[test]
fn with_all_sampled_a_client_before_5_0_begins_a_trace_and_its_subscriber_is_told() {
    let collector = Collector::start();
    let cluster = builder(&collector.endpoint(), 1.0).start();
    let mut subscriber = cluster.node("g2").v5(&unique("subscriber"));
    subscriber.subscribe("site/+", 2);
    let mut publisher = cluster.node("g1").v4(&unique("publisher"));
    for qos in [0, 1, 2] {
        publisher.publish("site/7", "hello", qos);
        let received = subscriber.receive();
        let told = user(&received, "traceparent");
        let [told] = &told[..] else {
            panic!("{told:?}");
        };
        let (trace, span) = (&told[3..35], &told[36..52]);
        eventually!(LIMIT, !collector.named(trace, "deliver").is_empty());
        eventually!(LIMIT, !collector.named(trace, "publish").is_empty());
        let begun = collector.named(trace, "publish");
        assert_eq!((&*begun[0].id, &*begun[0].parent), (span, ""));
        has(&begun[0], &[("messaging.mqtt.qos", &qos.to_string())]);
    }
}

#[test]
fn without_its_collector_everything_goes_on_and_one_line_says_so() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    drop(collector);
    let cluster = builder(&endpoint, 1.0).start();
    let node = cluster.node("g1");
    let mut subscriber = cluster.node("g2").v5(&unique("subscriber"));
    subscriber.subscribe("site/+", 1);
    let mut publisher = node.v5(&unique("publisher"));
    let n_dropped = || node.metric("tracing_spans_dropped_total").unwrap_or(0.0);
    for round in 1..4 {
        for _ in 0..20 {
            publish(&mut publisher, Publish::new("site/7", "hello"), 1);
            subscriber.receive();
        }
        // A span for each publish, one for its route and one for its way to the other gateway.
        eventually!(LIMIT, n_dropped() == f64::from(60 * round));
        pause(Duration::from_millis(1));
    }
    assert_eq!(node.metric("tracing_spans_exported_total"), Some(0.0));
    let said = node.log().text();
    let n_said = said.matches("takes no spans").count();
    assert_eq!(n_said, 1, "{said}");
}
