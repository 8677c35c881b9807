//! Who is let in, by real handshakes' verifier, and what is no list.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::*;
use crate::tls::{Identity, Paths};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

fn authority_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::self_signed(authority_params(name, 1), key).unwrap()
}

fn between(authority: &Authority, name: &str, serial: u64) -> Authority {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::signed_by(authority_params(name, serial), key, authority).unwrap()
}

fn client(authority: &Authority, serial: u64) -> CertificateDer<'static> {
    let mut params = params("client", serial);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, authority).unwrap().der().clone()
}

fn list_until(
    authority: &Authority,
    serials: &[u64],
    year: i32,
) -> rcgen::CertificateRevocationList {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2023, 1, 1),
        next_update: date_time_ymd(year, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority).unwrap()
}

fn list_of(authority: &Authority, serials: &[u64]) -> String {
    list_until(authority, serials, 2090).pem().unwrap()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn verifier(&self, authorities: &str, lists: &[u8]) -> Arc<dyn ClientCertVerifier> {
        self.try_verifier(authorities, lists).unwrap()
    }

    fn try_verifier(
        &self,
        authorities: &str,
        lists: &[u8],
    ) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
        let authorities = self.write("ca.pem", authorities);
        let lists = self.write("crl", lists);
        let provider = Arc::new(ring::default_provider());
        let clients = clients(Some(&authorities), Some(&lists), &provider)?;
        assert!(
            clients
                .until
                .is_some_and(|until| until > unix_seconds(SystemTime::now()))
        );
        Ok(clients.verifier)
    }
}

/// Whether a client is let in that shows this, with what is between.
#[track_caller]
fn check(
    verifier: &Arc<dyn ClientCertVerifier>,
    shown: &CertificateDer<'_>,
    between: &[&Authority],
    expected: Result<(), &str>,
) {
    let between: Vec<_> = between.iter().map(|it| it.der().clone()).collect();
    let outcome = verifier.verify_client_cert(shown, &between, UnixTime::now());
    let outcome = outcome.map(drop).map_err(|error| error.to_string());
    match expected {
        Ok(()) => assert_eq!(outcome, Ok(())),
        Err(why) => assert!(
            outcome.clone().is_err_and(|is| is.contains(why)),
            "{outcome:?}"
        ),
    }
}

#[test]
fn what_is_revoked_is_refused_and_nothing_else() {
    let files = Files::new();
    let ours = authority("ours");
    let (good, lost) = (client(&ours, 10), client(&ours, 11));
    let lists = list_of(&ours, &[11]);
    let der = list_until(&ours, &[11], 2090);
    for lists in [lists.as_bytes(), der.der().as_ref()] {
        let verifier = files.verifier(&ours.pem(), lists);
        check(&verifier, &good, &[], Ok(()));
        check(&verifier, &lost, &[], Err("Revoked"));
    }
}

#[test]
fn each_authority_has_its_list_and_of_whom_there_is_none_nobody_comes_in() {
    let files = Files::new();
    let (ours, other) = (authority("ours"), authority("other"));
    let both = ours.pem() + &other.pem();
    let lists = list_of(&ours, &[11]) + &list_of(&other, &[10]);
    let verifier = files.verifier(&both, lists.as_bytes());
    check(&verifier, &client(&ours, 10), &[], Ok(()));
    check(&verifier, &client(&ours, 11), &[], Err("Revoked"));
    check(&verifier, &client(&other, 10), &[], Err("Revoked"));
    check(&verifier, &client(&other, 11), &[], Ok(()));
    let verifier = files.verifier(&both, list_of(&ours, &[11]).as_bytes());
    check(&verifier, &client(&ours, 10), &[], Ok(()));
    check(
        &verifier,
        &client(&other, 11),
        &[],
        Err("UnknownRevocationStatus"),
    );
    // A list that another has signed in its name says nothing.
    let forged = authority("ours");
    let verifier = files.verifier(&ours.pem(), list_of(&forged, &[]).as_bytes());
    check(&verifier, &client(&ours, 10), &[], Err("BadSignature"));
}

