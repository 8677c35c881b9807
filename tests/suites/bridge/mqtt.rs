//! Another broker, both ways: mosquitto, and an embedded rumqttd. It goes away amid the stream;
//! what was acknowledged is on the other side all the same, and nothing circles.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use gatemq_tests::cluster::Kind;
use gatemq_tests::mosquitto::Mosquitto;
use gatemq_tests::{
    Client, Cluster, Connect, Properties, Publish, Value, eventually, pause, ports, unique, wire,
};

const N_MESSAGES: usize = 2_000;
const WINDOW: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);

/// A cluster with a bridge to a broker.
fn start(address: &str, further: &str) -> Cluster {
    let mqtt = format!("{{name: hq, address: '{address}', {further}}}");
    let setting = format!("bridge: {{mqtt: [{mqtt}]}}");
    let builder = Cluster::builder().setting(&setting);
    let mut cluster = builder.control(1).gateways(2).start();
    cluster.add(Kind::Bridge, "b1");
    cluster
}

/// Publishes the numbers from 0 on, and waits until all are acknowledged.
fn publish(client: &mut Client, topic: &str, mut on_each: impl FnMut(usize)) {
    client.set_limit(LIMIT);
    for first in (0..N_MESSAGES).step_by(WINDOW) {
        on_each(first);
        let sent: Vec<u16> = (first..first + WINDOW)
            .map(|number| {
                let id = client.next_id();
                let publish = Publish::new(topic, number.to_string()).qos(1, id);
                client.send(&publish.bytes(5));
                id
            })
            .collect();
        for id in sent {
            let ack = client.expect_ack(wire::PUBACK, id);
            assert!(ack.reason < 0x80, "{ack:02x?}");
        }
    }
}

/// Takes messages until all numbers have come, in order; repeats may be among them.
fn judge(client: &mut Client, topic: &str) {
    client.set_limit(LIMIT);
    let (mut next, deadline) = (0, Instant::now() + LIMIT);
    while next < N_MESSAGES {
        assert!(Instant::now() < deadline, "{next} have come");
        let publish = client.receive();
        if publish.topic != topic {
            continue; // a probe
        }
        let text = String::from_utf8_lossy(&publish.payload).into_owned();
        let number: usize = text.parse().expect("a number");
        assert!(number <= next, "{number} comes where {next} should");
        next += usize::from(number == next);
    }
}

fn client_of(mosquitto: &Mosquitto, connect: &Connect) -> Client {
    let mut client = Client::connect_tcp(mosquitto.tcp());
    assert_eq!(client.handshake(connect).code, 0);
    client
}

/// A session that is kept.
fn kept(client_id: &str) -> Connect {
    let expiry = Properties::new().with(0x11, Value::Four(3_600));
    Connect::new(5, client_id).flags(0).properties(expiry)
}

fn everything_arrives_there_though_it_was_away(version: u8, ack: &str) {
    let mosquitto = Mosquitto::start_persistent().expect("a mosquitto");
    let to = format!("to: [{{topics: ['#'], local-prefix: a/, remote-prefix: b/, ack: {ack}}}]");
    let further = format!("version: {version}, {to}");
    let cluster = start(&mosquitto.tcp().to_string(), &further);
    let subscriber = unique("subscriber");
    let mut client = client_of(&mosquitto, &kept(&subscriber));
    client.subscribe("b/#", 1);
    drop(client);
    let mut publisher = cluster.node("g1").v5(&unique("publisher"));
    thread::scope(|scope| {
        publish(&mut publisher, "a/x", |first| {
            if first == N_MESSAGES / 2 {
                mosquitto.terminate();
                let again = || {
                    pause(Duration::from_millis(500));
                    mosquitto.launch().expect("it starts");
                };
                if ack == "remote" {
                    scope.spawn(again); // nothing is acknowledged before it is back
                }
            }
        });
    });
    if ack == "spool" {
        mosquitto.launch().expect("it starts");
    }
    let mut client = client_of(&mosquitto, &kept(&subscriber));
    judge(&mut client, "b/x");
}

#[test]
fn what_is_acknowledged_is_at_the_other_broker_over_5_0() {
    everything_arrives_there_though_it_was_away(5, "remote");
}

