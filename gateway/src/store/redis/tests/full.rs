//! Redis has no memory for a while: who leaves then has left, and what ends has ended, there as here.

use std::sync::Arc;

use gatemq_storage::Batch;

use super::fixture::{Rig, Server, append, claim, eventually, tag};
use super::gateway::{connect, field, gateway, publish, settled, subscribe};
use super::proxy::Proxy;
use crate::broker::Broker;
use crate::message::MessageRef;
use crate::proto::mqtt::{Qos, Reason};
use crate::session::link::Link;
use crate::session::outbound::Outbound;
use crate::session::{End, Life, Session};
use crate::store::keys;
use crate::store::redis::{Config, Health, Servers, Taken};
use crate::will::Will;

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

/// What the client of a session is told that is over.
async fn told(session: &Session) -> String {
    eventually("it is to end", || session.life.lock().end.is_some()).await;
    match session.life.lock().end.take() {
        Some(End::Refused(_, why)) => why,
        end => panic!("{end:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disconnected_is_told_what_there_was_no_room_for() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let session = subscriber(&broker).await;
    has_room(&server, false).await;
    assert_eq!(publish(&broker).await, Some(Reason::QuotaExceeded));
    let why = told(&session).await;
    assert!(why.contains("redis has no memory"), "{why}");
    has_room(&server, true).await;
    broker.detach(&session, &End::Lost);
    settled(&broker).await;
    // No lack of memory either: something else is where its queue should be.
    let session = subscriber(&broker).await;
    let queue = format!("gatemq:{}:q:{}", tag("c"), session.number);
    server.ask(&["SET", &queue, "x"]).await;
    assert!(publish(&broker).await.is_some());
    let why = told(&session).await;
    assert!(why.contains("redis refuses"), "{why}");
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

/// Of QoS 0 it leaves when it is out of the store. It is out, though what else was to be stored of its
/// session with that is not; but not where another gateway has the session, and publishes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_of_qos_0_goes_out_though_there_was_no_room_for_what_came_with_it() {
    for (is_taken, n_sent) in [(false, 1), (true, 0)] {
        let server = Server::start(&[]).await;
        let proxy = Proxy::start(server.port).await;
        let config = Config::new(Servers::Single(proxy.address.clone()));
        let broker = gateway(config).await;
        let watcher = Session::new(7, "watcher", Outbound::new(false), Life::default());
        let watcher = Arc::new(watcher);
        subscribe(&broker, &watcher);
        watcher.outbound.lock().attach(Link::any(10));
        let session = connect(&broker, "c").await.expect("redis is there").session;
        let number = session.number;
        let will = Will {
            delay: 0,
            expiry: None,
            client_id: "c".into(),
            principal: "".into(),
            origin: None,
            message: MessageRef::any(Qos::AtMostOnce).to_message(),
        };
        broker.let_in(&session, Some(Arc::new(will))).await;
        settled(&broker).await;
        // A round is under way until all else has been submitted, which is the next one.
        proxy.hold_all();
        let mut batch = Batch::default();
        batch.delete(&keys::retained("none"));
        let first = broker.store.make_safe(batch);
        let redis = broker.store.redis().expect("it is there");
        let mut health = redis.health();
        let is_slow = health.wait_for(|health| !matches!(health, Health::Up));
        assert!(is_slow.await.is_ok());
        let mut batch = Batch::default();
        append(&mut batch, number, [1]);
        let refused = broker.store.make_safe(batch);
        broker.detach(&session, &End::Lost);
        if is_taken {
            let other = Rig::open(server.config()).await;
            let mut theirs = claim("c", 9);
            (theirs.principal, theirs.now) = (None, broker.clock.now());
            theirs.force = Some((number, 1));
            other.take(&theirs).await;
        } else {
            has_room(&server, false).await;
        }
        proxy.let_through();
        first.await.expect("it is judged");
        assert!(!refused.await.expect("it is judged"));
        broker.wills.out(number).await;
        let outbound = watcher.outbound.lock();
        let link = outbound.link.as_ref().expect("it is connected");
        let n_bytes = link.outbox.len();
        assert_eq!(usize::from(n_bytes > 0), n_sent, "is taken: {is_taken}");
    }
}
