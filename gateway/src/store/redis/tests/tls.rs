//! Servers that take nothing but TLS, and are verified; Sentinels that ask for a password.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio::time::Instant;

use super::fixture::{Rig, Server, append, claim};
use crate::config::ClientTls;
use crate::store::redis::connection::Tls;
use crate::store::redis::{Address, Config, OpenError, RedisStore, Servers};

/// Two authorities; a server and a client of the first, and a client of the second.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let name = format!("gatemq-redis-tls-{name}-{}", std::process::id());
        let files = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&files.0).expect("a directory");
        let ours = files.authority("ours");
        let other = files.authority("other");
        let names = ["127.0.0.1".to_owned()];
        files.issue(&ours, "server", &names, ExtendedKeyUsagePurpose::ServerAuth);
        files.issue(&ours, "client", &[], ExtendedKeyUsagePurpose::ClientAuth);
        files.issue(&other, "stranger", &[], ExtendedKeyUsagePurpose::ClientAuth);
        files
    }

    fn authority(&self, name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        std::fs::write(self.path(&format!("{name}.crt")), authority.pem()).expect("written");
        authority
    }

    fn issue(
        &self,
        authority: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
        names: &[String],
        usage: ExtendedKeyUsagePurpose,
    ) {
        let mut params = CertificateParams::new(names).expect("good names");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, authority).expect("a certificate");
        std::fs::write(self.path(&format!("{name}.crt")), certificate.pem()).expect("written");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Who believes this authority, and shows this.
    fn tls(&self, authority: &str, shows: Option<&str>) -> Option<Arc<Tls>> {
        let path = |name: &str, kind| self.path(&format!("{name}.{kind}"));
        let files = ClientTls {
            ca: Some(path(authority, "crt")),
            shown: shows.map(|name| (path(name, "crt"), path(name, "key"))),
        };
        Some(Arc::new(Tls::read(files).expect("good files")))
    }

    /// A server with TLS, which asks for certificates or does not.
    async fn server(&self, asks: &str) -> Server {
        self.server_with(asks, &[]).await
    }

    async fn server_with(&self, asks: &str, more: &[&str]) -> Server {
        let [ca, certificate, key] = ["ours.crt", "server.crt", "server.key"]
            .map(|name| self.path(name).display().to_string());
        let arguments = [
            ["--tls-ca-cert-file", &ca],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", asks],
        ];
        let tls = self.tls("ours", Some("client"));
        Server::start_with(&[arguments.as_flattened(), more].concat(), tls).await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Why a store does not open.
async fn refused(config: Config) -> OpenError {
    match RedisStore::<u64>::open(config, |_| {}).await {
        Ok(_) => panic!("it opens"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_stored_over_tls_and_servers_are_verified() {
    let files = Files::new("store");
    let mut server = files.server("yes").await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    rig.write(|batch| append(batch, number, 0..100)).await;
    // What is lost comes again, over TLS.
    server.kill();
    let last = rig.submit(|batch| append(batch, number, 100..200));
    server.restart().await;
    assert!(rig.verdict(last).await.is_safe());
    assert!(rig.seqs(number).await.into_iter().eq(0..200));

    let with = |tls| Config {
        tls,
        ..server.config()
    };
    for (what, tls, why) in [
        (
            "another authority",
            files.tls("other", Some("client")),
            "UnknownIssuer",
        ),
        ("no certificate", files.tls("ours", None), "alert"),
        (
            "another's certificate",
            files.tls("ours", Some("stranger")),
            "alert",
        ),
    ] {
        let error = refused(with(tls)).await;
        let text = error.to_string();
        assert!(matches!(error, OpenError::Tls { .. }), "{what}: {text}");
        assert!(text.contains(why) && !text.contains('\n'), "{what}: {text}");
    }
    let error = refused(with(None)).await;
    assert!(matches!(error, OpenError::HangsUp(_)), "plaintext: {error}");
    // Called by another name than it has.
    let mut named = server.config();
    let other = format!("localhost:{}", server.port);
    named.servers = Servers::Single(Address::parse(&other, 0).expect("an address"));
    let error = refused(named).await.to_string();
    assert!(error.contains("not valid for"), "{error}");
    // And TLS to a server that has none.
    let plain = Server::start(&[]).await;
    let mut config = plain.config();
    config.tls = server.tls.clone();
    let error = refused(config).await;
    assert!(matches!(error, OpenError::Tls { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_again_and_bad_ones_are_not_taken() {
    let files = Files::new("again");
    let server = files.server("no").await;
    let ours = std::fs::read(files.path("ours.crt")).expect("it is there");
    std::fs::copy(files.path("other.crt"), files.path("ca.crt")).expect("copied");
    let tls = files.tls("ca", None).expect("there is one");
    let config = Config {
        tls: Some(tls.clone()),
        ..server.config()
    };
    assert!(matches!(
        refused(config.clone()).await,
        OpenError::Tls { .. }
    ));
    std::fs::write(files.path("ca.crt"), ours).expect("written");
    tls.reload().expect("it is good");
    drop(Rig::open(config.clone()).await);
    std::fs::write(files.path("ca.crt"), "").expect("written");
    tls.reload().expect_err("it is empty");
    drop(Rig::open(config).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_have_users_of_their_own_and_tls() {
    let files = Files::new("sentinel");
    let master = files.server("yes").await;
    let sentinel = files.server("yes").await;
    let [ca, certificate, key] =
        ["ours.crt", "server.crt", "server.key"].map(|name| files.path(name).display().to_string());
    let more = format!(
        "tls-ca-cert-file {ca}\ntls-cert-file {certificate}\ntls-key-file {key}\n\
         tls-replication yes\nuser default off\nuser guard on >secret allcommands allchannels"
    );
    let sentinel = sentinel.into_guarded_sentinel(master.port, &more).await;
    let mut config = Config::new(Servers::Sentinel {
        addresses: vec![sentinel.address()],
        master: "gate".to_owned(),
    });
    config.tls = files.tls("ours", Some("client"));
    let error = refused(config.clone()).await;
    assert!(
        matches!(error, OpenError::SentinelNeedsPassword(_)),
        "{error}"
    );
    config.sentinel_username = Some("guard".to_owned());
    config.sentinel_password = Some("wrong".to_owned());
    let error = refused(config.clone()).await;
    assert!(matches!(error, OpenError::SentinelPassword(_)), "{error}");
    config.sentinel_password = Some("secret".to_owned());
    let rig = Rig::open(config).await;
    let number = rig.take(&claim("c", 1)).await.number;
    rig.write(|batch| append(batch, number, 0..10)).await;
}

/// The nodes name the ports where they take TLS.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_redis_cluster_are_found_over_tls() {
    let files = Files::new("cluster");
    let flags = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    let node = files.server_with("yes", &flags).await;
    node.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let info = node.ask(&["CLUSTER", "INFO"]).await;
        let info: String = redis::from_redis_value(info).expect("a text");
        if info.contains("cluster_state:ok") {
            break;
        }
        assert!(Instant::now() < deadline, "{info}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut config = node.config();
    config.servers = Servers::Cluster(vec![node.address()]);
    let rig = Rig::open(config.clone()).await;
    let number = rig.take(&claim("c", 1)).await.number;
    rig.write(|batch| append(batch, number, 0..10)).await;
    assert!(rig.seqs(number).await.into_iter().eq(0..10));
    config.tls = files.tls("other", Some("client"));
    let error = refused(config).await;
    assert!(matches!(error, OpenError::Tls { .. }), "{error}");
}
