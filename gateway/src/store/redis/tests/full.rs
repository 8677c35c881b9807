//! Redis has no memory for a while: who leaves then has left, and what ends has ended, there as here.

use std::sync::Arc;

use super::fixture::{Rig, Server, claim, eventually};
use super::gateway::{connect, field, gateway, publish, settled, subscribe};
use crate::broker::Broker;
use crate::proto::mqtt::Reason;
use crate::session::{End, Session};
use crate::store::redis::Taken;

/// A client that gets all that is published.
async fn subscriber(broker: &Arc<Broker>) -> Arc<Session> {
    let session = connect(broker, "c").await.expect("redis is there").session;
    subscribe(broker, &session);
    session
}

async fn has_room(server: &Server, has_room: bool) {
    let most = if has_room { "0" } else { "1" };
    server.ask(&["CONFIG", "SET", "maxmemory", most]).await;
}

/// Another gateway gets the client, and need not ask for it.
async fn take_elsewhere(server: &Server, broker: &Broker) -> Taken {
    let other = Rig::open(server.config()).await;
    let mut theirs = claim("c", 9);
    (theirs.principal, theirs.now) = (None, broker.clock.now());
    other.take(&theirs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_there_was_no_room_for_has_ended_there_too() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    for (is_connected, comes_back) in [(true, true), (false, true), (true, false), (false, false)] {
        let session = subscriber(&broker).await;
        if !is_connected {
            broker.detach(&session, &End::Lost);
        }
        assert_eq!(publish(&broker).await, None);
        has_room(&server, false).await;
        assert_eq!(publish(&broker).await, Some(Reason::QuotaExceeded));
        if is_connected {
            eventually("it is to end", || session.life.lock().end.is_some()).await;
            broker.detach(&session, &End::Lost);
        }
        let number = session.number;
        eventually("it ends", || broker.owned.find(number).is_none()).await;
        has_room(&server, true).await;
        assert_eq!(publish(&broker).await, None, "nobody wants it");
        if comes_back {
            let claimed = connect(&broker, "c").await.expect("redis is there");
            assert!(!claimed.is_present, "it would miss what was acknowledged");
            broker.detach(&claimed.session, &End::Lost);
        } else {
            assert!(take_elsewhere(&server, &broker).await.resumed.is_none());
            server.ask(&["FLUSHALL"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_there_is_no_room_has_left() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let session = subscriber(&broker).await;
    assert_eq!(publish(&broker).await, None);
    has_room(&server, false).await;
    broker.detach(&session, &End::Lost);
    settled(&broker).await;
    assert!(!session.life.lock().is_over, "it waits for its client");
    assert_eq!(field(&server, "c", "connected").await, "0");
    has_room(&server, true).await;
    let taken = take_elsewhere(&server, &broker).await;
    let stored = taken.resumed.and_then(|resumed| resumed.stored);
    let queue = stored.and_then(|stored| stored.queue).expect("its queue");
    assert_eq!((taken.number, queue.n_entries), (session.number, 1));
}
