//! TLS to a collector: its certificate is always verified.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::StartError;

/// A channel that connects when it is used.
pub(super) fn channel(endpoint: &Endpoint, ca: &str) -> Result<Channel, StartError> {
    let config = Arc::new(client(ca)?);
    let connector = service_fn(move |uri| connect(config.clone(), uri));
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// How such connections begin, by the authorities of a file, or those of the system.
pub(super) fn client(ca: &str) -> Result<ClientConfig, StartError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| StartError::Tls(error.to_string()))?;
    let builder = match ca {
        "" => {
            let verifier = rustls_platform_verifier::Verifier::new(provider)
                .map_err(|error| StartError::Tls(format!("{error}: name a file in tls-ca")))?;
            builder
                .dangerous() // it verifies, by the authorities of the system
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
        file => builder.with_root_certificates(authorities(Path::new(file))?),
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn authorities(file: &Path) -> Result<RootCertStore, StartError> {
    let wrong = |what: &dyn std::fmt::Display| {
        StartError::Tls(format!("{}: {what}", file.display()).replace('\n', " "))
    };
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    for certificate in read {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    match roots.is_empty() {
        true => Err(wrong(&"has no certificate in it")),
        false => Ok(roots),
    }
}

async fn connect(config: Arc<ClientConfig>, uri: Uri) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    Ok(TokioIo::new(stream))
}
