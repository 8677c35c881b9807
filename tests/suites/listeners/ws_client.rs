//! The client's side of WebSocket (RFC 6455), as a [`Wire`] and frame by frame.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gatemq_tests::{Client, client::Wire};

/// A frame that continues a message.
pub(crate) const CONTINUATION: u8 = 0x0;
/// A text message.
pub(crate) const TEXT: u8 = 0x1;
/// A binary message.
pub(crate) const BINARY: u8 = 0x2;
/// The end, with an optional code.
pub(crate) const CLOSE: u8 = 0x8;
/// A ping.
pub(crate) const PING: u8 = 0x9;
/// Its answer.
pub(crate) const PONG: u8 = 0xA;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What RFC 6455, section 1.3, computes from that key.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// An open WebSocket. Read and written as a stream it sends one binary frame per write, answers
/// pings, and ends with a close frame.
pub(crate) struct WebSocket {
    wire: Box<dyn Wire>,
    raw: Vec<u8>,
    data: Vec<u8>,
    head: String,
}

/// One frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Whether it is the message's last.
    pub(crate) last: bool,
    /// The frame's type.
    pub(crate) opcode: u8,
    /// What it carries.
    pub(crate) payload: Vec<u8>,
}

// === impl WebSocket ===

impl WebSocket {
    /// Upgrades a connection. The server's answer when it is not 101.
    pub(crate) fn upgrade(
        wire: Box<dyn Wire>,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Result<Self, String> {
        Self::upgrade_with(wire, path, subprotocol, "")
    }

    /// The same with further header lines, each with its line end.
    pub(crate) fn upgrade_with(
        mut wire: Box<dyn Wire>,
        path: &str,
        subprotocol: Option<&str>,
        headers: &str,
    ) -> Result<Self, String> {
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        );
        if let Some(subprotocol) = subprotocol {
            request.push_str(&format!("Sec-WebSocket-Protocol: {subprotocol}\r\n"));
        }
        request.push_str(headers);
        request.push_str("\r\n");
        wire.write_all(request.as_bytes())
            .and_then(|()| wire.flush())
            .map_err(|error| error.to_string())?;
        let (head, raw) = read_head(wire.as_mut());
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(head);
        }
        assert!(
            head.contains(ACCEPT),
            "wrong Sec-WebSocket-Accept in {head}"
        );
        Ok(Self {
            wire,
            raw,
            data: Vec::new(),
            head,
        })
    }

    /// Connects over TCP and upgrades with the subprotocol `mqtt`.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::upgrade(tcp(address), "/mqtt", Some("mqtt")).expect("the upgrade succeeds")
    }

    /// An MQTT client over WebSocket.
    #[track_caller]
    pub(crate) fn mqtt(address: SocketAddr) -> Client {
        Client::over(Box::new(Self::open(address)))
    }

    /// The value of a header in the server's answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Sends a whole message in one masked frame.
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_raw(&frame(0x80 | opcode, payload));
    }

    /// Sends bytes as they are; a closed connection shows with the next read.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _closed = self.wire.write_all(bytes).and_then(|()| self.wire.flush());
    }

    /// The next frame; `None` at the connection's end.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let limit = Duration::from_secs(5);
        let deadline = Instant::now() + limit;
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            assert!(Instant::now() < deadline, "no frame within {limit:?}");
            let _gone = self.wire.set_read_deadline(Some(limit));
            match self.fill() {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(_) => return None,
            }
        }
    }

    /// The server must close; the code of its close frame, if it sent one.
    #[track_caller]
    pub(crate) fn until_closed(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(frame) = self.frame() {
            if let (CLOSE, [high, low, ..]) = (frame.opcode, frame.payload.as_slice()) {
                code = Some(u16::from_be_bytes([*high, *low]));
            }
        }
        code
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = self.wire.read(&mut buffer)?;
        self.raw.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let [first, second, ..] = *self.raw.as_slice() else {
            return None;
        };
        assert_eq!(second & 0x80, 0, "a server's frame is not masked");
        assert_eq!(first & 0x70, 0, "no extension was agreed on");
        let (header, length) = match second {
            126 => (
                4,
                usize::from(u16::from_be_bytes(self.raw.get(2..4)?.try_into().ok()?)),
            ),
            127 => {
                let length = u64::from_be_bytes(self.raw.get(2..10)?.try_into().ok()?);
                (10, usize::try_from(length).expect("a sane length"))
            }
            short => (2, usize::from(short)),
        };
        let payload = self.raw.get(header..header + length)?.to_vec();
        self.raw.drain(..header + length);
        Some(Frame {
            last: first & 0x80 != 0,
            opcode: first & 0x0F,
            payload,
        })
    }
}

impl Read for WebSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.data.is_empty() {
            match self.take_frame() {
                Some(frame) => match frame.opcode {
                    BINARY | CONTINUATION => self.data = frame.payload,
                    PING => self.send(PONG, &frame.payload),
                    CLOSE => return Ok(0),
                    _ => {}
                },
                None => {
                    if self.fill()? == 0 {
                        return Ok(0);
                    }
                }
            }
        }
        let count = buffer.len().min(self.data.len());
        buffer[..count].copy_from_slice(&self.data[..count]);
        self.data.drain(..count);
        Ok(count)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wire.write_all(&frame(0x80 | BINARY, bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

impl Wire for WebSocket {
    fn set_read_deadline(&self, limit: Option<Duration>) -> io::Result<()> {
        self.wire.set_read_deadline(limit)
    }

    fn cut(&self) -> io::Result<()> {
        self.wire.cut()
    }
}

/// A masked frame with this first byte (FIN and opcode).
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// First byte and length of a masked frame.
pub(crate) fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < 126 => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(u64::try_from(length).expect("it fits").to_be_bytes());
        }
    }
    bytes
}

/// A TCP connection to upgrade.
#[track_caller]
pub(crate) fn tcp(address: SocketAddr) -> Box<dyn Wire> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5));
    let stream = stream.expect("the listener takes connections");
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    Box::new(stream)
}

/// The head of an HTTP answer, and what came after it. All there is, if the end comes first.
fn read_head(wire: &mut dyn Wire) -> (String, Vec<u8>) {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let _gone = wire.set_read_deadline(Some(Duration::from_secs(5)));
    loop {
        if let Some(end) = bytes.windows(END.len()).position(|window| window == END) {
            let rest = bytes.split_off(end + END.len());
            return (String::from_utf8_lossy(&bytes).into_owned(), rest);
        }
        match wire.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return (String::from_utf8_lossy(&bytes).into_owned(), Vec::new()),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
