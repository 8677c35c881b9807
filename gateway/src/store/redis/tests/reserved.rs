//! A session that is over while Redis is asked for it, by a CONNECT at the gateway that has it.

use std::sync::Arc;
use std::time::Duration;

use gatemq_storage::Batch;
use tokio::task::JoinHandle;

use super::fixture::{Server, eventually};
use super::gateway::{connect, field, patient_gateway_with};
use crate::broker::Broker;
use crate::lifecycle::{Claimed, NoSession, Overfull};
use crate::session::{End, Session};

/// Redis says nothing to who writes for so long.
const MUTE: &str = "20000";

/// What ends it meanwhile.
#[derive(Clone, Copy, Debug)]
enum Why {
    QueueFull,
    Dismissed,
}

/// A gateway that waits so long for Redis, and a session of it that waits for its client.
async fn waiting_session(timeout: Duration) -> (Server, Arc<Broker>, Arc<Session>) {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.timeout = timeout;
    let broker = patient_gateway_with(config, |_| ()).await;
    let claimed = connect(&broker, "c").await;
    let session = claimed.expect("redis is there").session;
    broker.detach(&session, &End::Lost);
    let settled = broker.store.make_safe(Batch::default()).await;
    settled.expect("it is judged");
    assert_eq!(field(&server, "c", "connected").await, "0");
    (server, broker, session)
}

/// Asks for the session, and ends it while Redis does not answer.
async fn ended_meanwhile(
    server: &Server,
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    why: Why,
) -> (
    JoinHandle<Result<Claimed, NoSession>>,
    Option<JoinHandle<bool>>,
) {
    server.ask(&["CLIENT", "PAUSE", MUTE, "WRITE"]).await;
    let connecting = tokio::spawn({
        let broker = broker.clone();
        async move { connect(&broker, "c").await }
    });
    eventually("Redis is asked", || session.life.lock().is_claimed).await;
    let dismissing = match why {
        Why::QueueFull => {
            broker.end_overfull(session, Overfull::Queue);
            None
        }
        Why::Dismissed => Some(tokio::spawn({
            let (broker, session) = (broker.clone(), session.clone());
            async move { broker.dismiss(&session, "gone").await }
        })),
    };
    eventually("it is over", || session.life.lock().is_over).await;
    (connecting, dismissing)
}

/// Nothing of it is left, and whoever wanted that hears so.
async fn assert_gone(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    dismissing: Option<JoinHandle<bool>>,
) {
    if let Some(dismissing) = dismissing {
        let dismissed = tokio::time::timeout(Duration::from_secs(20), dismissing).await;
        let dismissed = dismissed.expect("it returns").expect("it does not fail");
        assert!(dismissed, "it has ended");
    }
    assert!(session.life.lock().is_ended);
    let next = connect(broker, "c").await.expect("redis is there");
    assert!(!next.is_present);
    assert_ne!(next.session.number, session.number);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_over_while_it_is_claimed_is_given_to_nobody() {
    for why in [Why::QueueFull, Why::Dismissed] {
        let (server, broker, session) = waiting_session(Duration::from_secs(20)).await;
        let (connecting, dismissing) = ended_meanwhile(&server, &broker, &session, why).await;
        server.ask(&["CLIENT", "UNPAUSE"]).await;
        let claimed = connecting.await.expect("it does not fail");
        assert_eq!(claimed.err(), Some(NoSession::Busy), "{why:?}");
        assert_gone(&broker, &session, dismissing).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_over_while_a_claim_fails_does_not_come_back() {
    for why in [Why::QueueFull, Why::Dismissed] {
        let (server, broker, session) = waiting_session(Duration::from_millis(500)).await;
        let (connecting, dismissing) = ended_meanwhile(&server, &broker, &session, why).await;
        let claimed = connecting.await.expect("it does not fail");
        assert_eq!(claimed.err(), Some(NoSession::Unavailable), "{why:?}");
        eventually("it has ended", || session.life.lock().is_ended).await;
        server.ask(&["CLIENT", "UNPAUSE"]).await;
        assert_gone(&broker, &session, dismissing).await;
    }
}
