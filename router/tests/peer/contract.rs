//! What the two ends say to one another: verdicts, refused streams, streams that replace others.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use gatemq_proto::cluster::peer::forward_request::Kind;
use gatemq_proto::cluster::peer::peer_client::PeerClient;
use gatemq_proto::cluster::peer::{Batch, ForwardReply, ForwardRequest, Open};
use gatemq_proto::mqtt::Qos;
use gatemq_router::peer::{
    Message, Peers, Pick, Picks, Receipt, ReleaseReply, ReleaseRequest, Verdict,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::node::*;

#[tokio::test]
async fn each_receipt_gets_the_verdict_of_its_message() {
    let destination = Destination::start(Manner::AsAsked).await;
    let source = Source::to(destination.address);
    for id in 1..=3000u64 {
        let picks = Picks::new([("group", "sensors/#")]);
        let parcel = outgoing(1, id, Qos::AtLeastOnce, &id.to_be_bytes()).address(false, picks);
        source.send_parcel(1, id, parcel);
    }
    within(source.peers.flushed()).await;
    let arrivals = destination.recorder.arrivals.lock();
    let pick = Pick {
        group: "group".to_owned(),
        filter: "sensors/#".to_owned(),
    };
    assert_eq!(arrivals[0].message.picks, [pick]);
    let expected: Vec<_> = arrivals
        .iter()
        .map(|a| (id_of(&a.message), verdict_of(&a.message)))
        .collect();
    assert_eq!(expected.len(), 3000);
    assert_eq!(source.notes.lock()[..], expected);
}

#[tokio::test]
async fn settlements_out_of_order_are_told_in_order() {
    let destination = Destination::start(Manner::Hold).await;
    let source = Source::to(destination.address);
    source.send_many(1..=100);
    until("all have come", || destination.n_arrived() == 100).await;
    let arrivals = destination.recorder.arrivals.lock().clone();
    for arrival in arrivals[1..].iter().rev() {
        arrival.inlet.settle(arrival.number, Verdict::Accepted);
    }
    tokio::task::yield_now().await;
    assert_eq!(source.n_settled(), 0);
    arrivals[0].inlet.accept_all([arrivals[0].number]);
    within(source.peers.flushed()).await;
    assert_eq!(source.notes.lock()[..], accepted(1..=100));
}

/// A receipt that sends its message again when it moved.
struct Again {
    peers: Peers<Self>,
    to: u64,
    id: u64,
    settled: Arc<Mutex<Vec<(u64, Verdict)>>>,
}

impl Receipt for Again {
    fn settle(self, verdict: Verdict) {
        assert!(self.id != 3, "a panic of one receipt");
        self.settled.lock().push((self.id, verdict.clone()));
        if verdict == Verdict::Moved && self.to == DESTINATION {
            let parcel = outgoing(1, self.id, Qos::AtLeastOnce, &self.id.to_be_bytes());
            let parcel = parcel.again().address(true, Picks::default());
            let peers = self.peers.clone();
            peers.forward(
                DESTINATION + 1,
                1,
                parcel,
                Some(Self {
                    to: self.to + 1,
                    ..self
                }),
            );
        }
    }
}

#[tokio::test]
async fn a_receipt_may_forward_and_its_panic_is_told_of_and_touches_no_other() {
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    let (first, second) = (
        Destination::start(Manner::Hold).await,
        Destination::start(Manner::Accept).await,
    );
    second.incarnation.store(DESTINATION + 1, SeqCst);
    let metrics = gatemq_router::peer::Metrics::default();
    let mut config = config();
    config.on_panic = |what| IS_TOLD.store(what == "receipt", SeqCst);
    let peers = Peers::new(
        &config,
        || 0,
        metrics,
        Default::default(),
        &Default::default(),
    );
    peers.set_node(DESTINATION, &first.address.to_string());
    peers.set_node(DESTINATION + 1, &second.address.to_string());
    let settled = Arc::new(Mutex::new(Vec::new()));
    for id in 1..=5 {
        let receipt = Again {
            peers: peers.clone(),
            to: DESTINATION,
            id,
            settled: settled.clone(),
        };
        peers.forward(
            DESTINATION,
            1,
            parcel(1, id, Qos::AtLeastOnce),
            Some(receipt),
        );
    }
    until("the first one has them", || first.n_arrived() == 5).await;
    peers.remove_node(DESTINATION);
    within(peers.flushed()).await;
    let ids = [1, 2, 4, 5];
    assert_eq!(settled.lock()[..], [moved(ids), accepted(ids)].concat());
    assert_eq!(second.ids(), ids);
    assert!(IS_TOLD.load(SeqCst));
}

/// A receipt that removes the node, before it notes what became of it.
struct Remover(Peers<Self>, Note);

impl Receipt for Remover {
    fn settle(self, verdict: Verdict) {
        self.0.remove_node(DESTINATION);
        self.1.settle(verdict);
    }
}

#[tokio::test]
async fn a_receipt_is_settled_before_the_next_whatever_it_does() {
    let destination = Destination::start(Manner::Hold).await;
    let source = Source::start(&config());
    let metrics = gatemq_router::peer::Metrics::default();
    let peers = Peers::new(&config(), || 0, metrics, Default::default(), &source.stop);
    peers.set_node(DESTINATION, &destination.address.to_string());
    for id in 1..=5 {
        let receipt = Remover(peers.clone(), source.note(id));
        peers.forward(
            DESTINATION,
            1,
            parcel(1, id, Qos::AtLeastOnce),
            Some(receipt),
        );
    }
    until("all have come", || destination.n_arrived() == 5).await;
    destination.recorder.arrivals.lock()[0]
        .inlet
        .settle(1, Verdict::Accepted);
    until("all are settled", || source.n_settled() == 5).await;
    let expected = [accepted([1]), moved(2..=5)].concat();
    assert_eq!(source.notes.lock()[..], expected);
}

#[tokio::test]
async fn another_incarnation_or_cluster_takes_nothing_until_it_is_the_right_one() {
    let destination = Destination::start(Manner::Accept).await;
    destination.incarnation.store(8, SeqCst);
    let source = Source::to(destination.address);
    source.send_many(1..=3);
    // QoS 0 is not lost in a stream that is refused.
    source.send(1, 4, Qos::AtMostOnce);
    let refused = open(&destination, SOURCE, DESTINATION, b"the cluster").await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    let foreign = open(&destination, SOURCE, 8, b"other").await;
    assert_eq!(foreign.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!((destination.n_arrived(), source.n_settled()), (0, 0));
    destination.incarnation.store(DESTINATION, SeqCst);
    within(source.peers.flushed()).await;
    until("all have come", || destination.n_arrived() == 4).await;
    assert_eq!(destination.ids(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_newer_stream_of_a_lane_begins_when_the_older_has_delivered() {
    let destination = Destination::start(Manner::Accept).await;
    let release = destination.get_stuck();
    let (older, mut older_replies) = open_good(&destination).await;
    older.send(batch(1, &[1, 2])).await.unwrap();
    older.send(batch(3, &[3])).await.unwrap();
    assert_eq!(through(&mut older_replies).await, 2);
    let (newer, mut newer_replies) = open_good(&destination).await;
    newer.send(batch(1, &[1, 2, 3])).await.unwrap();
    let status = within(older_replies.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    // Another source is not held up; while it comes through, the newer stream would have, too.
    let other = open(&destination, SOURCE + 1, DESTINATION, b"the cluster").await;
    let (other, mut other_replies) = other.unwrap();
    for id in 1..=20 {
        other.send(batch(id, &[100 + id])).await.unwrap();
        assert_eq!(through(&mut other_replies).await, id);
    }
    release.send(()).unwrap();
    assert_eq!(through(&mut newer_replies).await, 3);
    newer.send(batch(4, &[4])).await.unwrap();
    assert_eq!(through(&mut newer_replies).await, 4);
    let others: Vec<u64> = (101..=120).collect();
    let expected = [&[1, 2], &others[..], &[1, 2, 3, 4]].concat();
    assert_eq!(
        destination.ids(),
        expected,
        "the second batch of the older stream is not read"
    );
}

#[tokio::test]
async fn a_stream_is_over_though_its_delivery_is_not_when_the_source_is_gone() {
    let destination = Destination::start(Manner::Accept).await;
    let release = destination.get_stuck();
    let (requests, mut replies) = open_good(&destination).await;
    requests.send(batch(1, &[1])).await.unwrap();
    assert_eq!(through(&mut replies).await, 1);
    let inlet = destination.recorder.arrivals.lock()[0].inlet.clone();
    assert!(!inlet.is_over());
    drop((requests, replies));
    until("the stream is over", || inlet.is_over()).await;
    release.send(()).unwrap();
}

#[tokio::test]
async fn a_source_that_breaks_the_contract_is_refused() {
    let destination = Destination::start(Manner::Accept).await;
    let nothing = ForwardRequest { kind: None };
    // A batch is refused as a whole.
    for flawed in [batch(2, &[1]), nothing, of_qos_3(), batch(1, &[1, 0])] {
        let (requests, mut replies) = open_good(&destination).await;
        requests.send(flawed).await.unwrap();
        let status = within(replies.message()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let (requests, receiver) = mpsc::channel(4);
    requests.send(batch(1, &[1])).await.unwrap();
    let mut client = client(&destination).await;
    let refused = client.forward(ReceiverStream::new(receiver)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(destination.n_arrived(), 0);
}

#[tokio::test]
async fn a_destination_that_stops_ends_its_streams() {
    let destination = Destination::start(Manner::Hold).await;
    let (requests, mut replies) = open_good(&destination).await;
    requests.send(batch(1, &[1])).await.unwrap();
    until("it has come", || destination.n_arrived() == 1).await;
    destination.stop.cancel();
    let status = within(replies.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_node_is_asked_to_let_go_of_a_session() {
    let destination = Destination::start(Manner::Accept).await;
    let source = Source::to(destination.address);
    let request = ReleaseRequest {
        number: 7,
        is_moved: false,
        has_claimed: false,
        stands_in: 0,
        cluster_id: Bytes::from_static(b"the cluster"),
        client_id: "client".to_owned(),
        by: SOURCE,
        epoch: 3,
    };
    let reply = source.peers.release(DESTINATION, request.clone()).await;
    assert_eq!(reply.unwrap(), ReleaseReply::default());
    assert_eq!(
        destination.released.lock()[..],
        std::slice::from_ref(&request)[..]
    );
    let foreign = ReleaseRequest {
        cluster_id: Bytes::from_static(b"other"),
        ..request.clone()
    };
    let refused = source.peers.release(DESTINATION, foreign).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    let unknown = source.peers.release(1, request).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
}

// === a source by hand ===

type Opened = (mpsc::Sender<ForwardRequest>, Streaming<ForwardReply>);

async fn client(destination: &Destination) -> PeerClient<tonic::transport::Channel> {
    PeerClient::connect(format!("http://{}", destination.address))
        .await
        .unwrap()
}

async fn open(
    destination: &Destination,
    source: u64,
    incarnation: u64,
    cluster_id: &'static [u8],
) -> Result<Opened, Status> {
    let (requests, receiver) = mpsc::channel(16);
    let open = Open {
        cluster_id: Bytes::from_static(cluster_id),
        source,
        destination: incarnation,
        lane: 0,
    };
    let kind = Some(Kind::Open(open));
    requests.send(ForwardRequest { kind }).await.unwrap();
    let mut client = client(destination).await;
    let asked = client.forward(ReceiverStream::new(receiver));
    let replies = tokio::time::timeout(Duration::from_secs(20), asked)
        .await
        .unwrap()?;
    Ok((requests, replies.into_inner()))
}

async fn open_good(destination: &Destination) -> Opened {
    open(destination, SOURCE, DESTINATION, b"the cluster")
        .await
        .unwrap()
}

fn batch(first: u64, ids: &[u64]) -> ForwardRequest {
    let message = |&id: &u64| Message {
        id,
        flags: 1 | 1 << 4,
        payload: Bytes::copy_from_slice(&id.to_be_bytes()),
        ..Message::default()
    };
    let messages = ids.iter().map(message).collect();
    let kind = Some(Kind::Batch(Batch { first, messages }));
    ForwardRequest { kind }
}

fn of_qos_3() -> ForwardRequest {
    let message = Message {
        flags: 3,
        ..Message::default()
    };
    let messages = vec![message];
    let kind = Some(Kind::Batch(Batch { first: 1, messages }));
    ForwardRequest { kind }
}

/// What the next reply says.
async fn through(replies: &mut Streaming<ForwardReply>) -> u64 {
    within(replies.message()).await.unwrap().unwrap().through
}

/// A lane without its task holds messages for ever: whoever has the lanes is told of it.
#[tokio::test]
async fn a_lane_whose_task_panics_is_told_of() {
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    let destination = Destination::start(Manner::Accept).await;
    let mut config = config();
    config.identity.incarnation = Arc::new(|| panic!("as told"));
    config.on_panic = |_| IS_TOLD.store(true, SeqCst);
    let source = Source::start(&config);
    let address = destination.address.to_string();
    source.peers.set_node(DESTINATION, &address);
    source.send(1, 1, Qos::AtLeastOnce);
    until("it is told", || IS_TOLD.load(SeqCst)).await;
    assert_eq!(source.n_settled(), 0);
}
