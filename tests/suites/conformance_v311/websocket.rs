//! Chapter 6: MQTT over WebSocket.

use gatemq_tests::{
    Broker, Client, Connect, Publish, unique,
    websocket::{WebSocket, opcode},
    wire,
};

use super::client;

#[test]
fn mqtt311_6_0_0_1_a_text_frame_closes() {
    let broker = Broker::shared();
    let mut socket = WebSocket::connect(broker.ws());
    let connect = Connect::new(4, unique("text")).bytes();
    socket
        .send_frame(opcode::TEXT, true, &connect)
        .expect("the frame is sent");
    assert_eq!(socket.client().closing(), Ok(vec![])); // [MQTT-6.0.0-1]
}

#[test]
fn mqtt311_6_0_0_1_the_broker_sends_binary_frames() {
    let broker = Broker::shared();
    let mut client = WebSocket::connect(broker.ws()).client();
    // The harness takes binary frames only.
    assert_eq!(client.handshake(&Connect::new(4, unique("ws"))).code, 0); // [MQTT-6.0.0-1]
    client.ping();
}

#[test]
fn mqtt311_6_0_0_2_many_packets_in_one_frame() {
    let broker = Broker::shared();
    let topic = unique("ws");
    let mut client = WebSocket::connect(broker.ws()).client();
    let packets = [
        Connect::new(4, unique("ws")).bytes(),
        wire::subscribe(4, 1, &Default::default(), &[(&topic, 0)]),
        Publish::new(&topic, "x").bytes(4),
        wire::pingreq(),
    ];
    client.send(&packets.concat()); // [MQTT-6.0.0-2]
    assert_eq!(client.recv().connack(4).code, 0);
    client.recv_kind(wire::SUBACK);
    client.recv_kind(wire::PUBLISH);
    client.recv_kind(wire::PINGRESP);
}

#[test]
fn mqtt311_6_0_0_2_one_packet_in_many_frames() {
    let broker = Broker::shared();
    let topic = unique("ws");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    let mut publisher = WebSocket::connect(broker.ws()).client();
    publisher.handshake(&Connect::new(4, unique("ws")));
    for byte in Publish::new(&topic, "in pieces").qos(1, 1).bytes(4) {
        publisher.send(&[byte]); // [MQTT-6.0.0-2]: each write is a frame
    }
    publisher.expect_ack(wire::PUBACK, 1);
    assert_eq!(subscriber.receive().payload, b"in pieces");
}

#[test]
fn mqtt311_6_0_0_2_one_packet_in_a_fragmented_message() {
    let broker = Broker::shared();
    let mut socket = WebSocket::connect(broker.ws());
    let connect = Connect::new(4, unique("ws")).bytes();
    let (first, rest) = connect.split_at(5);
    let (second, third) = rest.split_at(3);
    socket
        .send_frame(opcode::BINARY, false, first)
        .expect("the frame is sent");
    socket
        .send_frame(opcode::CONTINUATION, false, second)
        .expect("the frame is sent");
    socket
        .send_frame(opcode::PING, true, b"between")
        .expect("the frame is sent");
    socket
        .send_frame(opcode::CONTINUATION, true, third)
        .expect("the frame is sent");
    let mut client: Client = socket.client();
    assert_eq!(client.recv().connack(4).code, 0); // [MQTT-6.0.0-2]
}

#[test]
fn mqtt311_6_0_0_4_the_subprotocol_is_mqtt() {
    let broker = Broker::shared();
    for offered in ["mqtt", "mqttv3.1, mqtt", "chat, mqtt"] {
        let headers = [("Sec-WebSocket-Protocol", offered)];
        let (_socket, answer) = WebSocket::upgrade(broker.ws(), "/mqtt", &headers);
        assert_eq!(answer.status, 101, "{offered}");
        let chosen = answer.header("sec-websocket-protocol");
        assert_eq!(chosen, Some("mqtt"), "{offered}"); // [MQTT-6.0.0-4]
    }
}
