//! L5: many subscribe to everything at once, again and again, and there is much that is retained. Each
//! gets all of it, it is not all in memory, and others get theirs meanwhile.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, task::JoinSet};

use super::{
    bounds::Bounds,
    client::Way,
    crowd::Plan,
    figures::Spread,
    stage::{Baseline, come, end, seconds},
    watch::Watch,
};
use crate::{Cluster, Connect, Publish, faults::Run, patience::pause, unique, wire};

const PAYLOAD: usize = 1_000;
/// Retained messages that are unacknowledged while they are set.
const WINDOW: usize = 200;
/// What everybody has to have by then.
const LIMIT: Duration = Duration::from_secs(120);
/// Memory may grow by such a part of what all get together; by so many MiB in any case.
const PART: f64 = 0.5;
const LEAST: f64 = 24.0;
/// Bystanders may wait so many times as long as before: those who get all that share the processors,
/// and are more of them than the baseline has.
const TIMES: u32 = 3;

pub(super) fn everything(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let node = cluster.node("g1");
    let (n_topics, n_subscribers) = (run.rounds(1_000, 10_000), run.rounds(10, 30));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime of one thread can be had");
    if let Err(trouble) = runtime.block_on(set(node.tcp(), n_topics)) {
        run.fail(format!("what is to be retained is not taken: {trouble}"));
        return run.look_at(&cluster);
    }
    let Some(bystanders) = come(run, Plan::bystanders(node.tcp(), 10)) else {
        return run.look_at(&cluster);
    };
    let time = seconds(run, 3, 8);
    let mut bounds = Bounds::start();
    let baseline = Baseline::take(run, &bystanders, time);
    let watch = Watch::start(node);
    let before = {
        pause(Duration::from_secs(1));
        watch.memory_now()
    };
    let since = run.fault("bomb", node.name());
    // Again and again: p99 of what others get needs more than the moment that once takes.
    let (mut n_bombs, mut times) = (0, Vec::new());
    while n_bombs == 0 || since.elapsed() < time {
        n_bombs += 1;
        times.extend(runtime.block_on(async {
            let mut all = JoinSet::new();
            for _ in 0..n_subscribers {
                all.spawn(get(node.tcp(), n_topics));
            }
            all.join_all().await
        }));
    }
    let until = Instant::now();
    run.healed("bomb", node.name());
    let (times, troubles): (Vec<_>, Vec<_>) = times.into_iter().partition(Result::is_ok);
    for trouble in troubles.into_iter().filter_map(Result::err) {
        run.fail(trouble);
    }
    let times = Spread::of(times.into_iter().flatten().collect());
    let grown = watch.memory(since, until) - before;
    let n_bytes = n_subscribers * n_topics * PAYLOAD;
    let all = f64::from(u32::try_from(n_bytes >> 10).expect("no terabytes")) / 1024.0;
    run.note(format!(
        "{n_bombs} times {n_subscribers} subscribers got {n_topics} retained messages each, {all:.0} MiB \
         together: {times}; memory {before:.0} MiB before, {grown:.0} MiB more at most"
    ));
    if grown > (all * PART).max(LEAST) {
        run.fail(format!(
            "memory grew by {grown:.0} MiB for {all:.0} MiB that are retained"
        ));
    }
    let meanwhile = bystanders.tally().between(since, until);
    baseline.compare_within(TIMES, run, &mut bounds, &meanwhile);
    end(run, bounds, bystanders, &cluster);
}

/// Sets so many retained messages.
async fn set(to: SocketAddr, n_topics: usize) -> Result<(), String> {
    let prefix = unique("bomb");
    let opened = Way::to(to, LIMIT)
        .open(&Connect::new(5, unique("set")))
        .await;
    let mut client = opened.map_err(|why| why.to_string())?;
    let work = async {
        for first in (0..n_topics).step_by(WINDOW) {
            let mut bytes = Vec::new();
            let last = n_topics.min(first + WINDOW);
            for number in first..last {
                let topic = format!("{prefix}/{}/{number}", number % 50);
                let id = u16::try_from(number - first + 1).expect("small");
                let publish = Publish::new(&topic, [b'r'; PAYLOAD]).qos(1, id).retain();
                bytes.extend(publish.bytes(5));
            }
            client.writer.write_all(&bytes).await?;
            for _ in first..last {
                let packet = client.reader.next().await?;
                if packet.kind != wire::PUBACK || packet.ack(wire::PUBACK, 5).reason >= 0x80 {
                    return Err(io::Error::other(format!("{packet:?}")));
                }
            }
        }
        Ok(())
    };
    let worked: io::Result<()> = work.await;
    worked.map_err(|error| error.to_string())
}

/// Subscribes to everything, and leaves when all that is retained has come; how long it took.
async fn get(to: SocketAddr, n_topics: usize) -> Result<Duration, String> {
    let since = Instant::now();
    let opened = Way::to(to, LIMIT)
        .open(&Connect::new(5, unique("all")))
        .await;
    let mut client = opened.map_err(|why| why.to_string())?;
    let mut n_got = 0;
    let work = async {
        let subscribe = wire::subscribe(5, 1, &wire::Properties::new(), &[("#", 1)]);
        client.writer.write_all(&subscribe).await?;
        let mut answers = Vec::new();
        while n_got < n_topics {
            let mut next = Some(client.reader.next().await?);
            while let Some(packet) = next {
                match packet.kind {
                    wire::PUBLISH => {
                        let publish = packet.publish(5);
                        n_got += usize::from(publish.retain);
                        answers.extend(publish.id.map(|id| wire::ack(wire::PUBACK, id)));
                    }
                    wire::SUBACK if packet.suback(wire::SUBACK, 5).codes == [1] => {}
                    _ => return Err(io::Error::other(format!("{packet:?}"))),
                }
                next = client.reader.buffered();
            }
            client.writer.write_all(&answers.concat()).await?;
            answers.clear();
        }
        client.writer.write_all(&wire::disconnect()).await
    };
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(())) => Ok(since.elapsed()),
        Ok(Err(error)) => Err(format!(
            "{n_got} of {n_topics} retained messages came: {error}"
        )),
        Err(_) => Err(format!(
            "{n_got} of {n_topics} retained messages came within {LIMIT:?}"
        )),
    }
}
