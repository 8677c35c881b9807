//! Certificates of all kinds, and whose each is.

use proptest::prelude::*;
use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, KeyPair, SanType};

use super::*;
use NamedBy::{CommonName, Dns, Email, Uri};

const UTF8: u8 = 12;
const PRINTABLE: u8 = 19;
const T61: u8 = 20;
const IA5: u8 = 22;
const BMP: u8 = 30;

const CN: [u8; 3] = [0x55, 4, 3];
const SERIAL: [u8; 3] = [0x55, 4, 5];

/// A value of a subject: what it is, in which form, and its bytes.
type Value<'a> = ([u8; 3], u8, &'a [u8]);

fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = params.self_signed(&key).expect("it signs itself");
    certificate.der().clone()
}

fn of_subject(names: &[(DnType, DnValue)]) -> CertificateDer<'static> {
    made(|params| {
        for (kind, name) in names.iter().cloned() {
            params.distinguished_name.push(kind, name);
        }
    })
}

fn of_names(names: &[SanType]) -> CertificateDer<'static> {
    made(|params| params.subject_alt_names = names.to_vec())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("it is ASCII"))
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("it is ASCII"))
}

fn email(text: &str) -> SanType {
    SanType::Rfc822Name(text.try_into().expect("it is ASCII"))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let n_bytes = u16::try_from(content.len())
        .expect("it is short")
        .to_be_bytes();
    [&[tag, 0x82], &n_bytes[..], content].concat()
}

