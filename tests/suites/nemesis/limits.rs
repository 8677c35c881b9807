//! Gateways that have too little.

use std::{fs, time::Duration};

use gatemq_tests::{
    Client, Cluster, Connect,
    nemesis::limits::{Descriptors, Memory},
    skip, unique,
};

#[test]
fn without_descriptors_nobody_comes_in_until_there_are_some() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let node = cluster.node("g1");
    let mut before = node.v4(&unique("before"));
    // What is open stays so, and there is nothing new.
    let limit = Descriptors::limit(node.pid(), 3).expect("a child of ours");
    let mut kept_waiting = Client::connect_tcp(node.tcp());
    kept_waiting.send(&Connect::new(4, unique("later")).bytes());
    let came = kept_waiting.recv_within(Duration::from_secs(1));
    assert!(came.is_none(), "{came:?}");
    before.ping();
    drop(limit);
    node.v4(&unique("after")).ping();
    before.ping();
}

#[test]
fn a_node_is_started_with_a_limit_of_its_memory() {
    let memory = match Memory::limit(512 << 20) {
        Ok(memory) => memory,
        Err(why) => return skip("a limit of memory", &why.to_string()),
    };
    let cluster = Cluster::builder()
        .control(1)
        .gateways(1)
        .wrap("g1", memory.wrap())
        .start();
    let node = cluster.node("g1");
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", node.pid()));
    assert!(groups.expect("it runs").contains("/gatemq-tests-"));
    node.v4(&unique("client")).ping();
    assert_eq!(memory.n_killed().expect("it is told"), 0);
    memory.change(1 << 30).expect("it may be more");
    drop(cluster);
}