#[test]
fn what_is_acknowledged_is_at_the_other_broker_over_3_1_1() {
    everything_arrives_there_though_it_was_away(4, "remote");
}

#[test]
fn what_is_in_the_spool_goes_to_the_other_broker_when_it_is_back() {
    everything_arrives_there_though_it_was_away(5, "spool");
}

fn everything_comes_from_there_though_it_was_away(version: u8) {
    let mosquitto = Mosquitto::start_persistent().expect("a mosquitto");
    let from = "from: [{topics: ['#'], remote-prefix: b/, local-prefix: a/}]";
    let further = format!("version: {version}, {from}");
    let cluster = start(&mosquitto.tcp().to_string(), &further);
    let mut subscriber = cluster.node("g2").v5(&unique("subscriber"));
    subscriber.subscribe("a/#", 1);
    let mut probe = client_of(&mosquitto, &Connect::new(5, unique("probe")));
    // Until the bridge has subscribed nobody takes it.
    eventually!(LIMIT, probe_is_taken(&mut probe));
    let mut publisher = client_of(&mosquitto, &Connect::new(5, unique("publisher")));
    publish(&mut publisher, "b/x", |_| {});
    cluster.node("g1").kill();
    mosquitto.terminate();
    mosquitto.launch().expect("it starts");
    judge(&mut subscriber, "a/x");
}

/// Takes the numbers, each once and in order.
fn judge_once(client: &mut Client, topic: &str, mut on_each: impl FnMut(usize)) {
    client.set_limit(LIMIT);
    for number in 0..N_MESSAGES {
        let publish = loop {
            let publish = client.receive();
            if publish.topic == topic {
                break publish;
            }
        };
        assert_eq!(publish.qos, 2);
        let text = String::from_utf8_lossy(&publish.payload);
        assert_eq!(text, number.to_string());
        on_each(number);
    }
    client.expect_silence(500);
}

fn what_comes_with_qos_2_is_taken_once(version: u8) {
    let mosquitto = Mosquitto::start_persistent().expect("a mosquitto");
    let from = "from: [{topics: ['#'], remote-prefix: b/, local-prefix: a/, qos: 2}]";
    let further = format!("version: {version}, {from}");
    let cluster = start(&mosquitto.tcp().to_string(), &further);
    let mut subscriber = cluster.node("g2").v5(&unique("subscriber"));
    subscriber.subscribe("a/#", 2);
    let mut probe = client_of(&mosquitto, &Connect::new(5, unique("probe")));
    eventually!(LIMIT, probe_is_taken(&mut probe));
    let mut publisher = client_of(&mosquitto, &Connect::new(5, unique("publisher")));
    publisher.set_limit(LIMIT);
    for number in 0..N_MESSAGES {
        publisher.publish("b/x", number.to_string(), 2);
    }
    // Whatever is under way then is at any stage.
    judge_once(&mut subscriber, "a/x", |number| {
        if number % (N_MESSAGES / 5) == N_MESSAGES / 10 {
            mosquitto.terminate();
            mosquitto.launch().expect("it starts");
        }
    });
}

#[test]
fn what_comes_with_qos_2_is_taken_once_over_5_0() {
    what_comes_with_qos_2_is_taken_once(5);
}

#[test]
fn what_comes_with_qos_2_is_taken_once_over_3_1_1() {
    what_comes_with_qos_2_is_taken_once(4);
}

fn probe_is_taken(probe: &mut Client) -> bool {
    let id = probe.next_id();
    probe.send(&Publish::new("b/probe", "").qos(1, id).bytes(5)); // taken, if by somebody
    probe.expect_ack(wire::PUBACK, id).reason == 0
}

#[test]
fn what_another_broker_has_for_us_comes_over_5_0() {
    everything_comes_from_there_though_it_was_away(5);
}

#[test]
fn what_another_broker_has_for_us_comes_over_3_1_1() {
    everything_comes_from_there_though_it_was_away(4);
}

