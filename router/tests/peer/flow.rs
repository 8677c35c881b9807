//! Order, batches, credit, back-pressure.

use std::sync::Arc;
use std::time::Duration;

use gatemq_proto::mqtt::Qos;
use gatemq_router::peer::{Picks, Verdict};

use crate::node::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_of_each_publisher_is_kept_when_many_publish() {
    let destination = Destination::start(Manner::Accept).await;
    let source = Arc::new(Source::to(destination.address));
    const EACH: u64 = 3000;
    let publish = |publisher: u64| {
        let source = source.clone();
        move || {
            for n in 0..EACH {
                let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][n as usize % 3];
                assert!(source.send(publisher, publisher * EACH + n, qos));
            }
        }
    };
    let threads: Vec<_> = (0..6)
        .map(|p| tokio::task::spawn_blocking(publish(p)))
        .collect();
    for thread in threads {
        thread.await.unwrap();
    }
    let all = 6 * EACH as usize;
    until("all arrived and settled", || {
        destination.n_arrived() == all && source.n_settled() == all
    })
    .await;
    for (publisher, ids) in destination.by_publisher() {
        let expected: Vec<u64> = (publisher * EACH..(publisher + 1) * EACH).collect();
        assert_eq!(ids, expected);
    }
    let notes = source.notes.lock();
    assert!(
        notes
            .iter()
            .all(|(_, verdict)| *verdict == Verdict::Accepted)
    );
    for publisher in 0..6 {
        // Those of QoS 0 are settled when they are sent, the others when they are answered.
        let own = |id: &u64| id / EACH == publisher && !(id % EACH).is_multiple_of(3);
        let ids: Vec<u64> = notes.iter().map(|(id, _)| *id).filter(own).collect();
        assert!(ids.is_sorted() && ids.len() == EACH as usize / 3 * 2);
    }
    assert_eq!(destination.metrics.n_received(), source.metrics.n_sent());
    let lanes: std::collections::HashSet<u32> = destination
        .recorder
        .arrivals
        .lock()
        .iter()
        .map(|arrival| arrival.inlet.lane())
        .collect();
    assert_eq!(lanes.len(), 2, "both lanes are used");
}

/// On one thread, so that nothing is sent while the test does not wait.
#[tokio::test]
async fn batches_grow_under_load_and_an_idle_stream_sends_at_once() {
    let destination = Destination::start(Manner::Accept).await;
    let source = Source::to(destination.address);
    for id in 1..=20 {
        source.send(1, id, Qos::AtLeastOnce);
        until("the only message is settled", || {
            source.n_settled() == id as usize
        })
        .await;
    }
    assert_eq!(source.metrics.n_sent(), (20, 20));
    source.send_many(21..=3020);
    until("all are settled", || source.n_settled() == 3020).await;
    let (batches, messages) = source.metrics.n_sent();
    assert_eq!((batches, messages), (20 + 3, 3020));
    assert_eq!(source.notes.lock()[..], accepted(1..=3020));
}

#[tokio::test]
async fn a_destination_that_never_settles_stops_the_source_at_its_credit() {
    let destination = Destination::start(Manner::Hold).await;
    let mut config = config();
    config.credit_messages = 100;
    config.outbox_bytes = 100_000;
    let source = Source::start(&config);
    source
        .peers
        .set_node(DESTINATION, &destination.address.to_string());
    let mut n = 0;
    while !source.peers.is_congested() {
        n += 1;
        source.send(1, n, Qos::AtLeastOnce);
        if n.is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    assert!(n > 300);
    until("the credit is used", || destination.n_arrived() == 100).await;
    // QoS 0 is dropped, QoS 1 still taken.
    while !source.peers.is_congested() {
        n += 1;
        source.send(1, n, Qos::AtLeastOnce);
    }
    assert!(!source.send(1, n + 1, Qos::AtMostOnce));
    assert!(source.send(1, n + 1, Qos::AtLeastOnce));
    n += 1;
    assert_eq!(source.metrics.n_dropped(), 1);
    assert_eq!(source.n_settled(), 1);
    let relieved = tokio::time::timeout(Duration::from_millis(50), source.peers.relieved());
    assert!(relieved.await.is_err());
    assert_eq!(destination.n_arrived(), 100, "nothing comes without credit");
    destination.settle_all();
    within(source.peers.relieved()).await;
    assert!(!source.peers.is_congested());
    within(source.peers.flushed()).await;
    assert_eq!(source.n_settled(), n as usize + 1);
    assert_eq!(source.notes.lock()[1..], accepted(1..=n));
}

#[tokio::test]
async fn a_slow_destination_holds_the_source_back() {
    let destination = Destination::start(Manner::Accept).await;
    let gate = &destination.recorder.gate;
    let permits = gate.available_permits();
    gate.forget_permits(permits);
    let mut config = config();
    config.outbox_bytes = 4 << 20;
    let source = Source::start(&config);
    source
        .peers
        .set_node(DESTINATION, &destination.address.to_string());
    let payload = |id: u64| [&id.to_be_bytes()[..], &vec![0; 64 << 10]].concat();
    let send = |id: u64| {
        let parcel =
            outgoing(1, id, Qos::AtLeastOnce, &payload(id)).address(true, Picks::default());
        source.send_parcel(1, id, parcel);
    };
    let mut n = 0;
    // Until it stays congested: HTTP/2 takes a few windows, and no more.
    let mut relieved = true;
    while relieved {
        while !source.peers.is_congested() {
            n += 1;
            send(n);
        }
        let relief = tokio::time::timeout(Duration::from_millis(300), source.peers.relieved());
        relieved = relief.await.is_ok();
        assert!(n < 200, "13 MB for a bound of 4 MiB");
    }
    assert_eq!(destination.n_arrived(), 0);
    gate.add_permits(permits);
    within(source.peers.flushed()).await;
    assert_eq!(destination.ids(), (1..=n).collect::<Vec<_>>());
    assert_eq!(source.notes.lock()[..], accepted(1..=n));
}

#[tokio::test]
async fn one_large_message_goes_through() {
    let destination = Destination::start(Manner::Accept).await;
    let source = Source::to(destination.address);
    let payload = [&1u64.to_be_bytes()[..], &vec![7; 20 << 20]].concat();
    let large = outgoing(1, 1, Qos::AtLeastOnce, &payload).address(true, Picks::default());
    source.send_parcel(1, 1, large);
    source.send(1, 2, Qos::AtLeastOnce);
    within(source.peers.flushed()).await;
    assert_eq!(source.notes.lock()[..], accepted(1..=2));
    assert_eq!(
        destination.recorder.arrivals.lock()[0].message.payload,
        payload
    );
}
