//! A gateway whose wall clock is wrong.

use std::{
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gatemq_tests::{Cluster, Node, eventually, nemesis::Clock, skip, unique};

/// How many seconds a node's clock is ahead, by what it writes into its log.
fn ahead(node: &Node) -> i64 {
    let n_lines = node.log().n_lines();
    node.reload();
    eventually!(node.log().n_lines() > n_lines);
    let line = node.log().tail(1);
    let time = line.split(' ').next().expect("a line begins with its time");
    let known = Command::new("date").args(["-d", time, "+%s"]).output();
    let known = known.expect("date runs").stdout;
    let known = String::from_utf8_lossy(&known);
    let known: i64 = known.trim().parse().unwrap_or_else(|_| panic!("{line}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("the clock is past 1970").as_secs();
    known - i64::try_from(now).expect("small")
}

#[test]
fn a_gateway_is_hours_ahead_and_behind_and_works() {
    let wrap = match Clock::wrap() {
        Ok(wrap) => wrap,
        Err(why) => return skip("a wrong clock", &why.to_string()),
    };
    let cluster = Cluster::builder()
        .control(1)
        .gateways(2)
        .wrap("g1", wrap)
        .start();
    let [wrong, right] = ["g1", "g2"].map(|name| cluster.node(name));
    let clock = Clock::of(wrong.folder());
    let is_ahead_by = |hours: i64| {
        // What it takes to look at both clocks.
        eventually!((ahead(wrong) - 3_600 * hours).abs() < 60);
        assert!(ahead(right).abs() < 60);
        let topic = unique("topic");
        let mut subscriber = wrong.v5(&unique("sub"));
        subscriber.subscribe(&topic, 1);
        right.v5(&unique("pub")).publish(&topic, "news", 1);
        assert_eq!(subscriber.receive().payload, b"news");
    };
    is_ahead_by(0);
    let hours = |n: u64| Duration::from_secs(n * 3_600);
    clock.ahead(hours(2)).expect("a folder of its own");
    is_ahead_by(2);
    clock.behind(hours(2)).expect("a folder of its own");
    is_ahead_by(-2);
    clock.right().expect("a folder of its own");
    is_ahead_by(0);
}
