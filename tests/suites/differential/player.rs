//! Plays the steps of a program against one broker.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gatemq_tests::{
    Connect, Packet, Properties, Publish, Will,
    wire::{self, property},
};

use super::{
    program::{Act, Connecting, Step},
    view::View,
};

/// How long a broker may take for an answer that has to come.
const LIMIT: Duration = Duration::from_secs(5);
/// Rounds of questions after which nothing more is expected.
const MOST_ROUNDS: usize = 50;

/// Both clients of one broker.
pub(super) struct Player {
    address: SocketAddr,
    name: String,
    clients: [Client; 2],
}

/// A client, connected or not.
#[derive(Default)]
struct Client {
    connection: Option<Connection>,
    /// What it has got since it was last looked at.
    seen: View,
    /// Publishes of QoS 2 that are not released, and what is sent of them again: once, for mosquitto
    /// counts each one against its Receive Maximum.
    held: VecDeque<(u16, Option<Vec<u8>>)>,
}

struct Connection {
    stream: TcpStream,
    level: u8,
    received: Vec<u8>,
    acknowledges: bool,
    /// Publishes of QoS 2 that are released as soon as they are received.
    releases: Vec<u16>,
    /// Acknowledgements that are owed, and put off.
    owed: VecDeque<Vec<u8>>,
}

// === impl Player ===

impl Player {
    pub(super) fn new(address: SocketAddr, name: &str) -> Self {
        Self {
            address,
            name: name.to_owned(),
            clients: Default::default(),
        }
    }

    pub(super) fn act(&mut self, at: usize, step: &Step) {
        let Self {
            address,
            name,
            clients,
        } = self;
        let client = &mut clients[step.client];
        if let Act::Connect(connecting) = &step.act {
            let id = format!("{name}c{}", step.client);
            return client.connect(*address, &connecting.packet(&id, name), connecting);
        }
        let Some(connection) = &mut client.connection else {
            return;
        };
        let level = connection.level;
        let id = u16::try_from(at + 1).expect("a program is short");
        let packet = match &step.act {
            Act::Connect(_) => return,
            Act::Subscribe { filters, id: of } => {
                let names: Vec<_> = filters
                    .iter()
                    .map(|(filter, _)| below(name, filter))
                    .collect();
                // Only 5 has options; and who is in a group hears itself [MQTT-3.8.3-4].
                let options = filters.iter().map(|(filter, options)| match level {
                    5 if filter.starts_with('$') => options & !4,
                    5 => *options,
                    _ => options & 3,
                });
                let asked: Vec<_> = names.iter().map(|it| &**it).zip(options).collect();
                let with =
                    of.map(|id| Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, id));
                wire::subscribe(level, id, &with.unwrap_or_default(), &asked)
            }
            Act::Unsubscribe(filters) => {
                let names: Vec<_> = filters.iter().map(|filter| below(name, filter)).collect();
                let names: Vec<_> = names.iter().map(|it| &**it).collect();
                wire::unsubscribe(level, id, &Properties::new(), &names)
            }
            Act::Publish {
                topic,
                qos,
                retain,
                payload,
                properties,
                releases,
            } => {
                let publish = Publish {
                    qos: *qos,
                    retain: *retain,
                    id: (*qos > 0).then_some(id),
                    properties: properties.clone(),
                    ..Publish::new(&below(name, topic), payload)
                };
                if *qos == 2 {
                    match releases {
                        true => connection.releases.push(id),
                        false => client
                            .held
                            .push_back((id, Some(publish.clone().dup().bytes(level)))),
                    }
                }
                publish.bytes(level)
            }
            Act::Again => match client
                .held
                .front_mut()
                .and_then(|(_, packet)| packet.take())
            {
                Some(packet) => packet,
                None => return,
            },
            Act::Release => match client.held.pop_front() {
                Some((id, _)) => wire::ack(wire::PUBREL, id),
                None => return,
            },
            Act::Acknowledge => match connection.owed.pop_front() {
                Some(packet) => packet,
                None => return,
            },
            Act::Disconnect(reason, expiry) => {
                let with =
                    expiry.map(|it| Properties::new().four(property::SESSION_EXPIRY_INTERVAL, it));
                match level {
                    5 => wire::disconnect_with(*reason, &with.unwrap_or_default()),
                    _ => wire::disconnect(),
                }
            }
            Act::Cut => {
                client.cut();
                return;
            }
            Act::Odd(odd) => odd.bytes(level, name),
        };
        connection.send(&packet);
        if let Act::Disconnect(..) = &step.act {
            client.read_to_the_end();
        }
    }

    /// What each client has got since [`Self::forget`], when nothing more comes.
    pub(super) fn look(&mut self, overlaps: bool) -> [View; 2] {
        for _ in 0..MOST_ROUNDS {
            for client in &mut self.clients {
                if let Some(connection) = &mut client.connection {
                    connection.send(&wire::pingreq());
                }
            }
            let mut n_packets = 0;
            for client in &mut self.clients {
                n_packets += client.read_until_pingresp();
            }
            if n_packets == 0 {
                break;
            }
        }
        let clients = &self.clients;
        [0, 1].map(|at| clients[at].seen.normal(&self.name, overlaps))
    }

    pub(super) fn forget(&mut self) {
        for client in &mut self.clients {
            client.seen = View::default();
        }
    }
}

