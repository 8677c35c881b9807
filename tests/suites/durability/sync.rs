//! The kernel's own testimony: under strace, a sync call begins after the PUBLISH was sent and
//! ends before its acknowledgement comes.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gatemq_tests::{
    Broker, Client, Connect, Publish, eventually, patience::becomes_true, unique, wire,
};

/// Seconds since 1970, as strace prints them.
type Time = f64;

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is past 1970").as_secs_f64()
}

/// strace on every thread of the process, or why it cannot be.
fn attach(pid: u32, output: &Path, options: &[&str]) -> Result<Child, String> {
    let mut strace = Command::new("strace")
        .args(["-f", "-ttt", "-T", "-e"])
        .arg("trace=fsync,fdatasync,msync,sync_file_range")
        .args(options)
        .arg("-o")
        .arg(output)
        .args(["-p", &pid.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let mut ended = None;
    let traced = becomes_true(Duration::from_secs(5), || {
        ended = strace.try_wait().ok().flatten();
        ended.is_some() || all_traced(pid)
    });
    match ended {
        Some(status) => Err(format!("strace ended: {status} (is ptrace refused?)")),
        None => {
            assert!(traced, "strace did not attach to every thread");
            Ok(strace)
        }
    }
}

fn all_traced(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    tasks.flatten().all(|task| {
        fs::read_to_string(task.path().join("status"))
            .is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    })
}

/// Lets strace go, so that its output is complete.
fn detach(mut strace: Child) {
    let status = Command::new("sh")
        .args(["-c", "kill -TERM \"$1\"", "sh", &strace.id().to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "kill works");
    strace.wait().expect("a child can be waited for");
}

/// Begin and end of every sync that succeeded.
fn syncs(trace: &str) -> Vec<(Time, Time)> {
    trace
        .lines()
        .filter_map(|line| {
            let (_thread, rest) = line.split_once(' ')?;
            let (time, call) = rest.trim_start().split_once(' ')?;
            let (before, took) = call.rsplit_once('<')?;
            let took: Time = took.strip_suffix('>')?.parse().ok()?;
            let time: Time = time.parse().ok()?;
            if !before.trim_end().ends_with("= 0") {
                return None;
            }
            // A call that was interrupted by another thread's line has the time of its end.
            Some(if call.contains("resumed>") {
                (time - took, time)
            } else {
                (time, time + took)
            })
        })
        .collect()
}

#[test]
fn an_acknowledgement_comes_after_a_sync() {
    for storage in ["redb", "fjall"] {
        let broker = Broker::builder().storage(storage).start();
        let (name, topic) = (unique("sub"), unique("topic"));
        let (mut subscriber, _) = Client::connect(&broker, &Connect::persistent(4, &name));
        subscriber.subscribe(&topic, 2);
        subscriber.disconnect();
        let mut publisher = Client::v4(&broker, &unique("pub"));
        let trace = broker.dir().join("strace");
        let strace = match attach(broker.pid(), &trace, &[]) {
            Ok(strace) => strace,
            Err(trouble) => return crate::foreign::skip("sync before acknowledgement", &trouble),
        };
        let mut exchanges = Vec::new();
        for id in 1..=20 {
            let qos = 1 + u8::from(id % 2 == 0);
            let sent = now();
            publisher.send(&Publish::new(&topic, "safe").qos(qos, id).bytes(4));
            let kind = if qos == 1 { wire::PUBACK } else { wire::PUBREC };
            publisher.expect_ack(kind, id);
            exchanges.push((format!("QoS {qos}, id {id}"), sent, now()));
            if qos == 2 {
                publisher.send(&wire::ack(wire::PUBREL, id));
                publisher.expect_ack(wire::PUBCOMP, id);
            }
        }
        let (name, sent) = (unique("late"), now());
        let (mut late, _) = Client::connect(&broker, &Connect::persistent(5, &name));
        late.subscribe(&topic, 1);
        exchanges.push(("SUBSCRIBE".to_owned(), sent, now()));
        detach(strace);
        let trace = fs::read_to_string(&trace).expect("strace has written");
        let syncs = syncs(&trace);
        for (what, sent, acknowledged) in exchanges {
            let between = |(begin, end): &(Time, Time)| *begin >= sent && *end <= acknowledged;
            assert!(
                syncs.iter().any(between),
                "{storage}: no sync between {what} at {sent:.6} and its acknowledgement at \
                 {acknowledged:.6}\n{trace}"
            );
        }
        eprintln!("{storage}: {} syncs seen", syncs.len());
    }
}

/// After a sync that failed nobody knows what is on the disk: the process ends, says why, and
/// acknowledges nothing more. What it had acknowledged is there.
#[test]
fn a_sync_that_fails_ends_the_process_without_an_acknowledgement() {
    for storage in ["redb", "fjall"] {
        let broker = Broker::builder().storage(storage).start();
        let topic = unique("topic");
        let connect = Connect::persistent(4, unique("sub"));
        let mut subscriber = Client::connect(&broker, &connect).0;
        subscriber.subscribe(&topic, 2);
        subscriber.disconnect();
        let mut publisher = Client::v4(&broker, &unique("pub"));
        publisher.publish(&topic, "safe", 1);
        let trace = broker.dir().join("strace");
        let fault = ["-e", "inject=fsync,fdatasync:error=EIO"];
        let mut strace = match attach(broker.pid(), &trace, &fault) {
            Ok(strace) => strace,
            Err(trouble) => return crate::foreign::skip("a sync that fails", &trouble),
        };
        publisher.send(&Publish::new(&topic, "unsafe").qos(1, 77).bytes(4));
        assert_eq!(
            publisher.until_closed(),
            [],
            "{storage}: no acknowledgement"
        );
        let status = broker.wait(Duration::from_secs(10));
        assert_eq!(status.code(), Some(74), "{storage}: {}", broker.log());
        strace.wait().expect("it ends with the process");
        let complaint = "gatemq: the store failed: ";
        eventually!(broker.log().contains(complaint));
        broker.restart();
        let (mut subscriber, connack) = Client::connect(&broker, &connect);
        assert!(connack.session_present);
        assert_eq!(subscriber.receive().payload, b"safe", "{storage}");
    }
}

/// On a disk that takes half a second for a sync, what must be safe waits, and nothing else does.
#[test]
fn a_slow_disk_delays_only_what_must_be_safe() {
    const SYNC: Duration = Duration::from_millis(500);
    for storage in ["redb", "fjall"] {
        let broker = Broker::builder().storage(storage).start();
        let topic = unique("topic");
        let connect = Connect::persistent(4, unique("sub"));
        let mut subscriber = Client::connect(&broker, &connect).0;
        subscriber.subscribe(&topic, 1);
        subscriber.disconnect();
        let mut publisher = Client::v4(&broker, &unique("pub"));
        let (mut one, mut other) = (
            Client::v4(&broker, &unique("one")),
            Client::v4(&broker, &unique("other")),
        );
        let aside = unique("aside");
        other.subscribe(&aside, 1);
        let trace = broker.dir().join("strace");
        let delay = format!("inject=fsync,fdatasync:delay_enter={}", SYNC.as_micros());
        let strace = match attach(broker.pid(), &trace, &["-e", &delay]) {
            Ok(strace) => strace,
            Err(trouble) => return crate::foreign::skip("a slow disk", &trouble),
        };
        let start = Instant::now();
        publisher.send(&Publish::new(&topic, "slow").qos(1, 77).bytes(4));
        for _ in 0..5 {
            one.publish(&aside, "quick", 1);
            other.receive();
        }
        let took = start.elapsed();
        assert!(took < SYNC, "{storage}: others waited {took:?}");
        publisher.expect_ack(wire::PUBACK, 77);
        let took = start.elapsed();
        assert!(took >= SYNC, "{storage}: acknowledged after {took:?}");
        detach(strace);
    }
}

#[test]
fn lines_of_strace_are_understood() {
    let trace = "12 1700000000.500000 fdatasync(7)   = 0 <0.001000>\n\
         13 1700000001.000000 fsync(8 <unfinished ...>\n\
         13 1700000001.250000 <... fsync resumed>) = 0 <0.250000>\n\
         14 1700000002.000000 fsync(9) = -1 EIO (Input/output error) <0.000100>\n\
         14 1700000003.000000 +++ exited with 0 +++\n";
    let syncs = syncs(trace);
    assert_eq!(syncs.len(), 2, "{syncs:?}");
    assert!((syncs[0].1 - syncs[0].0 - 0.001).abs() < 1e-6, "{syncs:?}");
    assert!(
        (syncs[1].0 - 1_700_000_000.75).abs() < 1e-6 + 0.25,
        "{syncs:?}"
    );
}