#[test]
fn what_is_between_is_looked_at_whichever_authority_has_no_list() {
    let files = Files::new();
    let (root, other) = (authority("root"), authority("other"));
    let (good, lost) = (between(&root, "good", 20), between(&root, "lost", 21));
    let (of_good, of_lost) = (client(&good, 30), client(&lost, 30));
    let of_other = between(&other, "of other", 20);
    let below = list_of(&good, &[31]) + &list_of(&lost, &[]) + &list_of(&of_other, &[]);
    let lists = list_of(&root, &[21]) + &below;
    for authorities in [root.pem(), root.pem() + &other.pem()] {
        let verifier = files.verifier(&authorities, lists.as_bytes());
        check(&verifier, &of_good, &[&good], Ok(()));
        check(&verifier, &client(&good, 31), &[&good], Err("Revoked"));
        check(&verifier, &of_lost, &[&lost], Err("Revoked"));
        check(&verifier, &client(&root, 40), &[], Ok(()));
    }
    // Nobody says whether what is between was revoked: it vouches for nobody.
    let unknown = Err("UnknownRevocationStatus");
    let both = root.pem() + &other.pem();
    let verifier = files.verifier(&both, lists.as_bytes());
    check(&verifier, &client(&of_other, 30), &[&of_other], unknown);
    let verifier = files.verifier(&root.pem(), below.as_bytes());
    check(&verifier, &of_good, &[&good], unknown);
    check(&verifier, &client(&root, 40), &[], unknown);
    // Nor of the client's own, where what is between has no list.
    let verifier = files.verifier(&root.pem(), list_of(&root, &[]).as_bytes());
    check(&verifier, &of_good, &[&good], unknown);
}

#[test]
fn a_list_that_cannot_be_used_is_an_error_of_its_file() {
    let files = Files::new();
    let ours = authority("ours");
    let old = list_until(&ours, &[], 2024);
    let good = list_of(&ours, &[]);
    let cut = &good.as_bytes()[..good.len() / 2];
    let empty_der = [0x30, 0x00];
    let (old_pem, ours_pem) = (old.pem().unwrap(), ours.pem());
    let cases: [(&[u8], &str); 7] = [
        (b"", "has no list of revoked certificates"),
        (ours_pem.as_bytes(), "has no list of revoked certificates"),
        (b"x", "is no list of revoked certificates"),
        (&empty_der, "is no list of revoked certificates"),
        (cut, "is not PEM"),
        (old_pem.as_bytes(), "out of date since"),
        (old.der(), "out of date since"),
    ];
    for (lists, says) in cases {
        let error = files.try_verifier(&ours.pem(), lists).unwrap_err();
        assert_eq!(error.file(), files.0.path().join("crl"), "{error}");
        let text = error.to_string();
        assert!(text.contains(says) && !text.contains('\n'), "{text}");
    }
    let provider = Arc::new(ring::default_provider());
    let authorities = files.write("ca.pem", ours.pem());
    let none = files.0.path().join("none");
    let clients = clients(Some(&authorities), Some(&none), &provider);
    let error = clients.map(drop).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

/// From one minute to the next nobody comes in any more.
#[test]
fn that_a_list_has_become_old_is_told_once() {
    let files = Files::new();
    let ours = authority("ours");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let lists = list_of(&ours, &[]) + &list_until(&ours, &[], 2080).pem().unwrap();
    let paths = Paths {
        certificate: files.write("a.crt", made.cert.pem()),
        key: files.write("a.key", made.signing_key.serialize_pem()),
        client_ca: Some(files.write("ca.pem", ours.pem())),
        client_crl: Some(files.write("crl", lists)),
    };
    let mut identity = Identity::load(paths.clone()).unwrap();
    let in_years = |n: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(n * 365 * 24 * 3600);
    let tells =
        |identity: &Identity| [100, 109, 111, 112].map(|n| identity.tell_of_old_lists(in_years(n)));
    assert_eq!(tells(&identity), [false, false, true, false]);
    assert!(identity.reload().is_empty());
    assert_eq!(tells(&identity), [false, false, true, false]);
    identity = Identity::load(Paths {
        client_crl: None,
        ..paths
    })
    .unwrap();
    assert_eq!(tells(&identity), [false; 4]);
}

/// rustls-webpki has panicked at a list before.
#[test]
fn d10_a_damaged_list_is_an_error_and_no_panic() {
    let files = Files::new();
    let ours = authority("ours");
    let shown = client(&ours, 10);
    let whole = list_until(&ours, &[9, 10, 11], 2090).der().to_vec();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    for _ in 0..3_000 {
        let mut damaged = whole.clone();
        for _ in 0..=below(4) {
            let at = below(damaged.len());
            match below(4) {
                0 => damaged[at] = below(256) as u8,
                1 => damaged[at] ^= 1 << below(8),
                2 => damaged.truncate(at + 1),
                _ => damaged.insert(at, below(256) as u8),
            }
        }
        if let Ok(verifier) = files.try_verifier(&ours.pem(), &damaged) {
            let _ = verifier.verify_client_cert(&shown, &[], UnixTime::now());
        }
    }
}