impl Drop for Player {
    /// Leaves nothing behind that could reach another program.
    fn drop(&mut self) {
        for (at, client) in self.clients.iter_mut().enumerate() {
            client.connection = None;
            let clean = Connect::new(4, format!("{}c{at}", self.name)).bytes();
            if let Ok(mut stream) = TcpStream::connect_timeout(&self.address, LIMIT) {
                let _gone = stream.write_all(&clean);
                let _gone = stream.set_read_timeout(Some(LIMIT));
                let _gone = stream.read(&mut [0; 4]);
                let _gone = stream.write_all(&wire::disconnect());
            }
        }
    }
}

/// A filter or topic of this program.
fn below(name: &str, filter: &str) -> String {
    match filter.strip_prefix("$share/g/") {
        Some(filter) => format!("$share/{name}/{name}/{filter}"),
        None => format!("{name}/{filter}"),
    }
}

// === impl Connecting ===

impl Connecting {
    fn packet(&self, id: &str, name: &str) -> Connect {
        let mut properties = Properties::new();
        if let Some(expiry) = self.expiry {
            properties = properties.four(property::SESSION_EXPIRY_INTERVAL, expiry);
        }
        if let Some(maximum) = self.receive_maximum {
            properties = properties.two(property::RECEIVE_MAXIMUM, maximum);
        }
        let connect = Connect::new(self.level, id)
            .clean(self.clean)
            .properties(properties);
        match self.will {
            None => connect,
            Some((topic, qos, retain)) => {
                let will = Will::new(below(name, topic), b"will").qos(qos);
                connect.will(if retain { will.retain() } else { will })
            }
        }
    }
}

// === impl Client ===

impl Client {
    fn connect(&mut self, address: SocketAddr, connect: &Connect, connecting: &Connecting) {
        let mut old = self.connection.take();
        let stream = TcpStream::connect_timeout(&address, LIMIT).expect("it takes connections");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        let mut connection = Connection {
            stream,
            level: connect.level,
            received: Vec::new(),
            acknowledges: connecting.acknowledges,
            releases: Vec::new(),
            owed: VecDeque::new(),
        };
        connection.send(&connect.bytes());
        self.connection = Some(connection);
        let connack = self.read();
        let is_resumed = connack
            .is_some_and(|packet| packet.kind == wire::CONNACK && packet.body.first() == Some(&1));
        if !is_resumed {
            self.held.clear();
        }
        if let Some(old) = &mut old {
            let deadline = Instant::now() + LIMIT;
            while let Ok(Some(_)) = old.packet(deadline) {}
            self.seen.is_taken_over |= matches!(old.packet(Instant::now()), Err(Closed));
        }
    }

