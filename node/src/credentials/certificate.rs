//! The identity in a certificate, and until when it is good.
//!
//! Whether it was issued by whom this cluster trusts is not asked here. The common name counts for
//! nothing: anybody may write anything there, and it may be there twice.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::identity::{Identity, NotAnIdentity};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) identity: Identity,
    pub(super) good_until: SystemTime,
}

/// Why a certificate is none of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoNode {
    /// It cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(&'static str),
    /// It has no URI name.
    #[error("the certificate has no URI among its names, so it is none of a node")]
    None,
    /// It has several.
    #[error("the certificate has {0} URIs among its names, and one is that of a node")]
    Several(usize),
    /// The one it has is no identity.
    #[error(transparent)]
    Other(#[from] NotAnIdentity),
}

/// Reads a node's certificate.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Statement, NoNode> {
    let parsed = parse(certificate)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| NoNode::Unreadable("its names are there twice, or are none"))?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    if names
        .iter()
        .any(|name| matches!(name, GeneralName::Invalid(..)))
    {
        return Err(NoNode::Unreadable("one of its names is none"));
    }
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uris: Vec<&str> = uris.collect();
    let uri = match uris[..] {
        [] => return Err(NoNode::None),
        [uri] => uri,
        _ => return Err(NoNode::Several(uris.len())),
    };
    Ok(Statement {
        identity: uri.parse()?,
        good_until: good_until(&parsed),
    })
}

/// Until when a certificate of anybody is good.
pub(super) fn expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, NoNode> {
    Ok(good_until(&parse(certificate)?))
}

/// The organization that a certificate is of: of an authority that was made for a cluster alone, that
/// cluster's name.
pub(super) fn organization(certificate: &CertificateDer<'_>) -> Result<String, NoNode> {
    let parsed = parse(certificate)?;
    let names: Vec<_> = parsed.subject().iter_organization().collect();
    let [name] = names[..] else {
        return Err(NoNode::Unreadable("it is not of one organization"));
    };
    let name = name.as_str();
    name.map(str::to_owned)
        .map_err(|_| NoNode::Unreadable("its organization is no text"))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, NoNode> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(NoNode::Unreadable("something is behind it")),
        Err(_) => Err(NoNode::Unreadable("it is no X.509")),
    }
}

fn good_until(certificate: &X509Certificate<'_>) -> SystemTime {
    let seconds = certificate.validity().not_after.timestamp();
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    SystemTime::UNIX_EPOCH + since
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, SanType};

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Result<Statement, NoNode> {
        let mut params = CertificateParams::default();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        read(certificate.der())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    const GOOD: &str = "gatemq://c/gateway/g1";

    #[test]
    fn the_only_uri_is_the_identity_whatever_else_there_is() {
        for names in [
            vec![uri(GOOD)],
            vec![dns("g1.example"), uri(GOOD), dns("gatemq.example")],
        ] {
            let read = with(|params| {
                params.subject_alt_names = names;
                let name = "gatemq://c/control/g1";
                params.distinguished_name.push(DnType::CommonName, name);
                params.not_after = rcgen::date_time_ymd(2040, 1, 1);
            });
            let read = read.unwrap();
            assert_eq!(read.identity, GOOD.parse().unwrap());
            let year_2040 = Duration::from_secs(2_208_988_800);
            assert_eq!(read.good_until, SystemTime::UNIX_EPOCH + year_2040);
        }
    }

    #[test]
    fn none_several_and_strange_ones_are_refused() {
        let named = |names: &[SanType]| {
            let names = names.to_vec();
            with(|params| params.subject_alt_names = names).unwrap_err()
        };
        assert_eq!(named(&[]), NoNode::None);
        assert_eq!(named(&[dns("gatemq")]), NoNode::None);
        assert_eq!(named(&[uri(GOOD), uri(GOOD)]), NoNode::Several(2));
        let other = [uri(GOOD), dns("x"), uri("https://example")];
        assert_eq!(named(&other), NoNode::Several(2));
        for text in [
            "https://example",
            "gatemq://c/gateway/g1\0",
            "gatemq://c/x/g",
        ] {
            assert!(matches!(named(&[uri(text)]), NoNode::Other(_)), "{text:?}");
        }
    }

    /// The common name alone never says who somebody is.
    #[test]
    fn the_common_name_is_not_looked_at() {
        let refused = with(|params| {
            params.distinguished_name.push(DnType::CommonName, GOOD);
        });
        assert_eq!(refused.unwrap_err(), NoNode::None);
    }

    #[test]
    fn names_that_are_there_twice_or_are_no_names_are_refused() {
        // SEQUENCE { [6] bytes }, as the extension 2.5.29.17.
        let names = |uri: &[u8]| {
            let n_bytes = u8::try_from(uri.len()).unwrap();
            let head = [0x30, n_bytes + 2, 0x86, n_bytes];
            let content = [&head[..], uri].concat();
            CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
        };
        let read = with(|params| params.custom_extensions = vec![names(GOOD.as_bytes())]);
        assert_eq!(read.unwrap().identity, GOOD.parse().unwrap());
        let twice = with(|params| {
            params.subject_alt_names = vec![uri(GOOD)];
            params.custom_extensions = vec![names(b"gatemq://c/control/g1")];
        });
        assert!(matches!(twice, Err(NoNode::Unreadable(_))), "{twice:?}");
        for bytes in [
            &b"gatemq://c/gateway/\xff"[..],
            b"gatemq://c/gateway/g1\0",
            b"gatemq://c/gateway/\xc3\xa9",
            b"",
        ] {
            let odd = with(|params| params.custom_extensions = vec![names(bytes)]);
            assert!(odd.is_err(), "{bytes:?}");
        }
        assert!(read_bytes(b"no certificate").is_err());
    }

    fn read_bytes(bytes: &[u8]) -> Result<Statement, NoNode> {
        read(&CertificateDer::from(bytes))
    }

    #[test]
    fn what_has_something_behind_it_is_no_certificate() {
        let params = CertificateParams::default();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut bytes = certificate.der().to_vec();
        bytes.push(0);
        let behind = NoNode::Unreadable("something is behind it");
        assert_eq!(read_bytes(&bytes), Err(behind));
    }
}
