//! Streams that break, nodes that go.

use std::time::{Duration, Instant};

use gatemq_proto::mqtt::Qos;
use gatemq_router::peer::Verdict;

use crate::node::*;
use crate::relay::Relay;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_cuts_all_is_sent_again_in_order_and_settled_once() {
    let destination = Destination::start(Manner::Accept).await;
    let relay = Relay::to(destination.address).await;
    let source = Source::to(relay.address);
    const ALL: u64 = 20_000;
    for id in 1..=ALL {
        source.send(id % 4, id, Qos::AtLeastOnce);
        if id % 2000 == 500 {
            let n = source.n_settled();
            until("it goes on", || source.n_settled() > n).await;
            relay.cut();
        }
    }
    within(source.peers.flushed()).await;
    let mut notes = source.notes.lock().clone();
    notes.sort_by_key(|(id, _)| *id);
    assert!(
        notes == accepted(1..=ALL),
        "{} of {ALL} settled",
        notes.len()
    );
    let by_publisher = destination.by_publisher();
    assert_eq!(
        by_publisher.values().map(Vec::len).sum::<usize>(),
        ALL as usize
    );
    assert!(by_publisher.values().all(|ids| ids.is_sorted()));
    let scrape = source.scrape();
    for line in ["\npeer_unsettled 0\n", "\npeer_waiting_bytes 0\n"] {
        assert!(scrape.contains(line), "{scrape}");
    }
    assert!(
        relay.n_connections() > 5,
        "{} connections",
        relay.n_connections()
    );
}

#[tokio::test]
async fn what_was_held_at_a_cut_comes_again_marked_and_before_the_rest() {
    let destination = Destination::start(Manner::Hold).await;
    let relay = Relay::to(destination.address).await;
    let source = Source::to(relay.address);
    source.send_many(1..=10);
    until("all have come", || destination.n_arrived() == 10).await;
    let first = destination.recorder.arrivals.lock().clone();
    for arrival in &first[..4] {
        arrival.inlet.settle(arrival.number, Verdict::Accepted);
    }
    until("four are settled", || source.n_settled() == 4).await;
    relay.cut();
    source.send_many(11..=12);
    until("the rest has come again", || destination.n_arrived() == 18).await;
    assert_eq!(destination.ids()[10..], (5..=12).collect::<Vec<_>>());
    assert_eq!(destination.by_publisher()[&1], (1..=12).collect::<Vec<_>>());
    // The last two may have been written to the stream that was cut.
    assert!((6..=8).contains(&source.metrics.n_resent()));
    // What is settled on the old stream is heard by nobody.
    until("the old stream is over", || first[5].inlet.is_over()).await;
    first[5].inlet.settle(first[5].number, Verdict::Moved);
    destination.settle_all();
    within(source.peers.flushed()).await;
    assert_eq!(source.notes.lock()[..], accepted(1..=12));
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed() {
    let destination = Destination::start(Manner::Accept).await;
    let relay = Relay::to(destination.address).await;
    let mut config = config();
    config.silence = Duration::from_millis(400);
    let source = Source::start(&config);
    source
        .peers
        .set_node(DESTINATION, &relay.address.to_string());
    source.send_many(1..=1);
    until("the first is settled", || source.n_settled() == 1).await;
    relay.stall();
    let start = Instant::now();
    source.send_many(2..=3);
    within(source.peers.flushed()).await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(source.notes.lock()[..], accepted(1..=3));
}

#[tokio::test]
async fn a_node_that_is_removed_moves_all_it_has_not_answered() {
    let destination = Destination::start(Manner::Hold).await;
    let mut config = config();
    config.credit_messages = 20;
    let source = Source::start(&config);
    source
        .peers
        .set_node(DESTINATION, &destination.address.to_string());
    source.send_many(1..=50);
    source.send(1, 51, Qos::AtMostOnce);
    until("the credit is used", || destination.n_arrived() == 20).await;
    source.peers.remove_node(DESTINATION);
    assert_eq!(source.notes.lock()[..], moved(1..=51));
    assert_eq!(source.metrics.n_dropped(), 1);
    assert!(!source.send(1, 52, Qos::AtLeastOnce));
    assert_eq!(source.notes.lock()[50..], moved(51..=52));
    assert!(!source.peers.is_congested());
    within(source.peers.flushed()).await;
    // The destination sees the stream end, and settling has no effect.
    let inlet = destination.recorder.arrivals.lock()[0].inlet.clone();
    until("the stream is over", || inlet.is_over()).await;
    destination.settle_all();
    assert_eq!(source.n_settled(), 52);
}

#[tokio::test]
async fn a_source_that_begins_again_sends_nothing_of_before() {
    let destination = Destination::start(Manner::Hold).await;
    let source = Source::start(&config());
    let address = destination.address.to_string();
    source.peers.set_node(DESTINATION, &address);
    source.send_many(1..=5);
    until("all are there", || destination.n_arrived() == 5).await;
    source.peers.begin_again();
    assert_eq!(source.notes.lock()[..], moved(1..=5));
    assert!(!source.send(1, 6, Qos::AtLeastOnce), "no node is known");
    // The same node at once, on a new stream.
    source.peers.set_node(DESTINATION, &address);
    source.send_many(7..=8);
    until("the new ones are there", || destination.n_arrived() >= 7).await;
    assert_eq!(destination.ids()[5..], [7, 8]);
    destination.settle_all();
    within(source.peers.flushed()).await;
    let all = [moved(1..=6), accepted(7..=8)].concat();
    assert_eq!(source.notes.lock()[..], all);
}

#[tokio::test]
async fn an_unknown_node_moves_at_once() {
    let source = Source::start(&config());
    assert!(!source.send(1, 1, Qos::ExactlyOnce));
    assert!(!source.send(1, 2, Qos::AtMostOnce));
    assert_eq!(source.notes.lock()[..], moved(1..=2));
}

#[tokio::test]
async fn what_waits_for_a_node_that_is_not_there_yet_comes_when_it_is() {
    let source = Source::start(&config());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    source.peers.set_node(DESTINATION, &address.to_string());
    source.send_many(1..=5);
    let destination = Destination::start(Manner::Accept).await;
    source
        .peers
        .set_node(DESTINATION, &destination.address.to_string());
    within(source.peers.flushed()).await;
    assert_eq!(source.notes.lock()[..], accepted(1..=5));
}

#[tokio::test]
async fn a_node_at_another_address_gets_what_the_old_one_had_not_answered() {
    let old = Destination::start(Manner::Hold).await;
    let new = Destination::start(Manner::Accept).await;
    let source = Source::to(old.address);
    source.send_many(1..=5);
    until("the old one has them", || old.n_arrived() == 5).await;
    source.peers.set_node(DESTINATION, &new.address.to_string());
    within(source.peers.flushed()).await;
    assert_eq!(new.ids(), [1, 2, 3, 4, 5]);
    assert_eq!(source.notes.lock()[..], accepted(1..=5));
}

#[tokio::test]
async fn at_the_end_tasks_end_and_receipts_stay_unsettled() {
    let destination = Destination::start(Manner::Hold).await;
    let source = Source::to(destination.address);
    source.send_many(1..=5);
    until("all have come", || destination.n_arrived() == 5).await;
    source.stop.cancel();
    source.tracker.close();
    within(source.tracker.wait()).await;
    assert_eq!(source.n_settled(), 0);
    let inlet = destination.recorder.arrivals.lock()[0].inlet.clone();
    until("the stream is over", || inlet.is_over()).await;
}