#[test]
fn nothing_is_acknowledged_here_before_the_other_broker_has_it() {
    let mosquitto = Mosquitto::start().expect("a mosquitto");
    let to = "to: [{topics: ['up/#']}]";
    let cluster = start(&mosquitto.tcp().to_string(), to);
    let mut here = cluster.node("g1").v5(&unique("here"));
    here.set_limit(LIMIT);
    here.publish("up/x", "first", 1);
    mosquitto.pause();
    let id = here.next_id();
    here.send(&Publish::new("up/x", "second").qos(1, id).bytes(5));
    here.expect_silence(1_000);
    mosquitto.resume();
    assert_eq!(here.expect_ack(wire::PUBACK, id).reason, 0);
}

#[test]
fn nothing_is_acknowledged_there_before_this_cluster_has_it() {
    let mosquitto = Mosquitto::start_persistent().expect("a mosquitto");
    let from = "from: [{topics: ['down/#']}]";
    let cluster = start(&mosquitto.tcp().to_string(), from);
    let mut probe = client_of(&mosquitto, &Connect::new(5, unique("probe")));
    let is_taken = |topic: &str, probe: &mut Client| {
        let id = probe.next_id();
        probe.send(&Publish::new(topic, topic).qos(1, id).bytes(5));
        probe.expect_ack(wire::PUBACK, id).reason == 0
    };
    eventually!(LIMIT, is_taken("down/probe", &mut probe));
    for gateway in cluster.gateways() {
        gateway.kill();
    }
    assert!(is_taken("down/x", &mut probe));
    pause(Duration::from_secs(1));
    // It is on its way, and nobody has it: with the bridge it is gone from here.
    cluster.node("b1").kill();
    for gateway in cluster.gateways() {
        gateway.restart();
    }
    let mut here = cluster.node("g1").v5(&unique("here"));
    here.set_limit(LIMIT);
    here.subscribe("down/x", 1);
    cluster.node("b1").restart();
    assert_eq!(here.receive().payload, b"down/x");
}

#[test]
fn what_is_kept_for_later_is_kept_on_the_other_side_too() {
    let mosquitto = Mosquitto::start().expect("a mosquitto");
    let mut there = client_of(&mosquitto, &Connect::new(5, unique("there")));
    there.publish_retained("down/x", "before", 1);
    let both = "to: [{topics: ['up/#']}], from: [{topics: ['down/#']}], share: false";
    let cluster = start(&mosquitto.tcp().to_string(), both);
    let mut here = cluster.node("g1").v5(&unique("here"));
    let mut kept_here = |text: &str| {
        here.subscribe("down/x", 1); // what is kept comes with each
        let received = here.recv_within(Duration::from_millis(300));
        received.is_some_and(|packet| {
            let publish = packet.publish(5);
            here.acknowledge(&publish);
            publish.retain && publish.payload == text.as_bytes()
        })
    };
    eventually!(LIMIT, kept_here("before"));
    there.publish_retained("down/x", "after", 1);
    eventually!(LIMIT, kept_here("after"));
    let mut here = cluster.node("g2").v5(&unique("here"));
    here.publish_retained("up/x", "kept", 1);
    there.subscribe("up/x", 1);
    let received = there.receive();
    assert!(
        received.retain && received.payload == b"kept",
        "{received:?}"
    );
    here.publish("up/x", "not kept", 1);
    assert!(!there.receive().retain);
}

/// A message with all that describes one, for 100 seconds.
fn described(topic: &str) -> Publish {
    let properties = Properties::new()
        .byte(0x01, 1)
        .four(0x02, 100)
        .text(0x03, "text/plain")
        .text(0x08, "answers/7")
        .binary(0x09, b"\0\xff")
        .user("k", "v");
    Publish {
        properties,
        ..Publish::new(topic, "x")
    }
}

fn check_described(publish: &Publish) {
    let properties = &publish.properties;
    assert_eq!(properties.number(0x01), Some(1));
    let left = properties.number(0x02);
    assert!(
        left.is_some_and(|left| (1..=100).contains(&left)),
        "{left:?}"
    );
    assert_eq!(properties.string(0x03), Some("text/plain"));
    assert_eq!(properties.string(0x08), Some("answers/7"));
    assert_eq!(properties.data(0x09), Some(&b"\0\xff"[..]));
    assert!(properties.users().contains(&("k", "v")));
}

fn send(client: &mut Client, publish: Publish) {
    let id = client.next_id();
    client.send(&publish.qos(1, id).bytes(5));
    assert!(client.expect_ack(wire::PUBACK, id).reason < 0x80);
}

