//! L6: clients subscribe to filters that nobody else has, and give them up again, all the time. Each
//! is news for the whole cluster. They are granted, nothing is left of them, and others get theirs.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep_until};

use super::{
    bounds::Bounds,
    client::Way,
    crowd::Plan,
    figures::per_second,
    stage::{Baseline, come, end, is_flat, seconds},
    watch::Watch,
};
use crate::{Cluster, Connect, Node, faults::Run, patience::becomes_true, unique, wire};

const N_CLIENTS: usize = 20;
/// Filters of one SUBSCRIBE.
const BATCH: usize = 20;
/// How long everybody may take to get in, and a SUBACK to come.
const LIMIT: Duration = Duration::from_secs(60);
/// How soon nothing is left of what was given up.
const SOON: Duration = Duration::from_secs(20);

pub(super) fn churn(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let nodes = ["g1", "g2"].map(|name| cluster.node(name));
    let Some(bystanders) = come(run, Plan::bystanders(nodes[0].tcp(), 20)) else {
        return run.look_at(&cluster);
    };
    let time = seconds(run, 3, 10);
    let mut bounds = Bounds::start();
    let baseline = Baseline::take(run, &bystanders, time);
    let table = |node: &Node| node.metric("gateway_subscriptions").unwrap_or_default();
    let before = nodes.map(table);
    let watch = Watch::start(nodes[0]);
    // A second, of all together.
    let n_wanted = run.rounds(500, 2_000);
    let since = run.fault("churn", "g1, g2");
    let churned = all(nodes.map(Node::tcp), n_wanted, time * 3);
    let until = Instant::now();
    run.healed("churn", "g1, g2");
    match churned {
        Ok(n_granted) => {
            let rate = per_second(n_granted, until - since);
            run.note(format!(
                "{rate:.0} filters a second were granted and given up, of {n_wanted}"
            ));
        }
        Err(trouble) => run.fail(trouble),
    }
    is_flat(run, nodes[0], &watch, since, until);
    baseline.compare(run, &mut bounds, &bystanders.tally().between(since, until));
    let mut now = before;
    let is_gone = becomes_true(SOON, || {
        now = nodes.map(table);
        now == before
    });
    if !is_gone {
        run.fail(format!(
            "{now:?} subscriptions are left, {before:?} were there before"
        ));
    }
    end(run, bounds, bystanders, &cluster);
}

/// All of them for this time; how many filters were granted.
fn all(to: [SocketAddr; 2], n_wanted: usize, time: Duration) -> Result<usize, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime of one thread can be had");
    let n_each = u32::try_from(n_wanted / N_CLIENTS).expect("small");
    let period = Duration::from_secs(u64::try_from(BATCH).expect("small")) / n_each;
    let (n_granted, is_over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let ended: Vec<io::Result<()>> = runtime.block_on(async {
        let mut clients = JoinSet::new();
        for number in 0..N_CLIENTS {
            let (n_granted, is_over) = (Arc::clone(&n_granted), Arc::clone(&is_over));
            let to = to[number % 2];
            clients.spawn(async move { one(to, period, &n_granted, &is_over).await });
        }
        tokio::time::sleep(time).await;
        is_over.store(true, Relaxed);
        clients.join_all().await
    });
    let trouble = ended.into_iter().find_map(Result::err);
    trouble.map_or(Ok(n_granted.load(Relaxed)), |error| Err(error.to_string()))
}

async fn one(
    to: SocketAddr,
    period: Duration,
    n_granted: &AtomicUsize,
    is_over: &AtomicBool,
) -> io::Result<()> {
    let opened = Way::to(to, LIMIT)
        .open(&Connect::new(5, unique("churn")))
        .await;
    let mut client = opened.map_err(io::Error::other)?;
    let mut due = tokio::time::Instant::now();
    while !is_over.load(Relaxed) {
        let prefix = unique("churn");
        let filters: Vec<_> = (0..BATCH)
            .map(|number| format!("{prefix}/{number}/+"))
            .collect();
        let asked: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
        let names: Vec<_> = filters.iter().map(String::as_str).collect();
        let work = async {
            client.subscribe(5, &asked).await?;
            n_granted.fetch_add(BATCH, Relaxed);
            let packet = wire::unsubscribe(5, 2, &wire::Properties::new(), &names);
            client.ask(&packet, wire::UNSUBACK).await
        };
        let worked = tokio::time::timeout(LIMIT, work).await;
        let suback = worked.map_err(|_| io::Error::other("no SUBACK or UNSUBACK came"))??;
        let codes = suback.suback(wire::UNSUBACK, 5).codes;
        if codes.iter().any(|code| *code >= 0x80) {
            return Err(io::Error::other(format!(
                "UNSUBSCRIBE was refused: {codes:02x?}"
            )));
        }
        // Who is late is not to make up for it.
        due = (due + period).max(tokio::time::Instant::now());
        sleep_until(due).await;
    }
    Ok(())
}
