//! L4: one topic has very many subscribers who read slowly. What waits for them is bounded by what
//! the configuration gives each, and whoever reads gets what is due.
//!
//! The gateways' networks keep little for a connection, so that it is the gateway that has to: a
//! system that keeps megabytes for each of them would hide it.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    bounds::Bounds,
    client::Way,
    crowd::Plan,
    herd::{Herd, LIMIT, Signs},
    stage::{Baseline, come, end, seconds},
    watch::Watch,
};
use crate::{Client, Cluster, Connect, cluster::Wrap, faults::Run, patience::pause, unique, wire};

/// What the gateway keeps for each: bytes that go out next, and a queue.
const KEPT: &str = "limits: {max-outbox-bytes: 64KiB, max-queued-bytes: 128KiB}";
const KEPT_KIB: usize = 64 + 128;
/// Buffers have more room than there is in them.
const ROOM: f64 = 1.5;
/// What the systems keep for each, on both sides.
const SEND_BUFFERS: &str = "4096 16384 65536";
const RECEIVE_BUFFER: u32 = 4096;
/// Small enough to be copied for each of them.
const PAYLOAD: usize = 4 * 1024;
/// From one message to the next.
const PERIOD: Duration = Duration::from_millis(100);
/// Each reads so much, so often.
const SIP: usize = 512;
const SIPS: Duration = Duration::from_secs(1);

pub(super) fn slow_readers(run: &mut Run) {
    let set = format!("echo {SEND_BUFFERS} > /proc/sys/net/ipv4/tcp_wmem && exec \"$0\" \"$@\"");
    let small = Wrap::default().under(["sh", "-c", &set]);
    let builder = Cluster::builder().control(1).gateways(2).in_network();
    let builder = builder.wrap("g1", small.clone()).wrap("g2", small);
    let builder = builder
        .setting(KEPT)
        .setting("session: {on-full: drop-oldest}");
    let Some(cluster) = run.can("network", builder.try_start()) else {
        return;
    };
    let node = cluster.node("g1");
    let Some(bystanders) = come(run, Plan::bystanders(node.tcp(), 20)) else {
        return run.look_at(&cluster);
    };
    let time = seconds(run, 3, 8);
    let mut bounds = Bounds::start();
    let baseline = Baseline::take(run, &bystanders, time);
    let n_readers = run.rounds(200, 2_000);
    let topic = unique("fan");
    let (to, to_topic) = (node.tcp(), topic.clone());
    // Every other one has QoS 1.
    let readers = Herd::come(n_readers, SIPS, move |number, signs| {
        read(to, to_topic.clone(), u8::from(number % 2 == 0), signs)
    });
    if readers.n_in() < n_readers {
        run.fail(format!("{} of {n_readers} readers are in", readers.n_in()));
        readers.leave();
        return end(run, bounds, bystanders, &cluster);
    }
    let watch = Watch::start(node);
    pause(Duration::from_secs(1));
    let before = watch.memory_now();
    let since = run.fault("fan-out", node.name());
    let n_sent = publish(node.tcp(), &topic, time * 3);
    let until = Instant::now();
    run.healed("fan-out", node.name());
    let grown = watch.memory(since, until) - before;
    let n_readers = u32::try_from(n_readers).expect("not so many");
    let kept = f64::from(n_readers) * f64::from(u32::try_from(KEPT_KIB).expect("small")) / 1024.0;
    run.note(format!(
        "{n_readers} readers, {n_sent} messages of {PAYLOAD} bytes; memory {before:.0} MiB before, \
         {grown:.0} MiB more at most, and {kept:.0} MiB may be kept; {} connections were ended",
        readers.n_ended()
    ));
    if grown > kept * ROOM {
        run.fail(format!(
            "memory grew by {grown:.0} MiB, and {kept:.0} MiB may be kept"
        ));
    }
    baseline.compare(run, &mut bounds, &bystanders.tally().between(since, until));
    readers.leave();
    end(run, bounds, bystanders, &cluster);
}

/// Publishes to them for this long; how many.
fn publish(to: SocketAddr, topic: &str, time: Duration) -> usize {
    let mut client = Client::connect_tcp(to);
    client.set_limit(LIMIT);
    client.handshake(&Connect::new(5, unique("fan")));
    let start = Instant::now();
    let mut n_sent = 0;
    while start.elapsed() < time {
        client.publish(topic, [b'x'; PAYLOAD], 1);
        n_sent += 1;
        pause(PERIOD);
    }
    n_sent
}

/// Subscribes, and reads a little now and then; acknowledges nothing.
async fn read(to: SocketAddr, topic: String, qos: u8, signs: Arc<Signs>) -> io::Result<()> {
    let way = Way {
        buffer: RECEIVE_BUFFER,
        ..Way::to(to, LIMIT)
    };
    let opened = way.open(&Connect::new(4, unique("slow"))).await;
    let mut client = opened.map_err(io::Error::other)?;
    let packet = wire::subscribe(4, 1, &wire::Properties::new(), &[(topic.as_str(), qos)]);
    let answered = client.ask(&packet, wire::SUBACK).await;
    answered.map_err(io::Error::other)?;
    signs.comes_in();
    while !signs.is_over() {
        sleep(SIPS).await;
        // Nothing may have come.
        let sip = tokio::time::timeout(SIPS, client.reader.skip(SIP)).await;
        if sip.is_ok_and(|read| read.unwrap_or_default() == 0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
