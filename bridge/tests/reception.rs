//! Messages over the road between nodes: each is answered when it is as safe as its rule says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatemq_bridge::bridge::Way;
use gatemq_bridge::produce::{Acks, Compression, Partitioner, Settings};
use gatemq_bridge::reception::Reception;
use gatemq_bridge::rule::{Header, Key, Topic, Value};
use gatemq_bridge::spool::{OnFull, disk};
use gatemq_bridge::{Ack, Bridge, Plan, Rule};
use gatemq_proto::mqtt::Qos;
use gatemq_router::peer::{
    self, Config, Draft, Identity, Metrics, Peers, Picks, Receipt, Release, ReleaseReply,
    ReleaseRequest, Verdict,
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

const BRIDGE: u64 = 9;
const LIMIT: Duration = Duration::from_secs(20);

/// Tells what became of a message.
struct Note(u64, mpsc::Sender<(u64, Verdict)>);

/// A bridge has no sessions.
struct NoSessions;

impl Receipt for Note {
    fn settle(self, verdict: Verdict) {
        self.1.try_send((self.0, verdict)).expect("the test waits");
    }
}

impl Release for NoSessions {
    async fn release(&self, _: ReleaseRequest) -> ReleaseReply {
        ReleaseReply::default()
    }
}

fn identity(incarnation: u64) -> Identity {
    Identity {
        cluster_id: Bytes::from_static(b"the cluster"),
        incarnation: Arc::new(move || incarnation),
    }
}

fn rule(name: &str, topic: &str, ack: Ack) -> (Rule, usize) {
    let rule = Rule {
        name: name.to_owned(),
        filters: vec![format!("{name}/#")],
        topic: Topic::parse(topic).expect("a topic"),
        key: Key::Topic,
        headers: Header::DEFAULT.to_vec(),
        value: Value::Raw,
        ack,
        refuses_missing: false,
        events: vec![],
        subscriptions: vec![],
    };
    (rule, 0)
}

#[tokio::test]
async fn a_message_is_answered_as_its_rule_says() {
    // Nobody is at the address of Kafka.
    let settings = Settings {
        brokers: vec!["127.0.0.1:1".to_owned()],
        acks: Acks::All,
        compression: Compression::None,
        partitioner: Partitioner::Murmur2,
        linger: Duration::ZERO,
        further: vec![],
    };
    let plan = Plan {
        ways: vec![Way {
            name: "nobody".to_owned(),
            settings,
        }],
        rules: vec![
            rule("spool", "spool", Ack::Spool),
            rule("unfit", "${user.none}", Ack::Spool),
            rule("kafka", "kafka", Ack::Kafka),
        ],
        spool_bound: 1 << 20,
        on_full: OnFull::Wait,
        tracer: gatemq_node::trace::Tracer::off(),
        ..Plan::default()
    };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let engine = disk(folder.path()).expect("a disk");
    let bridge = Bridge::start(plan, engine, |error| panic!("{error}")).expect("it starts");
    let bridge = Arc::new(bridge);

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let metrics = Metrics::register(&mut Registry::default());
    let reception = Reception::new(Arc::clone(&bridge), || 77);
    let service = peer::service(
        identity(BRIDGE),
        Arc::new(reception),
        NoSessions,
        metrics.clone(),
        tracker.clone(),
        stop.clone(),
    );
    let server = peer::tune(Server::builder(), LIMIT);
    tokio::spawn(async move {
        let incoming = peer::incoming(listener);
        let served = server.serve_with_incoming(service, incoming).await;
        served.expect("it serves");
    });

    let config = Config::new(identity(7));
    let peers = Peers::new(&config, || 0, metrics, tracker, &stop);
    peers.set_node(BRIDGE, &address);
    let (tell, mut told) = mpsc::channel(100);
    let topics = ["spool/1", "unfit/1", "kafka/1", "none/1", "spool/2"];
    for (id, topic) in (1..).zip(topics) {
        let draft = Draft {
            id,
            source: 7,
            qos: Qos::AtLeastOnce,
            is_retained: false,
            publisher: 3,
            expires_at: None,
            topic: topic.as_bytes(),
            properties: b"",
            payload: b"x",
            client_id: "dev-1",
            knows: 0,
        };
        let parcel = draft.seal().address(true, Picks::default());
        let receipt = Some(Note(id, tell.clone()));
        assert!(peers.forward(BRIDGE, 3, parcel, receipt));
    }
    // Nothing waits for the one for Kafka, which is not there.
    let mut heard = BTreeMap::new();
    while heard.len() < 4 {
        let answer = tokio::time::timeout(LIMIT, told.recv()).await;
        heard.extend(answer.expect("it is answered"));
    }
    let unfit = Verdict::Refused {
        reason: 0x83,
        picks: vec![],
    };
    let accepted = || Verdict::Accepted;
    let expected = [
        (1, accepted()),
        (2, unfit),
        (4, accepted()),
        (5, accepted()),
    ];
    assert_eq!(heard, BTreeMap::from(expected));
    while bridge.figures().ways[0].1.open < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(told.try_recv().is_err(), "kafka has confirmed nothing");
    assert_eq!(bridge.figures().unfit, 1);
    stop.cancel();
}
