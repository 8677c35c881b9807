//! WebSocket listeners: handshake, subprotocol, path. How frames may be abused is in
//! `bad_input`.

use gatemq_tests::{Broker, Connect, eventually, unique, wire};

use super::{
    http_client,
    kinds::exchange,
    ws_client::{BINARY, CLOSE, PING, PONG, WebSocket, tcp},
};

#[test]
fn websocket_takes_every_protocol_version() {
    let broker = Broker::shared();
    for level in [3, 4, 5] {
        exchange(&mut WebSocket::mqtt(broker.ws()), level);
    }
}

// [MQTT-6.0.0-3] [MQTT-6.0.0-4]
#[test]
fn the_subprotocol_mqtt_is_confirmed() {
    let broker = Broker::shared();
    let socket = WebSocket::open(broker.ws());
    assert_eq!(socket.header("Sec-WebSocket-Protocol"), Some("mqtt"));
}

#[test]
fn mqtt_is_chosen_from_several_subprotocols() {
    let broker = Broker::shared();
    for offered in ["chat, mqtt", "mqtt, chat", "mqttv3.1, mqtt"] {
        let socket = WebSocket::upgrade(tcp(broker.ws()), "/mqtt", Some(offered))
            .unwrap_or_else(|answer| panic!("{offered} was refused: {answer}"));
        assert_eq!(
            socket.header("Sec-WebSocket-Protocol"),
            Some("mqtt"),
            "{offered}"
        );
    }
}

/// A browser lets any web page open a WebSocket to this machine: only the pages of its own host,
/// and of origins that are listed, are let in.
#[test]
fn web_pages_of_other_origins_are_refused() {
    let open = |broker: &Broker, origin: &str| {
        let origin = format!("Origin: {origin}\r\n");
        WebSocket::upgrade_with(tcp(broker.ws()), "/mqtt", Some("mqtt"), &origin)
    };
    let broker = Broker::shared();
    assert!(open(&broker, "http://localhost:3000").is_ok());
    for origin in [
        "https://evil.example",
        "http://localhost.evil.example",
        "null",
    ] {
        let refusal = open(&broker, origin).err().expect("it is refused");
        assert!(refusal.starts_with("HTTP/1.1 403 "), "{origin}: {refusal}");
    }
    let broker = Broker::builder()
        .config("ws-origins: ['https://dash.example']\n")
        .start();
    assert!(open(&broker, "https://dash.example").is_ok());
    assert!(open(&broker, "https://evil.example").is_err());
    let line = "reason=\"WebSocket upgrade\" why=\"403 Forbidden: web pages of this origin";
    eventually!(broker.log().contains(line));
}

#[test]
fn a_listener_with_a_path_takes_no_other() {
    let broker = Broker::builder()
        .args(["--ws", ""])
        .config(
            "listeners:\n\
             - {transport: ws, address: '127.0.0.1:0', path: /broker}\n\
             - {transport: ws, address: '127.0.0.1:0'}\n",
        )
        .start();
    let addresses = broker.listening("ws");
    let open = |index: usize, path: &str| {
        let address = addresses[index].parse().expect("an address");
        WebSocket::upgrade(tcp(address), path, Some("mqtt"))
    };
    assert!(open(0, "/broker").is_ok());
    let refusal = open(0, "/mqtt").err().expect("the wrong path is refused");
    assert!(refusal.starts_with("HTTP/1.1 4"), "{refusal}");
    assert!(open(1, "/mqtt").is_ok());
    assert!(open(1, "/").is_ok());
    assert!(open(1, "/anything?x=1").is_ok());
}

#[test]
fn a_plain_http_request_is_refused_with_a_status() {
    let broker = Broker::shared();
    let answer = http_client::get(broker.ws(), "/mqtt");
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let broker = Broker::shared();
    let mut socket = WebSocket::open(broker.ws());
    socket.send(PING, b"are you there");
    let pong = socket.frame().expect("an answer");
    assert_eq!(
        (pong.opcode, pong.payload.as_slice()),
        (PONG, &b"are you there"[..])
    );
}

#[test]
fn a_close_frame_is_answered_and_ends_the_connection() {
    let broker = Broker::shared();
    let mut socket = WebSocket::open(broker.ws());
    socket.send(BINARY, &Connect::new(5, unique("ws")).bytes());
    assert_eq!(socket.frame().expect("a CONNACK").opcode, BINARY);
    socket.send(CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(socket.until_closed(), Some(1000));
}

#[test]
fn the_will_is_published_when_the_websocket_closes_without_disconnect() {
    let broker = Broker::shared();
    let topic = unique("wswill");
    let mut watcher = gatemq_tests::Client::v5(&broker, &unique("w"));
    watcher.subscribe(&topic, 0);
    let mut socket = WebSocket::open(broker.ws());
    let will = wire::Will::new(&topic, b"gone");
    socket.send(BINARY, &Connect::new(5, unique("ws")).will(will).bytes());
    assert_eq!(socket.frame().expect("a CONNACK").opcode, BINARY);
    socket.send(CLOSE, &1001_u16.to_be_bytes());
    assert_eq!(watcher.receive().payload, b"gone");
}
