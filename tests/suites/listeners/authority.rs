//! Certificates for tests, made anew each time: an authority and what it signs.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Identity {
    pem: String,
    key: KeyPair,
    /// By what its authority knows it.
    serial: u64,
}

// === impl Authority ===

impl Authority {
    /// A new authority with a key of its own.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names, no bad names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("it signs itself"))
    }

    /// The authority's certificate as a file's content.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The authority's certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A server for `localhost` and 127.0.0.1.
    pub(crate) fn server(&self) -> Identity {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        self.sign(&names, "gatemq", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A server of one name.
    pub(crate) fn server_of(&self, name: &str) -> Identity {
        self.sign(
            &[name.to_owned()],
            name,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A client with this common name.
    pub(crate) fn client(&self, name: &str) -> Identity {
        self.sign(&[], name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A client of which only this is said.
    pub(crate) fn client_who(&self, says: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        says(&mut params);
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, names: &[String], common: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::new(names).expect("the names are good");
        params.distinguished_name.push(DnType::CommonName, common);
        self.issue(params, usage)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        static NEXT: AtomicU64 = AtomicU64::new(1_000);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(serial.into());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .signed_by(&key, &self.0)
            .expect("the authority signs");
        let pem = certificate.pem();
        Identity { pem, key, serial }
    }

    /// What it has revoked, in PEM: certificates of these identities. The list is good until a year.
    pub(crate) fn list(&self, revoked: &[&Identity], until: i32) -> String {
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial.into(),
            revocation_time: date_time_ymd(2023, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2023, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("the authority signs");
        list.pem().expect("it is PEM")
    }
}

// === impl Identity ===

impl Identity {
    /// One that is in files.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Self {
        let read = |path| fs::read_to_string(path).expect("it is there");
        Self {
            pem: read(certificate),
            key: KeyPair::from_pem(&read(key)).expect("it is a key"),
            serial: 0,
        }
    }

    /// The certificate as a file's content.
    pub(crate) fn certificate_pem(&self) -> String {
        self.pem.clone()
    }

    /// The key as a file's content.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("it is one")
    }

    /// The key.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}
