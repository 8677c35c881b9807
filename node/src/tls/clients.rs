//! Which certificates of clients are believed: those of the authorities, but for what they have
//! revoked.
//!
//! With a list of revoked certificates, one of which nobody says whether it is revoked is refused: its
//! authority has no list, or its list is older than it says that it may be. OpenSSL has it so, and a
//! list that is out of date does not name what was lost since. That holds for each certificate from the
//! client's up to, not including, the authority's that is believed: one between them that was revoked
//! vouches for nobody, whichever of the others have no lists.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{IdentityError, certificates, unreadable, wrong};

/// What PEM begins with.
const PEM_LABEL: &str = "-----BEGIN ";

/// Who verifies clients.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// When the first list is out of date, in Unix seconds; there may be none.
    pub(super) until: Option<i64>,
    /// Whether it is in the log that it is.
    pub(super) is_told: AtomicBool,
}

/// Verifies clients by these files; without authorities nothing is asked of them.
pub(super) fn clients(
    authorities: Option<&Path>,
    revoked: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Clients, IdentityError> {
    let Some(file) = authorities else {
        return Ok(Clients {
            verifier: Arc::new(NoClientAuth),
            until: None,
            is_told: AtomicBool::new(false),
        });
    };
    let mut roots = RootCertStore::empty();
    let certificates = certificates(file)?;
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| wrong(file, &error))?;
    }
    let mut verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let (mut blamed, mut until) = (file, None);
    if let Some(revoked) = revoked {
        blamed = revoked;
        let lists = read(revoked)?;
        let is_listed = |certificate: &[u8]| {
            let subject = X509Certificate::from_der(certificate);
            subject.is_ok_and(|(_, authority)| {
                let subject = authority.subject().as_raw();
                lists.iter().any(|list| list.issuer == subject)
            })
        };
        let n_unlisted = certificates.iter().filter(|it| !is_listed(it)).count();
        if n_unlisted > 0 {
            let (authorities, lists) = (file.display(), revoked.display());
            tracing::warn!(
                %authorities, %lists, n_unlisted,
                "authorities have no list of revoked certificates: all clients of theirs are refused, also \
                 those that come by a certificate in between which has one"
            );
        }
        until = lists.iter().map(|list| list.until).min();
        let lists = lists.into_iter().map(|list| list.der);
        verifier = verifier.with_crls(lists).enforce_revocation_expiration();
    }
    let verifier = verifier.build().map_err(|error| wrong(blamed, &error))?;
    Ok(Clients {
        verifier,
        until,
        is_told: AtomicBool::new(false),
    })
}

/// A list of revoked certificates.
struct List {
    der: CertificateRevocationListDer<'static>,
    /// Who has signed it, in DER.
    issuer: Vec<u8>,
    /// When the next one is due, in Unix seconds.
    until: i64,
}

/// The lists in a file, PEM or one in DER, of which none is out of date.
fn read(file: &Path) -> Result<Vec<List>, IdentityError> {
    let content = fs::read(file).map_err(|error| unreadable(file, &pem::Error::Io(error)))?;
    let ders = lists_in(content).map_err(|error| unreadable(file, &error))?;
    if ders.is_empty() {
        return Err(wrong(
            file,
            &"has no list of revoked certificates (-----BEGIN X509 CRL-----) in it",
        ));
    }
    let now = unix_seconds(SystemTime::now());
    let lists = ders.into_iter().map(|der| list(der, now));
    let lists: Result<Vec<List>, String> = lists.collect();
    lists.map_err(|what| wrong(file, &what))
}

pub(super) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn lists_in(content: Vec<u8>) -> Result<Vec<CertificateRevocationListDer<'static>>, pem::Error> {
    let is_pem = content
        .windows(PEM_LABEL.len())
        .any(|some| some == PEM_LABEL.as_bytes());
    if !is_pem && !content.trim_ascii().is_empty() {
        return Ok(vec![CertificateRevocationListDer::from(content)]);
    }
    CertificateRevocationListDer::pem_slice_iter(&content).collect()
}

/// Looks at a list; `now` is in Unix seconds.
fn list(der: CertificateRevocationListDer<'static>, now: i64) -> Result<List, String> {
    let Ok(([], parsed)) = CertificateRevocationList::from_der(&der) else {
        return Err("is no list of revoked certificates, in PEM or DER".to_owned());
    };
    let issuer = parsed.issuer();
    let Some(next) = parsed.next_update() else {
        return Err(format!(
            "the list of {issuer} does not say when the next one comes"
        ));
    };
    if next.timestamp() <= now {
        return Err(format!(
            "the list of {issuer} is out of date since {next}: put its next one there"
        ));
    }
    let (issuer, until) = (issuer.as_raw().to_vec(), next.timestamp());
    Ok(List { der, issuer, until })
}

#[cfg(test)]
mod tests;
