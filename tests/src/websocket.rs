//! The smallest WebSocket client: one connection, frames under full control. [`WebSocket`] is a
//! [`Wire`], so that a [`Client`] runs over it; each write becomes one binary frame.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use crate::client::{Client, Wire};

/// Frame types.
pub mod opcode {
    /// Goes on with the message that an earlier frame began.
    pub const CONTINUATION: u8 = 0;
    /// Text.
    pub const TEXT: u8 = 1;
    /// Binary: what MQTT uses.
    pub const BINARY: u8 = 2;
    /// The end, with an optional status.
    pub const CLOSE: u8 = 8;
    /// Ping.
    pub const PING: u8 = 9;
    /// Pong.
    pub const PONG: u8 = 10;
}

/// An open WebSocket connection.
pub struct WebSocket {
    stream: TcpStream,
    raw: Vec<u8>,
    payload: Vec<u8>,
    closed: bool,
    /// The status of the close frame that was received.
    pub close_status: Option<u16>,
}

/// The answer to an upgrade request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status: 101 when the upgrade was accepted.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

impl WebSocket {
    /// Connects and asks for an upgrade at `/mqtt` with the subprotocol `mqtt`.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let (socket, answer) =
            Self::upgrade(address, "/mqtt", &[("Sec-WebSocket-Protocol", "mqtt")]);
        assert_eq!(answer.status, 101, "the upgrade was refused: {answer:?}");
        socket
    }

    /// Asks for an upgrade with these headers beside the obligatory ones.
    #[track_caller]
    pub fn upgrade(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (Self, Answer) {
        let mut stream = TcpStream::connect(address).expect("the listener takes connections");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout can be set");
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream
            .write_all(request.as_bytes())
            .expect("the request can be sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let count = stream.read(&mut byte).expect("an answer within 5 s");
            if count == 0 {
                break;
            }
            head.push(byte[0]);
        }
        let answer = parse(&String::from_utf8_lossy(&head));
        let socket = Self {
            stream,
            raw: Vec::new(),
            payload: Vec::new(),
            closed: false,
            close_status: None,
        };
        (socket, answer)
    }

    /// A client over it.
    pub fn client(self) -> Client {
        Client::over(Box::new(self))
    }

    /// Sends one frame; `last` is the FIN bit.
    pub fn send_frame(&mut self, opcode: u8, last: bool, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![u8::from(last) << 7 | opcode];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short), _) if short < 126 => frame.push(0x80 | short),
            (_, Ok(medium)) => {
                frame.push(0x80 | 126);
                frame.extend(medium.to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        // A mask of zeros leaves the payload readable in a packet dump.
        frame.extend([0; 4]);
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)
    }

    /// Reads frames until the payload of a data frame or the end is there.
    fn fill(&mut self) -> io::Result<()> {
        while self.payload.is_empty() && !self.closed {
            if let Some((opcode, payload)) = self.take_frame() {
                match opcode {
                    opcode::BINARY | opcode::CONTINUATION => self.payload = payload,
                    opcode::CLOSE => {
                        self.closed = true;
                        self.close_status = payload
                            .first_chunk::<2>()
                            .map(|status| u16::from_be_bytes(*status));
                    }
                    opcode::PING => self.send_frame(opcode::PONG, true, &payload)?,
                    opcode::PONG => {}
                    other => {
                        let text = format!("a frame of type {other} from the broker");
                        return Err(io::Error::new(ErrorKind::InvalidData, text));
                    }
                }
                continue;
            }
            let mut buffer = [0; 16 * 1024];
            let count = self.stream.read(&mut buffer)?;
            self.closed |= count == 0;
            self.raw.extend_from_slice(&buffer[..count]);
        }
        Ok(())
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.raw.first()?, *self.raw.get(1)?);
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (header, length) = match second {
            126 => {
                let bytes = self.raw.get(2..4)?;
                (4, usize::from(u16::from_be_bytes(bytes.try_into().ok()?)))
            }
            127 => {
                let bytes = self.raw.get(2..10)?;
                (
                    10,
                    usize::try_from(u64::from_be_bytes(bytes.try_into().ok()?)).ok()?,
                )
            }
            short => (2, usize::from(short)),
        };
        let payload = self.raw.get(header..header + length)?.to_vec();
        self.raw.drain(..header + length);
        Some((first & 0x0F, payload))
    }
}

impl Read for WebSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let count = self.payload.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.payload[..count]);
        self.payload.drain(..count);
        Ok(count)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_frame(opcode::BINARY, true, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Wire for WebSocket {
    fn set_read_deadline(&self, limit: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(limit)
    }

    fn cut(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Both)
    }
}

fn parse(head: &str) -> Answer {
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split_whitespace().nth(1));
    Answer {
        status: status.and_then(|status| status.parse().ok()).unwrap_or(0),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
    }
}
