//! The user name in a client's certificate.
//!
//! That the certificate is from an authority that the listener believes was seen to before. Here it
//! is only read, and whatever could be taken for two names, or for another one than its authority
//! meant, is none: a name that is there twice, one of several values of a part of the subject, a text
//! of no form or in a form of old, characters that nobody sees. One kind of name never stands in for
//! another: an authority may look at one of them only before it signs.

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, Oid, Tag};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::NamedBy;

/// MQTT carries no longer user name, in bytes.
const LONGEST: usize = u16::MAX as usize;

/// Why a certificate says of nobody who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoName {
    NoCertificate,
    Unreadable,
    /// Alternative names that are there twice, or are none.
    BadNames,
    Missing(NamedBy),
    Several(NamedBy),
    /// A part of the subject has several values.
    Mixed,
    /// It is no text in a form that is used today, or not well-formed, or not plain: SASLprep would
    /// change it, or does not take it.
    NoText,
    /// It is empty, too long, or has control characters.
    Strange,
}

/// The name that a certificate has in the place where one is looked for.
pub(crate) fn name(certificate: &CertificateDer<'_>, by: NamedBy) -> Result<String, NoName> {
    let Ok(([], parsed)) = X509Certificate::from_der(certificate) else {
        return Err(NoName::Unreadable);
    };
    let name = match by {
        NamedBy::CommonName => common_name(&parsed)?,
        NamedBy::Dns | NamedBy::Uri | NamedBy::Email => alternative_name(&parsed, by)?,
    };
    if name.is_empty() || name.len() > LONGEST || name.contains(char::is_control) {
        return Err(NoName::Strange);
    }
    // What would be written otherwise, or is not to be seen, is another name than it looks like.
    if !stringprep::saslprep(name).is_ok_and(|prepared| prepared == name) {
        return Err(NoName::NoText);
    }
    Ok(match by {
        NamedBy::Dns => name.to_ascii_lowercase(), // as DNS names are compared
        NamedBy::CommonName | NamedBy::Uri | NamedBy::Email => name.to_owned(),
    })
}

fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, NoName> {
    const ID: Oid<'_> = OID_X509_COMMON_NAME;
    let mut found = None;
    for part in certificate.subject().iter() {
        let has_several = part.iter().nth(1).is_some();
        for value in part.iter().filter(|value| *value.attr_type() == ID) {
            if found.replace(value.attr_value()).is_some() {
                return Err(NoName::Several(NamedBy::CommonName));
            }
            if has_several {
                return Err(NoName::Mixed);
            }
        }
    }
    text(found.ok_or(NoName::Missing(NamedBy::CommonName))?)
}

/// The text of a value. Those of T.61 and of 16 or 32 bits a character are not read: of the first
/// nobody knows which characters they are.
fn text<'a>(value: &'a Any<'_>) -> Result<&'a str, NoName> {
    let text = std::str::from_utf8(value.data).map_err(|_| NoName::NoText)?;
    let is_text = match value.tag() {
        Tag::Utf8String => true,
        Tag::PrintableString | Tag::Ia5String => text.is_ascii(),
        _ => false,
    };
    match is_text {
        true => Ok(text),
        false => Err(NoName::NoText),
    }
}

fn alternative_name<'a>(
    certificate: &'a X509Certificate<'_>,
    by: NamedBy,
) -> Result<&'a str, NoName> {
    let names = certificate.subject_alternative_name();
    let names = names.map_err(|_| NoName::BadNames)?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    if names
        .iter()
        .any(|name| matches!(name, GeneralName::Invalid(..)))
    {
        return Err(NoName::BadNames);
    }
    let of_kind = names.iter().filter_map(|name| match (name, by) {
        (GeneralName::DNSName(name), NamedBy::Dns)
        | (GeneralName::URI(name), NamedBy::Uri)
        | (GeneralName::RFC822Name(name), NamedBy::Email) => Some(*name),
        _ => None,
    });
    let of_kind: Vec<&str> = of_kind.collect();
    match of_kind[..] {
        [] => Err(NoName::Missing(by)),
        [name] if name.is_ascii() => Ok(name),
        [_] => Err(NoName::NoText),
        _ => Err(NoName::Several(by)),
    }
}

// === impl NoName ===

impl NoName {
    /// What the client is told.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::NoCertificate => "there is no certificate",
            Self::Unreadable => "the certificate cannot be read",
            Self::BadNames => "the certificate's alternative names cannot be read",
            Self::Missing(NamedBy::CommonName) => "the certificate has no common name",
            Self::Missing(NamedBy::Dns) => "the certificate has no DNS name",
            Self::Missing(NamedBy::Uri) => "the certificate has no URI",
            Self::Missing(NamedBy::Email) => "the certificate has no e-mail address",
            Self::Several(NamedBy::CommonName) => "the certificate has several common names",
            Self::Several(NamedBy::Dns) => "the certificate has several DNS names",
            Self::Several(NamedBy::Uri) => "the certificate has several URIs",
            Self::Several(NamedBy::Email) => "the certificate has several e-mail addresses",
            Self::Mixed => "the certificate's common name is one of several values",
            Self::NoText => "the name in the certificate is no plain text",
            Self::Strange => {
                "the name in the certificate is empty, too long, or has control characters"
            }
        }
    }
}

#[cfg(test)]
mod tests;
