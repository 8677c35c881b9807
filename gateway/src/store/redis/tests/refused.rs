//! Clients that a gateway refuses because Redis does not answer: it goes on for none of them for
//! whom it need not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;

use super::fixture::{Rig, Server, claim, detached, eventually, tag, will};
use super::gateway::{claim_of, connect, field, gateway, settled};
use super::proxy::Proxy;
use crate::broker::Broker;
use crate::lifecycle::NoSession;
use crate::session::End;
use crate::store::redis::connection::Connection;
use crate::store::redis::{Config, Health, Servers};
use crate::store::{keys, record};

async fn assert_refused(broker: &Arc<Broker>, client_id: &str) {
    let claimed = connect(broker, client_id).await;
    assert!(
        matches!(claimed, Err(NoSession::Unavailable)),
        "{claimed:?}"
    );
}

/// Nobody is claimed for any more.
async fn until_idle(broker: &Broker, n_tasks: usize) {
    eventually("no claim goes on", || {
        broker.claims.n_gates() == 0 && broker.tasks.len() == n_tasks
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_down_nothing_goes_on_for_a_client_that_was_refused() {
    let mut server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let n_tasks = broker.tasks.len();
    drop(connect(&broker, "before").await.expect("redis is there"));
    server.kill();
    // What is asked through a connection that was lost may have arrived.
    assert_refused(&broker, "first").await;
    let clients: Vec<String> = (0..100).map(|client| format!("c{client}")).collect();
    join_all(clients.iter().map(|client| assert_refused(&broker, client))).await;
    eventually("only the first is asked about", || {
        broker.claims.n_gates() == 1 && broker.tasks.len() == n_tasks + 1
    })
    .await;
    // Its client comes again, and is told as soon as others are.
    assert_refused(&broker, "first").await;
    server.restart().await;
    until_idle(&broker, n_tasks).await;
    for client_id in ["first", "c0", "c99"] {
        assert_eq!(field(&server, client_id, "number").await, "", "{client_id}");
    }
    connect(&broker, "first").await.expect("redis is there");
}

/// A gateway that reaches its Redis through a proxy, and has; with its tasks until then.
async fn behind_a_proxy() -> (Server, Proxy, Arc<Broker>, usize) {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let config = Config::new(Servers::Single(proxy.address.clone()));
    let broker = gateway(config).await;
    let n_tasks = broker.tasks.len();
    connect(&broker, "before").await.expect("redis is there");
    (server, proxy, broker, n_tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_carried_out_without_an_answer_is_let_go() {
    let (server, proxy, broker, n_tasks) = behind_a_proxy().await;
    proxy.mute();
    assert_refused(&broker, "c").await;
    until_idle(&broker, n_tasks).await;
    let session = broker.registry.lock("c").find("c").cloned();
    let session = session.expect("it is known here");
    assert!(!session.life.lock().is_claimed);
    assert_eq!(
        field(&server, "c", "number").await,
        session.number.to_string()
    );
    let mut connected = String::new();
    for _ in 0..1_000 {
        connected = field(&server, "c", "connected").await;
        if connected == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(connected, "0", "it is let go");
}

/// A session that waits for its client, with a will that is due much later.
async fn away(broker: &Arc<Broker>, server: &Server, was_here: bool) -> u64 {
    let mut left = record::will(&will("c")).expect("it was just stored");
    left.delay = 300;
    if was_here {
        let session = connect(broker, "c").await.expect("redis is there").session;
        broker.let_in(&session, Some(Arc::new(left))).await;
        broker.detach(&session, &End::Lost);
        settled(broker).await;
        return session.number;
    }
    let rig = Rig::open(server.config()).await;
    let now = broker.clock.now();
    let mut theirs = claim("c", 9);
    (theirs.principal, theirs.now) = (None, now);
    let number = rig.take(&theirs).await.number;
    rig.write(|batch| {
        batch.put(&keys::will(number), &record::store_will(&left));
        batch.put(&keys::session(number), &detached("c", 3600, now));
    })
    .await;
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_refused_has_not_come_back() {
    for was_here in [true, false] {
        let (server, proxy, broker, _) = behind_a_proxy().await;
        let number = away(&broker, &server, was_here).await;
        proxy.mute();
        let mut claim = claim_of("c");
        claim.expiry = 0;
        let claimed = broker.claim_shared(&claim).await;
        assert!(matches!(claimed, Err(NoSession::Unavailable)));
        let session = || {
            let session = broker.registry.lock("c").find("c").cloned();
            session.filter(|it| it.claim_epoch.load(Ordering::Acquire) == 2)
        };
        let is_free = || session().is_some_and(|it| !it.life.lock().is_claimed);
        eventually("it is let go", is_free).await;
        let session = session().expect("it is known here");
        {
            let life = session.life.lock();
            assert_eq!((session.number, life.expiry), (number, 3600));
            assert!(life.will_timer.is_some() && life.expiry_timer.is_some());
            let is_left = life.will.as_ref().is_some_and(|will| will.delay == 300);
            assert!(is_left && life.detached_at > 0, "{life:?}");
        }
        settled(&broker).await;
        let will = format!("gatemq:{}:w:{number}", tag("c"));
        assert_eq!(server.ask(&["EXISTS", &will]).await, Value::Int(1));
        assert_eq!(field(&server, "c", "connected").await, "0");
        assert_eq!(field(&server, "c", "expiry").await, "3600");
        // Now it comes back.
        let claimed = connect(&broker, "c").await.expect("redis is there");
        assert!(claimed.is_present && claimed.session.life.lock().will.is_none());
        broker.let_in(&claimed.session, None).await;
        settled(&broker).await;
        assert_eq!(server.ask(&["EXISTS", &will]).await, Value::Int(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_did_not_arrive_is_not_made_for_a_client_that_was_refused() {
    let (server, proxy, broker, n_tasks) = behind_a_proxy().await;
    let redis = broker.store.redis().expect("it is there");
    let mut health = redis.health();
    let mut noticed = health.clone();
    let given_up = tokio::spawn(async move {
        let is_down = |health: &Health| matches!(health, Health::Down { .. });
        noticed.wait_for(is_down).await.is_ok()
    });
    proxy.hold();
    assert_refused(&broker, "c").await;
    until_idle(&broker, n_tasks).await;
    // The writer, too, has given its connection up.
    assert!(given_up.await.expect("it waits only"));
    proxy.release().await;
    let _ = health.wait_for(|health| *health == Health::Up).await;
    assert_eq!(field(&server, "c", "number").await, "");
}

/// The connection through which it was claimed is lost, and there is none to be had for a while: in a
/// database that has a number, the first that is said through one is answered by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_an_answer_is_asked_about_though_redis_lets_nobody_in_meanwhile() {
    const LONG: Duration = Duration::from_secs(1);
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let mut config = Config::new(Servers::Single(proxy.address.clone()));
    config.db = 1;
    let broker = gateway(config).await;
    let n_tasks = broker.tasks.len();
    connect(&broker, "before").await.expect("redis is there");
    let login = redis::RedisConnectionInfo::default().set_db(1);
    let control = Connection::open(&server.address(), login, &server.config()).await;
    let mut control = control.expect("there is room");
    let mut ask = async |words: &[&str]| {
        let mut cmd = redis::Cmd::new();
        cmd.arg(words);
        let answer = control.send_packed_command(&cmd).await;
        answer.expect("an answer")
    };
    ask(&["CONFIG", "SET", "maxclients", "1"]).await;
    proxy.mute();
    assert_refused(&broker, "c").await;
    tokio::time::sleep(LONG).await;
    assert!(broker.registry.lock("c").find("c").is_none());
    ask(&["CONFIG", "SET", "maxclients", "10000"]).await;
    until_idle(&broker, n_tasks).await;
    let session = broker.registry.lock("c").find("c").cloned();
    let session = session.expect("it is known here");
    assert!(!session.life.lock().is_claimed);
    let key = format!("gatemq:{}:s:c", tag("c"));
    let number = ask(&["HGET", &key, "number"]).await;
    let number: u64 = redis::from_redis_value(number).expect("a number");
    assert_eq!(number, session.number);
}
