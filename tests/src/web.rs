//! A web server that does with each request what the test says, well or badly.
//!
//! ```no_run
//! use gatemq_tests::web::{Act, Web, say};
//!
//! let web = Web::start(|request| match request.starts_with("GET /ready ") {
//!     true => say("1"),
//!     false => Act::Hang(Vec::new()),
//! });
//! // … whoever is to ask it is told web.url("/ready") …
//! ```

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// What it does with a request.
pub enum Act {
    /// Answers with this status and body.
    Say(u16, String),
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Sends these bytes, and then nothing, until the other side goes.
    Hang(Vec<u8>),
}

/// A running server. Dropping it ends it.
pub struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    scheme: &'static str,
}

/// What a request comes over.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Answers 200 with this body.
pub fn say(body: impl Into<String>) -> Act {
    Act::Say(200, body.into())
}

// === impl Web ===

impl Web {
    /// Asks `act` what to do with each request: its head and its body.
    pub fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        Self::start_over("http", |stream| Some(Box::new(stream)), act)
    }

    /// The same over what `wrap` makes of each connection, in a thread of its own; `None` ends it.
    pub fn start_over(
        scheme: &'static str,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
        act: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (asked, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let web = Self {
            address,
            asked: Arc::clone(&asked),
            is_over: Arc::clone(&is_over),
            scheme,
        };
        let (wrap, act) = (Arc::new(wrap), Arc::new(act));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (wrap, act) = (Arc::clone(&wrap), Arc::clone(&act));
                let asked = Arc::clone(&asked);
                // It ends when the other side goes.
                thread::spawn(move || {
                    if let Some(mut stream) = wrap(stream) {
                        let _gone = serve(&mut *stream, &*act, &asked);
                    }
                });
            }
        });
        web
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // it looks
    }
}

fn serve(
    stream: &mut dyn Stream,
    act: &dyn Fn(&str) -> Act,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    loop {
        let request = receive(stream)?;
        let action = act(&request);
        let mut log = asked.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(request);
        drop(log);
        match action {
            Act::Say(status, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
                stream.flush()?;
            }
            Act::Send(bytes) => {
                stream.write_all(&bytes)?;
                return stream.flush();
            }
            Act::Hang(bytes) => {
                stream.write_all(&bytes)?;
                stream.flush()?;
                while stream.read(&mut [0; 64])? > 0 {}
                return Ok(());
            }
        }
    }
}

/// One request, with its body.
fn receive(stream: &mut dyn Stream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n_bytes = stream.read(&mut buffer)?;
        if n_bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..n_bytes]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap_or(usize::MAX));
        if body.len() >= length {
            return Ok(text);
        }
    }
}
