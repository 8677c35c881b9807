//! Bytes of retained messages that nobody has written down: added up by pages, while others set some.

use std::collections::BTreeMap;

use redis::Value;

use super::fixture::{Random, Rig, Server, message};
use crate::store::keys;
use crate::store::redis::layout::shard_of;

/// All topics are of the shard of this level.
const LEVEL: &str = "a";

/// What is set, and how long its stored form is.
type Model = BTreeMap<String, u64>;

/// Topics that are others' beginnings, and in another order as text than as numbers.
fn topic(random: &mut Random) -> String {
    let level = ["", "b", "\u{e9}", "\u{1F980}", "b/c"][random.below(5) as usize];
    format!("{LEVEL}/{}{level}", random.below(300))
}

/// Sets or clears some, in one call.
async fn change(rig: &Rig, random: &mut Random, model: &mut Model) {
    let ticket = rig.submit(|batch| {
        for _ in 0..1 + random.below(4) {
            let topic = topic(random);
            if random.below(3) > 0 {
                let payload = vec![b'x'; random.below(200) as usize];
                let value = message(&topic, &payload, u64::MAX);
                batch.put(&keys::retained(&topic), &value);
                model.insert(topic, value.len() as u64);
            } else {
                batch.delete(&keys::retained(&topic));
                model.remove(&topic);
            }
        }
    });
    rig.verdict(ticket).await;
}

fn written() -> String {
    format!("gatemq:{{r{}}}:b", shard_of(LEVEL.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_exact_although_some_are_set_between_the_pages() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let (mut random, mut model) = (Random(0x5eed_0047), Model::new());
    let shard = shard_of(LEVEL.as_bytes());
    for round in 0..4 {
        for _ in 0..200 {
            change(&rig, &mut random, &mut model).await;
        }
        server.ask(&["DEL", &written()]).await;
        let (mut n_pages, n_before) = (0, model.len());
        loop {
            change(&rig, &mut random, &mut model).await;
            let is_more = rig.store.weigh_retained(shard, 1 + 6 * round).await;
            n_pages += 1;
            if !is_more.expect("an answer") {
                break;
            }
            assert!(rig.store.n_retained_bytes() <= model.values().sum::<u64>());
        }
        assert!(n_pages > n_before / 30, "{n_pages}");
        for _ in 0..3 {
            assert_eq!(rig.store.n_retained(), model.len() as u64);
            let sum: u64 = model.values().sum();
            assert_eq!(rig.store.n_retained_bytes(), sum);
            let found: Value = server.ask(&["GET", &written()]).await;
            let found: String = redis::from_redis_value(found).expect("it is written");
            assert_eq!(found, sum.to_string());
            change(&rig, &mut random, &mut model).await;
        }
    }
}

/// Counting never copies values into a script, and goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn counting_reads_no_values_and_ends_with_the_sum() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let (mut random, mut model) = (Random(0x5eed_0048), Model::new());
    for _ in 0..2_000 {
        change(&rig, &mut random, &mut model).await;
    }
    assert!(model.len() > 600, "more than a page");
    server.ask(&["DEL", &written()]).await;
    server.ask(&["CONFIG", "RESETSTAT"]).await;
    let n = rig.store.count_retained().await.expect("a number");
    assert_eq!(n, model.len() as u64);
    assert_eq!(rig.store.n_retained_bytes(), model.values().sum::<u64>());
    let calls = calls(&server).await;
    assert!(!calls.contains("cmdstat_hvals") && calls.contains("cmdstat_hstrlen"));
}

/// Where nothing is changed, no replica is waited for: the connection is that of claims, too.
#[tokio::test(flavor = "multi_thread")]
async fn counting_waits_for_no_replica_and_writes_nothing() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.n_replicas = 1;
    let rig = Rig::open(server.config()).await;
    let (mut random, mut model) = (Random(0x5eed_0049), Model::new());
    for _ in 0..20 {
        change(&rig, &mut random, &mut model).await;
    }
    let alone = Rig::open(config).await;
    server.ask(&["CONFIG", "RESETSTAT"]).await;
    let n = alone.store.count_retained().await.expect("a number");
    assert_eq!(n, model.len() as u64);
    assert_eq!(alone.store.n_retained_bytes(), model.values().sum::<u64>());
    let calls = calls(&server).await;
    assert!(!calls.contains("cmdstat_wait:"), "{calls}");
    assert!(!calls.contains("cmdstat_set:"), "{calls}");
}

/// Without memory nothing can be written down: a page is looked at, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_not_asked_again_and_again() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let (mut random, mut model) = (Random(0x5eed_0050), Model::new());
    for _ in 0..100 {
        change(&rig, &mut random, &mut model).await;
    }
    server.ask(&["DEL", &written()]).await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let shard = shard_of(LEVEL.as_bytes());
    let is_more = rig.store.weigh_retained(shard, 7).await;
    assert!(!is_more.expect("an answer"));
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    rig.store.count_retained().await.expect("a number");
    assert_eq!(rig.store.n_retained_bytes(), model.values().sum::<u64>());
}

/// What the server has carried out, by command.
async fn calls(server: &Server) -> String {
    let calls = server.ask(&["INFO", "commandstats"]).await;
    redis::from_redis_value(calls).expect("text")
}