#[test]
fn what_describes_a_message_goes_along_both_ways() {
    let mosquitto = Mosquitto::start().expect("a mosquitto");
    let both = "to: [{topics: ['up/#']}], from: [{topics: ['down/#']}]";
    let cluster = start(&mosquitto.tcp().to_string(), both);
    let mut here = cluster.node("g2").v5(&unique("here"));
    let mut there = client_of(&mosquitto, &Connect::new(5, unique("there")));
    there.subscribe("up/#", 1);
    send(&mut here, described("up/x"));
    check_described(&there.receive());
    here.subscribe("down/#", 1);
    eventually!(LIMIT, {
        send(&mut there, described("down/x")); // nobody takes it before the bridge has subscribed
        let received = here.recv_within(Duration::from_millis(500));
        received.is_some_and(|packet| {
            check_described(&packet.publish(5));
            true
        })
    });
}

#[test]
fn what_expires_while_the_other_broker_is_away_is_not_sent() {
    let mosquitto = Mosquitto::start_persistent().expect("a mosquitto");
    let to = "to: [{topics: ['up/#'], ack: spool}]";
    let cluster = start(&mosquitto.tcp().to_string(), to);
    let subscriber = unique("subscriber");
    let mut there = client_of(&mosquitto, &kept(&subscriber));
    there.subscribe("up/#", 1);
    drop(there);
    mosquitto.terminate();
    let mut here = cluster.node("g1").v5(&unique("here"));
    let brief = Publish {
        properties: Properties::new().four(0x02, 1),
        ..Publish::new("up/brief", "x")
    };
    send(&mut here, brief);
    send(&mut here, described("up/lasting"));
    pause(Duration::from_millis(1_500));
    mosquitto.launch().expect("it starts");
    let mut there = client_of(&mosquitto, &kept(&subscriber));
    there.set_limit(LIMIT);
    let received = there.receive();
    assert_eq!(received.topic, "up/lasting");
    assert!(received.properties.number(0x02) < Some(100));
}

#[test]
fn nothing_circles_between_two_brokers() {
    let mosquitto = Mosquitto::start().expect("a mosquitto");
    let both = "to: [{topics: ['a/#']}], from: [{topics: ['a/#']}]";
    let cluster = start(&mosquitto.tcp().to_string(), both);
    let mut here = cluster.node("g1").v5(&unique("here"));
    here.subscribe("a/#", 1);
    let mut there = client_of(&mosquitto, &Connect::new(5, unique("there")));
    there.subscribe("a/#", 1);
    here.publish("a/x", b"from here", 1);
    assert_eq!(here.receive().payload, b"from here");
    assert_eq!(there.receive().payload, b"from here");
    let returning = "bridge_from_mqtt_returning_total{mqtt=\"hq\"}";
    eventually!(LIMIT, cluster.node("b1").metric(returning) == Some(1.0));
    there.publish("a/y", b"from there", 1);
    assert_eq!(there.receive().payload, b"from there");
    assert_eq!(here.receive().payload, b"from there");
    let metric = || cluster.node("b1").metric("bridge_returning_total");
    eventually!(metric() == Some(1.0));
    here.expect_silence(200);
    there.expect_silence(200);
}

/// Two clusters, each with a bridge to the other.
fn two_clusters(of_first: &str, of_second: &str) -> [Cluster; 2] {
    let start = || Cluster::builder().control(1).gateways(1).start();
    let mut clusters = [start(), start()];
    let addresses = clusters.each_ref().map(|it| it.node("g1").tcp());
    for (at, rules) in [of_first, of_second].into_iter().enumerate() {
        let address = addresses[1 - at];
        clusters[at].set(&format!(
            "bridge: {{mqtt: [{{name: hq, address: '{address}', {rules}}}]}}"
        ));
        clusters[at].add(Kind::Bridge, "b1");
    }
    clusters
}

