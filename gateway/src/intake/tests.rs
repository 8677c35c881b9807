//! What a bridge brings, with a broker whose clients are not connected.

use std::sync::Arc;

use gatemq_router::peer::First;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use super::take::{Fate, Named, Taker};
use super::*;
use crate::completion;
use crate::proto::cluster::intake::Batch;
use crate::proto::cluster::intake::intake_client::IntakeClient;
use crate::proto::mqtt::Reason;
use crate::session::link::Link;
use crate::session::outbound::Outbound;
use crate::session::received::Origin;
use crate::session::{Life, Session, Subscription};

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

/// One of a cluster, with a lease.
fn in_cluster() -> Arc<Broker> {
    let broker = Broker::in_cluster();
    broker.tasks.spawn(completion::run(broker.clone()));
    let cluster = broker.cluster.as_ref().expect("there is one");
    cluster.begin_lease(broker.clock.now());
    broker
}

/// One that subscribes to a topic and is away, with room for less than [`LARGE`] bytes.
fn subscribe(broker: &Broker, topic: &str) -> Arc<Session> {
    let settings = [
        ("limits.max-queued-bytes", LARGE.to_string()),
        ("session.on-full", "reject".to_owned()),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value));
    broker.settings.apply(&settings.into());
    let session = Arc::new(Session::new(7, "c", Outbound::new(true), Life::default()));
    let subscription = Subscription::any(session.clone(), Qos::AtLeastOnce);
    broker.table.subscribe(None, topic, 7, subscription);
    session
}

/// More than a session has room for.
const LARGE: usize = 1 << 10;

/// Brings these on a stream of its own; what they are answered, until the stream ends or all are.
async fn bring(broker: &Arc<Broker>, is_last_try: bool, messages: &[Message]) -> Vec<u8> {
    let batch = Batch {
        first: 1,
        messages: messages.to_vec(),
        is_last_try,
    };
    bring_batch(broker, batch).await.0
}

