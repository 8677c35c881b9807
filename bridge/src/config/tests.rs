//! What a configuration means, and what is wrong with a bad one.

use super::comqtt::{Translation, translate};
use super::*;
use crate::rule::{Ack, Header, Key};

const KAFKA: &str = "kafka: [{name: main, brokers: ['127.0.0.1:9092']}]\n";

fn read(text: &str) -> Config {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn check(rule: &str, key: &str, what: &str) {
    let config = read(&format!("{KAFKA}rules: [{{name: r, {rule}}}]"));
    let problem = config.plan().expect_err("something is wrong");
    assert_eq!(problem.key, key, "{}", problem.what);
    assert!(problem.what.contains(what), "{}", problem.what);
}

#[test]
fn a_configuration_becomes_a_plan() {
    let config = read(
        "kafka:
  - name: main
    brokers: ['127.0.0.1:9092']
    linger: 10ms
    settings: [security.protocol=SASL_SSL, sasl.mechanism=SCRAM-SHA-512, sasl.username=u,
      sasl.password=p=q]
rules:
  - {name: a, filters: ['a/#'], topic: 'a-${topic.2}', key: client-id, ack: spool}
  - {name: b, filters: ['b'], topic: b, headers: [id, qos], value: json, template: '\"${topic}\"'}
  - {name: c, filters: ['c'], compression: zstd, value: comqtt, events: [connect, subscribe]}
spool: {size: 2MiB, on-full: drop-oldest}
",
    );
    let plan = config.plan().expect("a plan");
    assert_eq!(
        (plan.spool_bound, plan.on_full),
        (2 << 20, OnFull::DropOldest)
    );
    let ways: Vec<_> = plan.rules.iter().map(|(_, way)| *way).collect();
    assert_eq!(
        ways,
        [0, 0, 1],
        "what is packed differently has a client of its own"
    );
    assert_eq!(plan.ways[1].settings.compression, Compression::Zstd);
    let password = ("sasl.password".to_owned(), "p=q".to_owned());
    assert_eq!(plan.ways[0].settings.further[3], password);
    let (rule, _) = &plan.rules[0];
    assert_eq!((&rule.key, rule.ack), (&Key::ClientId, Ack::Spool));
    assert_eq!(plan.rules[1].0.headers, [Header::Id, Header::Qos]);
}

#[test]
fn a_secret_may_be_in_a_file() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, b"hunter2\n").expect("it is writable");
    let text = format!("sasl.password=@{}", file.path().display());
    let expected = ("sasl.password".to_owned(), "hunter2".to_owned());
    assert_eq!(setting(&text), Ok(expected));
    assert!(setting("sasl.password=@/nowhere/at/all").is_err());
}

#[test]
fn what_is_wrong_is_named() {
    check("topic: t", "rules[0].filters", "no message");
    check("filters: ['a/#/b']", "rules[0].filters", "\"a/#/b\"");
    check("filters: ['$share/g/a']", "rules[0].filters", "group");
    check("filters: [a], topic: 'a b'", "rules[0].topic", "letters");
    check(
        "filters: [a], topic: '${nothing}'",
        "rules[0].topic",
        "nothing",
    );
    check("filters: [a], key: clientid", "rules[0].key", "client-id");
    check(
        "filters: [a], value: json, template: '{'",
        "rules[0].template",
        "JSON",
    );
    check("filters: [a], template: '{}'", "rules[0].template", "json");
    check("filters: [a], kafka: other", "rules[0].kafka", "other");
    let events = "events: [connect], topic: '${client-id}'";
    check(events, "rules[0].events", "without places");
    let events = "filters: [a], topic: t, events: [publish]";
    check(events, "rules[0].events", "filters");
    let bad = "kafka: [{brokers: ['a:1'], settings: [sasl.pasword=x]}]\nrules: [{filters: [a]}]";
    assert_eq!(
        read(bad).plan().expect_err("a typo").key,
        "kafka[0].settings"
    );
    let bad = "kafka: [{brokers: []}]\nrules: [{filters: [a]}]";
    assert_eq!(
        read(bad).plan().expect_err("no broker").key,
        "kafka[0].brokers"
    );
    let bad = format!("{KAFKA}rules: [{{filters: [a]}}, {{filters: [b]}}]");
    assert_eq!(
        read(&bad).plan().expect_err("one name").key,
        "rules[1].name"
    );
    let bad = format!("{KAFKA}rules: [{{name: 'a b', filters: [b]}}]");
    assert_eq!(read(&bad).plan().expect_err("a space").key, "rules[0].name");
}

