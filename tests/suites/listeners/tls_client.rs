//! The client's side of TLS, as a [`Wire`].

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use gatemq_tests::{Client, client::Wire};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName},
};

use super::authority::{Authority, Identity};

/// Whom a client trusts, what it shows, which versions it speaks.
pub(crate) struct TlsClient {
    roots: RootCertStore,
    identity: Option<Arc<Identity>>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

/// A TLS connection whose handshake is behind it.
pub(crate) struct TlsWire(StreamOwned<ClientConnection, TcpStream>);

// === impl TlsClient ===

impl TlsClient {
    /// A client that trusts this authority.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        Self::trusting_der(authority.der())
    }

    /// A client that trusts the authority of this certificate.
    pub(crate) fn trusting_der(authority: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority).expect("a good certificate");
        Self {
            roots,
            identity: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
        }
    }

    /// Shows this certificate when it is asked for one.
    pub(crate) fn showing(mut self, identity: impl Into<Arc<Identity>>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Speaks this version only.
    pub(crate) fn only(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// Connects and shakes hands. With TLS 1.3 a server's refusal of the client's certificate
    /// comes after this, with the first read.
    pub(crate) fn dial(&self, address: SocketAddr) -> io::Result<TlsWire> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        self.shake_hands(stream)
    }

    /// Shakes hands on a connection that exists.
    pub(crate) fn shake_hands(&self, mut stream: TcpStream) -> io::Result<TlsWire> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a good name");
        let mut connection =
            ClientConnection::new(Arc::new(self.config()), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(TlsWire(StreamOwned::new(connection, stream)))
    }

    /// An MQTT client over TLS; the handshake must succeed.
    #[track_caller]
    pub(crate) fn mqtt(&self, address: SocketAddr) -> Client {
        let wire = self.dial(address).expect("the TLS handshake succeeds");
        Client::over(Box::new(wire))
    }

    fn config(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .expect("ring speaks them")
            .with_root_certificates(self.roots.clone());
        match &self.identity {
            Some(identity) => config
                .with_client_auth_cert(vec![identity.certificate()], identity.key())
                .expect("the key is of the certificate"),
            None => config.with_no_client_auth(),
        }
    }
}

// === impl TlsWire ===

impl TlsWire {
    /// The certificate that the server showed.
    pub(crate) fn server_certificate(&self) -> CertificateDer<'static> {
        let chain = self.0.conn.peer_certificates().expect("a server shows one");
        chain[0].clone().into_owned()
    }

    /// The version that was agreed on.
    pub(crate) fn version(&self) -> rustls::ProtocolVersion {
        self.0
            .conn
            .protocol_version()
            .expect("the handshake is over")
    }
}

impl Read for TlsWire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Wire for TlsWire {
    fn set_read_deadline(&self, limit: Option<Duration>) -> io::Result<()> {
        self.0.sock.set_read_timeout(limit)
    }

    fn cut(&self) -> io::Result<()> {
        self.0.sock.shutdown(Shutdown::Both)
    }
}
