//! Some of what a gateway had that is gone is damaged in Redis: the rest is adopted.

use std::time::Duration;

use redis::Value;

use super::fixture::{NOW, Rig, Server, claim, detached, eventually, tag};
use super::gateway::{gateway_in_cluster, set_field};
use crate::shared::adopt;
use crate::store::keys;
use crate::store::redis::layout::slice_of;

const DEAD: u64 = 9;

/// Client ids of one slice.
fn of_one_slice<const N: usize>() -> [String; N] {
    let names = (0..).map(|nth| format!("c{nth}"));
    let mut names = names.filter(|name| slice_of(name) == slice_of("c0"));
    std::array::from_fn(|_| names.next().expect("there is no end of them"))
}

/// A session of the dead one.
async fn dead_session(rig: &Rig, client_id: &str) -> u64 {
    let number = rig.take(&claim(client_id, DEAD)).await.number;
    rig.write(|batch| batch.put(&keys::session(number), &detached(client_id, 3_600, NOW)))
        .await;
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_holds_up_nothing_else_until_it_is_mended() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    // Whatever the order in which Redis names them, something is behind what is damaged.
    let [wrong_type, no_record, sound @ ..] = of_one_slice::<10>();
    let slice = tag(&wrong_type);
    let [owned, ended] = ["o", "e"].map(|kind| format!("gatemq:{slice}:{kind}:{DEAD}"));
    let number = dead_session(&rig, &wrong_type).await;
    dead_session(&rig, &no_record).await;
    let name = "return redis.call('SADD', KEYS[1], '\\255')";
    server.ask(&["EVAL", name, "1", &owned]).await;
    for client_id in &sound {
        dead_session(&rig, client_id).await;
    }
    let filters = format!("gatemq:{slice}:f:{number}");
    server.ask(&["SET", &filters, "x"]).await;
    set_field(&server, &no_record, "record", "x").await;
    server.ask(&["HSET", &ended, "no number", "0:c"]).await;

    let broker = gateway_in_cluster(server.config(), 1).await;
    let adopting = tokio::spawn({
        let (broker, slices) = (broker.clone(), [u32::from(slice_of(&wrong_type))]);
        async move { adopt(&broker, (DEAD, 1), &slices).await }
    });
    let is_here = |client_id: &str| broker.registry.lock(client_id).find(client_id).is_some();
    let are_here = || sound.iter().all(|client_id| is_here(client_id));
    eventually("the others are adopted", are_here).await;
    assert!(!adopting.is_finished() && !is_here(&wrong_type) && !is_here(&no_record));

    server.ask(&["DEL", &filters]).await;
    eventually("it is mended", || is_here(&wrong_type)).await;
    let key = format!("gatemq:{slice}:s:{no_record}");
    server.ask(&["DEL", &key]).await;
    server.ask(&["HDEL", &ended, "no number"]).await;
    let name = name.replace("SADD", "SREM");
    server.ask(&["EVAL", &name, "1", &owned]).await;
    let adopting = tokio::time::timeout(Duration::from_secs(60), adopting);
    let adopted = adopting.await.expect("it ends").expect("it does not fail");
    adopted.expect("it is not fenced");
    assert_eq!(server.ask(&["EXISTS", &owned]).await, Value::Int(0));
}

/// So it is where nobody knows what there was.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_damaged_holds_up_no_other_one() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = dead_session(&rig, "c").await;
    rig.write(|batch| {
        super::fixture::append(batch, number, 0..3);
        batch.delete(&keys::session(number));
    })
    .await;
    let [owned, ended] = ["o", "e"].map(|kind| format!("gatemq:{}:{kind}:{DEAD}", tag("c")));
    server.ask(&["SET", &owned, "x"]).await;
    let broker = gateway_in_cluster(server.config(), 1).await;
    let slices = [u32::from(slice_of("c"))];
    let adopting = tokio::spawn({
        let broker = broker.clone();
        async move { adopt(&broker, (DEAD, 1), &slices).await }
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while server.ask(&["EXISTS", &ended]).await != Value::Int(0) {
        assert!(tokio::time::Instant::now() < deadline, "it is looked after");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!adopting.is_finished());
    server.ask(&["DEL", &owned]).await;
    let adopting = tokio::time::timeout(Duration::from_secs(60), adopting);
    let adopted = adopting.await.expect("it ends").expect("it does not fail");
    adopted.expect("it is not fenced");
}
