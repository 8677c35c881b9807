//! A Redis Cluster of three nodes.

use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::fixture::{Rig, Server, append, claim, eventually, message, subscribed};
use crate::store::redis::layout::Layout;
use crate::store::redis::layout::slice_of;
use crate::store::redis::{Adopted, Config, Fenced, Here, OpenError, RedisStore, Servers};
use crate::store::{keys, record};

/// Starts three nodes and makes them a cluster.
async fn three() -> Vec<Server> {
    let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let start = || Server::start(&arguments);
    let (a, b, c) = tokio::join!(start(), start(), start());
    let nodes = vec![a, b, c];
    let bounds = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];
    for (at, (node, (first, last))) in nodes.iter().zip(bounds).enumerate() {
        node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])
            .await;
        let slots: Vec<String> = (first..=last).map(|slot: u16| slot.to_string()).collect();
        let mut words = vec!["CLUSTER", "ADDSLOTS"];
        words.extend(slots.iter().map(String::as_str));
        assert_eq!(node.ask(&words).await, Value::Okay);
        let port = nodes[0].port.to_string();
        node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).await;
    }
    settle(&nodes).await;
    nodes
}

/// Waits until all nodes know of all slots.
async fn settle(nodes: &[Server]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    for node in nodes {
        loop {
            let info: String =
                redis::from_redis_value(node.ask(&["CLUSTER", "INFO"]).await).expect("a text");
            if info.contains("cluster_state:ok") && info.contains("cluster_size:3") {
                break;
            }
            assert!(Instant::now() < deadline, "the cluster does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn config(nodes: &[Server]) -> Config {
    Config::new(Servers::Cluster(vec![nodes[1].address()]))
}

async fn id_of(node: &Server) -> String {
    redis::from_redis_value(node.ask(&["CLUSTER", "MYID"]).await).expect("a text")
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_retained_messages_are_on_all_nodes() {
    let nodes = three().await;
    let (a, b) = (
        Rig::open(config(&nodes)).await,
        Rig::open(config(&nodes)).await,
    );
    let names: Vec<String> = (0..60).map(|n| format!("c{n}")).collect();
    let mut numbers = Vec::new();
    for name in &names {
        numbers.push(a.take(&claim(name, 1)).await.number);
    }
    a.write(|batch| {
        for (n, number) in numbers.iter().enumerate() {
            append(batch, *number, 0..5);
            batch.put(
                &keys::filter(*number, "a/#"),
                &record::store_subscribed(&subscribed(1)),
            );
            let topic = format!("t{n}/x");
            batch.put(&keys::retained(&topic), &message(&topic, b"1", u64::MAX));
        }
    })
    .await;
    assert_eq!(b.store.count_retained().await.expect("a number"), 60);
    for node in &nodes {
        assert!(node.keys().await.len() > 20);
    }
    for (name, number) in names.iter().zip(&numbers) {
        let mut second = claim(name, 2);
        second.force = Some((*number, 1));
        let taken = b.take(&second).await;
        let stored = taken
            .resumed
            .expect("it is resumed")
            .stored
            .expect("all of it");
        assert_eq!(stored.subscriptions.len(), 1);
        assert_eq!(b.seqs(*number).await, [0, 1, 2, 3, 4]);
    }
    let ticket = a.submit(|batch| {
        numbers
            .iter()
            .for_each(|number| append(batch, *number, [9]))
    });
    assert_eq!(a.verdict(ticket).await.fenced().len(), 60);
    let adopted = a.store.adopt(&names[7], (2, 3), None, 0).await;
    let Ok(Adopted::Taken(adopted)) = adopted else {
        panic!("{adopted:?}");
    };
    assert_eq!((adopted.number, adopted.epoch), (numbers[7], 3));
    let here = Here {
        client_id: &names[7],
        number: numbers[7],
        owner: 3,
        epoch: 3,
    };
    let made_known = a.store.made_known(here, &adopted.trail).await;
    made_known.expect("an answer");
    let mut clean = claim(&names[8], 2);
    clean.clean_start = true;
    let ended = b.take(&clean).await.ended.expect("there was one");
    assert_eq!((ended.number, ended.n_queued), (numbers[8], 5));
    let mut database = config(&nodes);
    database.db = 1;
    let opened = RedisStore::<u64>::open(database, |_| {}).await;
    assert!(matches!(opened, Err(OpenError::Database)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_whole_while_its_slot_moves() {
    let nodes = three().await;
    let rig = Rig::open(config(&nodes)).await;
    let name = "c";
    let number = rig.take(&claim(name, 1)).await.number;
    rig.write(|batch| {
        append(batch, number, 0..50);
        batch.put(
            &keys::filter(number, "a/#"),
            &record::store_subscribed(&subscribed(1)),
        );
    })
    .await;
    // All keys that every claim names are there: another session of the slice has ended.
    let names = (0..).map(|n| format!("other {n}"));
    let mut names = names.filter(|other| slice_of(other) == slice_of(name));
    let other = names.next().expect("there is one in a thousand");
    let ended = rig.take(&claim(&other, 1)).await.number;
    rig.write(|batch| append(batch, ended, [1])).await;
    rig.write(|batch| batch.delete(&keys::session(ended))).await;
    let slot = Layout::new("gatemq")
        .slot_of_slice(slice_of(name))
        .to_string();
    let from = &nodes[usize::from(slot.parse::<u16>().expect("a slot") / 5_461).min(2)];
    let to = nodes
        .iter()
        .find(|node| node.port != from.port)
        .expect("another");
    let (from_id, to_id) = (id_of(from).await, id_of(to).await);
    to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])
        .await;
    from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id])
        .await;
    // Only its queue is over there; the session itself is not.
    let to_port = to.port.to_string();
    let queue = Layout::new("gatemq").of(slice_of(name), b'q', number);
    let migrate = |key: &str| {
        let words = ["MIGRATE", "127.0.0.1", &to_port, key, "0", "5000"].map(str::to_owned);
        async move { from.ask(&words.each_ref().map(String::as_str)).await }
    };
    assert_eq!(migrate(&queue).await, Value::Okay);
    let mut before = rig.n_done();
    for seq in 50..60 {
        before = rig.submit(|batch| append(batch, number, [seq]));
    }
    assert!(
        rig.seqs(number).await.len() >= 50,
        "one key is read where it is"
    );
    // Through a store that has nothing to write first.
    let resumed = Rig::open(config(&nodes)).await;
    let resumed = resumed.store.claim(&claim(name, 1)).await;
    assert!(
        resumed.is_err(),
        "half a session is not given to anybody: {resumed:?}"
    );
    for key in from.keys().await {
        if key.contains(&format!("{{{}}}", slice_of(name))) {
            migrate(&key).await;
        }
    }
    for node in [to, from] {
        node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id])
            .await;
    }
    assert!(rig.verdict(before).await.is_safe());
    assert!(rig.seqs(number).await.into_iter().eq(0..60));
    let taken = rig.take(&claim(name, 1)).await;
    let stored = taken
        .resumed
        .expect("it is resumed")
        .stored
        .expect("all of it");
    assert_eq!(taken.epoch, 2, "the other claim did nothing");
    assert_eq!((taken.number, stored.subscriptions.len()), (number, 1));
    assert_eq!(stored.queue.map(|queue| queue.n_entries), Some(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_gets_what_waited() {
    let mut nodes = three().await;
    let rig = Rig::open(config(&nodes)).await;
    let mut numbers = Vec::new();
    for n in 0..30 {
        numbers.push(rig.take(&claim(&format!("c{n}"), 1)).await.number);
    }
    let all = |batch: &mut gatemq_storage::Batch, seq| {
        numbers
            .iter()
            .for_each(|number| append(batch, *number, [seq]));
    };
    rig.write(|batch| all(batch, 0)).await;
    nodes[2].kill();
    let ticket = rig.submit(|batch| all(batch, 1));
    eventually("it is noticed", || {
        matches!(
            *rig.store.health().borrow(),
            crate::store::redis::Health::Down { .. }
        )
    })
    .await;
    let done = rig.n_done();
    assert!(done <= ticket, "nothing is done by halves");
    nodes[2].restart().await;
    settle(&nodes).await;
    assert!(rig.verdict(ticket).await.is_safe());
    for number in &numbers {
        assert_eq!(rig.seqs(*number).await, [0, 1]);
    }
    // A whole cluster that forgets.
    for node in &nodes {
        node.ask(&["FLUSHALL"]).await;
    }
    let ticket = rig.submit(|batch| all(batch, 2));
    let fenced = rig.verdict(ticket).await.fenced();
    assert!(fenced.len() == 30 && fenced.iter().all(|(_, why)| *why == Fenced::Missing));
}
