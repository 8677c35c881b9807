//! Retained messages on their way to a new subscription, and the session goes to another gateway.

use std::sync::Arc;

use super::fixture::{Rig, Server, claim};
use super::gateway::{connect, gateway_in_cluster, settled};
use crate::message::MessageRef;
use crate::proto::mqtt::Qos;
use crate::session::queued::Terms;
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
