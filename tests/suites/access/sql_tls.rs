//! TLS to the databases of users: whoever is asked is who it should be, or nobody comes in.

use std::{
    fs,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Broker,
    database::{Database, Kind},
    eventually, unique,
};
use tempfile::TempDir;

use super::scene::{UNAVAILABLE, attempt, login};
use crate::cluster::redis_tls;

const KINDS: [(Kind, &str, &str); 2] = [
    (Kind::Postgresql, "mqtt_user", "mqtt_acl"),
    (Kind::Mariadb, "auth", "acl"),
];

/// A database with a certificate for 127.0.0.1 and localhost, and with `ann`.
struct Scene {
    database: Database,
    files: TempDir,
    tables: String,
}

impl Scene {
    fn of((kind, users, rules): (Kind, &str, &str)) -> Self {
        let files = redis_tls::files();
        let database = Database::start_with_tls(kind, files.path());
        database.run(&format!(
            "INSERT INTO {users} (username, password) VALUES ('ann', 'ann');
             INSERT INTO {rules} (username, topic) VALUES ('ann', '#');"
        ));
        let tables =
            format!("auth: {{table: {users}, password-hash: plain}}, acl: {{table: {rules}}}");
        Self {
            database,
            files,
            tables,
        }
    }

    fn config(&self, tls: &str) -> String {
        let (keys, tables) = (self.database.keys(), &self.tables);
        let tls = tls.replace("DIR", &self.files.path().display().to_string());
        format!("auth: {{max-failures: 0, sources: [{{{keys}, timeout: 1s, {tls}, {tables}}}]}}")
    }

    fn start(&self, tls: &str) -> Broker {
        Broker::builder().config(self.config(tls)).start()
    }
}

/// How a login ends, which is soon.
#[track_caller]
fn code(broker: &Broker) -> u8 {
    let begun = Instant::now();
    let code = attempt(broker, &login(5, &unique("c"), "ann")).code;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    code
}

fn for_both(act: fn(&Scene)) {
    for kind in KINDS {
        act(&Scene::of(kind));
    }
}

#[test]
fn users_are_asked_for_over_tls_and_the_database_is_verified() {
    for_both(|scene| {
        assert_eq!(scene.database.n_encrypted(), 0);
        let broker = scene.start("sslmode: verify-full, ssl-ca: DIR/ca.pem");
        assert_eq!(code(&broker), 0, "{}", broker.log());
        assert!(scene.database.n_encrypted() > 0);
        // Once more, through connections that are made anew.
        scene.database.restart();
        eventually!(attempt(&broker, &login(5, &unique("c"), "ann")).code == 0);
        assert!(scene.database.n_encrypted() > 0);
    });
}

#[test]
fn a_database_that_is_not_verified_lets_nobody_in() {
    for_both(|scene| {
        for tls in [
            "sslmode: verify-full, ssl-ca: DIR/other.pem",
            "sslmode: verify-full", // no public authority knows it
        ] {
            let broker = scene.start(tls);
            assert_eq!(code(&broker), UNAVAILABLE, "{tls}");
            eventually!(broker.log().contains("UnknownIssuer"));
        }
    });
}

#[test]
fn a_database_of_another_name_lets_nobody_in() {
    for_both(|scene| {
        // The same authority, for another host.
        let authority = crate::listeners::authority::Authority::new("hosts");
        let other = authority.server_of("other.example");
        for (name, text) in [
            ("server.pem", other.certificate_pem()),
            ("server.key", other.key_pem()),
            ("ca.pem", authority.pem()),
        ] {
            fs::write(scene.files.path().join(name), text).expect("it is writable");
        }
        scene.database.certify(scene.files.path());
        let broker = scene.start("sslmode: verify-full, ssl-ca: DIR/ca.pem");
        assert_eq!(code(&broker), UNAVAILABLE);
        eventually!(broker.log().contains("not valid for"));
    });
}

/// TLS without a look at the certificate: nobody reads it on the way, and somebody in between is not
/// seen. That is what the names say, as PostgreSQL's own do.
#[test]
fn what_is_required_is_there() {
    for_both(|scene| {
        let broker = scene.start("sslmode: require");
        assert_eq!(code(&broker), 0, "{}", broker.log());
        assert!(scene.database.n_encrypted() > 0);
    });
    for (kind, users, rules) in KINDS {
        let scene = Scene {
            database: Database::start(kind),
            files: redis_tls::files(),
            tables: format!("auth: {{table: {users}}}, acl: {{table: {rules}}}"),
        };
        let broker = scene.start("sslmode: require");
        assert_eq!(code(&broker), UNAVAILABLE, "{kind:?} has no TLS");
    }
}

/// Whoever names an authority believes that it is looked at.
#[test]
fn an_authority_that_would_not_count_ends_the_start() {
    let scene = Scene {
        database: Database::start(Kind::Postgresql),
        files: redis_tls::files(),
        tables: "auth: {mode: username}".to_owned(),
    };
    for (tls, says) in [
        ("sslmode: require, ssl-ca: DIR/ca.pem", "verify-full"),
        ("ssl-ca: DIR/ca.pem", "verify-full"),
        ("sslmode: verify-ca, ssl-ca: DIR/ca.pem", "verify-full"),
        ("sslmode: verify-full, ssl-ca: DIR/none.pem", "none.pem"),
        (
            "sslmode: verify-full, ssl-ca: DIR/server.key",
            "no certificate",
        ),
    ] {
        let started = Broker::builder().config(scene.config(tls)).try_start();
        let trouble = started.err().expect("it does not start");
        assert!(
            trouble.contains("auth.sources") && trouble.contains(says),
            "{trouble}"
        );
    }
}
