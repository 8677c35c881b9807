//! Clients that others wrote, against the broker: each over every transport and in every version
//! that it has. Every cell of the matrix is a row in the output; run with `--nocapture` to see it.
//!
//! What a client needs (a Debian package, a virtual environment, npm) is installed where it can
//! be. Where it cannot, the test says `SKIPPED`; with `CI=true` it fails.

mod install;
mod mosquitto;
mod rumqtt;
mod scripts;

use std::{path::PathBuf, sync::LazyLock};

pub(crate) use gatemq_tests::skip;
use gatemq_tests::{Broker, broker::Shared};
use rustls::pki_types::CertificateDer;

use crate::listeners::authority::Authority;

/// The broker of this suite, with every transport.
struct Place {
    broker: Shared,
    authority: CertificateDer<'static>,
}

/// The rows of one client.
#[derive(Default)]
struct Matrix {
    rows: Vec<(String, Result<(), String>)>,
}

impl Place {
    /// The place that all tests of this suite share.
    fn shared() -> Self {
        static AUTHORITY: LazyLock<(CertificateDer<'static>, [String; 3])> = LazyLock::new(|| {
            let authority = Authority::new("foreign clients");
            let server = authority.server();
            let files = [authority.pem(), server.certificate_pem(), server.key_pem()];
            (authority.der(), files)
        });
        let (authority, [ca, certificate, key]) = &*AUTHORITY;
        let broker = Broker::builder()
            .file("ca.pem", ca)
            .file("cert.pem", certificate)
            .file("key.pem", key)
            .args(["--tls", "127.0.0.1:0", "--wss", "127.0.0.1:0"])
            .args(["--tls-cert", "{dir}/cert.pem", "--tls-key", "{dir}/key.pem"])
            .shared();
        Self {
            broker,
            authority: authority.clone(),
        }
    }

    /// The transports that the broker has, of these, with their ports.
    fn ports(&self, transports: &[&'static str]) -> Vec<(&'static str, u16)> {
        let there = transports
            .iter()
            .filter(|name| !self.broker.listening(name).is_empty());
        there
            .map(|name| (*name, self.broker.address(name).port()))
            .collect()
    }

    /// The file of the authority that signed the broker's certificate.
    fn ca(&self) -> PathBuf {
        self.broker.dir().join("ca.pem")
    }
}

impl Matrix {
    fn add(&mut self, name: String, result: Result<(), String>) {
        match &result {
            Ok(()) => eprintln!("{name}: ok"),
            Err(trouble) => eprintln!("{name}: FAILED: {trouble}"),
        }
        self.rows.push((name, result));
    }

    /// Every row must be there and good.
    #[track_caller]
    fn check(self, expected: usize) {
        let failed: Vec<_> = self.rows.iter().filter(|(_, row)| row.is_err()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        assert_eq!(self.rows.len(), expected, "rows that ran: {:?}", self.rows);
    }
}
