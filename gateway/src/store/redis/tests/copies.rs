//! A session that a message reaches as a member of a group, and for itself.

use super::fixture::{Server, subscribed};
use super::gateway::{connect, gateway};
use crate::message::MessageRef;
use crate::proto::mqtt::Qos;
use crate::turn::Turn;
use crate::turn::author::Author;

/// [MQTT-4.8.2]: a shared subscription is apart from the others of its session.
#[tokio::test(flavor = "multi_thread")]
async fn each_has_its_copy() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let session = connect(&broker, "c").await.expect("redis is there").session;
    let filters = ["$share/g/a/b", "$share/h/a/b", "a/#", "a/+"];
    for filter in filters {
        broker.subscribe(&session, filter, &subscribed(0), || None);
    }
    for (qos, n_queued) in [(Qos::AtLeastOnce, 3), (Qos::ExactlyOnce, 6)] {
        let message = MessageRef {
            publisher: 99,
            qos,
            retain: false,
            expires_at: u64::MAX,
            topic: "a/b",
            properties: &[],
            payload: b"x",
            trace: None,
        };
        let mut turn = Turn::new(&broker);
        turn.route(message, &broker.table.plan("a/b"), Author::BROKER);
        turn.finish(None);
        // Two of groups, and one for both of its own filters.
        assert_eq!(session.outbound.lock().n_queued(), n_queued, "{qos:?}");
    }
}