/// A certificate whose subject has these parts, each of these values: tools make no such ones.
fn raw(parts: &[&[Value<'_>]]) -> CertificateDer<'static> {
    let value = |(id, tag, text): &Value<'_>| tlv(0x30, &[tlv(6, id), tlv(*tag, text)].concat());
    let part = |values: &&[Value<'_>]| {
        let values: Vec<_> = values.iter().map(value).collect();
        tlv(0x31, &values.concat())
    };
    let parts: Vec<_> = parts.iter().map(part).collect();
    let algorithm = tlv(0x30, &tlv(6, &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2]));
    let date = tlv(0x17, b"250101000000Z");
    let bits = tlv(3, &[0, 1]);
    let body = [
        tlv(0xA0, &tlv(2, &[2])),
        tlv(2, &[1]),
        algorithm.clone(),
        tlv(0x30, &[]),
        tlv(0x30, &[date.clone(), date].concat()),
        tlv(0x30, &parts.concat()),
        tlv(0x30, &[algorithm.clone(), bits.clone()].concat()),
    ];
    let body = tlv(0x30, &body.concat());
    tlv(0x30, &[body, algorithm, bits].concat()).into()
}

#[test]
fn the_one_name_of_its_kind_is_the_user_name() {
    for value in [
        DnValue::from("pump-7"),
        DnValue::PrintableString("pump-7".try_into().unwrap()),
        DnValue::Ia5String("pump-7".try_into().unwrap()),
    ] {
        let certificate = of_subject(&[
            (DnType::OrganizationName, "plant".into()),
            (DnType::CommonName, value),
        ]);
        assert_eq!(name(&certificate, CommonName), Ok("pump-7".to_owned()));
    }
    let all = of_names(&[
        email("pump@example"),
        dns("pump.example"),
        uri("spiffe://plant/pump"),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ]);
    assert_eq!(name(&all, Dns), Ok("pump.example".to_owned()));
    assert_eq!(name(&all, Uri), Ok("spiffe://plant/pump".to_owned()));
    assert_eq!(name(&all, Email), Ok("pump@example".to_owned()));
    let wide = of_subject(&[(DnType::CommonName, "Pümpe 7".into())]);
    assert_eq!(name(&wide, CommonName), Ok("Pümpe 7".to_owned()));
}

#[test]
fn c12_one_kind_of_name_stands_in_for_no_other() {
    let common = of_subject(&[(DnType::CommonName, "pump.example".into())]);
    for by in [Dns, Uri, Email] {
        assert_eq!(name(&common, by), Err(NoName::Missing(by)));
    }
    let others = of_names(&[dns("a.example"), uri("urn:a"), email("a@example")]);
    assert_eq!(name(&others, CommonName), Err(NoName::Missing(CommonName)));
    let organization = of_subject(&[(DnType::OrganizationName, "pump".into())]);
    assert_eq!(
        name(&organization, CommonName),
        Err(NoName::Missing(CommonName))
    );
    let both = made(|params| {
        params.distinguished_name.push(DnType::CommonName, "pump");
        params.subject_alt_names = vec![dns("root")];
    });
    assert_eq!(name(&both, CommonName), Ok("pump".to_owned()));
    assert_eq!(name(&both, Dns), Ok("root".to_owned()));
}

#[test]
fn c12_of_two_names_none_counts() {
    let other = DnType::CustomDnType(vec![2, 5, 4, 3]);
    let two = of_subject(&[(DnType::CommonName, "pump".into()), (other, "root".into())]);
    assert_eq!(name(&two, CommonName), Err(NoName::Several(CommonName)));
    let one = (CN, UTF8, &b"pump"[..]);
    let same: &[&[_]] = &[&[one], &[one]];
    assert_eq!(
        name(&raw(same), CommonName),
        Err(NoName::Several(CommonName))
    );
    for (by, names) in [
        (Dns, [dns("a.example"), dns("b.example")]),
        (Uri, [uri("urn:a"), uri("urn:a")]),
        (Email, [email("a@example"), email("b@example")]),
    ] {
        assert_eq!(name(&of_names(&names), by), Err(NoName::Several(by)));
    }
}

#[test]
fn c12_a_part_of_the_subject_with_several_values_names_nobody() {
    let check = |parts: &[&[Value<'_>]], expected| {
        assert_eq!(name(&raw(parts), CommonName), expected, "{parts:?}");
    };
    let pump = (CN, UTF8, &b"pump"[..]);
    let serial = (SERIAL, PRINTABLE, &b"7"[..]);
    check(&[&[pump]], Ok("pump".to_owned()));
    check(&[&[serial], &[pump]], Ok("pump".to_owned()));
    check(&[&[pump, serial]], Err(NoName::Mixed));
    check(&[&[serial, pump]], Err(NoName::Mixed));
    check(
        &[&[pump], &[serial, pump]],
        Err(NoName::Several(CommonName)),
    );
    let two = [pump, (CN, UTF8, &b"root"[..])];
    let said = name(&raw(&[&two]), CommonName);
    assert!(said.is_err(), "{said:?}");
    // What looks like another part is text.
    let text = (CN, UTF8, &b"pump,CN=root+O=x"[..]);
    check(&[&[text]], Ok("pump,CN=root+O=x".to_owned()));
}

#[test]
fn c12_what_nobody_sees_or_is_no_text_names_nobody() {
    let check = |tag, bytes: &[u8], expected| {
        let said = name(&raw(&[&[(CN, tag, bytes)]]), CommonName);
        assert_eq!(said, Err(expected), "{tag} {bytes:?}");
    };
    for bytes in [
        &b""[..],
        b"root\0",
        b"\0root",
        b"root\0.example",
        b"ro\not",
        b"root\r",
        b"\x1Broot",
        b"root\x7F",
        "root\u{85}".as_bytes(),
    ] {
        check(UTF8, bytes, NoName::Strange);
    }
    check(UTF8, b"r\xC3", NoName::NoText);
    check(UTF8, b"r\xFF\xFE", NoName::NoText);
    check(UTF8, b"\xC0\x80", NoName::NoText);
    check(UTF8, b"\xED\xA0\x80", NoName::NoText);
    check(PRINTABLE, "r\u{f6}ot".as_bytes(), NoName::NoText);
    check(IA5, "r\u{f6}ot".as_bytes(), NoName::NoText);
    check(T61, b"root", NoName::NoText);
    check(BMP, b"\0r\0o\0o\0t", NoName::NoText);
    check(4, b"root", NoName::NoText);
}

#[test]
fn c12_names_that_only_look_alike_name_nobody() {
    for text in [
        "ro\u{AD}ot",
        "root\u{200B}",
        "\u{FEFF}root",
        "\u{202E}toor",
        "root\u{200F}",
        "\u{627}root",
        "\u{FF52}oot",
        "ro\u{A0}ot",
        "u\u{308}ser",
        "root\u{E000}",
    ] {
        let said = name(&raw(&[&[(CN, UTF8, text.as_bytes())]]), CommonName);
        assert_eq!(said, Err(NoName::NoText), "{text:?}");
    }
    let arabic = "\u{627}\u{628}";
    let said = name(&raw(&[&[(CN, UTF8, arabic.as_bytes())]]), CommonName);
    assert_eq!(said, Ok(arabic.to_owned()));
}

#[test]
fn dns_names_are_the_same_in_small_and_capital_letters() {
    let certificate = of_names(&[dns("Pump.EXAMPLE"), email("Pump@example"), uri("urn:Pump")]);
    assert_eq!(name(&certificate, Dns), Ok("pump.example".to_owned()));
    assert_eq!(name(&certificate, Email), Ok("Pump@example".to_owned()));
    assert_eq!(name(&certificate, Uri), Ok("urn:Pump".to_owned()));
}

#[test]
fn c12_alternative_names_that_are_none_name_nobody() {
    // SEQUENCE { [tag] bytes }, as the extension 2.5.29.17.
    let extension = |tag: u8, bytes: &[u8]| {
        let n_bytes = u8::try_from(bytes.len()).unwrap();
        let head = [0x30, n_bytes + 2, tag, n_bytes];
        let content = [&head[..], bytes].concat();
        CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
    };
    for (tag, by) in [(0x81, Email), (0x82, Dns), (0x86, Uri)] {
        let read = |bytes: &[u8]| {
            let extension = extension(tag, bytes);
            name(
                &made(|params| params.custom_extensions = vec![extension]),
                by,
            )
        };
        assert_eq!(read(b"pump"), Ok("pump".to_owned()));
        for bytes in [
            &b"root\0"[..],
            b"root\0.example",
            b"ro\xFFot",
            b"ro\xC3\xB6t",
            b"\x1Broot",
            b"",
        ] {
            assert!(read(bytes).is_err(), "{by:?} {bytes:?}");
        }
        let twice = made(|params| {
            params.subject_alt_names = vec![uri("urn:a"), dns("a.example"), email("a@example")];
            params.custom_extensions = vec![extension(tag, b"root")];
        });
        assert_eq!(name(&twice, by), Err(NoName::BadNames));
    }
}

#[test]
fn what_is_no_certificate_names_nobody() {
    let good = of_subject(&[(DnType::CommonName, "pump".into())]);
    for bytes in [&b""[..], b"certificate", &good[..good.len() - 1]] {
        let said = name(&CertificateDer::from(bytes), CommonName);
        assert_eq!(said, Err(NoName::Unreadable));
    }
    let behind = [&good[..], &[0]].concat();
    let said = name(&CertificateDer::from(behind), CommonName);
    assert_eq!(said, Err(NoName::Unreadable));
}

proptest! {
    /// Whatever is damaged, it is read or refused; and a name has no characters that nobody sees.
    #[test]
    fn damaged_certificates_do_no_harm(at in any::<prop::sample::Index>(), byte: u8, tag: u8, text: Vec<u8>) {
        let text = &text[..text.len().min(100)];
        let certificate = raw(&[&[(CN, tag, text)]]);
        let mut bytes = certificate.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for certificate in [certificate, bytes.into()] {
            for by in [CommonName, Dns, Uri, Email] {
                if let Ok(name) = name(&certificate, by) {
                    prop_assert!(!name.is_empty() && !name.contains(char::is_control));
                }
            }
        }
    }
}
