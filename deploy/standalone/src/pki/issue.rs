//! The authority of a cluster: ECDSA on P-256, for ten years, and for no other authority below it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use gatemq_node::credentials::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};

/// An authority, with its key.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an authority is good, in days.
const AUTHORITY_DAYS: u16 = 3653;
/// Clocks of nodes may be behind.
const BEFORE: Duration = Duration::from_secs(3600);

impl Authority {
    /// A new one, for the cluster of this name.
    pub(super) fn new(cluster: &str) -> Result<Self, String> {
        let key = new_key()?;
        let mut params = valid_for(AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, cluster);
        name.push(DnType::CommonName, "GateMQ nodes");
        let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
        Ok(Self {
            certificate: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// One that is there.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let read = |path: &Path| {
            let path_name = path.display();
            std::fs::read_to_string(path)
                .map_err(|error| format!("{path_name}: cannot be read: {error}"))
        };
        let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
        let unusable = |path: &Path, error: rcgen::Error| format!("{}: {error}", path.display());
        let pair = KeyPair::from_pem(&key_pem).map_err(|error| unusable(key, error))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, pair)
            .map_err(|error| unusable(certificate, error))?;
        Ok(Self {
            issuer,
            certificate: certificate_pem,
        })
    }

    /// Its certificate, in PEM.
    pub(super) fn certificate(&self) -> String {
        self.certificate.clone()
    }

    /// Its key, in PEM.
    pub(super) fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A node's certificate and key, in PEM. It is for both ends of a connection: each node calls
    /// others, and is called.
    pub(super) fn issue(&self, node: &Identity, n_days: u16) -> Result<(String, String), String> {
        let key = new_key()?;
        let mut params = valid_for(n_days)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let uri = node.to_string();
        let uri = uri.try_into().map_err(|error| failed(&error))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, &*node.cluster);
        name.push(DnType::CommonName, &*node.node);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|error| failed(&error))?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn new_key() -> Result<KeyPair, String> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(&error))
}

fn valid_for(n_days: u16) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_err(|_| "the clock of this machine is before 1970".to_owned())?;
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BEFORE);
    params.not_after = epoch + (now + DAY * n_days.into());
    Ok(params)
}

fn failed(error: &rcgen::Error) -> String {
    format!("no certificate could be made: {error}")
}
