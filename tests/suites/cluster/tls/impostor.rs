//! Somebody who listens where a node did, asks for no certificate, and counts what it is told.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring};

use super::forged::Shown;

pub(super) struct Impostor {
    counts: Arc<Counts>,
    address: SocketAddr,
    listening: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    /// Connections that it has heard to their end, or that said something.
    calls: AtomicUsize,
    /// Bytes inside of TLS.
    heard: AtomicUsize,
    is_over: AtomicBool,
}

impl Impostor {
    /// Listens there, with this certificate.
    pub(super) fn start(address: SocketAddr, shown: &Shown) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks them")
            .with_no_client_auth()
            .with_single_cert(vec![shown.certificate()], shown.key())
            .expect("the key is of the certificate");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind(address).expect("nobody else listens there");
        let counts = Arc::<Counts>::default();
        let (config, counting) = (Arc::new(config), counts.clone());
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if counting.is_over.load(SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    hear(stream, config.clone(), &counting);
                }
            }
        });
        Self {
            counts,
            address,
            listening: Some(listening),
        }
    }

    pub(super) fn n_calls(&self) -> usize {
        self.counts.calls.load(SeqCst)
    }

    pub(super) fn n_heard(&self) -> usize {
        self.counts.heard.load(SeqCst)
    }
}

/// Hears one connection: its first words, or its end.
fn hear(stream: TcpStream, config: Arc<ServerConfig>, counts: &Counts) {
    let limit = Some(Duration::from_secs(2));
    if stream.set_read_timeout(limit).is_ok()
        && let Ok(connection) = ServerConnection::new(config)
    {
        let mut stream = StreamOwned::new(connection, stream);
        let n_bytes = stream.read(&mut [0; 64]).unwrap_or(0);
        counts.heard.fetch_add(n_bytes, SeqCst);
    }
    counts.calls.fetch_add(1, SeqCst);
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.counts.is_over.store(true, SeqCst);
        // Wakes it up.
        drop(TcpStream::connect(self.address));
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}
