//! TLS to servers that this gateway asks something: by ring, as everywhere, and always with a
//! certificate that was verified. There is no way to do without.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

/// Whom a server's certificate has to come from.
pub(crate) enum Believed<'a> {
    /// The authorities of a file, PEM.
    File(&'a Path),
    /// Those of the system.
    System,
    /// Nobody: there will be no connection with TLS.
    Nobody,
}

/// What a server is shown that asks for a certificate: it, and its key, both PEM.
pub(crate) type Shown<'a> = (&'a Path, &'a Path);

/// How connections to servers begin.
///
/// # Errors
///
/// Which file is wrong, in one line.
pub(crate) fn client(
    believed: &Believed<'_>,
    shown: Option<Shown<'_>>,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?;
    let builder = match believed {
        Believed::File(file) => builder.with_root_certificates(authorities(file)?),
        Believed::Nobody => builder.with_root_certificates(RootCertStore::empty()),
        Believed::System => {
            let verifier = rustls_platform_verifier::Verifier::new(provider)
                .map_err(|error| format!("{error}: name the authorities in a file"))?;
            builder
                .dangerous() // it verifies, by the authorities of the system
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let Some((certificate, key)) = shown else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let config = builder.with_client_auth_cert(chain, secret);
    config.map_err(|error| {
        let what = format!("does not go with the key {}: {error}", key.display());
        wrong(certificate, &what)
    })
}

/// The authorities in a file.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(file, &error))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).map_err(|error| wrong(file, &error))?;
    let read: Result<Vec<_>, _> = read.collect();
    let read = read.map_err(|error| wrong(file, &error))?;
    match read.is_empty() {
        true => Err(wrong(file, &"has no certificate in it")),
        false => Ok(read),
    }
}

fn wrong(file: &Path, what: &dyn std::fmt::Display) -> String {
    format!("{}: {what}", file.display()).replace('\n', " ")
}

/// The files of a section `tls` about a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Authorities of the server's certificate, PEM; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// What the server is shown if it asks: a certificate and its key, PEM.
    pub shown: Option<(PathBuf, PathBuf)>,
}

impl ClientTls {
    /// Reads the files.
    pub(crate) fn read(&self) -> Result<ClientConfig, String> {
        let believed = self.ca.as_deref().map_or(Believed::System, Believed::File);
        let shown = self.shown.as_ref();
        client(
            &believed,
            shown.map(|(certificate, key)| (&**certificate, &**key)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_in_one_line() {
        let name = format!("gatemq-client-tls-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = |name: &str| dir.join(name);
        for name in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
            let made = made.expect("a certificate");
            std::fs::write(path(&format!("{name}.crt")), made.cert.pem()).expect("written");
            let key = made.signing_key.serialize_pem();
            std::fs::write(path(&format!("{name}.key")), key).expect("written");
        }
        std::fs::write(path("empty"), "").expect("written");
        let read = |ca: &str, certificate: &str, key: &str| {
            let files = ClientTls {
                ca: Some(path(ca)),
                shown: Some((path(certificate), path(key))),
            };
            files.read().map(drop)
        };
        assert_eq!(read("a.crt", "b.crt", "b.key"), Ok(()));
        for (ca, certificate, key, file, what) in [
            ("none", "a.crt", "a.key", "none", "No such file"),
            ("empty", "a.crt", "a.key", "empty", "has no certificate"),
            ("a.key", "a.crt", "a.key", "a.key", "has no certificate"),
            ("a.crt", "empty", "a.key", "empty", "has no certificate"),
            ("a.crt", "a.crt", "empty", "empty", ""),
            (
                "a.crt",
                "a.crt",
                "b.key",
                "a.crt",
                "does not go with the key",
            ),
        ] {
            let error = read(ca, certificate, key).expect_err(what);
            let begins = path(file).display().to_string();
            assert!(
                error.starts_with(&begins) && error.contains(what),
                "{error}"
            );
            assert!(!error.contains('\n'));
        }
        std::fs::remove_dir_all(&dir).expect("it is there");
    }
}
