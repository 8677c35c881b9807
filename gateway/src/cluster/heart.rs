//! The half of the line to the control plane that does no work: it says that this gateway is alive,
//! hears what is confirmed of that, and hands all that is said on to whoever does what follows
//! ([`super::control`]). It has a thread of its own, with the sockets of the line, and takes no lock
//! that is held during work, so no beat waits behind work; nor does what is confirmed, unless more
//! was said than may wait for the work ahead of it. A task beside the others would not do: while one
//! of them works on and the other threads sleep, nobody looks at timers and sockets.
//!
//! Alive is a gateway that goes on with its work, however slowly, not one that can still send. So
//! whoever works gives a sign each time that it has done something, and each time that it finds
//! nothing to do. Without one for [`STUCK`], because it waits for a lock that nobody gives back, or
//! because the runtime on which clients are served runs nothing any more, the beats stop, and the
//! lease ends: others take the sessions over.
//!
//! What a beat says that was applied is what the work had got to, and nothing else: who is behind
//! keeps its lease and holds the watermark back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::{Stream, StreamExt};
use gatemq_node::seeded_bug::{Bug, is_seeded};
use gatemq_router::control::lease::Beats;
use gatemq_router::control::{BEAT, Failure, SILENCE};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use super::Cluster;
use crate::clock::Clock;
use crate::proto::cluster::control::{WatchReply, WatchRequest, watch_reply, watch_request};
use crate::vital::has_panicked;

/// How long there may be no sign of work, in milliseconds: longer than any single reply takes,
/// also where many wait for a processor.
pub(super) const STUCK: u64 = 5_000;
/// By how much a lease is too long with the mistake of that name, in milliseconds: for ever.
const OVERLONG: u64 = 3_600_000;

/// What beats say, and what was confirmed of them.
#[derive(Debug, Default)]
pub(super) struct Standing {
    beats: Beats,
    /// Everything up to here has been done, with all that follows from it; 0 while the table is not
    /// whole.
    applied: u64,
}

/// When whoever works gave a sign last, in milliseconds of the gateway's clock.
#[derive(Debug)]
pub(super) struct Pulse(AtomicU64);

/// The thread that beats, with all that the line to the control plane needs of a runtime.
#[derive(Debug, Default)]
pub(super) struct Ground(OnceLock<Runtime>);

/// One stream of beats.
#[derive(Debug)]
pub(super) struct Heart {
    pub(super) clock: Clock,
    pub(super) cluster: Arc<Cluster>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) requests: mpsc::Sender<WatchRequest>,
    /// To whoever does what follows.
    pub(super) work: mpsc::Sender<WatchReply>,
    /// [`STUCK`].
    pub(super) patience: u64,
}

// === impl Ground ===

impl Ground {
    /// Does something there; what it does ends where this is dropped.
    ///
    /// # Errors
    ///
    /// Those of what is done, and that the process ends.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        what: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut running = JoinSet::new();
        running.spawn_on(what, self.handle());
        match running.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) if error.is_panic() => has_panicked("heart"),
            Some(Err(_)) | None => Err(Failure::Refused("the gateway ends".to_owned())),
        }
    }

    fn handle(&self) -> &Handle {
        let make = || {
            let mut runtime = Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).thread_name("beats").enable_all();
            runtime
                .build()
                .expect("who cannot have a thread more serves nobody")
        };
        self.0.get_or_init(make).handle()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background(); // whoever drops it may be one that must not wait
        }
    }
}

// === impl Pulse ===

impl Pulse {
    pub(super) fn new(now: u64) -> Self {
        Self(AtomicU64::new(now))
    }

    /// A sign of work.
    pub(super) fn beat(&self, now: u64) {
        self.0.store(now, Ordering::Release);
    }

    fn is_gone(&self, now: u64, patience: u64) -> bool {
        now.saturating_sub(self.0.load(Ordering::Acquire)) > patience
    }
}

