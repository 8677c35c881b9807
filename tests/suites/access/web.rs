//! A web server that does with each request what the test says, well or badly.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::listeners::authority::Identity;

/// What it does with a request.
pub(super) enum Act {
    /// Answers with this status and body.
    Say(u16, String),
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Sends these bytes, and then nothing, until the other side goes.
    Hang(Vec<u8>),
}

/// A running server. Dropping it ends it.
pub(super) struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    is_tls: bool,
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

pub(super) fn say(body: impl Into<String>) -> Act {
    Act::Say(200, body.into())
}

// === impl Web ===

impl Web {
    /// Answers each request: its head and its body.
    pub(super) fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        Self::listen(None, act)
    }

    /// One that speaks TLS.
    pub(super) fn start_tls(
        identity: &Identity,
        act: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate()], identity.key())
            .expect("they fit");
        Self::listen(Some(Arc::new(config)), act)
    }

    /// A URL of it.
    pub(super) fn url(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// All requests so far.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    fn listen(
        tls: Option<Arc<ServerConfig>>,
        act: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (asked, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let web = Self {
            address,
            asked: Arc::clone(&asked),
            is_over: Arc::clone(&is_over),
            is_tls: tls.is_some(),
        };
        let act = Arc::new(act);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (act, asked, tls) = (Arc::clone(&act), Arc::clone(&asked), tls.clone());
                // It ends when the other side goes.
                thread::spawn(move || {
                    let mut stream: Box<dyn Stream> = match tls {
                        Some(config) => match ServerConnection::new(config) {
                            Ok(connection) => Box::new(StreamOwned::new(connection, stream)),
                            Err(_) => return,
                        },
                        None => Box::new(stream),
                    };
                    let _ = serve(&mut *stream, &*act, &asked);
                });
            }
        });
        web
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
