//! L7: other processes take the processors, two for each of them. Nobody loses its place: the leader
//! stays, and clients that say what they have to in time are not taken for dead.

use std::{
    io,
    net::SocketAddr,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, task::JoinSet, time::sleep};

use super::{super::term, bounds::Bounds, client::Way, stage::seconds};
use crate::{Cluster, Connect, faults::Run, nemesis::limits::Busy, patience::pause, unique, wire};

/// Processes for each processor.
const TIMES: usize = 2;
/// The clients' keep alive in seconds, and when they speak up: two thirds of the patience that the
/// broker has to have are left.
const KEEP_ALIVE: u16 = 6;
const BEAT: Duration = Duration::from_secs(3);
/// How long it may take to get in.
const LIMIT: Duration = Duration::from_secs(60);
/// One of so many may be disconnected.
const ONE_OF: usize = 1_000;

pub(super) fn taken(run: &mut Run) {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    let n_clients = run.rounds(300, 2_000);
    let idle = Idle::come(&cluster.addresses(), n_clients);
    let traffic = run.everybody(&cluster);
    run.somewhere(&traffic);
    let n_in = idle.n_in.load(Relaxed);
    if n_in < n_clients {
        run.unavailable("clients", &format!("{n_in} of {n_clients} are in"));
        return;
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
    let n_ended = idle.n_ended.load(Relaxed);
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

/// Clients that do nothing but stay.
struct Idle {
    n_in: Arc<AtomicUsize>,
    n_ended: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

// === impl Idle ===

impl Idle {
    /// Returns when all of them are in, or it takes too long.
    fn come(to: &[SocketAddr], n_clients: usize) -> Self {
        let n_in = Arc::new(AtomicUsize::new(0));
        let n_ended = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let shared = (
            Arc::clone(&n_in),
            Arc::clone(&n_ended),
            Arc::clone(&is_over),
        );
        let to = to.to_vec();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime of one thread can be had");
            let (n_in, n_ended, is_over) = shared;
            runtime.block_on(async {
                let mut all = JoinSet::new();
                for number in 0..n_clients {
                    let (n_in, n_ended, is_over) = (
                        Arc::clone(&n_in),
                        Arc::clone(&n_ended),
                        Arc::clone(&is_over),
                    );
                    let to = to[number % to.len()];
                    let part = u32::try_from(number % 1_000).expect("small");
                    all.spawn(async move {
                        sleep(BEAT * part / 1_000).await;
                        let stayed = stay(to, &n_in, &is_over).await;
                        n_ended.fetch_add(usize::from(stayed.is_err()), Relaxed);
                    });
                }
                while all.join_next().await.is_some() {}
            });
        });
        let idle = Self {
            n_in,
            n_ended,
            is_over,
            thread,
        };
        let start = Instant::now();
        while idle.n_in.load(Relaxed) < n_clients && start.elapsed() < LIMIT {
            pause(Duration::from_millis(50));
        }
        idle
    }

    fn leave(self) {
        self.is_over.store(true, Relaxed);
        let _panicked = self.thread.join();
    }
}

/// Says that it is there until it is over; an error is a connection that ended.
async fn stay(to: SocketAddr, n_in: &AtomicUsize, is_over: &AtomicBool) -> io::Result<()> {
    let connect = Connect::new(4, unique("idle")).keep_alive(KEEP_ALIVE);
    let opened = Way::to(to, LIMIT).open(&connect).await;
    let mut client = opened.map_err(io::Error::other)?;
    n_in.fetch_add(1, Relaxed);
    while !is_over.load(Relaxed) {
        client.writer.write_all(&wire::pingreq()).await?;
        let next_at = tokio::time::Instant::now() + BEAT;
        client.reader.next().await?;
        tokio::time::sleep_until(next_at).await;
    }
    Ok(())
}
