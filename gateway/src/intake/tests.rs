//! What a bridge brings, with a broker that has no clients.

use std::sync::Arc;

use super::take::{Fate, Taker};
use super::*;
use crate::completion;
use crate::proto::mqtt::Reason;

fn broker() -> Arc<Broker> {
    let broker = Broker::in_memory();
    broker.tasks.spawn(completion::run(broker.clone()));
    broker
}

fn message(topic: &str) -> Message {
    Message {
        id: 7,
        qos: 1,
        topic: topic.into(),
        payload: "p".into(),
        ..Message::default()
    }
}

async fn take(broker: &Arc<Broker>, message: &Message) -> Reason {
    let mut taker = Taker::new(broker, 5, bridges::client_id("r"));
    let fate = taker.take(broker, message, false);
    fate.expect("nothing is open").known().await
}

#[tokio::test]
async fn a_message_is_answered_as_a_clients_is() {
    let broker = broker();
    let reason = take(&broker, &message("a/b")).await;
    assert_eq!(reason, Reason::NoMatchingSubscribers);
    let retained = Message {
        retain: true,
        ..message("a/c")
    };
    assert_eq!(take(&broker, &retained).await, reason);
    assert_eq!(broker.retained.len(), 1);
    broker.tasks_end.cancel();
}

#[tokio::test]
async fn a_message_keeps_the_name_that_its_bridge_gave_it() {
    let broker = Broker::in_cluster();
    let mut taker = Taker::new(&broker, 5, bridges::client_id("r"));
    assert!(taker.take(&broker, &message("a/b"), false).is_some());
    let cluster = broker.cluster.as_ref().expect("a cluster");
    assert!(cluster.seen.lock().has(5, 7), "so that a repeat is known");
}

#[tokio::test]
async fn what_no_client_may_publish_is_refused() {
    let broker = broker();
    let large = broker.config.limits.maximum_packet_size as usize;
    for (wrong, expected) in [
        (message(""), Reason::TopicNameInvalid),
        (message("a/#"), Reason::TopicNameInvalid),
        (message("$SYS/x"), Reason::NotAuthorized),
        (
            Message {
                payload: vec![0; large].into(),
                ..message("a")
            },
            Reason::PacketTooLarge,
        ),
        (
            Message {
                properties: vec![0x26, 0].into(),
                ..message("a")
            },
            Reason::MalformedPacket,
        ),
        (
            Message {
                qos: 3,
                ..message("a")
            },
            Reason::QosNotSupported,
        ),
    ] {
        assert_eq!(take(&broker, &wrong).await, expected);
    }
    broker.tasks_end.cancel();
}

#[tokio::test]
async fn answers_leave_in_the_order_of_the_messages() {
    let (notes, noted) = mpsc::channel(8);
    let (replies, mut replied) = mpsc::channel(8);
    let (counter, answered) = watch::channel(0);
    let (first, fate) = tokio::sync::oneshot::channel();
    for (number, fate) in [
        (3, Fate::Waits(fate, Reason::Success)),
        (4, Fate::Known(Reason::NoMatchingSubscribers)),
        (5, Fate::Known(Reason::Success)),
    ] {
        let sent = notes.send(Note::Fate(number, fate)).await;
        assert!(sent.is_ok());
    }
    assert!(notes.send(Note::End(stops())).await.is_ok());
    let answering = tokio::spawn(answer(noted, counter, replies));
    tokio::task::yield_now().await;
    assert!(replied.try_recv().is_err(), "the first is not known");
    first.send(Some(Reason::QuotaExceeded)).expect("it waits");
    let reply = replied.recv().await.expect("a reply").expect("no error");
    assert_eq!((reply.first, &reply.reasons[..]), (3, &[0x97, 0x10, 0][..]));
    assert_eq!(*answered.borrow(), 3);
    assert!(replied.recv().await.expect("the end").is_err());
    answering.await.expect("it ends");
}

#[tokio::test]
async fn what_would_wait_for_answers_that_nobody_gives_ends_the_stream() {
    let broker = Broker::in_cluster();
    let (counter, answered) = watch::channel(0);
    let mut reader = Reader {
        broker: broker.clone(),
        taker: Taker::new(&broker, 5, bridges::client_id("r")),
        n_taken: 1,
        answered,
        was_retained: false,
    };
    let cluster = broker.cluster.as_ref().expect("a cluster");
    drop(cluster.moves.change());
    drop(counter);
    for retain in [false, true] {
        let message = Message {
            retain,
            ..message("a/b")
        };
        let taken = tokio::time::timeout(PATIENCE, reader.take(&message)).await;
        assert!(taken.expect("it ends").is_none());
    }
}
