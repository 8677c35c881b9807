//! Authorities of nodes and of clients: ECDSA on P-256, for ten years, and for no other authority below
//! them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use gatemq_node::credentials::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
    string::Ia5String,
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
    /// A new one of nodes, for the cluster of this name.
    pub(super) fn of_nodes(cluster: &str) -> Result<Self, String> {
        Self::new(|name| {
            name.push(DnType::OrganizationName, cluster);
            name.push(DnType::CommonName, "GateMQ nodes");
        })
    }

    /// A new one of clients, and of brokers as their clients see them. It is of no cluster, so that no
    /// node takes it for that of nodes.
    pub(super) fn of_clients() -> Result<Self, String> {
        Self::new(|name| name.push(DnType::CommonName, "GateMQ clients"))
    }

    fn new(called: impl FnOnce(&mut DistinguishedName)) -> Result<Self, String> {
        let key = new_key()?;
        let mut params = valid_for(AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        called(&mut params.distinguished_name);
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
            std::fs::read_to_string(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "{path_name}: cannot be read: there is no authority yet: make one with `gatemq pki \
                     init`, of clients with `gatemq pki init --clients`"
                ),
                _ => format!("{path_name}: cannot be read: {error}"),
            })
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
        let both = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let name = other_name(SanType::URI, &node.to_string())?;
        self.sign(n_days, &both, vec![name], |subject| {
            subject.push(DnType::OrganizationName, &*node.cluster);
            subject.push(DnType::CommonName, &*node.node);
        })
    }

    /// A client's certificate and key, in PEM, for its end of a connection alone.
    pub(super) fn issue_client(
        &self,
        name: &str,
        others: Vec<SanType>,
        n_days: u16,
    ) -> Result<(String, String), String> {
        let usage = [ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(n_days, &usage, others, |subject| {
            subject.push(DnType::CommonName, name);
        })
    }

    /// Those of a broker, as its clients see it: for these hosts, names or addresses.
    pub(super) fn issue_server(
        &self,
        hosts: &[&str],
        n_days: u16,
    ) -> Result<(String, String), String> {
        let usage = [ExtendedKeyUsagePurpose::ServerAuth];
        let names = hosts.iter().map(|host| match host.parse() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => other_name(SanType::DnsName, host),
        });
        let names = names.collect::<Result<Vec<_>, String>>()?;
        self.sign(n_days, &usage, names, |subject| {
            subject.push(DnType::CommonName, "GateMQ");
        })
    }

    fn sign(
        &self,
        n_days: u16,
        usages: &[ExtendedKeyUsagePurpose],
        names: Vec<SanType>,
        called: impl FnOnce(&mut DistinguishedName),
    ) -> Result<(String, String), String> {
        let key = new_key()?;
        let mut params = valid_for(n_days)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = names;
        called(&mut params.distinguished_name);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|error| failed(&error))?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// A kind of alternative names, of those that are ASCII.
pub(super) type NameKind = fn(Ia5String) -> SanType;

/// An alternative name.
pub(super) fn other_name(kind: NameKind, name: &str) -> Result<SanType, String> {
    let name = Ia5String::try_from(name);
    name.map(kind).map_err(|error| failed(&error))
}

fn new_key() -> Result<KeyPair, String> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(&error))
}

fn valid_for(n_days: u16) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
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
