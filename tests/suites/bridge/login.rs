//! Kafka asks who is there, and speaks TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatemq_bridge::spool::disk;
use gatemq_bridge::{Ack, Bridge};
use gatemq_tests::kafka::{Kafka, LOGIN, Secured};
use gatemq_tests::{eventually, pause};

use super::reader::{judge, read_all};
use super::recovery::{plan, publish, settings};

#[test]
fn the_bridge_logs_in_over_tls_and_not_with_a_wrong_password() {
    let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
    let identity = identity.expect("a certificate");
    let (certificate, key) = (identity.cert.pem(), identity.signing_key.serialize_pem());
    let kafka = Kafka::start_secured(&Secured {
        identity: Some((certificate.clone(), key)),
    });
    kafka.create_topic("site", 1);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_time().build().expect("a runtime");
    let n_done = Arc::new(AtomicUsize::new(0));
    let start = |name: &str, password: &str| {
        let engine = disk(&folder.path().join(name)).expect("a disk");
        let further = [
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.pem", certificate.as_str()),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", LOGIN.0),
            ("sasl.password", password),
        ];
        let settings = settings(kafka.secured_address(), &further);
        let plan = plan(settings, Ack::Kafka);
        Bridge::start(plan, engine, |error| panic!("{error}")).expect("it starts")
    };
    let bridge = start("right", LOGIN.1);
    runtime.block_on(publish(&bridge, 0, 100, &n_done));
    eventually!(
        Duration::from_secs(30),
        n_done.load(Ordering::SeqCst) == 100
    );
    bridge.stop();
    let found = read_all(&kafka.address(), "site", 1);
    judge(&found, 50, 2);

    let stranger = start("wrong", "wrong");
    let message = async {
        let done =
            Box::new(|outcome| assert_ne!(outcome, gatemq_bridge::produce::Outcome::Accepted));
        let message = gatemq_bridge::Message {
            origin: None,
            qos: gatemq_proto::mqtt::Qos::AtMostOnce,
            is_retained: false,
            topic: "site/0",
            client_id: "stranger",
            username: "",
            properties: gatemq_proto::mqtt::UserProperties::default(),
            block: &[],
            expires_at: None,
            payload: b"7",
            trace: None,
            at: 0,
            event: None,
        };
        stranger.accept(&message, done).await;
    };
    runtime.block_on(message);
    // That nothing comes can only be seen by waiting.
    pause(Duration::from_secs(1));
    stranger.stop();
    assert_eq!(read_all(&kafka.address(), "site", 1).len(), 100);
}
