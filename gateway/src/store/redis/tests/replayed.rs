//! Retained messages on their way to a new subscription, and the session goes to another gateway.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fixture::{Rig, Server, claim, message};
use super::gateway::{connect, gateway, gateway_in_cluster, settled};
use crate::broker::Broker;
use crate::message::MessageRef;
use crate::proto::mqtt::Qos;
use crate::session::Session;
use crate::session::queued::Terms;
use crate::shared::Reading;
use crate::store::keys;
use crate::turn::Turn;

/// Whoever has the session by then is owed all of them, and others have had them long ago.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_goes_to_nobody_else() {
    let server = Server::start(&[]).await;
    let broker = gateway_in_cluster(server.config(), 1).await;
    let cluster = broker.cluster.as_ref().expect("it is in one");
    let session = connect(&broker, "c").await.expect("redis is there").session;
    let number = session.number;
    let message = Arc::new(MessageRef::any(Qos::ExactlyOnce).to_message());
    let replay = async || {
        let terms = Terms {
            qos: Qos::ExactlyOnce,
            retain: true,
            ids: &[],
            share: None,
        };
        {
            let mut turn = Turn::new(&broker);
            turn.deliver_retained(&session, &message, None, &terms);
            turn.finish(None);
        }
        settled(&broker).await;
    };
    replay().await;
    let other = Rig::open(server.config()).await;
    let mut theirs = claim("c", 9);
    (theirs.principal, theirs.force) = (None, Some((number, 1)));
    let taken = other.take(&theirs).await;
    // This gateway does not know of it yet, and then it does.
    for is_known in [false, true] {
        assert_eq!(session.outbound.lock().is_moved(), is_known);
        replay().await;
        assert_eq!(cluster.n_returned(), 0, "known: {is_known}");
    }
    assert_eq!(other.seqs(number).await.len(), 1);
    // Nor would it come again under a name that it were to be known by.
    let stored = taken.resumed.and_then(|it| it.stored);
    assert_eq!(stored.expect("what is stored").recent, Vec::<u64>::new());
}

/// The topics of all that is still to be read.
async fn topics(broker: &Arc<Broker>, session: &Arc<Session>, mut reading: Reading) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut topics = Vec::new();
    while !reading.is_done() {
        assert!(Instant::now() < deadline, "it never ends");
        let page = reading.page(broker, session).unwrap_or_default();
        topics.extend(page.iter().map(|it| it.as_ref().as_ref().topic.to_owned()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    topics
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_reads_what_is_left_in_whatever_shard() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let session = connect(&broker, "c").await.expect("redis is there").session;
    let rig = Rig::open(server.config()).await;
    rig.write(|batch| {
        for number in 0..60 {
            let topic = format!("t{}/{number}", number % 20);
            batch.put(&keys::retained(&topic), &message(&topic, b"x", u64::MAX));
        }
    })
    .await;
    let all = topics(&broker, &session, Reading::new("+/+", None)).await;
    assert_eq!(all.len(), 60);
    for at in [0, 20, 41, 59] {
        let reading = Reading::new("+/+", Some(&all[at]));
        let rest = topics(&broker, &session, reading).await;
        assert_eq!(rest, all[at + 1..], "behind {}", all[at]);
    }
}