#[test]
fn two_clusters_that_send_one_another_everything_send_nothing_twice() {
    let all = "to: [{topics: ['a/#']}]";
    let clusters = two_clusters(all, all);
    let mut clients = clusters.each_ref().map(|cluster| {
        let mut client = cluster.node("g1").v5(&unique("client"));
        client.subscribe("a/#", 1);
        client
    });
    let texts = ["from the first", "from the second"];
    for (client, text) in clients.iter_mut().zip(texts) {
        client.publish("a/x", text, 1);
    }
    // Each goes there, and comes back once, since the other does not know whose it is; there it ends.
    for client in &mut clients {
        let mut seen: Vec<_> = (0..3).map(|_| client.receive().payload).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, texts.map(|it| it.as_bytes().to_vec()));
        client.expect_silence(1_000);
    }
    for cluster in &clusters {
        let returning = cluster.node("b1").metric("bridge_returning_total");
        assert_eq!(returning, Some(1.0));
    }
}

#[test]
fn one_bridge_between_two_clusters_brings_each_message_once() {
    let both = "to: [{topics: ['a/#']}], from: [{topics: ['a/#']}]";
    let [mut here, there] = [(); 2].map(|()| Cluster::builder().control(1).gateways(1).start());
    let address = there.node("g1").tcp();
    here.set(&format!(
        "bridge: {{mqtt: [{{name: hq, address: '{address}', {both}}}]}}"
    ));
    here.add(Kind::Bridge, "b1");
    let mut clients = [&here, &there].map(|cluster| {
        let mut client = cluster.node("g1").v5(&unique("client"));
        client.subscribe("a/#", 1);
        client
    });
    let metric = |name: &str| here.node("b1").metric(name);
    clients[0].publish("a/x", "from here", 1);
    for client in &mut clients {
        assert_eq!(client.receive().payload, b"from here");
    }
    let returning = "bridge_from_mqtt_returning_total{mqtt=\"hq\"}";
    eventually!(LIMIT, metric(returning) == Some(1.0));
    clients[1].publish("a/x", "from there", 1);
    for client in &mut clients {
        assert_eq!(client.receive().payload, b"from there");
    }
    eventually!(LIMIT, metric("bridge_returning_total") == Some(1.0));
    for client in &mut clients {
        client.expect_silence(500);
    }
}

/// An embedded rumqttd that speaks 3.1.1, until this process ends.
fn rumqttd() -> SocketAddr {
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let connections = serde_json::json!({
        "connection_timeout_ms": 60_000, "max_payload_size": 100_000, "max_inflight_count": 500,
    });
    let config = serde_json::json!({
        "id": 0,
        "router": {
            "max_connections": 100, "max_outgoing_packet_count": 200,
            "max_segment_size": 100_000_000, "max_segment_count": 10,
        },
        "v4": { "1": {
            "name": "v4", "listen": address, "next_connection_delay_ms": 1,
            "connections": connections,
        } },
    });
    let config: rumqttd::Config = serde_json::from_value(config).expect("a configuration");
    thread::spawn(move || {
        let ended = rumqttd::Broker::new(config).start();
        ended.expect("it runs");
    });
    eventually!(std::net::TcpStream::connect(address).is_ok());
    address
}

#[test]
fn an_embedded_broker_gets_and_gives() {
    let address = rumqttd();
    let further = "version: 4, share: false, to: [{topics: ['a/#'], remote-prefix: up/}], \
                   from: [{topics: ['a/#'], remote-prefix: down/, local-prefix: in/}]";
    let cluster = start(&address.to_string(), further);
    let mut there = Client::connect_tcp(address);
    assert_eq!(
        there
            .handshake(&Connect::new(4, unique("there")).keep_alive(60))
            .code,
        0
    );
    there.subscribe("up/a/#", 1);
    let mut here = cluster.node("g2").v5(&unique("here"));
    here.subscribe("in/a/#", 1);
    let mut publisher = cluster.node("g1").v5(&unique("publisher"));
    let publishing = thread::spawn(move || publish(&mut publisher, "a/x", |_| {}));
    judge(&mut there, "up/a/x");
    publishing.join().expect("all are acknowledged");
    let mut comes = |number: usize| {
        let mut there = Client::connect_tcp(address);
        there.handshake(&Connect::new(4, unique("there")).keep_alive(60));
        there.publish("down/a/x", number.to_string(), 1);
        here.recv_within(Duration::from_millis(500)).is_some()
    };
    // Until the bridge has subscribed nobody takes it.
    let mut numbers = 0..100;
    assert!(numbers.any(&mut comes));
}
