//! Chapter 4.7: topic names, topic filters and which match.

use gatemq_tests::{Broker, Publish, unique, wire::property};

use super::scene::{client, nothing_before_marker, refuses_filter};

/// Filter and topic below a common root, and whether they match. `R` is the root.
const MATCHES: [(&str, &str, bool); 34] = [
    ("R", "R", true),
    ("R", "R/", false),
    ("R/", "R", false),
    ("R/", "R/", true),
    ("R/#", "R", true),
    ("R/#", "R/", true),
    ("R/#", "R/a", true),
    ("R/#", "R/a/b/c", true),
    ("R/a/#", "R/a", true),
    ("R/a/#", "R/ab", false),
    ("R/+", "R/a", true),
    ("R/+", "R/", true),
    ("R/+", "R", false),
    ("R/+", "R/a/b", false),
    ("R/+/b", "R/a/b", true),
    ("R/+/b", "R//b", true),
    ("R/+/b", "R/a/c", false),
    ("R/+/+", "R//", true),
    ("R/+/#", "R/a", true),
    ("R/+/#", "R/a/b/c", true),
    ("R/+/#", "R", false),
    ("+/R", "/R", true),
    ("+/R", "a/R", true),
    ("+/R", "R", false),
    ("/+/R", "//R", true),
    ("/R", "R", false),
    ("R/A", "R/a", false),
    ("R/a b", "R/a b", true),
    ("R/a", "R/a ", false),
    ("R/\u{e9}", "R/\u{e9}", true),
    ("R/\u{e9}", "R/e\u{301}", false),
    ("R/\u{1f600}/+", "R/\u{1f600}/\u{1f600}", true),
    ("R/$x/+", "R/$x/y", true),
    ("R/+/$y", "R/$x/$y", true),
];

/// Publishes and tells whether it arrived.
#[track_caller]
fn check(broker: &Broker, filter: &str, topic: &str, expected: bool) {
    let root = unique("r");
    let (filter, topic) = (filter.replace('R', &root), topic.replace('R', &root));
    let mut subscriber = client(broker);
    subscriber.subscribe(&filter, 0);
    let mut publisher = client(broker);
    publisher.publish(&topic, b"x", 0);
    if expected {
        assert_eq!(subscriber.receive().topic, topic, "{filter}");
    } else {
        nothing_before_marker(&mut subscriber, &mut publisher);
    }
}

#[test]
fn mqtt_4_7_3_4_matching_is_exact_and_by_level() {
    let broker = Broker::shared();
    for (filter, topic, expected) in MATCHES {
        eprintln!("{filter} {topic}");
        check(&broker, filter, topic, expected);
    }
}

#[test]
fn mqtt_4_7_1_1_the_multi_level_wildcard_is_alone_and_last() {
    let broker = Broker::shared();
    for filter in ["a#", "#a", "a/#/b", "##", "#/", "a/b#", "a/#b", "+#"] {
        refuses_filter(&broker, filter, 0);
    }
}

#[test]
fn mqtt_4_7_1_2_the_single_level_wildcard_is_alone_in_its_level() {
    let broker = Broker::shared();
    for filter in ["a+", "+a", "a/b+", "a/+b/c", "++", "+/a+"] {
        refuses_filter(&broker, filter, 0);
    }
}

#[test]
fn mqtt_4_7_2_1_wildcards_do_not_match_dollar_topics() {
    let broker = Broker::shared();
    let dollar = unique("$d");
    let mut wide = client(&broker);
    let mut narrow = client(&broker);
    narrow.subscribe(&format!("{dollar}/+"), 0);
    // Not "#": this broker is shared by other tests.
    let tail = unique("t");
    wide.subscribe(&format!("+/{tail}"), 0);
    wide.subscribe(&format!("+/{tail}/#"), 0);
    let mut publisher = client(&broker);
    publisher.publish(&format!("{dollar}/{tail}"), b"x", 0);
    assert_eq!(narrow.receive().payload, b"x");
    nothing_before_marker(&mut wide, &mut publisher);
}

#[test]
fn mqtt_4_7_2_1_all_wildcards_do_not_match_dollar_topics() {
    let broker = Broker::builder().start();
    let mut wide = client(&broker);
    wide.subscribe("#", 0);
    let mut level = client(&broker);
    level.subscribe("+/x/y", 0);
    let mut publisher = client(&broker);
    publisher.publish("$other/x/y", b"no", 0);
    publisher.publish_retained("$other/kept", b"no", 0);
    publisher.publish("plain/x/y", b"yes", 0);
    assert_eq!(wide.receive().payload, b"yes");
    assert_eq!(level.receive().payload, b"yes");
    // Nor retained ones.
    let mut late = client(&broker);
    late.subscribe("#", 0);
    late.expect_silence(150);
}

#[test]
fn mqtt_4_7_3_1_an_empty_filter_is_refused() {
    refuses_filter(&Broker::shared(), "", 0);
}

#[test]
fn mqtt_4_7_3_3_topics_of_any_length_are_carried() {
    let broker = Broker::builder()
        .config("limits: {max-topic-length: 65500}\n")
        .start();
    let root = unique("r");
    // Neither a length nor a form is special up to the longest text.
    for length in [1_000, 10_000, 65_500] {
        let topic = format!("{root}/{}", "x".repeat(length - root.len() - 1));
        let mut subscriber = client(&broker);
        subscriber.subscribe(&topic, 0);
        client(&broker).publish(&topic, b"x", 0);
        assert!(subscriber.receive().topic == topic, "{length}");
    }
}

#[test]
fn mqtt_4_7_3_4_nothing_is_normalized() {
    let broker = Broker::shared();
    let root = unique("r");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{root}/#"), 0);
    let mut publisher = client(&broker);
    for tail in ["//", "./..", " a ", "A/\u{212b}", "\u{feff}", "a//b/"] {
        let topic = format!("{root}/{tail}");
        publisher.publish(&topic, b"x", 0);
        assert_eq!(subscriber.receive().topic, topic);
    }
}

#[test]
fn mqtt_3_3_2_15_a_response_topic_is_not_looked_at() {
    let broker = Broker::shared();
    let topic = unique("r");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let properties = gatemq_tests::Properties::new().text(property::RESPONSE_TOPIC, "$a//b/");
    client(&broker).publish_packet(Publish::new(&topic, b"x").properties(properties));
    let got = subscriber.receive().properties;
    assert_eq!(got.string(property::RESPONSE_TOPIC), Some("$a//b/"));
}
