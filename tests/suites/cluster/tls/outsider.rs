//! Somebody who connects to the ports that are for nodes, and believes whatever server there is.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use gatemq_proto::cluster::prost::Message;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_rustls::TlsConnector;
use tonic::{Code, Request, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

use super::forged::Shown;

/// What HTTP/2 begins with, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Outsider(Arc<ClientConfig>);

/// Takes every certificate.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl Outsider {
    /// One that shows no certificate.
    pub(super) fn without() -> Self {
        Self::new(None)
    }

    /// One that shows this.
    pub(super) fn showing(shown: &Shown) -> Self {
        Self::new(Some(shown))
    }

    fn new(shown: Option<&Shown>) -> Self {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring speaks them")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous(provider)));
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => builder
                .with_client_auth_cert(vec![shown.certificate()], shown.key())
                .expect("the key is of the certificate"),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    /// Begins HTTP/2, and returns what the server says inside of TLS: nothing, if it does not
    /// listen.
    pub(super) fn speak(&self, address: SocketAddr) -> Vec<u8> {
        let Ok(mut stream) = self.dial(address) else {
            return Vec::new();
        };
        let _ = stream.write_all(PREFACE).and_then(|()| stream.flush());
        let mut heard = vec![0; 64];
        let n_bytes = stream.read(&mut heard).unwrap_or(0);
        heard.truncate(n_bytes);
        heard
    }

    /// The certificate that the server shows.
    pub(super) fn sees(&self, address: SocketAddr) -> CertificateDer<'static> {
        let stream = self.dial(address).expect("a TLS server");
        let chain = stream.conn.peer_certificates().expect("a certificate");
        chain[0].clone().into_owned()
    }

    fn dial(&self, address: SocketAddr) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut stream = connect(address)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(self.0.clone(), name);
        let mut connection = connection.map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    /// Calls a method with an empty message.
    pub(super) fn call(&self, address: SocketAddr, path: &str) -> Code {
        self.ask(address, path, ())
    }

    /// Calls a method; the answer is what kind of answer it is.
    pub(super) fn ask<T: Message + 'static>(
        &self,
        address: SocketAddr,
        path: &str,
        message: T,
    ) -> Code {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let connector = TlsConnector::from(self.0.clone());
        let connect = tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let stream = tokio::net::TcpStream::connect(address).await?;
                let name = ServerName::try_from("localhost").expect("a name");
                let stream = connector.connect(name, stream).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
            let channel = endpoint
                .timeout(LIMIT)
                .connect_with_connector(connect)
                .await;
            let mut client = Grpc::new(channel.expect("a connection"));
            client.ready().await.expect("a connection");
            let path = path.parse().expect("a path");
            let codec = ProstCodec::<T, ()>::default();
            let answer = client.unary(Request::new(message), path, codec).await;
            answer.map_or_else(|status| status.code(), |_| Code::Ok)
        })
    }
}

/// Begins HTTP/2 without TLS, and returns what comes back.
pub(super) fn speak_plain(address: SocketAddr) -> Vec<u8> {
    let mut stream = connect(address).expect("somebody listens");
    stream.write_all(PREFACE).expect("it is sent");
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    heard
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
