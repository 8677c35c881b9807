//! `gatemq dev`: a whole cluster in one process, which leaves nothing behind.

use std::{process::Command, time::Duration};

use gatemq_tests::{
    cluster::{
        Kind, binary,
        process::{Log, Process},
    },
    ports,
    redis::Redis,
};
use rustix::process::Signal;

/// How long start and stop may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Two ports that follow each other.
fn pair() -> u16 {
    loop {
        let (first, second) = (ports::free(), ports::free());
        if second == first + 1 {
            return first;
        }
    }
}

#[test]
fn its_lines_name_their_nodes_and_nothing_of_it_stays_in_redis() {
    let redis = Redis::start();
    for other in ["gatemq:cluster", "gatemq-dev-", "gatemq-dev-other:x"] {
        assert_eq!(redis.command(&["SET", other, "x"]), "OK");
    }
    let flags = [
        "--port",
        "--http",
        "--gossip-port",
        "--raft-port",
        "--grpc-port",
    ];
    let flags = flags.map(|flag| (flag, pair()));
    let mut command = Command::new(binary(Kind::Whole).expect("it is built"));
    command.args([
        "dev",
        "--gateways=2",
        &format!("--redis={}", redis.address()),
    ]);
    for (flag, port) in flags {
        command.arg(format!("{flag}={port}"));
    }
    let (folder, log) = (tempfile::tempdir().expect("a folder"), Log::default());
    let started = Process::spawn(command, folder.path(), &log, "dev2: ready");
    let mut process = started.expect("the binary runs");
    process.wait_until_ready(LIMIT).expect("it is ready");
    for (what, port) in [("tcp", flags[0].1), ("http", flags[1].1)] {
        for (node, port) in [("dev1", port), ("dev2", port + 1)] {
            let line = format!("{node}: listening: {what} 127.0.0.1:{port}");
            assert_eq!(log.count(&line), 1, "{}", log.text());
        }
    }
    assert_eq!(log.count("dev1: ready"), 1);
    let keys = || redis.command(&["KEYS", "gatemq-dev-*:cluster"]);
    assert!(!keys().is_empty(), "{}", redis.command(&["KEYS", "*"]));
    process.signal(Signal::TERM);
    let status = process.wait(LIMIT).expect("it ends");
    assert!(status.success(), "{status}: {}", log.tail(30));
    let left = redis.command(&["DBSIZE"]);
    assert_eq!(left, "3", "{}", redis.command(&["KEYS", "*"]));
}
