//! D8: filters that come and go leave nothing behind: neither the log of the control plane nor its
//! snapshots grow by them.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use gatemq_tests::{Client, Cluster, Node, Properties, unique, wire};

use super::is_well;

/// Filters of one SUBSCRIBE.
const AT_ONCE: usize = 500;
/// What a phase lasts.
const PHASE: Duration = Duration::from_secs(6);
/// Bytes on disk that are nothing to worry about, whatever was there before.
const ROOM: u64 = 8 << 20;
/// The same in memory, where the store remembers what it has read and written.
const CACHE: u64 = 96 << 20;

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let sizes = entries.filter_map(Result::ok).map(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true => size(&path),
            // One that is just replaced counts for nothing.
            false => entry.metadata().map_or(0, |it| it.len()),
        }
    });
    sizes.sum()
}

/// Filters that nobody had before come and go; how many.
fn churn(client: &mut Client, period: Duration) -> usize {
    let until = Instant::now() + period;
    let mut n_filters = 0;
    while Instant::now() < until {
        let name = unique("churn");
        let filters: Vec<String> = (0..AT_ONCE).map(|at| format!("{name}/{at}/+")).collect();
        let asked: Vec<(&str, u8)> = filters.iter().map(|filter| (&**filter, 0)).collect();
        let codes = client.subscribe_with(&Properties::new(), &asked).codes;
        assert!(codes.iter().all(|code| *code < 3), "{codes:?}");
        let names: Vec<&str> = filters.iter().map(|filter| &**filter).collect();
        let id = client.next_id();
        client.send(&wire::unsubscribe(5, id, &Properties::new(), &names));
        client.recv_kind(wire::UNSUBACK);
        n_filters += AT_ONCE;
    }
    n_filters
}

fn costs(node: &Node) -> (u64, u64) {
    (size(&node.data_dir()), node.rss_kib() << 10)
}

#[test]
fn d8_filters_that_come_and_go_leave_nothing() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let (control, gateway) = (cluster.node("c1"), cluster.node("g1"));
    let mut client = gateway.v5(&unique("churn"));
    client.set_limit(Duration::from_secs(20));
    let first = churn(&mut client, PHASE);
    let before = costs(control);
    let second = churn(&mut client, 2 * PHASE);
    let after = costs(control);
    eprintln!("{first} filters: {before:?} bytes; {second} more: {after:?} bytes");
    assert!(first + second > 20_000, "{first} + {second} filters");
    // Twice as many again, between two snapshots; and the store's file doubles when it is full.
    assert!(
        after.0 < 6 * before.0 + ROOM,
        "on disk: {before:?}, {after:?}"
    );
    assert!(
        after.1 < before.1 + CACHE,
        "in memory: {before:?}, {after:?}"
    );
    let (_, routes) = control.get("/api/v1/routes").expect("the node answers");
    assert!(!routes.contains("churn"), "{routes}");
    // Who comes back has all of it, and not more.
    control.restart();
    is_well(&cluster);
}