#[test]
fn a_broker_of_kafka_has_a_host_and_a_port() {
    let key = |broker: &str| {
        let text =
            format!("kafka: [{{brokers: ['k:9092', '{broker}']}}]\nrules: [{{filters: [a]}}]");
        read(&text)
            .plan()
            .err()
            .map(|problem| (problem.key, problem.what))
    };
    for broker in [
        "k",
        "k:",
        ":9092",
        "127.0.0.1:99999",
        "k:0",
        "k:a",
        "::1:9092",
        "a b:1",
    ] {
        let (key, what) = key(broker).expect(broker);
        assert_eq!(key, "kafka[0].brokers", "{broker}");
        assert!(what.contains("HOST:PORT"), "{what}");
    }
    for broker in ["k:1", "127.0.0.1:65535", "[::1]:9092", "SSL://k:9093"] {
        assert_eq!(key(broker), None, "{broker}");
    }
}

#[test]
fn what_librdkafka_would_not_begin_with_is_named() {
    for settings in [
        "security.protocol=SASL_PLAINTEXT, sasl.mechanism=PLAIN",
        "security.protocol=SASL_PLAINTEXT, sasl.mechanism=NONSENSE",
        "security.protocol=SSL, ssl.ca.location=/nowhere",
    ] {
        let text = format!(
            "kafka: [{{brokers: ['k:1'], settings: [{settings}]}}]\nrules: [{{filters: [a]}}]"
        );
        let problem = read(&text).plan().expect_err(settings);
        assert_eq!(problem.key, "kafka[0].settings");
    }
}

#[test]
fn unknown_keys_are_errors() {
    for text in [
        "kafkas: []",
        "rules: [{filter: a}]",
        "rules: [{value: xml}]",
        "spool: {max: 1}",
    ] {
        assert!(serde_yaml::from_str::<Config>(text).is_err(), "{text}");
    }
}

#[test]
fn the_example_has_every_key_and_is_right() {
    let example = Config::example();
    let text = serde_yaml::to_string(&example).expect("YAML");
    assert_eq!(read(&text), example);
    assert!(!text.contains("[]"), "{text}");
    example.plan().expect("a plan");
}

#[test]
fn comqtts_file_means_what_it_meant() {
    let translation = translate(
        "kafka-options:
  brokers: [kafka:9092]
  topic: comqtt
  balancer: 2
  async: true
  required-acks: -1
  compression: 4
  write-timeout: 10
rules:
  topics: ['a/#', 'b/+']
  filters: ['c/#']
",
    );
    let Translation { config, warnings } = translation.expect("it is comqtt's");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let rule = &config.rules[0];
    assert_eq!(rule.filters, ["a/#", "b/+"]);
    assert_eq!(rule.subscriptions, ["c/#"]);
    assert_eq!((rule.value, rule.ack), (Format::Comqtt, Ack::Spool));
    assert_eq!(rule.compression, Compression::Zstd);
    assert_eq!(rule.partitioner, Partitioner::Fnv1a);
    assert_eq!(config.kafka[0].brokers, ["kafka:9092"]);
    config.plan().expect("a plan");
}

#[test]
fn comqtts_file_without_rules_means_everything() {
    let translation = translate("kafka-options: {}\nrules: {topics: , filters: []}");
    let Translation { config, warnings } = translation.expect("it is comqtt's");
    assert_eq!(config.rules[0].filters, ["#"]);
    assert_eq!(config.rules[0].ack, Ack::Kafka);
    assert!(warnings[0].contains("balancer"), "{warnings:?}");
    config.plan().expect("a plan");
}

#[test]
fn what_is_wrong_in_comqtts_file_is_named() {
    for (text, part) in [
        ("kafka-options: {broker: [a]}", "kafka-options"),
        (
            "kafka-options: {compression: 5}",
            "kafka-options.compression",
        ),
        ("kafka-options: {balancer: x}", "kafka-options.balancer"),
        ("rules: {topic: []}", "rules"),
    ] {
        let error = translate(text).expect_err(text);
        assert!(error.contains(part), "{error}");
    }
}
