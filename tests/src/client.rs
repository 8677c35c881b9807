//! A scripted client: sends bytes, reads packets, and fails the test when the broker does
//! something else than expected. It never answers on its own but where a method says so.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::{
    broker::Broker,
    wire::{self, Ack, Connack, Connect, Disconnect, Packet, Properties, Publish, Suback},
};

/// What a client speaks over. Implement it to run the client over TLS or WebSocket.
pub trait Wire: Read + Write + Send {
    /// How long a read may wait; `None` is for ever.
    fn set_read_deadline(&self, limit: Option<Duration>) -> io::Result<()>;
    /// Ends the connection in both directions, without a DISCONNECT.
    fn cut(&self) -> io::Result<()>;
}

impl Wire for TcpStream {
    fn set_read_deadline(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }

    fn cut(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Both)
    }
}

impl Wire for UnixStream {
    fn set_read_deadline(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }

    fn cut(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Both)
    }
}

/// A client on one connection.
pub struct Client {
    wire: Box<dyn Wire>,
    level: u8,
    limit: Duration,
    received: Vec<u8>,
    set_aside: VecDeque<Packet>,
    last_id: u16,
}

/// What one attempt to read a packet gave.
enum Read1 {
    Packet(Packet),
    Closed,
    Nothing,
}

impl Client {
    // --- connecting ---

    /// A connection on which nothing was sent yet, of protocol level 4 until told otherwise.
    pub fn over(wire: Box<dyn Wire>) -> Self {
        Self {
            wire,
            level: 4,
            limit: Duration::from_secs(5),
            received: Vec::new(),
            set_aside: VecDeque::new(),
            last_id: 0,
        }
    }

