//! Redis does what it is asked, and the answer is lost: whoever asked finds out what it has.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use gatemq_tests::{
    Cluster, Connect, Node, Publish,
    cluster::Kind,
    patience::{becomes_true, pause},
    unique,
};

/// How long things may take once answers arrive again.
const RECOVERY: Duration = Duration::from_secs(20);
/// Longer than a gateway waits for an answer: it has given up, and not only one connection.
const LOST: Duration = Duration::from_millis(4_500);

/// A way to Redis on which answers can be lost that give a session to somebody.
struct Way {
    address: SocketAddr,
    is_lossy: Arc<AtomicBool>,
}

impl Way {
    fn to(redis: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let is_lossy = Arc::new(AtomicBool::new(false));
        let loses = is_lossy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(redis) else {
                    continue;
                };
                let ways = (client.try_clone(), server.try_clone());
                let (Ok(to_client), Ok(to_server)) = ways else {
                    continue;
                };
                let never = Arc::new(AtomicBool::new(false));
                thread::spawn(move || carry(client, to_server, &never));
                let loses = loses.clone();
                thread::spawn(move || carry(server, to_client, &loses));
            }
        });
        Self { address, is_lossy }
    }

    fn lose_for(&self, time: Duration) {
        self.is_lossy.store(true, Relaxed);
        pause(time);
        self.is_lossy.store(false, Relaxed);
    }
}

/// Carries one direction; after an answer that is lost nothing comes through this connection.
fn carry(mut from: TcpStream, mut to: TcpStream, is_lossy: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    let mut is_mute = false;
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let gives = buffer[..n].windows(5).any(|word| word == b"taken");
        is_mute |= gives && is_lossy.load(Relaxed);
        if !is_mute && to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write); // it may be closed already
}

/// A cluster of one gateway, and another one whose way to Redis can lose answers.
fn two() -> (Cluster, Node, Way) {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let way = Way::to(cluster.redis().address());
    let node = cluster.prepare(Kind::Gateway, "lossy");
    let node = node.with_flags(&[&format!("--redis={}", way.address)]);
    node.restart();
    (cluster, node, way)
}

/// A message that is acknowledged as one that somebody gets.
#[track_caller]
fn publish(node: &Node, topic: &str, payload: &[u8]) {
    let mut publisher = node.v5(&unique("pub"));
    publisher.set_limit(RECOVERY);
    let publish = Publish {
        qos: 1,
        ..Publish::new(topic, payload)
    };
    let ack = publisher.publish_packet(publish).expect("a PUBACK");
    assert_eq!(ack.reason, 0, "{} finds nobody", node.name());
}

/// A client that connects, and hears that it has to try again, has no session that is nobody's.
#[test]
fn a_claim_whose_answer_is_lost_is_settled() {
    let (cluster, lossy, way) = two();
    let sound = cluster.node("g1");
    for is_connected in [false, true] {
        let (topic, connect) = (unique("claim"), Connect::persistent(5, unique("sub")));
        let mut subscriber = sound.connect(&connect).0;
        subscriber.subscribe(&topic, 1);
        if !is_connected {
            subscriber.disconnect();
        }
        thread::scope(|scope| {
            scope.spawn(|| way.lose_for(LOST));
            pause(Duration::from_millis(100));
            let (client, connack) = lossy.attempt(&connect);
            assert_eq!(connack.code, 0x88, "connected {is_connected}");
            client.cut();
        });
        publish(sound, &topic, b"kept");
        publish(&lossy, &topic, b"kept, too");
        let (mut subscriber, connack) = sound.connect(&connect);
        assert!(connack.session_present, "connected {is_connected}");
        subscriber.set_limit(RECOVERY);
        assert_eq!(subscriber.receive().payload, b"kept");
        assert_eq!(subscriber.receive().payload, b"kept, too");
        publish(&lossy, &topic, b"here");
        assert_eq!(subscriber.receive().payload, b"here");
    }
}

/// Sessions of a killed gateway are adopted although Redis gives them away without being heard.
#[test]
fn an_adoption_whose_answers_are_lost_goes_on() {
    const N_SESSIONS: usize = 5;
    let (cluster, lossy, way) = two();
    let dies = cluster.node("g1");
    let topic = unique("adopted");
    let connects: Vec<Connect> = (0..N_SESSIONS)
        .map(|_| Connect::persistent(5, unique("sub")))
        .collect();
    for connect in &connects {
        let mut client = dies.connect(connect).0;
        client.subscribe(&topic, 1);
    }
    thread::scope(|scope| {
        // The gateway counts as gone after three seconds.
        scope.spawn(|| way.lose_for(Duration::from_secs(3) + LOST));
        dies.kill();
    });
    let is_adopted = becomes_true(RECOVERY, || {
        lossy.metric("gateway_sessions") == Some(N_SESSIONS as f64)
    });
    assert!(is_adopted, "{:?}", lossy.metric("gateway_sessions"));
    publish(&lossy, &topic, b"adopted");
    for connect in &connects {
        let (mut client, connack) = lossy.connect(connect);
        assert!(connack.session_present);
        client.set_limit(RECOVERY);
        assert_eq!(client.receive().payload, b"adopted");
        client.expect_silence(5);
    }
}
