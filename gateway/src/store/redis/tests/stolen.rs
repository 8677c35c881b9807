//! A session that another store on the same Redis takes by force, and that no cluster knows of.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatemq_storage::Batch;

use super::fixture::{Rig, Server, append, claim, eventually, message};
use super::gateway::{connect, field, gateway, gateway_with, settled};
use super::proxy::Proxy;
use crate::agenda;
use crate::broker::Broker;
use crate::memory::Memory;
use crate::message::MessageRef;
use crate::proto::mqtt::Qos;
use crate::session::received::Origin;
use crate::session::{End, Session};
use crate::store::keys;
use crate::store::redis::{Config, Servers};
use crate::turn::Turn;
use crate::turn::author::Author;
use crate::will::Will;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_of_ours_has_is_given_up() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let ours = connect(&broker, "c").await.expect("redis is there").session;
    let other = Rig::open(server.config()).await;
    let mut theirs = claim("c", 9);
    (theirs.principal, theirs.force) = (None, Some((ours.number, 1)));
    let taken = other.take(&theirs).await;
    assert_eq!((taken.number, taken.epoch), (ours.number, 2));
    assert_eq!(field(&server, "c", "trail").await, "1");

    let mut batch = Batch::default();
    append(&mut batch, ours.number, [1]);
    let is_safe = broker.store.make_safe(batch).await;
    assert!(!is_safe.expect("it is judged"));
    assert!(ours.outbound.lock().is_moved());
    eventually("it is given up", || ours.outbound.lock().is_stolen()).await;
    eventually("its routes go", || ours.life.lock().is_ended).await;
    assert_eq!(field(&server, "c", "trail").await, "");
    assert_eq!(field(&server, "c", "owner").await, "9", "it is theirs");
    assert!(other.seqs(ours.number).await.is_empty());
}

/// One that is retained, of a session.
pub(super) fn will(client_id: &str, number: u64, delay: u32) -> Will {
    let message = MessageRef {
        publisher: 1,
        qos: Qos::AtLeastOnce,
        retain: true,
        expires_at: u64::MAX,
        topic: "t",
        properties: &[],
        payload: b"offline",
        trace: None,
    };
    Will {
        delay,
        expiry: None,
        client_id: client_id.into(),
        principal: "".into(),
        origin: Some(Origin {
            source: 1,
            id: number,
        }),
        message: message.to_message(),
    }
}

/// The session of a client that is let in, with such a will.
pub(super) async fn connect_with_will(
    broker: &Arc<Broker>,
    client_id: &str,
    delay: u32,
) -> Arc<Session> {
    let claimed = connect(broker, client_id).await;
    let session = claimed.expect("redis is there").session;
    let will = will(client_id, session.number, delay);
    broker.let_in(&session, Some(Arc::new(will))).await;
    session
}

/// How many messages are retained when the will of a session is out.
async fn n_retained_behind(broker: &Arc<Broker>, number: u64) -> u64 {
    broker.wills.out(number).await;
    settled(broker).await;
    let redis = broker.store.redis().expect("it is in Redis");
    redis.count_retained().await.expect("an answer")
}

/// What the client has had retained since would be replaced by what it left behind before.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_waits_for_memory_is_whose_the_session_is_then() {
    const HOUR: u64 = 3_600_000;
    let server = Server::start(&[]).await;
    let limited = |broker: &mut Broker| broker.memory = Memory::new(1_000);
    let broker = gateway_with(server.config(), limited).await;
    let other = Rig::open(server.config()).await;
    // Taken as it is, taken when its time is up, so that another one begins, and not taken.
    for (client_id, taken_in, n_retained) in
        [("a", Some(0), 0), ("b", Some(2 * HOUR), 0), ("c", None, 1)]
    {
        let session = connect_with_will(&broker, client_id, 0).await;
        let number = session.number;
        broker.memory.look(950);
        broker.detach(&session, &End::Lost);
        assert!(broker.wills.has(number), "it waits");
        if let Some(millis) = taken_in {
            // This gateway does not learn of it.
            settled(&broker).await;
            let mut theirs = claim(client_id, 9);
            (theirs.principal, theirs.now) = (None, broker.clock.now() + millis);
            let is_resumed = other.take(&theirs).await.number == number;
            assert_eq!(is_resumed, millis == 0);
        }
        broker.memory.look(0);
        assert_eq!(
            n_retained_behind(&broker, number).await,
            n_retained,
            "{client_id}"
        );
    }
}

