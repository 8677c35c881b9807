//! Who this node is to the other nodes of its cluster, and how they are known: by TLS on both ends,
//! with certificates of one authority that name cluster, roles and node.
//!
//! In reading order: [`identity`] is what a certificate says (pure), `certificate` reads it,
//! `verify` judges the other end of a handshake; [`Credentials`] are the files of this node, read
//! anew when they change; [`dial`] connects to others, [`incoming`] takes their connections,
//! [`guard`] says who may call what, and [`expiry`] warns before all of that ends.
//!
//! Nothing is kept from one handshake for the next: a certificate that is good no more opens no
//! connection. Those that are open stay.

mod certificate;
pub mod dial;
pub mod expiry;
pub mod guard;
pub mod identity;
pub mod incoming;
mod verify;

pub use dial::{Dialer, Whom};
pub use guard::{Caller, Guard};
pub use identity::{Identity, NotAnIdentity, Role, Roles};
pub use incoming::Incoming;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::tls::{IdentityError, certificates, unreadable, warn_if_others_can_read, wrong};
use verify::Verifier;

/// The files of a node, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The authorities that the certificates of all nodes come from.
    pub ca: PathBuf,
    /// This node's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What this node shows to others, and judges them by.
#[derive(Debug)]
pub struct Credentials {
    files: Files,
    node: String,
    roles: Roles,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    good_until: SystemTime,
}

// === impl Credentials ===

impl Credentials {
    /// Reads the files. The certificate has to be that of this node, for all roles that it has.
    ///
    /// # Errors
    ///
    /// Which file cannot be used, and why.
    pub fn load(files: Files, node: &str, roles: Roles) -> Result<Self, IdentityError> {
        let current = read(&files, node, roles)?;
        Ok(Self {
            files,
            node: node.to_owned(),
            roles,
            current: ArcSwap::from_pointee(current),
        })
    }

    /// Reads the files again, for connections from now on; if they are bad, all stays as it was.
    /// Logs either way.
    pub fn reload(&self) {
        let certificate = self.files.certificate.display();
        match read(&self.files, &self.node, self.roles) {
            Ok(current) => {
                self.current.store(Arc::new(current));
                tracing::info!(%certificate, "certificate for other nodes reloaded");
            }
            Err(error) => tracing::error!(
                %error, "certificate for other nodes not reloaded; the previous one stays"
            ),
        }
    }

    /// When the certificate ends, or one that it depends on.
    pub fn good_until(&self) -> SystemTime {
        self.current.load().good_until
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }

    fn client_config(&self) -> Arc<ClientConfig> {
        self.current.load().client.clone()
    }
}

fn read(files: &Files, node: &str, roles: Roles) -> Result<Current, IdentityError> {
    let provider = Arc::new(ring::default_provider());
    let authorities = certificates(&files.ca)?;
    let chain = certificates(&files.certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(&files.key, &error))?;
    warn_if_others_can_read(&files.key);
    let own = own_identity(&files.certificate, &chain, node, roles)?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        let added = roots.add(authority.clone());
        added.map_err(|error| wrong(&files.ca, &error))?;
    }
    let verifier = Verifier::new(Arc::new(roots), provider.clone(), &own.cluster);
    let verifier = Arc::new(verifier.map_err(|error| wrong(&files.ca, &error))?);
    check_chain(files, &verifier, &chain)?;
    let good_until = authorities.iter().chain(&chain).map(certificate::expiry);
    let good_until = good_until.collect::<Result<Vec<_>, _>>();
    let good_until = good_until.map_err(|error| wrong(&files.certificate, &error))?;
    let key_does_not_fit = |error: rustls::Error| {
        let key = files.key.display();
        let what = format!("does not go with the key {key}: {error}");
        wrong(&files.certificate, &what)
    };
    let unusable = |error: rustls::Error| wrong(&files.certificate, &error);
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(key_does_not_fit)?;
    server.alpn_protocols = vec![HTTP2.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(key_does_not_fit)?;
    client.alpn_protocols = vec![HTTP2.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    Ok(Current {
        server: Arc::new(server),
        client: Arc::new(client),
        good_until: good_until
            .into_iter()
            .min()
            .unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// Who the certificate is for: this node, and for what it does.
fn own_identity(
    file: &Path,
    chain: &[CertificateDer<'_>],
    node: &str,
    roles: Roles,
) -> Result<Identity, IdentityError> {
    let Some(first) = chain.first() else {
        return Err(wrong(file, &"is empty"));
    };
    let own = certificate::read(first).map_err(|error| wrong(file, &error))?;
    let own = own.identity;
    if own.node != node {
        let what = format!("is for the node {}, and this one is {node}", own.node);
        return Err(wrong(file, &what));
    }
    match own.roles.contains(roles) {
        true => Ok(own),
        false => {
            let what = format!("is for {} only, and this node is {roles}", own.roles);
            Err(wrong(file, &what))
        }
    }
}

/// Others would not take what this node itself would not.
fn check_chain(
    files: &Files,
    verifier: &Verifier,
    chain: &[CertificateDer<'_>],
) -> Result<(), IdentityError> {
    let Some((own, between)) = chain.split_first() else {
        return Err(wrong(&files.certificate, &"is empty"));
    };
    let name = ServerName::try_from("gatemq").map_err(|error| wrong(&files.certificate, &error))?;
    let checked = verifier.verify_server_cert(own, between, &name, &[], UnixTime::now());
    checked.map(drop).map_err(|error| {
        let ca = files.ca.display();
        let what = format!("is not good today by the authorities in {ca}: {error}");
        wrong(&files.certificate, &what)
    })
}

/// The cluster that an authority was made for: the organization in its certificate. Nodes do not look
/// at it; whoever issues further certificates does.
///
/// # Errors
///
/// The file cannot be read, or is none of such an authority.
pub fn cluster_of_authority(file: &Path) -> Result<String, IdentityError> {
    let certificates = certificates(file)?;
    let first = certificates
        .first()
        .ok_or_else(|| wrong(file, &"is empty"))?;
    certificate::organization(first).map_err(|error| wrong(file, &error))
}

/// The protocol of gRPC, as ALPN has it.
const HTTP2: &[u8] = b"h2";

#[cfg(test)]
mod tests;
