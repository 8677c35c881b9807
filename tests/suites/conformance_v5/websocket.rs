//! Chapter 6: MQTT in WebSocket frames.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use gatemq_tests::{Broker, Client, Connect, Publish, client::Wire, unique, wire};

/// RFC 6455's own example of a key, and the answer that it gives for it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// A WebSocket after its handshake, as a byte stream: each write is one binary frame.
struct Socket {
    stream: TcpStream,
    /// Payload that was received and not yet read.
    payload: Vec<u8>,
    /// Bytes of a frame that is not complete.
    partial: Vec<u8>,
}

impl Socket {
    /// Opens one and returns the head of the server's answer too.
    fn open(broker: &Broker, protocol: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(broker.ws()).expect("the broker listens");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        let limit = Some(Duration::from_secs(5));
        stream
            .set_read_timeout(limit)
            .expect("a timeout can be set");
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        stream
            .write_all(request.as_bytes())
            .expect("the broker reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the broker answers");
            head.push(byte[0]);
        }
        let socket = Self {
            stream,
            payload: Vec::new(),
            partial: Vec::new(),
        };
        (
            socket,
            String::from_utf8(head).expect("an HTTP head is text"),
        )
    }

    /// Sends a frame of this kind, masked with zeros.
    fn send_frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                let length = u16::try_from(payload.len()).expect("small frames only");
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame)
    }

    /// Moves whole frames from `partial` to `payload`; `false` when the server closes.
    fn unpack(&mut self) -> bool {
        loop {
            let [first, second, rest @ ..] = &self.partial[..] else {
                return true;
            };
            let (length, head) = match (second & 0x7F, rest) {
                (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
                (126 | 127, _) => return true,
                (short, _) => (usize::from(short), 2),
            };
            let (kind, end) = (first & 0x0F, head + length);
            if self.partial.len() < end {
                return true;
            }
            assert_eq!(second & 0x80, 0, "a server does not mask");
            match kind {
                // [MQTT-6.0.0-1]
                0 | 2 => self.payload.extend(&self.partial[head..end]),
                8 => return false,
                9 | 10 => {}
                other => panic!("a frame of kind {other} with packets"),
            }
            self.partial.drain(..end);
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.unpack() && self.payload.is_empty() {
                return Ok(0);
            }
            if !self.payload.is_empty() {
                let count = buffer.len().min(self.payload.len());
                buffer[..count].copy_from_slice(&self.payload[..count]);
                self.payload.drain(..count);
                return Ok(count);
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(0);
            }
            self.partial.extend(&bytes[..count]);
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_frame(BINARY, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Wire for Socket {
    fn set_read_deadline(&self, limit: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(limit)
    }

    fn cut(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Both)
    }
}

/// A client over WebSocket that has connected.
fn connected(broker: &Broker) -> Client {
    let (socket, _) = Socket::open(broker, "mqtt");
    let mut client = Client::over(Box::new(socket));
    let connack = client.handshake(&Connect::new(5, unique("ws")));
    assert_eq!(connack.code, 0, "{connack:?}");
    client
}

#[test]
fn mqtt_6_0_0_1_packets_travel_in_binary_frames() {
    let broker = Broker::shared();
    let topic = unique("ws");
    let mut client = connected(&broker);
    client.subscribe(&topic, 2);
    for qos in 0..3 {
        client.publish(&topic, vec![qos; 1000], qos);
        assert_eq!(client.receive().payload, vec![qos; 1000]);
    }
    client.disconnect();
}

#[test]
fn mqtt_6_0_0_1_a_text_frame_ends_the_connection() {
    let broker = Broker::shared();
    for with_connect in [false, true] {
        let (mut socket, _) = Socket::open(&broker, "mqtt");
        if with_connect {
            let connect = Connect::new(5, unique("ws")).bytes();
            socket
                .send_frame(BINARY, &connect)
                .expect("the broker reads");
        }
        // Not even where its content would be a packet.
        let packet = wire::pingreq();
        socket.send_frame(TEXT, &packet).expect("the broker reads");
        let mut client = Client::over(Box::new(socket));
        client.set_level(5);
        for packet in client.until_closed() {
            assert_ne!(packet.kind, wire::PINGRESP);
        }
    }
}

#[test]
fn mqtt_6_0_0_2_frames_and_packets_need_not_be_aligned() {
    let broker = Broker::shared();
    let topic = unique("ws");
    let connect = Connect::new(5, unique("ws")).bytes();
    let subscribe = wire::subscribe(5, 1, &gatemq_tests::Properties::new(), &[(&topic, 0)]);
    let publish = Publish::new(&topic, b"x").bytes(5);
    let all = [
        connect,
        subscribe,
        publish.clone(),
        publish,
        wire::pingreq(),
    ]
    .concat();
    // All in one frame; a byte in each; cut at odd places; and an empty one between.
    for size in [all.len(), 1, 7] {
        let (mut socket, _) = Socket::open(&broker, "mqtt");
        for part in all.chunks(size) {
            socket.send_frame(BINARY, part).expect("the broker reads");
            socket.send_frame(BINARY, b"").expect("the broker reads");
        }
        let mut client = Client::over(Box::new(socket));
        client.set_level(5);
        assert_eq!(client.recv().connack(5).code, 0);
        client.recv_kind(wire::SUBACK);
        client.recv_kind(wire::PINGRESP);
        for _ in 0..2 {
            assert_eq!(client.receive().payload, b"x");
        }
        client.disconnect();
    }
}

#[test]
fn mqtt_6_0_0_2_a_packet_may_be_in_a_fragmented_message() {
    let broker = Broker::shared();
    let (mut socket, _) = Socket::open(&broker, "mqtt");
    let connect = Connect::new(5, unique("ws")).bytes();
    let (first, rest) = connect.split_at(5);
    // Binary without FIN, then a continuation with it.
    socket.send_frame(0x02, first).expect("the broker reads");
    socket.send_frame(0x80, rest).expect("the broker reads");
    let mut client = Client::over(Box::new(socket));
    client.set_level(5);
    assert_eq!(client.recv().connack(5).code, 0);
}

#[test]
fn mqtt_6_0_0_4_the_server_chooses_the_subprotocol_mqtt() {
    let broker = Broker::shared();
    for offer in ["mqtt", "other, mqtt", "mqtt, mqttv3.1"] {
        let (_, head) = Socket::open(&broker, offer);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let header = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        assert_eq!(
            header("sec-websocket-protocol").as_deref(),
            Some("mqtt"),
            "{offer}"
        );
        assert_eq!(header("sec-websocket-accept").as_deref(), Some(ACCEPT));
    }
}
