//! A client that comes back to the gateway at which its session is just ending: that one is not
//! resumed, since its end would be the end of what was resumed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::fixture::{Server, eventually};
use super::gateway::{connect, field, publish, settled, subscribe};
use crate::broker::Broker;
use crate::completion;
use crate::lifecycle::Overfull;
use crate::proto::mqtt::Reason;
use crate::session::{End, Session};
use crate::store::Store;

/// How long a claim takes at most that need not wait.
const LONG: Duration = Duration::from_millis(500);

/// A gateway, and the session of the client "c" there.
async fn with_session() -> (Server, Arc<Broker>, Arc<Session>) {
    let server = Server::start(&[]).await;
    let opened = Store::open_redis(server.config(), Default::default()).await;
    let (store, clock) = opened.expect("the store opens");
    let broker = Broker::of_store(store, clock);
    let claimed = connect(&broker, "c").await.expect("redis is there");
    (server, broker, claimed.session)
}

/// The same one when its client has gone.
async fn with_waiting_session() -> (Server, Arc<Broker>, Arc<Session>) {
    let (server, broker, session) = with_session().await;
    broker.tasks.spawn(completion::run(broker.clone()));
    broker.detach(&session, &End::Lost);
    settled(&broker).await;
    (server, broker, session)
}

/// Its client comes back while `ending` is not done; it begins anew then, and for good.
async fn assert_begins_anew(
    server: &Server,
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    go_on: impl FnOnce(),
) {
    let connecting = tokio::spawn({
        let broker = broker.clone();
        async move { connect(&broker, "c").await }
    });
    tokio::time::sleep(LONG).await;
    let is_early = connecting.is_finished();
    go_on();
    let claimed = connecting.await.expect("it does not fail");
    let claimed = claimed.expect("redis is there");
    assert!(!is_early && !claimed.is_present, "it waits for the end");
    assert_ne!(claimed.session.number, session.number);
    assert!(session.life.lock().is_ended);
    settled(broker).await;
    let number = claimed.session.number.to_string();
    assert_eq!(field(server, "c", "number").await, number);
    assert_eq!(broker.registry.n_sessions(), 1);
}

/// DISCONNECT with an expiry of 0 amid a message that is on its way to it; what its publisher is told.
async fn leave_amid_traffic(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
) -> JoinHandle<Option<Reason>> {
    subscribe(broker, session);
    let publishing = tokio::spawn({
        let broker = broker.clone();
        async move { publish(&broker).await }
    });
    eventually("it is on its way", || {
        session.outbound.lock().n_queued() == 1
    })
    .await;
    let end = End::Disconnected {
        with_will: false,
        expiry: Some(0),
    };
    broker.detach(session, &end);
    publishing
}

/// Its end is submitted behind what is on its way to it.
#[tokio::test(flavor = "multi_thread")]
async fn one_whose_last_messages_are_on_their_way() {
    let (server, broker, session) = with_session().await;
    let publishing = leave_amid_traffic(&broker, &session).await;
    assert!(session.life.lock().is_ended);
    // What is in Redis is seen to here.
    let go_on = || {
        broker.tasks.spawn(completion::run(broker.clone()));
    };
    assert_begins_anew(&server, &broker, &session, go_on).await;
    assert_eq!(publishing.await.expect("it does not fail"), None);
}

/// Its queue is full while nobody is connected, and it has much to be taken out.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_a_while_to_be_taken_out() {
    let (server, broker, session) = with_waiting_session().await;
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (begins, begun) = tokio::sync::oneshot::channel();
    let holding = std::thread::spawn({
        let session = session.clone();
        move || {
            let _subscriptions = session.subscriptions.lock();
            begins.send(()).expect("it waits");
            let _ = held.recv(); // an error: it is over
        }
    });
    begun.await.expect("it begins");
    let ending = tokio::task::spawn_blocking({
        let (broker, session) = (broker.clone(), session.clone());
        move || broker.end_overfull(&session, Overfull::Queue)
    });
    eventually("it ends", || session.life.lock().is_ended).await;
    assert_begins_anew(&server, &broker, &session, || drop(hold)).await;
    ending.await.expect("it does not fail");
    holding.join().expect("it does not fail");
}

/// Nobody waits for the end of one that another gateway has by then.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_taken_from_here_while_it_ends() {
    let (server, broker, session) = with_session().await;
    let publishing = leave_amid_traffic(&broker, &session).await;
    assert_eq!(broker.registry.n_sessions(), 1);
    broker.lose(&session, crate::store::redis::Fenced::Taken);
    assert_eq!(broker.registry.n_sessions(), 0);
    assert!(broker.owned.find(session.number).is_none());
    broker.tasks.spawn(completion::run(broker.clone()));
    publishing.await.expect("it does not fail");
    connect(&broker, "c").await.expect("it is to be had");
    drop(server);
}

/// A turn has found it full, and ends it with what else it does.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_found_full_is_not_resumed_before_it_ends() {
    let (server, broker, session) = with_waiting_session().await;
    session.life.lock().is_over = true;
    let end = || broker.end_overfull(&session, Overfull::Queue);
    assert_begins_anew(&server, &broker, &session, end).await;
    broker.tasks_end.cancel();
}
