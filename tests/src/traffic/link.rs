//! A connection that may end at any time without failing the test: the broker gets killed here.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::wire::{self, Connack, Connect, Packet};

/// How long a broker that runs may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Where a client may connect: always to the first one, until that one fails it. And as whom.
#[derive(Clone, Debug)]
pub struct Route {
    addresses: Vec<SocketAddr>,
    /// User name and password.
    login: Option<(String, String)>,
}

impl Route {
    /// One broker, or the gateways of a cluster.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            addresses: addresses.into_iter().collect(),
            login: None,
        }
    }

    /// The same for somebody who has to say who it is, by user name and password.
    pub fn logged_in(mut self, username: &str, password: &str) -> Self {
        self.login = Some((username.to_owned(), password.to_owned()));
        self
    }

    /// Says who it is, if that is to be said.
    pub fn sign(&self, connect: Connect) -> Connect {
        match &self.login {
            Some((username, password)) => connect.username(username).password(password),
            None => connect,
        }
    }

    /// Where to connect now.
    pub fn current(&self) -> SocketAddr {
        *self
            .addresses
            .first()
            .expect("there is somewhere to connect")
    }

    /// The connection failed: the next one is another gateway's, if there is one.
    pub fn turn(&mut self) {
        self.addresses.rotate_left(1);
    }
}

/// A TCP connection that speaks MQTT.
pub struct Link {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Link {
    /// Connects and waits for the CONNACK, which must accept. Returns Session Present and the
    /// Receive Maximum of the broker too.
    pub fn open(address: SocketAddr, connect: &Connect) -> io::Result<(Self, bool, u16)> {
        Self::open_within(PATIENCE, address, connect)
    }

    /// The same, with another patience for each of the two.
    pub fn open_within(
        limit: Duration,
        address: SocketAddr,
        connect: &Connect,
    ) -> io::Result<(Self, bool, u16)> {
        let mut link = Self::begin(limit, address, connect)?;
        let connack = link.answer(limit, connect.level)?;
        if connack.code != 0 {
            return Err(io::Error::other(format!(
                "the broker refused: {connack:02x?}"
            )));
        }
        let maximum = connack.properties.number(wire::property::RECEIVE_MAXIMUM);
        let maximum = maximum.and_then(|number| u16::try_from(number).ok());
        Ok((link, connack.session_present, maximum.unwrap_or(u16::MAX)))
    }

    /// Connects and sends the CONNECT; does not wait for the CONNACK.
    pub fn begin(limit: Duration, address: SocketAddr, connect: &Connect) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut link = Self {
            stream,
            received: Vec::new(),
        };
        link.send(&connect.bytes())?;
        Ok(link)
    }

    /// The CONNACK, whatever it says.
    pub fn answer(&mut self, limit: Duration, level: u8) -> io::Result<Connack> {
        let packet = self.recv(limit)?.ok_or(ErrorKind::TimedOut)?;
        match packet.kind {
            wire::CONNACK => Ok(packet.connack(level)),
            _ => Err(io::Error::other(format!("no CONNACK: {packet:?}"))),
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next packet, or `None` when none comes in this time.
    pub fn recv(&mut self, limit: Duration) -> io::Result<Option<Packet>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(packet) = self.take_buffered()? {
                return Ok(Some(packet));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// DISCONNECT; waits for the broker's end, so that it has seen all that was sent.
    pub fn disconnect(self) -> io::Result<()> {
        self.end_with(&wire::disconnect())
    }

    /// The same with another packet that ends the connection.
    pub fn end_with(mut self, packet: &[u8]) -> io::Result<()> {
        self.send(packet)?;
        loop {
            match self.recv(PATIENCE) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(ErrorKind::TimedOut.into()),
                Err(_closed) => return Ok(()),
            }
        }
    }

    fn take_buffered(&mut self) -> io::Result<Option<Packet>> {
        let mut length = 0;
        let mut header = 1;
        loop {
            let Some(byte) = self.received.get(header) else {
                return Ok(None);
            };
            length |= usize::from(byte & 0x7F) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
            if header == 5 {
                return Err(io::Error::other("a remaining length of five bytes"));
            }
        }
        if self.received.len() < header + length {
            return Ok(None);
        }
        let first = self.received[0];
        let body = self.received[header..header + length].to_vec();
        self.received.drain(..header + length);
        Ok(Some(Packet {
            kind: first >> 4,
            flags: first & 0x0F,
            body,
        }))
    }
}
