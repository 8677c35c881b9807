//! A TLS identity that can be read again while connections go on.
//!
//! It has two parts, which are read again each by itself: its certificate, and whose clients are
//! believed. A list of revoked certificates that is out of date keeps no certificate from being renewed.
//!
//! The provider is always ring, named explicitly: a process-wide default could be another's.

mod clients;

use arc_swap::ArcSwap;
use clients::Clients;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// The files of an identity, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities that a client's certificate must come from; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// What these authorities have revoked: lists in PEM, or one in DER.
    pub client_crl: Option<PathBuf>,
}

/// Who this process is to TLS clients.
#[derive(Debug)]
pub struct Identity {
    paths: Paths,
    current: ArcSwap<Current>,
}

/// What is in the files.
#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    clients: Arc<Clients>,
    /// What comes of both.
    config: Arc<ServerConfig>,
}

/// Which file is no identity, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct IdentityError {
    file: PathBuf,
    what: String,
}

impl IdentityError {
    /// The file that is wrong.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl Identity {
    /// Reads the files.
    pub fn load(paths: Paths) -> Result<Self, IdentityError> {
        let provider = Arc::new(ring::default_provider());
        let key = read_key(&paths, &provider)?;
        let clients = read_clients(&paths, &provider)?;
        let current = Current::of(&paths, key, clients, provider)?;
        let current = ArcSwap::from_pointee(current);
        Ok(Self { paths, current })
    }

    /// What the next connection is accepted with.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }

    /// Says once, from when on a list of revoked certificates is out of date, that no client is let in
    /// by it any more; returns whether it did.
    pub fn tell_of_old_lists(&self, now: SystemTime) -> bool {
        let clients = &self.current.load().clients;
        let is_old = clients
            .until
            .is_some_and(|until| until <= clients::unix_seconds(now));
        if !is_old || clients.is_told.swap(true, Ordering::Relaxed) {
            return false;
        }
        let lists = self.paths.client_crl.as_deref().unwrap_or(Path::new(""));
        let lists = lists.display();
        tracing::error!(
            %lists,
            "a list of revoked certificates is out of date, and whoever it would be about is refused: \
             put its next one there, and send SIGHUP"
        );
        true
    }

    /// Reads the files again, for connections from now on. A part that is bad stays as it was, and the
    /// other is taken all the same. Logs either way; returns what is bad.
    pub fn reload(&self) -> Vec<IdentityError> {
        let certificate = self.paths.certificate.display();
        let provider = Arc::new(ring::default_provider());
        let old = self.current.load_full();
        let mut bad = Vec::new();
        let key = read_key(&self.paths, &provider).unwrap_or_else(|error| {
            tracing::error!(%error, "TLS identity not reloaded; the previous certificate stays");
            bad.push(error);
            old.key.clone()
        });
        let clients = read_clients(&self.paths, &provider).unwrap_or_else(|error| {
            tracing::error!(
                %error,
                "TLS identity not reloaded as to clients: authorities and lists of revoked \
                 certificates stay the previous ones"
            );
            bad.push(error);
            old.clients.clone()
        });
        match Current::of(&self.paths, key, clients, provider) {
            Ok(current) => {
                if !Arc::ptr_eq(&current.key, &old.key) {
                    tracing::info!(%certificate, "TLS identity reloaded");
                }
                self.current.store(Arc::new(current));
            }
            Err(error) => {
                tracing::error!(%error, "TLS identity not reloaded; the previous one stays");
                bad.push(error);
            }
        }
        bad
    }
}

// === impl Current ===

impl Current {
    fn of(
        paths: &Paths,
        key: Arc<CertifiedKey>,
        clients: Arc<Clients>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, IdentityError> {
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| wrong(&paths.certificate, &error))?
            .with_client_cert_verifier(clients.verifier.clone())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
        if paths.client_ca.is_some() {
            // Whoever resumes shows no certificate, and the one that it showed may have ended.
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        } else {
            // Tickets of an earlier identity do not resume.
            config.ticketer =
                ring::Ticketer::new().map_err(|error| wrong(&paths.certificate, &error))?;
        }
        Ok(Self {
            key,
            clients,
            config: Arc::new(config),
        })
    }
}

fn read_key(paths: &Paths, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, IdentityError> {
    let chain = certificates(&paths.certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(&paths.key).map_err(|error| unreadable(&paths.key, &error))?;
    warn_if_others_can_read(&paths.key);
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        let key = paths.key.display();
        wrong(
            &paths.certificate,
            &format!("does not go with the key {key}: {error}"),
        )
    })?;
    Ok(Arc::new(certified))
}

fn read_clients(
    paths: &Paths,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<Clients>, IdentityError> {
    let (ca, crl) = (paths.client_ca.as_deref(), paths.client_crl.as_deref());
    Ok(Arc::new(clients::clients(ca, crl, provider)?))
}

pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(file, &error))?;
    match certificates.is_empty() {
        true => Err(wrong(
            file,
            &"has no certificate (-----BEGIN CERTIFICATE-----) in it",
        )),
        false => Ok(certificates),
    }
}

pub(crate) fn unreadable(file: &Path, error: &rustls::pki_types::pem::Error) -> IdentityError {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => wrong(file, &format!("cannot be read: {error}")),
        Error::NoItemsFound => wrong(file, &"has no unencrypted private key in PEM in it"),
        error => wrong(file, &format!("is not PEM: {error}")),
    }
}

pub(crate) fn wrong(file: &Path, what: &dyn fmt::Display) -> IdentityError {
    IdentityError {
        file: file.to_owned(),
        what: what.to_string().replace('\n', " "),
    }
}

pub(crate) fn warn_if_others_can_read(key: &Path) {
    let mode = std::fs::metadata(key).map_or(0, |data| data.permissions().mode());
    if mode & 0o044 != 0 {
        let key = key.display();
        tracing::warn!(%key, mode = format!("{:o}", mode & 0o777), "others can read this private key");
    }
}

#[cfg(test)]
mod tests;
