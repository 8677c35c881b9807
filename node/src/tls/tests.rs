//! What is an identity, and what stays of one that is read again.

use super::*;
use std::fs;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("a");
        files
    }

    fn write(&self, name: &str) {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(self.path(name, "crt"), identity.cert.pem()).unwrap();
        fs::write(self.path(name, "key"), identity.signing_key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.0.path().join(format!("{name}.{kind}"))
    }

    fn paths(&self) -> Paths {
        let (certificate, key) = (self.path("a", "crt"), self.path("a", "key"));
        Paths {
            certificate,
            key,
            client_ca: None,
            client_crl: None,
        }
    }
}

/// The certificate that the next connection is shown.
fn shown(identity: &Identity) -> CertificateDer<'static> {
    let current = identity.current.load();
    current.key.cert[0].clone()
}

/// Which clients it lets in.
fn believed(identity: &Identity) -> *const () {
    let current = identity.current.load();
    Arc::as_ptr(&current.clients.verifier).cast()
}

/// Files that are bad when all are read again.
fn reload(identity: &Identity) -> Vec<PathBuf> {
    let errors = identity.reload();
    errors.iter().map(|error| error.file.clone()).collect()
}

fn check_error(paths: Paths, file: &Path, what: &str) {
    let error = Identity::load(paths).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{}: {what}", file.display())),
        "{error}"
    );
    assert!(!error.contains('\n'));
}

#[test]
fn identities_load_without_early_data_or_alpn() {
    let files = Files::new();
    let identity = Identity::load(files.paths()).unwrap();
    let config = identity.server_config();
    assert_eq!(config.max_early_data_size, 0);
    assert!(config.alpn_protocols.is_empty() && config.ticketer.enabled());
    let client_ca = Some(files.path("a", "crt"));
    Identity::load(Paths {
        client_ca,
        ..files.paths()
    })
    .unwrap();
}

#[test]
fn a_client_certificate_is_looked_at_on_each_connection() {
    let files = Files::new();
    let load = |client_ca| {
        let paths = Paths {
            client_ca,
            ..files.paths()
        };
        Identity::load(paths).unwrap().server_config()
    };
    let (key, value) = (b"key".to_vec(), b"value".to_vec());
    let resumes = |config: &ServerConfig| {
        config.session_storage.put(key.clone(), value.clone());
        config.session_storage.get(&key).is_some()
    };
    let open = load(None);
    assert!(open.ticketer.enabled() && open.send_tls13_tickets > 0 && resumes(&open));
    let closed = load(Some(files.path("a", "crt")));
    assert!(!closed.ticketer.enabled() && closed.send_tls13_tickets == 0);
    assert!(!resumes(&closed) && !closed.session_storage.can_cache());
}

#[test]
fn errors_name_the_file() {
    let files = Files::new();
    files.write("b");
    let (a, b) = (files.path("a", "crt"), files.path("b", "key"));
    let none = files.path("none", "crt");
    let with = |certificate: &Path, key: &Path| Paths {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        client_ca: None,
        client_crl: None,
    };
    check_error(with(&none, &b), &none, "cannot be read: No such file");
    check_error(with(&b, &b), &b, "has no certificate");
    check_error(with(&a, &a), &a, "has no unencrypted private key");
    check_error(with(&a, &b), &a, "does not go with the key");
    let bad = files.path("bad", "crt");
    fs::write(
        &bad,
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    check_error(with(&bad, &b), &bad, "is not PEM");
    let client_ca = Some(none.clone());
    check_error(
        Paths {
            client_ca,
            ..files.paths()
        },
        &none,
        "cannot be read",
    );
}

#[test]
fn a_failed_reload_keeps_the_identity_and_a_good_one_replaces_it() {
    let files = Files::new();
    let identity = Identity::load(files.paths()).unwrap();
    let before = shown(&identity);
    fs::write(files.path("a", "key"), "gone").unwrap();
    assert_eq!(reload(&identity), [files.path("a", "key")]);
    assert_eq!(shown(&identity), before);
    files.write("a");
    assert!(identity.reload().is_empty());
    assert_ne!(shown(&identity), before);
}

#[test]
fn what_is_bad_of_clients_keeps_no_certificate_from_being_renewed_nor_the_reverse() {
    let files = Files::new();
    files.write("ca");
    let client_ca = files.path("ca", "crt");
    let paths = Paths {
        client_ca: Some(client_ca.clone()),
        ..files.paths()
    };
    let identity = Identity::load(paths).unwrap();
    let (mut certificate, mut authorities) = (shown(&identity), believed(&identity));
    files.write("a");
    fs::write(&client_ca, "gone").unwrap();
    assert_eq!(reload(&identity), std::slice::from_ref(&client_ca));
    assert_ne!(shown(&identity), certificate);
    assert_eq!(believed(&identity), authorities);
    certificate = shown(&identity);
    let key = files.path("a", "key");
    fs::write(&key, "gone").unwrap();
    files.write("ca");
    assert_eq!(reload(&identity), std::slice::from_ref(&key));
    assert_eq!(shown(&identity), certificate);
    assert_ne!(believed(&identity), authorities);
    authorities = believed(&identity);
    fs::write(&client_ca, "gone").unwrap();
    assert_eq!(reload(&identity), [key, client_ca]);
    assert_eq!(shown(&identity), certificate);
    assert_eq!(believed(&identity), authorities);
    assert!(!identity.server_config().session_storage.can_cache());
}
