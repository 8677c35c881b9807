//! A user of comqtt comes with the file of its bridge: it works, and Kafka gets what it got.

use std::fs;
use std::time::Duration;

use gatemq_tests::cluster::Kind;
use gatemq_tests::{Cluster, Connect, Kafka, eventually};

use super::reader::read_all;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn the_file_of_comqtts_bridge_is_all_that_the_bridge_needs() {
    let kafka = Kafka::start();
    kafka.create_topic("comqtt", 1);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("bridge-kafka.yml");
    let text = format!(
        "kafka-options:\n  brokers: ['{}']\n  topic: comqtt\n  balancer: 2\n  async: true\n\
         rules:\n  topics: ['site/#']\n  filters: []\n",
        kafka.address()
    );
    fs::write(&file, text).expect("it is writable");
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let flag = format!("--bridge-conf={}", file.display());
    let bridge = cluster.prepare(Kind::Bridge, "b1").with_flags(&[&flag]);
    bridge.restart();
    let connect = Connect::new(4, "dev-1").username("ann");
    let mut client = cluster.node("g1").connect(&connect).0;
    client.publish("site/7", "21.5", 1);
    client.publish("other/7", "21.5", 1);
    client.disconnect();
    let values = || -> Vec<String> {
        let found = read_all(&kafka.address(), "comqtt", 1).into_iter();
        found.map(|found| found.value).collect()
    };
    eventually!(LIMIT, values().len() >= 3);
    let values = values();
    let starts = [
        r#"{"action":"connect","clientid":"dev-1","username":"ann","remote":"127.0.0.1:"#,
        r#"{"action":"disconnect","clientid":"dev-1","username":"ann","ts":"#,
        r#"{"action":"publish","clientid":"dev-1","username":"ann","topics":["site/7"],"payload":"MjEuNQ==","ts":"#,
    ];
    let mut values: Vec<&String> = values.iter().collect();
    values.sort();
    assert_eq!(values.len(), starts.len(), "{values:?}");
    for (value, start) in values.iter().zip(starts) {
        assert!(value.starts_with(start), "{value}");
    }
}
