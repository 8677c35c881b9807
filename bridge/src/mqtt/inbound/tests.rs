//! What comes from another broker of these tests, while no gateway takes anything.

use gatemq_node::credentials::Dialer;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::*;
use crate::mqtt::link::tests::{packet, remote};

const LIMIT: Duration = Duration::from_secs(20);

/// Another broker, which has taken the receiver, and its subscription.
struct Broker {
    stream: TcpStream,
    receiver: Receiver,
    _gateways: watch::Sender<Vec<String>>,
}

impl Broker {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (gateways, watched) = watch::channel(Vec::new());
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let dialer = Dialer::default();
        let outbound = Outbound::new(bytes::Bytes::new(), 9, watched, dialer, tasks, end);
        let mapping = Mapping::new(&["a/#".to_owned()], "", "").expect("a mapping");
        let plan = Plan {
            remote: remote(port, true),
            rules: vec![(mapping, Qos::AtLeastOnce)],
            group: Some("g".to_owned()),
            identity: Identity::default(),
            patience: LIMIT,
        };
        let receiver = Receiver::start(plan, &outbound);
        let (mut stream, _) = listener.accept().await.expect("a connection");
        packet(&mut stream).await.expect("a CONNECT");
        stream
            .write_all(&[0x20, 3, 0, 0, 0])
            .await
            .expect("it listens");
        let (first, body) = packet(&mut stream).await.expect("a SUBSCRIBE");
        assert_eq!(first, 0x82);
        let granted = [0x90, 4, body[0], body[1], 0, 1];
        stream.write_all(&granted).await.expect("it listens");
        Self {
            stream,
            receiver,
            _gateways: gateways,
        }
    }
}

#[tokio::test]
async fn what_waits_for_a_gateway_is_bounded_by_its_bytes() {
    const N_BYTES: usize = 1 << 20;
    const N_MESSAGES: usize = 300;
    let mut broker = Broker::start().await;
    // A PUBLISH of QoS 0 to a/b, so large.
    let mut publish = vec![0x30, 0x86, 0x80, 0x40, 0, 3];
    publish.extend(b"a/b\0");
    publish.extend(vec![0; N_BYTES]);
    let mut n_taken = 0;
    while n_taken < N_MESSAGES {
        let writing = broker.stream.write_all(&publish);
        match timeout(Duration::from_secs(2), writing).await {
            Ok(written) => written.expect("it is connected"),
            Err(_) => break, // it reads no more
        }
        n_taken += 1;
    }
    assert!(
        (16..N_MESSAGES / 2).contains(&n_taken),
        "{n_taken} are taken"
    );
    drop(broker.receiver);
}

#[tokio::test]
async fn one_that_leaves_its_group_takes_its_subscription_back_and_one_that_comes_again_does_not() {
    for others_go_on in [true, false] {
        let mut broker = Broker::start().await;
        let stopping = tokio::spawn(broker.receiver.stop(others_go_on));
        let packet = timeout(LIMIT, packet(&mut broker.stream)).await;
        let packet = packet.expect("it does something");
        let is_unsubscribe = packet.as_ref().is_some_and(|(first, body)| {
            let filter = b"$share/g/a/#";
            *first == 0xa2 && body.ends_with(filter)
        });
        assert_eq!(is_unsubscribe, others_go_on, "{packet:?}");
        if let Some((_, body)) = packet {
            let done = [0xb0, 4, body[0], body[1], 0, 0];
            broker.stream.write_all(&done).await.expect("it listens");
        }
        timeout(LIMIT, stopping)
            .await
            .expect("in time")
            .expect("it stops");
    }
}
