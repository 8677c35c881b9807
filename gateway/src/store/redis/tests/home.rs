//! Two clusters that were told of one Redis, and gateways of one cluster that were told of several.

use super::fixture::*;
use crate::store::{Held, Store, Stray};

const FIRST: &[u8] = &[1];
const SECOND: &[u8] = &[2];

async fn store(server: &Server, prefix: &str) -> Store {
    let mut config = server.config();
    config.prefix = prefix.to_owned();
    let opened = Store::open_redis(config, Default::default()).await;
    opened.expect("it opens").0
}

#[tokio::test]
async fn a_prefix_belongs_to_the_first_cluster_that_uses_it() {
    let server = Server::start(&[]).await;
    let first = store(&server, "gatemq").await;
    first.check_free().await.expect("nobody has it");
    let name = first.belong(FIRST, "").await.expect("it is the first's");
    assert!(name.starts_with("redis-"), "{name}");
    let again = store(&server, "gatemq").await;
    for agreed in ["", "memory", &name] {
        assert_eq!(again.belong(FIRST, agreed).await.expect("the same"), name);
    }
    let refused = again.belong(SECOND, "").await;
    assert!(matches!(refused, Err(Stray::OtherCluster { theirs, .. }) if theirs == "01"));
    let refused = again.check_free().await;
    assert!(matches!(refused, Err(Stray::Taken { theirs, .. }) if theirs == "01"));
    let apart = store(&server, "elsewhere").await;
    let other = apart.belong(SECOND, "").await.expect("it is the second's");
    assert_ne!(other, name);
    assert_eq!(server.keys().await, ["elsewhere:cluster", "gatemq:cluster"]);
}

#[tokio::test]
async fn a_store_without_its_replicas_is_not_begun() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.n_replicas = 1;
    let opened = Store::open_redis(config, Default::default()).await;
    let (store, _) = opened.expect("it opens");
    for refused in [
        store.check_free().await.expect_err("there is no replica"),
        store.belong(FIRST, "").await.expect_err("there is none"),
    ] {
        let says = "redis: 0 replicas are there, and redis.wait-replicas asks for 1";
        assert!(refused.to_string().starts_with(says), "{refused}");
    }
    assert_eq!(server.keys().await, [""; 0], "nobody's");
    let port = server.port.to_string();
    let _replica = Server::start(&["--replicaof", "127.0.0.1", &port]).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while store.check_free().await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the replica is not seen"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    store.belong(FIRST, "").await.expect("it has its replica");
}

#[tokio::test]
async fn a_cluster_has_one_store() {
    let server = Server::start(&[]).await;
    let first = store(&server, "gatemq").await;
    let agreed = first.belong(FIRST, "").await.expect("it is the first's");
    // Nothing is there: it is no store yet, and does not become one by being looked at.
    let empty = store(&server, "empty").await;
    let refused = empty.belong(FIRST, &agreed).await.expect_err("it is empty");
    let advice = format!("SET \"empty:cluster\" 01/{agreed} NX");
    assert!(refused.to_string().ends_with(&advice), "{refused}");
    assert_eq!(server.keys().await, ["gatemq:cluster"]);
    // It is the same cluster's, from another time.
    empty.belong(FIRST, "").await.expect("it is another store");
    let refused = empty.belong(FIRST, &agreed).await;
    assert!(matches!(refused, Err(Stray::OtherStore { .. })));
}

/// A gateway that runs says so to those that come later.
#[tokio::test]
async fn a_store_that_has_lost_all_keeps_its_name() {
    let server = Server::start(&[]).await;
    let running = store(&server, "gatemq").await;
    let agreed = running.belong(FIRST, "").await.expect("it is the first's");
    server.ask(&["FLUSHALL"]).await;
    let held = running.hold(FIRST, &agreed).await;
    assert_eq!(held.expect("it is its own"), Held::Lost);
    // A name that somebody made up meanwhile is put right.
    server.ask(&["SET", "gatemq:cluster", "01/redis-0"]).await;
    for expected in [Held::Renamed, Held::Kept] {
        let held = running.hold(FIRST, &agreed).await;
        assert_eq!(held.expect("it is its own"), expected);
    }
    let later = store(&server, "gatemq").await;
    let same = later.belong(FIRST, &agreed).await;
    assert_eq!(same.expect("it is there"), agreed);
    // Another cluster was faster.
    server.ask(&["FLUSHALL"]).await;
    later.belong(SECOND, "").await.expect("nobody had it");
    let lost = running.hold(FIRST, &agreed).await;
    assert!(matches!(lost, Err(Stray::OtherCluster { .. })));
}

#[tokio::test]
async fn gateways_that_have_a_store_in_common_have_a_secret_in_common() {
    let server = Server::start(&[]).await;
    let (first, second) = (
        store(&server, "gatemq").await,
        store(&server, "gatemq").await,
    );
    let (one, two) = tokio::join!(first.secret(None), second.secret(None));
    let secret = one.expect("there is one");
    assert_eq!(two.expect("there is one"), secret);
    let other = store(&server, "elsewhere").await.secret(None).await;
    assert_ne!(other.expect("there is one"), secret);
    // What Redis has lost is put back by those who had it, and who comes later has it again.
    server.ask(&["FLUSHALL"]).await;
    let kept = second.secret(Some(secret)).await;
    assert_eq!(kept.expect("it is written"), secret);
    let later = store(&server, "gatemq").await.secret(None).await;
    assert_eq!(later.expect("there is one"), secret);
    server
        .ask(&["SET", "gatemq:secret", "what somebody wrote"])
        .await;
    assert!(first.secret(None).await.is_err());
}
