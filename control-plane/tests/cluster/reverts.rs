//! A node whose files are older than what it has confirmed, as of a backup that was put back.

use crate::harness::*;

#[tokio::test]
async fn a_backup_that_is_put_back_ends_no_leader() {
    let gossip = Gossip::new();
    let mut nodes = ["c01", "c02", "c03"].map(|name| Node::on_redb(name, &gossip));
    nodes[0].config.bootstrap = true;
    form(&mut nodes).await;
    voters(&nodes, 3).await;
    let leader_at = leader(&nodes).await;
    let place = (leader_at + 1) % 3;
    nodes[place].stop().await;
    let backup = nodes[place].back_up().await;
    nodes[place].start().await;
    for value in 0..50 {
        commit(&nodes, value).await;
    }
    same_state(&nodes).await;
    let confirmed = nodes[place].running().state().revision();
    nodes[place].stop().await;
    nodes[place].put_back(&backup).await;
    nodes[place].start().await;
    for value in 50..100 {
        commit(&nodes, value).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(leader(&nodes[..]).await, leader_at, "the leader goes on");
    let old = nodes[place].running().state().revision();
    assert!(old < confirmed, "it is told nothing: {old}");
    // The two others are the cluster.
    nodes[place].stop().await;
    let state = same_state(&nodes).await;
    assert_eq!(state.settings().history().count(), 100);
}