    /// Ends the connection as a broken network would, and lets the broker notice.
    fn cut(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _gone = connection.stream.shutdown(Shutdown::Both);
            drop(connection);
            gatemq_tests::pause(Duration::from_millis(20));
        }
    }

    /// What comes before the broker closes.
    fn read_to_the_end(&mut self) {
        if let Some(connection) = &self.connection {
            let _gone = connection.stream.shutdown(Shutdown::Write);
        }
        while self.read().is_some() {}
        self.connection = None;
    }

    /// How many packets came before PINGRESP.
    fn read_until_pingresp(&mut self) -> usize {
        let mut n_packets = 0;
        while let Some(packet) = self.read() {
            if packet.kind == wire::PINGRESP {
                break;
            }
            n_packets += 1;
        }
        n_packets
    }

    /// The next packet, which is remembered and answered as it has to be; `None` when the connection
    /// is no more.
    fn read(&mut self) -> Option<Packet> {
        let connection = self.connection.as_mut()?;
        let packet = match connection.packet(Instant::now() + LIMIT) {
            Ok(Some(packet)) => packet,
            Ok(None) => {
                self.seen.is_silent = true;
                self.connection = None;
                return None;
            }
            Err(Closed) => {
                self.seen.is_closed = true;
                self.connection = None;
                return None;
            }
        };
        self.seen.take(&packet, connection.level);
        for answer in connection.answers(&packet) {
            match connection.acknowledges || packet.kind == wire::PUBREC {
                true => connection.send(&answer),
                false => connection.owed.push_back(answer),
            }
        }
        Some(packet)
    }
}

// === impl Connection ===

struct Closed;

impl Connection {
    /// A broker that has closed is noticed when it is read from.
    fn send(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// What a client has to say to it, now or later.
    fn answers(&mut self, packet: &Packet) -> Vec<Vec<u8>> {
        let id = |at: usize| Some(u16::from_be_bytes(*packet.body.get(at..)?.first_chunk()?));
        match packet.kind {
            wire::PUBLISH => {
                let publish = packet.publish(self.level);
                let kind = if publish.qos == 1 {
                    wire::PUBACK
                } else {
                    wire::PUBREC
                };
                publish
                    .id
                    .map(|id| wire::ack(kind, id))
                    .into_iter()
                    .collect()
            }
            wire::PUBREL => id(0)
                .map(|id| wire::ack(wire::PUBCOMP, id))
                .into_iter()
                .collect(),
            wire::PUBREC => {
                let is_good = packet.body.get(2).is_none_or(|reason| *reason < 0x80);
                let own = id(0).filter(|id| is_good && self.releases.contains(id));
                self.releases.retain(|it| Some(*it) != own);
                own.map(|id| wire::ack(wire::PUBREL, id))
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn packet(&mut self, deadline: Instant) -> Result<Option<Packet>, Closed> {
        loop {
            if let Some(packet) = self.buffered() {
                return Ok(Some(packet));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            let _closed = self.stream.set_read_timeout(Some(left));
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Closed),
                Ok(n_bytes) => self.received.extend_from_slice(&buffer[..n_bytes]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(Closed),
                },
            }
            if Instant::now() >= deadline && self.received.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Packets here are short, but a length has two bytes now and then.
    fn buffered(&mut self) -> Option<Packet> {
        let (first, mut length, mut header) = (*self.received.first()?, 0, 1);
        loop {
            let byte = *self.received.get(header)?;
            length |= usize::from(byte & 0x7F) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = self.received.get(header..header + length)?.to_vec();
        self.received.drain(..header + length);
        Some(Packet {
            kind: first >> 4,
            flags: first & 15,
            body,
        })
    }
}
