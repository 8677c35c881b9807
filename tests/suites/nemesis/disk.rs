//! Nodes and Redis on disks that forget, fail, or are slow.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Cluster,
    cluster::{Place, REDIS},
    nemesis::disk::{
        SickDisk, SmallDisk,
        power::{self, Disk, Unsynced},
    },
    redis::Redis,
    skip, unique,
    wire::{self, Properties},
};

#[test]
fn redis_has_after_a_power_cut_what_it_confirmed() {
    for (disk, expected) in [(Disk::Honest, "kept"), (Disk::Deaf, "")] {
        let wrap = match power::wrap(disk) {
            Ok(wrap) => wrap,
            Err(why) => return skip("a power cut of Redis", &why.to_string()),
        };
        let redis = Redis::start_in(Place::default(), wrap);
        assert_eq!(redis.command(&["SET", "key", "kept"]), "OK");
        redis.kill();
        power::cut(redis.folder(), Unsynced::Lost).expect("the data can be replaced");
        redis.restart();
        assert_eq!(redis.command(&["GET", "key"]), expected, "{disk:?}");
    }
}

#[test]
fn a_whole_cluster_comes_back_after_a_power_cut() {
    let wrap = match power::wrap(Disk::Honest) {
        Ok(wrap) => wrap,
        Err(why) => return skip("a power cut of a cluster", &why.to_string()),
    };
    let cluster = Cluster::builder()
        .control(1)
        .gateways(1)
        .wrap("c1", wrap.clone())
        .wrap("g1", wrap.clone())
        .wrap(REDIS, wrap)
        .start();
    let [control, gateway] = ["c1", "g1"].map(|name| cluster.node(name));
    let topic = unique("topic");
    gateway
        .v4(&unique("pub"))
        .publish_retained(&topic, "kept", 1);
    gateway.kill();
    control.kill();
    cluster.redis().kill();
    for folder in [gateway.folder(), control.folder(), cluster.redis().folder()] {
        power::cut(folder, Unsynced::Lost).expect("the data can be replaced");
    }
    cluster.redis().restart();
    control.restart();
    gateway.restart();
    let mut reader = gateway.v4(&unique("reader"));
    reader.subscribe(&topic, 1);
    assert_eq!(reader.receive().payload, b"kept");
}

#[test]
fn a_sync_of_one_node_is_slow_and_then_fails() {
    let wrap = match SickDisk::wrap() {
        Ok(wrap) => wrap,
        Err(why) => return skip("a sick disk", &why.to_string()),
    };
    let cluster = Cluster::builder()
        .control(1)
        .gateways(1)
        .wrap("c1", wrap)
        .start();
    let [control, gateway] = ["c1", "g1"].map(|name| cluster.node(name));
    let disk = SickDisk::of(control.folder());
    let slow = Duration::from_millis(300);
    let mut subscriber = gateway.v4(&unique("sub"));
    disk.slow(slow).expect("a folder of its own");
    let start = Instant::now();
    subscriber.subscribe(&unique("topic"), 0);
    assert!(start.elapsed() >= slow, "{:?}", start.elapsed());
    disk.heal().expect("a folder of its own");
    disk.fail_once().expect("a folder of its own");
    let mut other = gateway.v4(&unique("sub"));
    let topic = unique("topic");
    other.send(&wire::subscribe(4, 1, &Properties::new(), &[(&topic, 0)]));
    let status = control.wait(Duration::from_secs(10));
    assert!(disk.has_failed());
    assert_eq!(status.code(), Some(74), "{}", control.log().tail(20));
    control.restart();
    gateway.v4(&unique("sub")).subscribe(&unique("topic"), 0);
}

#[test]
fn a_node_goes_on_with_its_data_on_a_small_disk() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let [control, gateway] = ["c1", "g1"].map(|name| cluster.node(name));
    control.terminate();
    let disk = match SmallDisk::mount(64, &control.data_dir()) {
        Ok(disk) => disk,
        Err(why) => return skip("a small disk", &why.to_string()),
    };
    control.restart();
    gateway.v4(&unique("sub")).subscribe(&unique("topic"), 0);
    disk.take(1);
    control.kill();
}
