//! How long it takes from a proposal until everybody is known to have it, without Raft and disks.

use std::time::Instant;

use gatemq_proto::cluster::state::{Routes, command};

use super::fake::Cluster;
use super::gateway::Gateway;
use super::*;

/// `cargo test --release -p gatemq-control-plane round_trip -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints a figure"]
async fn from_a_proposal_to_the_watermark() {
    for (name, nodes) in [
        ("all at the leader", [1, 1, 1]),
        ("one at each node", [1, 2, 3]),
    ] {
        let cluster = Cluster::start(3).await;
        let mut gateways = Vec::new();
        for node in nodes {
            let incarnation = cluster.register();
            let gateway = Gateway::watch(cluster.node(node), incarnation, 0).await;
            let mut gateway = gateway.live();
            gateway.until(|seen| seen.mark.beat > 0).await;
            gateways.push(gateway);
        }
        let mut times = Vec::new();
        for _ in 0..1000 {
            let begun = Instant::now();
            let kind = Some(command::Kind::Routes(Routes::default()));
            let outcome = cluster
                .node(1)
                .service
                .propose(Command { kind })
                .await
                .unwrap();
            gateways[0]
                .until(|seen| seen.mark.watermark >= outcome.index)
                .await;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        println!("{name}: median {:?}, p99 {:?}", times[500], times[990]);
        cluster.stop().await;
    }
}
