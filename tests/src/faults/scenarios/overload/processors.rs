//! L7: other processes take the processors, two for each of them. Nobody loses its place: the leader
//! stays, and clients that say what they have to in time are not taken for dead.

use std::{
    io,
    net::SocketAddr,
    num::NonZero,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt;

use super::{
    super::term,
    bounds::Bounds,
    client::Way,
    herd::{Herd, LIMIT, Signs},
    stage::seconds,
};
use crate::{Cluster, Connect, faults::Run, nemesis::limits::Busy, patience::pause, unique, wire};

/// Processes for each processor.
const TIMES: usize = 2;
/// The clients' keep alive in seconds, and when they speak up: two thirds of the patience that the
/// broker has to have are left.
const KEEP_ALIVE: u16 = 6;
const BEAT: Duration = Duration::from_secs(3);
/// One of so many may be disconnected.
const ONE_OF: usize = 1_000;

pub(super) fn taken(run: &mut Run) {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    let n_clients = run.rounds(300, 2_000);
    let to = cluster.addresses();
    let idle = Herd::come(n_clients, BEAT, move |number, signs| {
        stay(to[number % to.len()], signs)
    });
    let traffic = run.everybody(&cluster);
    run.somewhere(&traffic);
    let n_in = idle.n_in();
    if n_in < n_clients {
        run.fail(format!("{n_in} of {n_clients} clients are in"));
        idle.leave();
        run.conclude(traffic);
        return run.look_at(&cluster);
    }
    let (before, leader) = (term(&cluster), cluster.leader().name().to_owned());
    let mut bounds = Bounds::start();
    let n_processes = TIMES * thread::available_parallelism().map_or(1, NonZero::get);
    let time = seconds(run, 15, 60);
    let mut busy = Busy::start(n_processes, 2 * time + LIMIT).expect("bash runs");
    let since = run.fault("steal", "processors");
    let n_acked = run.history().n_accepted();
    pause(time);
    let n_acked = run.history().n_accepted() - n_acked;
    let n_busy = busy.n_running();
    drop(busy);
    run.healed("steal", "processors");
    let lasted = since.elapsed();
    if n_busy < n_processes {
        run.unavailable("steal", "the processes ended before their time");
    }
    let n_ended = idle.n_ended();
    let after = term(&cluster);
    run.note(format!(
        "{n_processes} processes for {:.0} s: {n_acked} messages acknowledged; {n_ended} of \
         {n_clients} clients disconnected; {leader} led before, {} after, in terms {before} and {after}",
        lasted.as_secs_f64(),
        cluster.leader().name()
    ));
    if n_ended * ONE_OF > n_clients {
        bounds.broken(format!(
            "{n_ended} of {n_clients} clients were disconnected"
        ));
    }
    if after > before {
        bounds.broken(format!(
            "there were elections: the term was {before} and is {after}"
        ));
    }
    idle.leave();
    bounds.tell(run);
    run.recovers(&traffic, Instant::now());
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Says that it is there until it is over.
async fn stay(to: SocketAddr, signs: Arc<Signs>) -> io::Result<()> {
    let connect = Connect::new(4, unique("idle")).keep_alive(KEEP_ALIVE);
    let opened = Way::to(to, LIMIT).open(&connect).await;
    let mut client = opened.map_err(io::Error::other)?;
    signs.comes_in();
    while !signs.is_over() {
        client.writer.write_all(&wire::pingreq()).await?;
        let next_at = tokio::time::Instant::now() + BEAT;
        client.reader.next().await?;
        tokio::time::sleep_until(next_at).await;
    }
    Ok(())
}