/// The same of a batch, and how the stream ended before all were.
async fn bring_batch(broker: &Arc<Broker>, batch: Batch) -> (Vec<u8>, Result<(), Status>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let server: tonic::transport::Server = tonic::transport::Server::builder();
    let serving = { server }
        .add_service(service(broker))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(serving);
    let address = format!("http://{address}");
    let mut client = IntakeClient::connect(address).await.expect("it is there");
    let open = Kind::Open(Open {
        cluster_id: bytes::Bytes::from_static(&[7; 16]),
        source: 5,
        rule: "r".to_owned(),
    });
    let n_messages = batch.messages.len();
    let batch = Kind::Batch(batch);
    let (requests, stream) = mpsc::channel(2);
    for kind in [open, batch] {
        let request = PublishRequest { kind: Some(kind) };
        requests.send(request).await.expect("it is read");
    }
    let opened = client.publish(ReceiverStream::new(stream)).await;
    let mut replies = opened.expect("it opens").into_inner();
    let mut reasons = Vec::new();
    let reading = async {
        while reasons.len() < n_messages
            && let Some(reply) = replies.message().await?
        {
            reasons.extend(reply.reasons);
        }
        Ok(())
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    let end = read.expect("it answers, or ends");
    serving.abort();
    (reasons, end)
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
async fn a_batch_whose_numbers_are_none_is_refused_and_nothing_else_is() {
    let broker = in_cluster();
    for (first, is_refused) in [(u64::MAX, true), (u64::MAX - 1, false)] {
        let batch = Batch {
            first,
            messages: vec![message("a/b")],
            is_last_try: true,
        };
        let (reasons, end) = bring_batch(&broker, batch).await;
        let code = end.err().map(|status| status.code());
        let expected = is_refused.then_some(tonic::Code::InvalidArgument);
        assert_eq!((code, reasons.is_empty()), (expected, is_refused));
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
        (3, Fate::Waits(fate, Reason::Success, None)),
        (4, Fate::Known(Reason::NoMatchingSubscribers)),
        (5, Fate::Known(Reason::Success)),
    ] {
        let sent = notes.send(Note::Fate(number, fate, true)).await;
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

/// Somebody has no room for the first, and would have for those behind it.
#[tokio::test]
async fn nothing_is_taken_behind_a_message_that_comes_again() {
    let broker = in_cluster();
    let session = subscribe(&broker, "t");
    let named = |id, n_bytes| Message {
        id,
        payload: vec![0; n_bytes].into(),
        ..message("t")
    };
    let messages = [named(1, 1), named(2, LARGE), named(3, 2)];
    let n_queued = || session.outbound.lock().n_queued();
    assert_eq!(bring(&broker, false, &messages).await, [0, 0x97]);
    assert_eq!(n_queued(), 1, "those behind it have to wait");
    let cluster = broker.cluster.as_ref().expect("a cluster");
    assert!(!cluster.seen.lock().has(5, 3));
    // It is given up.
    assert_eq!(bring(&broker, true, &messages).await, [0, 0x97, 0]);
    assert!(cluster.seen.lock().has(5, 3));
    broker.tasks_end.cancel();
}

/// One has no room for it, and it comes again until that has: here others have had it.
#[tokio::test]
async fn what_some_had_comes_once_to_them_until_others_have_room() {
    let broker = in_cluster();
    let full = subscribe(&broker, "full");
    let [connected, away] = [(8, false), (9, true)].map(|(number, is_stored)| {
        let mut outbound = Outbound::new(is_stored);
        if !is_stored {
            outbound.attach(Link::any(9));
        }
        Arc::new(Session::new(number, "d", outbound, Life::default()))
    });
    for session in [&full, &connected, &away] {
        let subscription = Subscription::any(session.clone(), Qos::ExactlyOnce);
        broker
            .table
            .subscribe(None, "t", session.number, subscription);
    }
    let named = |id, topic, n_bytes| Message {
        id,
        qos: 2,
        payload: vec![0; n_bytes].into(),
        ..message(topic)
    };
    let first = named(1, "full", LARGE * 3 / 4);
    assert_eq!(bring(&broker, false, &[first]).await, [0]);
    let second = [named(2, "t", LARGE / 2)];
    for _ in 0..3 {
        assert_eq!(bring(&broker, false, &second).await, [0x97]);
    }
    broker.settings.apply(&Default::default());
    assert_eq!(bring(&broker, false, &second).await, [0]);
    assert_eq!(connected.outbound.lock().n_inflight(), 1);
    assert_eq!(away.outbound.lock().n_queued(), 1);
    assert_eq!(full.outbound.lock().n_queued(), 2);
    broker.tasks_end.cancel();
}

#[tokio::test]
async fn the_stream_ends_with_what_is_refused_elsewhere_and_comes_again() {
    let (notes, noted) = mpsc::channel(8);
    let (replies, mut replied) = mpsc::channel(8);
    let (counter, mut answered) = watch::channel(0);
    let (first, fate) = tokio::sync::oneshot::channel();
    for (number, fate) in [
        (3, Fate::Known(Reason::Success)),
        (4, Fate::Waits(fate, Reason::Success, None)),
        (5, Fate::Known(Reason::Success)),
    ] {
        let sent = notes.send(Note::Fate(number, fate, false)).await;
        assert!(sent.is_ok());
    }
    first.send(Some(Reason::QuotaExceeded)).expect("it waits");
    let answering = tokio::time::timeout(PATIENCE, answer(noted, counter, replies));
    answering.await.expect("it ends, though more could come");
    let reply = replied.recv().await.expect("a reply").expect("no error");
    assert_eq!((reply.first, &reply.reasons[..]), (3, &[0, 0x97][..]));
    assert!(replied.recv().await.expect("the end").is_err());
    assert!(notes.is_closed());
    let settled = answered.wait_for(|n| *n >= 2).await;
    assert!(settled.is_err(), "who waits for it takes nothing more");
}

/// Also where the bridge has gone before it is answered.
#[tokio::test]
async fn what_is_refused_elsewhere_is_not_taken_for_had_when_it_comes_again() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.as_ref().expect("a cluster");
    let (notes, noted) = mpsc::channel(8);
    let (replies, replied) = mpsc::channel(8);
    let (counter, mut answered) = watch::channel(0);
    let mut waiting = Vec::new();
    for id in [7, 8, 9] {
        let origin = Origin { source: 5, id };
        cluster.seen.lock().note(5, id, First::default());
        let (sender, waiter) = tokio::sync::oneshot::channel();
        waiting.push(sender);
        let named = Named {
            broker: broker.clone(),
            origin,
        };
        let fate = Fate::Waits(waiter, Reason::Success, Some(named));
        let sent = notes.send(Note::Fate(id, fate, false)).await;
        assert!(sent.is_ok());
    }
    let answering = tokio::spawn(answer(noted, counter, replies));
    drop(replied);
    let failures = [None, Some(Reason::QuotaExceeded), None];
    let mut waiting = waiting.into_iter().zip(failures);
    let (first, failure) = waiting.next().expect("there are three");
    first.send(failure).expect("it waits");
    while answered.changed().await.is_ok() {} // until it is seen that the bridge has gone
    for (sender, failure) in waiting {
        sender.send(failure).expect("it waits");
    }
    answering.await.expect("it ends");
    let has = [7, 8, 9].map(|id| cluster.seen.lock().has(5, id));
    assert_eq!(has, [true, false, true]);
}

/// One that was being taken when the answering half ended.
#[tokio::test]
async fn what_is_refused_elsewhere_is_not_taken_for_had_though_nobody_is_told_of_it() {
    let broker = Broker::in_cluster();
    let cluster = broker.cluster.as_ref().expect("a cluster");
    let (notes, noted) = mpsc::channel(8);
    drop(noted);
    for (id, failure) in [(7, None), (8, Some(Reason::QuotaExceeded))] {
        cluster.seen.lock().note(5, id, First::default());
        let (sender, waiter) = tokio::sync::oneshot::channel();
        let named = Named {
            broker: broker.clone(),
            origin: Origin { source: 5, id },
        };
        let fate = Fate::Waits(waiter, Reason::Success, Some(named));
        let handing = hand_over(&notes, Note::Fate(id, fate, false));
        let refused = async { sender.send(failure) };
        let (is_taken, sent) = tokio::join!(handing, refused);
        assert!(!is_taken);
        assert_eq!(sent, Ok(()), "it is waited for");
    }
    let has = [7, 8].map(|id| cluster.seen.lock().has(5, id));
    assert_eq!(has, [true, false]);
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
