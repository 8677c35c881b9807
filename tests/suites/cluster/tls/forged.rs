//! Certificates as nobody should have them: made with a cluster's own authority, or without.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Who signs.
pub(super) struct Authority(Issuer<'static, KeyPair>);

/// What somebody shows.
pub(super) struct Shown {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    /// One that no node trusts.
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(Issuer::new(params, KeyPair::generate().expect("a key")))
    }

    /// The one that `gatemq pki` has made in a folder.
    pub(super) fn read(folder: &Path) -> Self {
        let read = |name| fs::read_to_string(folder.join(name)).expect("a readable file");
        let key = KeyPair::from_pem(&read("ca.key")).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), key);
        Self(issuer.expect("a certificate"))
    }

    /// A certificate with this URI, changed in some way.
    pub(super) fn issue(&self, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = params(uri);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Shown { certificate, key }
    }
}

impl Shown {
    /// One that nobody has signed but itself.
    pub(super) fn self_signed(uri: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = params(uri).self_signed(&key).expect("signed");
        Self { certificate, key }
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Puts it where a node has its own.
    pub(super) fn write(&self, folder: &Path, name: &str) {
        for (kind, pem) in [
            ("crt", self.certificate.pem()),
            ("key", self.key.serialize_pem()),
        ] {
            fs::write(folder.join(format!("{name}.{kind}")), pem).expect("a writable folder");
        }
    }
}

fn params(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let uri = uri.try_into().expect("ASCII");
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}
