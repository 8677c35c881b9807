//! A master with two replicas that a Sentinel watches.

use std::time::Duration;

use super::fixture::{Rig, Server, append, claim, eventually};
use crate::store::redis::{Config, Servers};

#[tokio::test(flavor = "multi_thread")]
async fn what_replicas_have_survives_a_failover() {
    let mut master = Server::start(&[]).await;
    let port = master.port.to_string();
    let follow = [
        "--replicaof",
        "127.0.0.1",
        &port,
        "--repl-diskless-sync-delay",
        "0",
    ];
    let (one, two) = tokio::join!(Server::start(&follow), Server::start(&follow));
    // The Sentinel asks at once and then only every ten seconds.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let info = master.ask(&["INFO", "replication"]).await;
        let info: String = redis::from_redis_value(info).expect("a text");
        if info.matches("state=online").count() == 2 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{info}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let sentinel = Server::start_sentinel(master.port).await;
    let mut config = Config::new(Servers::Sentinel {
        addresses: vec![sentinel.address()],
        master: "gate".to_owned(),
    });
    config.n_replicas = 1;
    config.timeout = Duration::from_secs(1);
    // The Sentinel must know the replicas before it can promote one.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let info = sentinel.ask(&["SENTINEL", "REPLICAS", "gate"]).await;
        let replicas: Vec<Vec<String>> = redis::from_redis_value(info).expect("lists");
        let is_linked = |words: &Vec<String>| {
            let mut pairs = words.chunks(2);
            pairs.any(|pair| pair == ["master-link-status", "ok"])
        };
        if replicas.len() == 2 && replicas.iter().all(is_linked) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{replicas:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rig = Rig::open(config).await;
    let number = rig.take(&claim("c", 1)).await.number;
    for seq in 0..500 {
        rig.submit(|batch| append(batch, number, [seq]));
    }
    // One replica has to have a write, and nobody knows which one of them the Sentinel promotes:
    // what is confirmed survives where both have it.
    eventually("all are confirmed", || rig.n_done() == 500).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let info = master.ask(&["INFO", "replication"]).await;
        let info: String = redis::from_redis_value(info).expect("a text");
        let written = info
            .lines()
            .find_map(|line| line.strip_prefix("master_repl_offset:"))
            .expect("a master says so");
        if info.matches(&format!("offset={written},")).count() == 2 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{info}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    master.kill();
    let mut last = 0;
    for seq in 500..600 {
        last = rig.submit(|batch| append(batch, number, [seq]));
    }
    let verdict = rig.verdict(last).await;
    assert!(verdict.is_safe(), "{verdict:?}");
    assert!(rig.seqs(number).await.into_iter().eq(0..600));
    // The old master comes back, and is none any more.
    master.restart().await;
    rig.write(|batch| append(batch, number, [600])).await;
    assert!(rig.take(&claim("c", 1)).await.resumed.is_some());
    drop((one, two));
}
