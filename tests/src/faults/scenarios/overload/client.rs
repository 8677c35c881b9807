//! A connection of one client of very many: no thread of its own, and no opinion about what comes.

use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::wire::{self, Connect, Packet, property};

/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// How a client comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Where to.
    pub(super) to: SocketAddr,
    /// From which address; any, where there is none.
    pub(super) from: Option<Ipv4Addr>,
    /// Bytes that its system keeps for it before it reads them; as many as usual where it is 0.
    pub(super) buffer: u32,
    /// How long connecting may take, and how long CONNACK.
    pub(super) limit: Duration,
}

/// Why somebody did not get in.
#[derive(Debug)]
pub(super) enum Refusal {
    /// CONNACK says so.
    Code(u8),
    /// The connection could not be made, ended, or nothing came.
    Cut(io::Error),
}

/// What comes.
#[derive(Debug)]
pub(super) struct Reader {
    stream: OwnedReadHalf,
    received: Vec<u8>,
    /// What was handed out of it.
    n_taken: usize,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) reader: Reader,
    pub(super) writer: OwnedWriteHalf,
    pub(super) session_present: bool,
    /// Messages that the broker takes at a time.
    pub(super) receive_maximum: usize,
}

// === impl Way ===

impl Way {
    /// As clients usually come.
    pub(super) fn to(to: SocketAddr, limit: Duration) -> Self {
        Self {
            to,
            from: None,
            buffer: 0,
            limit,
        }
    }

    async fn connect(self, connect: &Connect) -> io::Result<Client> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind((from, 0).into())?;
        }
        if self.buffer > 0 {
            socket.set_recv_buffer_size(self.buffer)?;
        }
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        let (stream, mut writer) = stream.into_split();
        writer.write_all(&connect.bytes()).await?;
        let reader = Reader {
            stream,
            received: Vec::new(),
            n_taken: 0,
        };
        Ok(Client {
            reader,
            writer,
            session_present: false,
            receive_maximum: usize::from(u16::MAX),
        })
    }

    /// Connects, and waits for a CONNACK that accepts.
    ///
    /// # Errors
    ///
    /// It does not, or not in time.
    pub(super) async fn open(self, connect: &Connect) -> Result<Client, Refusal> {
        let opening = async {
            let mut client = self.connect(connect).await?;
            let packet = client.reader.next().await?;
            Ok::<_, io::Error>((client, packet))
        };
        let late = |_| Err(ErrorKind::TimedOut.into());
        let opened = timeout(self.limit, opening).await.unwrap_or_else(late);
        let (mut client, packet) = opened.map_err(Refusal::Cut)?;
        let connack = packet.connack(connect.level);
        if connack.code != 0 {
            return Err(Refusal::Code(connack.code));
        }
        let maximum = connack.properties.number(property::RECEIVE_MAXIMUM);
        let maximum = maximum.and_then(|number| usize::try_from(number).ok());
        client.receive_maximum = maximum.unwrap_or(client.receive_maximum);
        client.session_present = connack.session_present;
        Ok(client)
    }
}

// === impl Refusal ===

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "CONNACK says {code:#04x}"),
            Self::Cut(error) => write!(out, "no CONNACK: {error}"),
        }
    }
}

impl Error for Refusal {}

// === impl Client ===

impl Client {
    /// Sends a packet and waits for one of this kind; others that come meanwhile are dropped.
    ///
    /// # Errors
    ///
    /// The connection ends.
    pub(super) async fn ask(&mut self, packet: &[u8], kind: u8) -> io::Result<Packet> {
        self.writer.write_all(packet).await?;
        loop {
            let packet = self.reader.next().await?;
            if packet.kind == kind {
                return Ok(packet);
            }
        }
    }

    /// Subscribes; every filter must be granted.
    ///
    /// # Errors
    ///
    /// One is not, or the connection ends.
    pub(super) async fn subscribe(&mut self, level: u8, filters: &[(&str, u8)]) -> io::Result<()> {
        let packet = wire::subscribe(level, 1, &wire::Properties::new(), filters);
        let suback = self.ask(&packet, wire::SUBACK).await?;
        let codes = suback.suback(wire::SUBACK, level).codes;
        match codes.iter().all(|code| *code < 0x80) {
            true => Ok(()),
            false => Err(io::Error::other(format!("refused: {codes:02x?}"))),
        }
    }
}

// === impl Reader ===

impl Reader {
    /// The next packet. Nothing is lost where this is dropped before it is there.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub(super) async fn next(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(packet) = self.buffered() {
                return Ok(packet);
            }
            self.received.drain(..self.n_taken);
            self.n_taken = 0;
            self.received.reserve(CHUNK);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// A packet that is here already.
    pub(super) fn buffered(&mut self) -> Option<Packet> {
        let bytes = &self.received[self.n_taken..];
        let mut length = 0;
        let mut header = 1;
        loop {
            let byte = bytes.get(header)?;
            length |= usize::from(byte & 0x7F) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = bytes.get(header..header + length)?.to_vec();
        let packet = Packet {
            kind: bytes[0] >> 4,
            flags: bytes[0] & 0x0F,
            body,
        };
        self.n_taken += header + length;
        Some(packet)
    }

    /// Reads at most so many bytes, whatever they are; 0 at the end.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub(super) async fn skip(&mut self, n_bytes: usize) -> io::Result<usize> {
        let mut bytes = vec![0; n_bytes];
        self.stream.read(&mut bytes).await
    }
}
