//! A TLS identity that can be read again while connections go on.
//!
//! The provider is always ring, named explicitly: a process-wide default could be another's.

mod clients;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    config: Arc<ServerConfig>,
    /// When the first list of revoked certificates is out of date, in Unix seconds.
    lists_until: Option<i64>,
    is_told: AtomicBool,
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
        let current = ArcSwap::from_pointee(read(&paths)?);
        Ok(Self { paths, current })
    }

    /// What the next connection is accepted with.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }

    /// Says once, from when on a list of revoked certificates is out of date, that no client is let in
    /// by it any more; returns whether it did.
    pub fn tell_of_old_lists(&self, now: SystemTime) -> bool {
        let current = self.current.load();
        let is_old = current
            .lists_until
            .is_some_and(|until| until <= clients::unix_seconds(now));
        if !is_old || current.is_told.swap(true, Ordering::Relaxed) {
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

    /// Reads the files again, for connections from now on; if they are bad, the identity stays as
    /// it was. Logs either way.
    pub fn reload(&self) -> Result<(), IdentityError> {
        let certificate = self.paths.certificate.display();
        match read(&self.paths) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!(%certificate, "TLS identity reloaded");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "TLS identity not reloaded; the previous one stays");
                Err(error)
            }
        }
    }
}

fn read(paths: &Paths) -> Result<Current, IdentityError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&paths.certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(&paths.key).map_err(|error| unreadable(&paths.key, &error))?;
    warn_if_others_can_read(&paths.key);
    let (ca, crl) = (paths.client_ca.as_deref(), paths.client_crl.as_deref());
    let clients = clients::clients(ca, crl, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| wrong(&paths.certificate, &error))?
        .with_client_cert_verifier(clients.verifier)
        .with_single_cert(chain, key)
        .map_err(|error| {
            let key = paths.key.display();
            wrong(
                &paths.certificate,
                &format!("does not go with the key {key}: {error}"),
            )
        })?;
    if paths.client_ca.is_some() {
        // Whoever resumes shows no certificate, and the one that it showed may have ended.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    } else {
        // Tickets of an earlier identity do not resume.
        config.ticketer =
            ring::Ticketer::new().map_err(|error| wrong(&paths.certificate, &error))?;
    }
    Ok(Current {
        config: Arc::new(config),
        lists_until: clients.until,
        is_told: AtomicBool::new(false),
    })
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
mod tests {
    use super::*;
    use std::fs;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            files.write("a");
            files
        }

        fn write(&self, name: &str) {
            let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(self.path(name, "crt"), identity.cert.pem()).unwrap();
            fs::write(self.path(name, "key"), identity.signing_key.serialize_pem()).unwrap();
        }

        fn path(&self, name: &str, kind: &str) -> PathBuf {
            self.0.path().join(format!("{name}.{kind}"))
        }

        fn paths(&self) -> Paths {
            let (certificate, key) = (self.path("a", "crt"), self.path("a", "key"));
            Paths {
                certificate,
                key,
                client_ca: None,
                client_crl: None,
            }
        }
    }

    fn check_error(paths: Paths, file: &Path, what: &str) {
        let error = Identity::load(paths).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{}: {what}", file.display())),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }

    #[test]
    fn identities_load_without_early_data_or_alpn() {
        let files = Files::new();
        let identity = Identity::load(files.paths()).unwrap();
        let config = identity.server_config();
        assert_eq!(config.max_early_data_size, 0);
        assert!(config.alpn_protocols.is_empty() && config.ticketer.enabled());
        let client_ca = Some(files.path("a", "crt"));
        Identity::load(Paths {
            client_ca,
            ..files.paths()
        })
        .unwrap();
    }

    #[test]
    fn a_client_certificate_is_looked_at_on_each_connection() {
        let files = Files::new();
        let load = |client_ca| {
            let paths = Paths {
                client_ca,
                ..files.paths()
            };
            Identity::load(paths).unwrap().server_config()
        };
        let (key, value) = (b"key".to_vec(), b"value".to_vec());
        let resumes = |config: &ServerConfig| {
            config.session_storage.put(key.clone(), value.clone());
            config.session_storage.get(&key).is_some()
        };
        let open = load(None);
        assert!(open.ticketer.enabled() && open.send_tls13_tickets > 0 && resumes(&open));
        let closed = load(Some(files.path("a", "crt")));
        assert!(!closed.ticketer.enabled() && closed.send_tls13_tickets == 0);
        assert!(!resumes(&closed) && !closed.session_storage.can_cache());
    }

    #[test]
    fn errors_name_the_file() {
        let files = Files::new();
        files.write("b");
        let (a, b) = (files.path("a", "crt"), files.path("b", "key"));
        let none = files.path("none", "crt");
        let with = |certificate: &Path, key: &Path| Paths {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            client_ca: None,
            client_crl: None,
        };
        check_error(with(&none, &b), &none, "cannot be read: No such file");
        check_error(with(&b, &b), &b, "has no certificate");
        check_error(with(&a, &a), &a, "has no unencrypted private key");
        check_error(with(&a, &b), &a, "does not go with the key");
        let bad = files.path("bad", "crt");
        fs::write(
            &bad,
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        check_error(with(&bad, &b), &bad, "is not PEM");
        let client_ca = Some(none.clone());
        check_error(
            Paths {
                client_ca,
                ..files.paths()
            },
            &none,
            "cannot be read",
        );
    }

    #[test]
    fn a_failed_reload_keeps_the_identity_and_a_good_one_replaces_it() {
        let files = Files::new();
        let identity = Identity::load(files.paths()).unwrap();
        let before = identity.server_config();
        fs::write(files.path("a", "key"), "gone").unwrap();
        identity.reload().unwrap_err();
        assert!(Arc::ptr_eq(&before, &identity.server_config()));
        files.write("a");
        identity.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &identity.server_config()));
    }
}
