//! Messages that no client's PUBLISH brings: a will, one of the API and one from Kafka are traced as all
//! others are; and what of a trace is kept with a retained message.

use std::time::Duration;

use gatemq_tests::cluster::Kind;
use gatemq_tests::{Cluster, Collector, Connect, Kafka, Properties, Will, eventually, unique};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

use super::{CALLER, LIMIT, TRACE, builder, has, named, only, publish, user};
use crate::cluster::api::ask;

/// `traceparent` of who asks for a message to be published.
fn asked() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// The span of a message that came from outside, and that it was delivered below it.
fn begun(collector: &Collector, node: &str) -> String {
    for name in ["publish", "deliver"] {
        eventually!(LIMIT, !collector.named(TRACE, name).is_empty());
    }
    let span = only(collector, "publish");
    assert_eq!((&*span.parent, &*span.node), (CALLER, node));
    let route = only(collector, "route");
    assert_eq!(route.parent, span.id);
    assert_eq!(only(collector, "deliver").parent, route.id);
    span.id
}

#[test]
fn a_will_goes_on_with_the_trace_that_it_names() {
    let collector = Collector::start();
    let cluster = builder(&collector.endpoint(), 0.0).start();
    let node = cluster.node("g1");
    let (leaver, mut subscriber) = (unique("leaver"), node.v5(&unique("subscriber")));
    subscriber.subscribe("wills/+", 1);
    let will = Will {
        topic: b"wills/7".to_vec(),
        payload: b"gone".to_vec(),
        qos: 1,
        properties: Properties::new().user("traceparent", &asked()),
        ..Will::default()
    };
    let (client, _) = node.connect(&Connect::new(5, &leaver).will(will));
    client.cut();
    let received = subscriber.receive();
    let id = begun(&collector, "g1");
    let span = only(&collector, "publish");
    has(
        &span,
        &[
            ("messaging.client.id", &leaver),
            ("messaging.destination.name", "wills/7"),
        ],
    );
    let told = format!("00-{TRACE}-{id}-01");
    assert_eq!(user(&received, "traceparent"), [told]);
}

#[test]
fn a_message_of_the_api_goes_on_with_the_trace_that_it_names_and_is_in_traces_of_clients() {
    let collector = Collector::start();
    let setting = format!(
        "tracing: {{endpoint: '{}', ratio: 0}}",
        collector.endpoint()
    );
    let cluster = Cluster::builder().control(1).gateways(1);
    let cluster = cluster.setting(&setting).start();
    let (api, node) = (cluster.node("c1"), cluster.node("g1"));
    let wanted = json!({"name": "orders", "topic": "orders/#"});
    ask(api, "POST /traces", Some(wanted));
    let lines = || ask(api, "GET /traces/orders", None);
    eventually!(
        LIMIT,
        lines()["items"]
            .as_array()
            .is_some_and(|items| items.len() == 1)
    );
    let mut subscriber = node.v5(&unique("subscriber"));
    subscriber.subscribe("orders/+", 1);
    let message = json!({
        "topic": "orders/7",
        "payload": "hello",
        "qos": 1,
        "user_properties": [["traceparent", asked()]],
    });
    ask(api, "POST /publish", Some(message));
    subscriber.receive();
    begun(&collector, "g1");
    eventually!(LIMIT, {
        let lines = lines();
        let items = lines["items"].as_array().expect("items");
        let published = items.iter().find(|item| item["event"] == "publish");
        published.is_some_and(|it| it["client_id"] == "$api" && it["topic"] == "orders/7")
    });
}

#[test]
fn a_record_of_kafka_goes_on_with_the_trace_that_its_headers_name() {
    let (kafka, collector) = (Kafka::start(), Collector::start());
    kafka.create_topic("orders", 1);
    let brokers = kafka.address();
    let rule = "{name: orders, topics: [orders], topic: 'o/${kafka.key}', start: earliest}";
    let bridge = format!("bridge: {{kafka: [{{brokers: ['{brokers}']}}], from-kafka: [{rule}]}}");
    let setting = format!(
        "tracing: {{endpoint: '{}', ratio: 0}}",
        collector.endpoint()
    );
    let cluster = Cluster::builder().control(1).gateways(1);
    let mut cluster = cluster.setting(&setting).setting(&bridge).start();
    let mut subscriber = cluster.node("g1").v5(&unique("subscriber"));
    subscriber.set_limit(LIMIT * 4);
    subscriber.subscribe("o/+", 1);
    cluster.add(Kind::Bridge, "b1");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers);
    let producer: BaseProducer = config.create().expect("a producer");
    let asked = asked();
    let headers = OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value: Some(&asked),
    });
    let record = BaseRecord::to("orders").key("k").payload("hello");
    let sent = producer.send(record.headers(headers));
    sent.expect("there is room");
    producer.poll(Duration::ZERO);
    producer.flush(LIMIT).expect("kafka takes it");
    let received = subscriber.receive();
    for name in ["publish", "kafka.consume"] {
        eventually!(LIMIT, !collector.named(TRACE, name).is_empty());
    }
    let (consumed, span) = (
        only(&collector, "kafka.consume"),
        only(&collector, "publish"),
    );
    assert_eq!((&*consumed.parent, &*span.parent), (CALLER, &*consumed.id));
    let told = format!("00-{TRACE}-{}-01", span.id);
    assert_eq!(user(&received, "traceparent"), [told]);
}

/// A message keeps the context in which it was made; who gets it later than that trace takes links to
/// it, as OpenTelemetry's conventions have it. What the gateway does for that subscriber is no part of
/// the old trace.
#[test]
fn who_subscribes_later_is_told_of_the_publish_of_a_retained_message_and_adds_nothing_to_its_trace()
{
    let collector = Collector::start();
    let cluster = builder(&collector.endpoint(), 0.0).start();
    let mut publisher = cluster.node("g1").v5(&unique("publisher"));
    let mut retained = named("kept/7", "01");
    retained.retain = true;
    publish(&mut publisher, retained, 1);
    eventually!(LIMIT, !collector.named(TRACE, "publish").is_empty());
    let told = format!("00-{TRACE}-{}-01", only(&collector, "publish").id);
    let mut subscriber = cluster.node("g1").v5(&unique("subscriber"));
    subscriber.subscribe("kept/+", 1);
    let received = subscriber.receive();
    assert!(received.retain);
    assert_eq!(user(&received, "traceparent"), [told]);
    // What comes behind it has spans; it has none.
    publish(&mut publisher, named("kept/8", "01"), 1);
    subscriber.receive();
    eventually!(LIMIT, !collector.named(TRACE, "deliver").is_empty());
    has(
        &only(&collector, "deliver"),
        &[("messaging.destination.name", "kept/8")],
    );
}