/// As where this gateway stood still, or was cut off from the one at which its client is.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_with_a_delay_is_whose_the_session_is_when_that_is_over() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    broker.tasks.spawn(agenda::run(broker.clone()));
    let other = Rig::open(server.config()).await;
    for (client_id, is_taken, n_retained) in [("a", true, 0), ("b", false, 1)] {
        let session = connect_with_will(&broker, client_id, 1).await;
        let number = session.number;
        broker.detach(&session, &End::Lost);
        if is_taken {
            settled(&broker).await;
            let mut theirs = claim(client_id, 9);
            (theirs.principal, theirs.now) = (None, broker.clock.now());
            assert_eq!(other.take(&theirs).await.number, number);
            // Its client is back in time.
            other.write(|batch| batch.delete(&keys::will(number))).await;
        }
        eventually("its time has come", || session.life.lock().will.is_none()).await;
        assert_eq!(
            n_retained_behind(&broker, number).await,
            n_retained,
            "{client_id}"
        );
    }
}

/// Redis has let its client in by then, and nobody here has the answer yet: whether it comes in.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_with_a_delay_waits_for_a_claim_without_an_answer() {
    const LONG: Duration = Duration::from_millis(500);
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    broker.tasks.spawn(agenda::run(broker.clone()));
    let another = Rig::open(server.config()).await;
    for (client_id, comes_in, n_retained) in [("a", true, 0), ("b", false, 1)] {
        let session = connect_with_will(&broker, client_id, 1).await;
        let number = session.number;
        broker.detach(&session, &End::Lost);
        settled(&broker).await;
        let mut ours = claim(client_id, broker.incarnation());
        (ours.principal, ours.now) = (None, broker.clock.now());
        let taken = another.take(&ours).await;
        assert_eq!((taken.number, taken.epoch), (number, 2));
        eventually("its time has come", || session.life.lock().will.is_none()).await;
        tokio::time::sleep(LONG).await;
        assert!(broker.wills.has(number), "{client_id}: it waits");
        // The answer is here: the client is in, or has been refused meanwhile.
        session.life.lock().is_claimed = comes_in;
        session.claim_epoch.store(taken.epoch, Ordering::Release);
        assert_eq!(
            n_retained_behind(&broker, number).await,
            n_retained,
            "{client_id}"
        );
    }
}

/// Its client has published once more, and then something else, to a gateway that Redis hears.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_retained_for_long_is_so_only_if_its_session_is_here_still() {
    const LONG: Duration = Duration::from_millis(2_500);
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let config = Config::new(Servers::Single(proxy.address.clone()));
    let broker = gateway(config).await;
    let other = Rig::open(server.config()).await;
    for (client_id, is_taken) in [("a", true), ("b", false)] {
        let claimed = connect(&broker, client_id).await;
        let session = claimed.expect("redis is there").session;
        proxy.hold_all();
        let publish = MessageRef {
            publisher: session.number,
            qos: Qos::AtLeastOnce,
            retain: true,
            expires_at: u64::MAX,
            topic: client_id,
            properties: &[],
            payload: b"first",
            trace: None,
        };
        let mut turn = Turn::new(&broker);
        turn.publisher = Some(session.clone());
        let plan = broker.table.plan(client_id);
        turn.publish(publish, &plan, Author::of(&session));
        turn.finish(None);
        if is_taken {
            let mut theirs = claim(client_id, 9);
            (theirs.principal, theirs.now) = (None, broker.clock.now());
            theirs.force = Some((session.number, 1));
            assert_eq!(other.take(&theirs).await.number, session.number);
            for text in [&b"first"[..], b"second"] {
                let value = message(client_id, text, u64::MAX);
                let set = |batch: &mut Batch| batch.put(&keys::retained(client_id), &value);
                other.write(set).await;
            }
        }
        tokio::time::sleep(LONG).await;
        proxy.let_through();
        settled(&broker).await;
        let kept = other.store.retained_get(client_id).await;
        let kept = kept.expect("an answer").expect("there is one");
        let kept = crate::message::Message::restore(&kept).expect("it can be read");
        let expected = if is_taken { &b"second"[..] } else { b"first" };
        assert_eq!(kept.as_ref().payload, expected, "{client_id}");
        assert!(!session.held.is_before(false), "its publisher goes on");
    }
}