    /// A TCP connection on which nothing was sent yet.
    #[track_caller]
    pub fn connect_tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout can be set");
        Self::over(Box::new(stream))
    }

    /// Sends this CONNECT and returns the CONNACK, whatever it says.
    #[track_caller]
    pub fn attempt(broker: &Broker, connect: &Connect) -> (Self, Connack) {
        let mut client = Self::connect_tcp(broker.tcp());
        let connack = client.handshake(connect);
        (client, connack)
    }

    /// Connects; the CONNACK must accept. It is returned too.
    #[track_caller]
    pub fn connect(broker: &Broker, connect: &Connect) -> (Self, Connack) {
        let (client, connack) = Self::attempt(broker, connect);
        assert_eq!(connack.code, 0, "the broker refused: {connack:?}");
        (client, connack)
    }

    /// A 3.1.1 client with a clean session.
    #[track_caller]
    pub fn v4(broker: &Broker, client_id: &str) -> Self {
        Self::connect(broker, &Connect::new(4, client_id)).0
    }

    /// A 5.0 client with a clean start and a session that ends with the connection.
    #[track_caller]
    pub fn v5(broker: &Broker, client_id: &str) -> Self {
        Self::connect(broker, &Connect::new(5, client_id)).0
    }

    /// Sends this CONNECT on the present connection and returns the CONNACK.
    #[track_caller]
    pub fn handshake(&mut self, connect: &Connect) -> Connack {
        self.level = connect.level;
        self.send(&connect.bytes());
        self.recv().connack(self.level)
    }

    // --- settings ---

    /// Reads what comes as this protocol level.
    pub fn set_level(&mut self, level: u8) {
        self.level = level;
    }

    /// How long `recv` and all that stands on it wait; 5 s unless set.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// A packet id that this client did not use before (until it wraps).
    pub fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    // --- bytes and packets ---

    /// Sends bytes. A connection that the broker has closed is no failure here: the expectation
    /// that follows will tell.
    pub fn send(&mut self, bytes: &[u8]) {
        let _closed = self.try_send(bytes);
    }

    /// Sends bytes and says whether the socket took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes)?;
        self.wire.flush()
    }

    /// The next packet; fails the test when none comes in time.
    #[track_caller]
    pub fn recv(&mut self) -> Packet {
        match self.read(self.limit) {
            Read1::Packet(packet) => packet,
            Read1::Closed => panic!("the broker closed the connection; a packet was expected"),
            Read1::Nothing => panic!("no packet within {:?}", self.limit),
        }
    }

    /// The next packet, or `None` when none comes in this time or the connection is closed.
    #[track_caller]
    pub fn recv_within(&mut self, limit: Duration) -> Option<Packet> {
        match self.read(limit) {
            Read1::Packet(packet) => Some(packet),
            Read1::Closed | Read1::Nothing => None,
        }
    }

    /// The next packet of this type; others are set aside for later.
    #[track_caller]
    pub fn recv_kind(&mut self, kind: u8) -> Packet {
        if let Some(index) = self.set_aside.iter().position(|packet| packet.kind == kind) {
            return self.set_aside.remove(index).expect("it was just found");
        }
        let deadline = Instant::now() + self.limit;
        loop {
            match self.read_socket(deadline) {
                Read1::Packet(packet) if packet.kind == kind => return packet,
                Read1::Packet(packet) => self.set_aside.push_back(packet),
                Read1::Closed => panic!(
                    "the broker closed; {} was expected; set aside: {:?}",
                    wire::name(kind),
                    self.set_aside
                ),
                Read1::Nothing => panic!(
                    "no {} within {:?}; set aside: {:?}",
                    wire::name(kind),
                    self.limit,
                    self.set_aside
                ),
            }
        }
    }

    /// The broker must close without sending anything.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        match self.read(self.limit) {
            Read1::Closed => {}
            Read1::Packet(packet) => panic!("expected the end of the connection, got {packet:?}"),
            Read1::Nothing => panic!("the connection is still open after {:?}", self.limit),
        }
    }

    /// The broker must close; what it sends before is returned.
    #[track_caller]
    pub fn until_closed(&mut self) -> Vec<Packet> {
        self.closing().unwrap_or_else(|trouble| panic!("{trouble}"))
    }

    /// The same as a value, for tests that name their case: what was sent before the end, or that
    /// there was no end.
    pub fn closing(&mut self) -> Result<Vec<Packet>, String> {
        let mut packets: Vec<_> = self.set_aside.drain(..).collect();
        let deadline = Instant::now() + self.limit;
        loop {
            match self.read_socket(deadline) {
                Read1::Closed => return Ok(packets),
                Read1::Packet(packet) => packets.push(packet),
                Read1::Nothing => {
                    return Err(format!(
                        "still open after {:?}; received {packets:?}",
                        self.limit
                    ));
                }
            }
        }
    }

    /// Level 5: the broker must send DISCONNECT with this reason code and close.
    #[track_caller]
    pub fn expect_disconnect(&mut self, reason: u8) -> Disconnect {
        let disconnect = self.recv().disconnect(wire::DISCONNECT);
        assert_eq!(
            disconnect.reason, reason,
            "reason code of {disconnect:02x?}"
        );
        self.expect_closed();
        disconnect
    }

    /// Nothing may come for this time, not even the end of the connection.
    #[track_caller]
    pub fn expect_silence(&mut self, milliseconds: u64) {
        match self.read(Duration::from_millis(milliseconds)) {
            Read1::Nothing => {}
            Read1::Closed => panic!("the broker closed; silence was expected"),
            Read1::Packet(packet) => panic!("expected silence, got {packet:?}"),
        }
    }

    /// Whether the connection is open: nothing has come that says otherwise.
    pub fn is_open(&mut self) -> bool {
        match self.read_socket(Instant::now() + Duration::from_millis(1)) {
            Read1::Packet(packet) => {
                self.set_aside.push_back(packet);
                true
            }
            Read1::Nothing => true,
            Read1::Closed => false,
        }
    }

    // --- common moves ---

    /// Subscribes to one filter; the broker must grant. Returns the granted QoS. The second
    /// argument is the options byte of 5, of which the low bits are the QoS.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        let suback = self.subscribe_with(&Properties::new(), &[(filter, options)]);
        assert_eq!(suback.codes.len(), 1, "one code per filter: {suback:?}");
        assert!(
            suback.codes[0] < 3,
            "the subscription to {filter} failed: {suback:02x?}"
        );
        suback.codes[0]
    }

    /// Subscribes to these filters and returns the SUBACK, whatever it says.
    #[track_caller]
    pub fn subscribe_with(&mut self, properties: &Properties, filters: &[(&str, u8)]) -> Suback {
        let id = self.next_id();
        self.send(&wire::subscribe(self.level, id, properties, filters));
        let suback = self
            .recv_kind(wire::SUBACK)
            .suback(wire::SUBACK, self.level);
        assert_eq!(suback.id, id, "packet id of {suback:?}");
        suback
    }

    /// Unsubscribes and returns the UNSUBACK.
    #[track_caller]
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Suback {
        let id = self.next_id();
        self.send(&wire::unsubscribe(
            self.level,
            id,
            &Properties::new(),
            filters,
        ));
        let unsuback = self
            .recv_kind(wire::UNSUBACK)
            .suback(wire::UNSUBACK, self.level);
        assert_eq!(unsuback.id, id, "packet id of {unsuback:?}");
        unsuback
    }

    /// Publishes and goes through the whole exchange of its QoS; every reason code must be below
    /// 0x80. Publishes that arrive meanwhile are kept for later.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.publish_packet(Publish {
            qos,
            ..Publish::new(topic, payload)
        });
    }

    /// The same, retained.
    #[track_caller]
    pub fn publish_retained(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.publish_packet(Publish {
            qos,
            ..Publish::new(topic, payload).retain()
        });
    }

    /// The same for a whole packet; a missing packet id is chosen. Returns the PUBACK or PUBREC.
    #[track_caller]
    pub fn publish_packet(&mut self, mut publish: Publish) -> Option<Ack> {
        if publish.qos > 0 && publish.id.is_none() {
            publish.id = Some(self.next_id());
        }
        self.send(&publish.bytes(self.level));
        let id = publish.id?;
        let kind = if publish.qos == 1 {
            wire::PUBACK
        } else {
            wire::PUBREC
        };
        let ack = self.expect_ack(kind, id);
        assert!(
            ack.reason < 0x80,
            "the broker refused the message: {ack:02x?}"
        );
        if publish.qos == 2 {
            self.send(&wire::ack(wire::PUBREL, id));
            self.expect_ack(wire::PUBCOMP, id);
        }
        Some(ack)
    }

    /// Waits for an acknowledgement of this type and id; publishes are kept for later.
    #[track_caller]
    pub fn expect_ack(&mut self, kind: u8, id: u16) -> Ack {
        let ack = self.recv_kind(kind).ack(kind, self.level);
        assert_eq!(ack.id, id, "packet id of the {}", wire::name(kind));
        ack
    }

    /// The next packet must be a PUBLISH; it is not acknowledged.
    #[track_caller]
    pub fn expect_publish(&mut self) -> Publish {
        self.recv().publish(self.level)
    }

    /// The next packet must be a PUBLISH; the whole exchange of its QoS follows.
    #[track_caller]
    pub fn receive(&mut self) -> Publish {
        let publish = self.expect_publish();
        self.acknowledge(&publish);
        publish
    }

    /// Goes through the exchange that a received PUBLISH asks for.
    #[track_caller]
    pub fn acknowledge(&mut self, publish: &Publish) {
        match (publish.qos, publish.id) {
            (1, Some(id)) => self.send(&wire::ack(wire::PUBACK, id)),
            (2, Some(id)) => {
                self.send(&wire::ack(wire::PUBREC, id));
                self.expect_ack(wire::PUBREL, id);
                self.send(&wire::ack(wire::PUBCOMP, id));
            }
            _ => {}
        }
    }

    /// PINGREQ and its answer; what else arrives meanwhile is kept for later.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(&wire::pingreq());
        let pingresp = self.recv_kind(wire::PINGRESP);
        assert_eq!(
            (pingresp.flags, pingresp.body.len()),
            (0, 0),
            "{pingresp:?}"
        );
    }

    /// DISCONNECT; waits until the broker has closed, so that the session's end is behind it.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.send(&wire::disconnect());
        self.until_closed();
    }

    /// Ends the connection without a DISCONNECT: the will is due.
    pub fn cut(self) {
        let _closed = self.wire.cut();
    }

    // --- reading ---

    fn read(&mut self, limit: Duration) -> Read1 {
        match self.set_aside.pop_front() {
            Some(packet) => Read1::Packet(packet),
            None => self.read_socket(Instant::now() + limit),
        }
    }

    fn read_socket(&mut self, deadline: Instant) -> Read1 {
        loop {
            if let Some(packet) = self.take_buffered() {
                return Read1::Packet(packet);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Read1::Nothing;
            }
            // A connection that is gone may refuse the option; the read then says so.
            let _gone = self
                .wire
                .set_read_deadline(Some(left.max(Duration::from_millis(1))));
            let mut buffer = [0; 16 * 1024];
            match self.wire.read(&mut buffer) {
                Ok(0) => return Read1::Closed,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Read1::Closed,
                },
            }
        }
    }

    fn take_buffered(&mut self) -> Option<Packet> {
        let first = *self.received.first()?;
        let mut length = 0;
        let mut header = 1;
        loop {
            let byte = *self.received.get(header)?;
            length |= usize::from(byte & 0x7F) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
            assert!(header < 5, "a remaining length of more than four bytes");
        }
        if self.received.len() < header + length {
            return None;
        }
        let body = self.received[header..header + length].to_vec();
        self.received.drain(..header + length);
        Some(Packet {
            kind: first >> 4,
            flags: first & 0x0F,
            body,
        })
    }
}
