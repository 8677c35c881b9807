//! How fast it is. Not part of the suite; to be run alone, in release:
//! `cargo test --release -p gatemq-gateway redis::tests::measure -- --ignored --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::fixture::{Rig, Server, claim, subscribed};
use crate::store::redis::Claimed;
use crate::store::{keys, record};

const TIME: Duration = Duration::from_secs(5);

/// A server that does not rewrite its file meanwhile: that takes a core of its own.
async fn server() -> Server {
    Server::start(&["--auto-aof-rewrite-percentage", "0"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn appends_in_a_second() {
    let server = server().await;
    let rig = Arc::new(Rig::open(server.config()).await);
    let mut numbers = Vec::new();
    for n in 0..100 {
        numbers.push(rig.take(&claim(&format!("c{n}"), 1)).await.number);
    }
    for waiting in [16 << 10, 256 << 10, 4 << 20] {
        let before = rig.store.stats();
        let (started, mut seq) = (Instant::now(), rig.n_done());
        while started.elapsed() < TIME {
            while rig.store.pending_bytes() < waiting {
                for _ in 0..64 {
                    let number = numbers[seq as usize % 100];
                    rig.submit(|batch| {
                        batch.put(&keys::queue(number, seq), &[7; 64]);
                    });
                    seq += 1;
                }
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        rig.verdict(seq - 1).await;
        let stats = rig.store.stats();
        let n = stats.batches - before.batches;
        let rounds = stats.commits - before.commits;
        let took = started.elapsed().as_secs_f64();
        println!(
            "appends, {waiting} bytes waiting: {:.0} a second, {:.0} in a round, {:.2} ms a round",
            n as f64 / took,
            n as f64 / rounds as f64,
            (stats.total_commit_micros - before.total_commit_micros) as f64
                / 1000.0
                / rounds as f64,
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn claims_in_a_second() {
    let server = server().await;
    let rig = Arc::new(Rig::open(server.config()).await);
    for at_once in [4, 16, 64, 256] {
        let n_claims = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..at_once {
            let (rig, n_claims) = (rig.clone(), n_claims.clone());
            tasks.spawn(async move {
                let mut n = 0;
                while started.elapsed() < TIME {
                    let name = format!("{at_once} {task} {n}");
                    let claimed = rig.store.claim(&claim(&name, 1)).await;
                    assert!(matches!(claimed, Ok(Claimed::Taken(_))));
                    n_claims.fetch_add(1, Ordering::Relaxed);
                    n += 1;
                }
            });
        }
        tasks.join_all().await;
        let rate = n_claims.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
        println!("claims, {at_once} at once: {rate:.0} a second");
    }
    let number = rig.take(&claim("again", 1)).await.number;
    rig.write(|batch| {
        for n in 0..10 {
            let filter = format!("a/{n}");
            let value = record::store_subscribed(&subscribed(n));
            batch.put(&keys::filter(number, &filter), &value);
            batch.put(&keys::queue(number, n.into()), &[7; 64]);
        }
    })
    .await;
    rig.store.detach(number);
    rig.write(|_| {}).await;
    let (started, mut n) = (Instant::now(), 0);
    while started.elapsed() < TIME {
        let claims: Vec<_> = (0..64).map(|_| claim("again", 1)).collect();
        let claims = claims.iter().map(|claim| rig.store.claim(claim));
        n += futures_util::future::join_all(claims).await.len();
    }
    let rate = n as f64 / started.elapsed().as_secs_f64();
    println!("sessions resumed with 10 subscriptions: {rate:.0} a second");
    let usage = server.ask(&["INFO", "cpu"]).await;
    println!("{usage:?}");
}