// === impl Heart ===

impl Heart {
    /// Beats and hears until the stream ends, or nothing is confirmed for too long.
    ///
    /// # Errors
    ///
    /// The stream is cut, or the node of the control plane confirms nothing.
    pub(super) async fn run(
        self,
        mut replies: impl Stream<Item = Result<WatchReply, Status>> + Unpin,
    ) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut confirmed_at = Instant::now();
        // What was heard while there is no room for it: nothing more is, but beats go on.
        let mut waiting = None;
        loop {
            tokio::select! {
                biased; // what is said next to what is heard: a tick comes four times a second
                _ = ticks.tick() => {
                    let is_alive = !self.pulse.is_gone(self.clock.now(), self.patience);
                    if is_alive {
                        self.cluster.beat(&self.requests, self.clock.now());
                    }
                    // A snapshot may take its time, and who does not listen hears nothing.
                    let may_hear = waiting.is_none() && is_alive && self.cluster.is_whole();
                    if !may_hear {
                        confirmed_at = Instant::now();
                    } else if confirmed_at.elapsed() > SILENCE {
                        return Err(Failure::Timeout);
                    }
                }
                room = self.work.reserve(), if waiting.is_some() => match (room, waiting.take()) {
                    (Ok(room), Some(reply)) => room.send(reply),
                    _ => return Ok(()), // nobody works any more
                },
                reply = replies.next(), if waiting.is_none() => {
                    let Some(reply) = reply.transpose()? else {
                        return Ok(());
                    };
                    let now = self.clock.now();
                    self.cluster.answers(now);
                    if let Some(watch_reply::Kind::Mark(mark)) = &reply.kind
                        && self.cluster.confirm(mark.beat, now)
                    {
                        confirmed_at = Instant::now();
                    }
                    waiting = Some(reply);
                }
            }
        }
    }
}

// === impl Cluster ===

// Each of these is one step to all others: what is said of the table, the table's being whole, and
// the lease that follows from both.
impl Cluster {
    /// Says what has been applied, and asks for the lease to go on.
    pub(super) fn beat(&self, requests: &mpsc::Sender<WatchRequest>, now: u64) {
        let mut standing = self.standing.lock();
        let applied = standing.applied;
        let number = standing.beats.send(now);
        let beat = watch_request::Kind::Beat(watch_request::Beat { number, applied });
        // Where the stream is so full, an earlier beat has not left yet: the next one says more.
        let _ = requests.try_send(WatchRequest { kind: Some(beat) });
    }

    /// A beat is confirmed; whether that is news.
    fn confirm(&self, beat: u64, now: u64) -> bool {
        let mut standing = self.standing.lock();
        let Some(sent_at) = standing.beats.confirm(beat) else {
            return false;
        };
        if standing.applied > 0 {
            let sent_at = match is_seeded(Bug::LeaseIgnored) {
                true => sent_at + OVERLONG,
                false => sent_at,
            };
            self.lease.renew(sent_at, now);
        }
        true
    }

    /// Everything up to this revision has been done.
    pub(super) fn has_applied(&self, revision: u64) {
        self.standing.lock().applied = revision;
    }

    fn is_whole(&self) -> bool {
        self.standing.lock().applied > 0
    }

    /// The lease ends, before what was said of the table ceases to hold: no beat of before renews it.
    pub(super) fn end_lease(&self) {
        let mut standing = self.standing.lock();
        self.lease.end();
        standing.beats.forget();
        standing.applied = 0;
    }

    /// Beats go out by another line from now on: none of before is to be confirmed any more.
    pub(super) fn change_line(&self) {
        self.standing.lock().beats.forget();
    }

    /// The gateway has a new incarnation, whose beats are counted anew.
    pub(super) fn begin_beats(&self) {
        *self.standing.lock() = Standing::default();
    }
}

#[cfg(test)]
mod tests;
