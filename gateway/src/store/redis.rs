//! Sessions and retained messages of a cluster in Redis: one server, Sentinel, or Redis Cluster.
//!
//! The gateway writes the same batches as with an embedded engine, each with a ticket; here they
//! become calls of scripts, one for each session and round, which first check that the session is
//! still this gateway's ([`writer`], `scripts/write.lua`). What the keys are is in [`layout`], who
//! gets a session in [`claim`], what becomes of those of a dead gateway in [`adopt`], and when an owner
//! has nothing more to do with a session that it had in [`known`].
//!
//! # When Redis does not answer
//!
//! A lost connection or a timeout leaves the outcome of what was on its way unknown. The same
//! calls are then sent again, through a new connection, until each is confirmed or the store is
//! closed; only then does the next round begin, and only then are tickets done. So nothing is
//! acknowledged meanwhile, and what waits grows: callers stop at a bound of their own on
//! [`RedisStore::pending_bytes`]. A call that arrives twice, or late through a connection that was
//! given up, is carried out once: it has the number of its round, and Redis keeps the last one
//! (of a session with the session, of a writer of retained messages for 7 days).
//!
//! - A session that has another owner now, or that Redis does not have any more because it was
//!   wiped or failed over to a replica without it, is *fenced*: nothing is written, nothing is made
//!   anew, the ticket is done with a [`Verdict`] that names it.
//! - `OOM`: what a batch removes is removed, what it puts is refused, and the verdict says so. An
//!   error that nobody knows is refused too, and logged, rather than tried for ever.
//! - `MOVED`, `READONLY`, `CLUSTERDOWN`, `LOADING`, `MISCONF`, … are tried again. While a slot
//!   moves between nodes its calls wait until it has (they answer `TRYAGAIN`), and with them the
//!   tickets behind them.
//! - Claims and reads have the timeout to be answered, and fail with [`Error::Unanswered`], or with
//!   [`Error::Unasked`] where it is certain that nothing was carried out.
//! - A claim that its caller gave up does nothing if it arrives later: it carries a deadline in the
//!   server's own time. What it did before its answer was lost, the next claim finds.
//!
//! Promises reach as far as Redis keeps what it confirmed: with `appendfsync always` over a crash,
//! with `WAIT` ([`Config::n_replicas`]) over most failovers. [`RedisStore::open`] warns of less.

// In reading order.
mod adopt;
mod asker;
mod backlog;
mod claim;
mod config;
mod connection;
mod erase;
mod examine;
mod health;
mod home;
mod known;
mod layout;
mod link;
mod part;
mod places;
mod pool;
mod reply;
mod retained;
mod route;
mod script;
mod secret;
mod time;
mod verdict;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gatemq_storage::{Batch, Stats};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use adopt::Adopted;
pub(crate) use asker::{AskError, Asker};
pub(crate) use claim::{Claim, Claimed, Ended, Holder, Resumed, Stored, Taken};
#[cfg(test)]
pub(crate) use config::Address;
pub(crate) use config::{Config, Servers, Unusable};
pub use erase::erase;
pub(crate) use examine::OpenError;
pub(crate) use health::Health;
pub(crate) use home::{Few, Mark};
pub(crate) use known::Here;
pub(crate) use layout::{SHARDS, shard_of, shards_of};
pub(crate) use part::Whose;
pub(crate) use places::Place;
#[cfg(test)]
pub(crate) use verdict::Change;
#[cfg(test)]
pub(crate) use verdict::Fence;
pub(crate) use verdict::{Fenced, Refusal, Verdict};

use crate::message::Damaged;
use crate::vital::watch_over;
use backlog::{Backlog, Entry};
use places::Places;
use pool::Pool;
use reply::{Malformed, Parts};
pub(crate) use writer::CERTAIN;
use writer::{BEAT, Writer};

/// Bytes of a page, beyond its first entry.
const PAGE_BYTES: usize = 1024 * 1024;

/// Sessions and retained messages in Redis; `T` is what goes with a batch.
pub(crate) struct RedisStore<T> {
    shared: Arc<Shared<T>>,
}

/// What the store and its writer share.
struct Shared<T> {
    pool: Pool,
    places: Places,
    backlog: Backlog<T>,
    pending_bytes: AtomicUsize,
    retained: retained::Counts,
    health: health::Reporter,
    stats: Mutex<Stats>,
    tasks: TaskTracker,
    /// What waits is not to be written any more.
    stop: CancellationToken,
    /// The writer has ended.
    ended: CancellationToken,
}

/// A request has no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// In time; whether it was carried out is unknown.
    #[error("redis did not answer in time: {why}")]
    Unanswered { why: String },
    /// No server could be asked in time: nothing was carried out, nor will be.
    #[error("redis could not be asked: {why}")]
    Unasked { why: String },
    #[error("redis has no memory for it: {why}")]
    Full { why: String },
    #[error("redis refuses it: {why}")]
    Refused { why: String },
    #[error("an answer of redis has another form than was agreed on")]
    Malformed,
    #[error("a session in redis: {0}")]
    Damaged(#[from] Damaged),
    #[error("the session is not attached")]
    Unattached,
    /// The incarnation that asks is dead, and others look after what it had.
    #[error("this incarnation is dead")]
    Dead,
}

// === impl Error ===

impl Error {
    /// Whether the answer stays the same until somebody has mended what is stored.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Malformed | Self::Damaged(_) => true,
            Self::Unanswered { .. }
            | Self::Unasked { .. }
            | Self::Full { .. }
            | Self::Unattached
            | Self::Dead => false,
        }
    }
}

// === impl RedisStore ===

impl<T: Send + 'static> RedisStore<T> {
    /// Connects, checks every server, and starts to write. `sink` is told what became of what was
    /// submitted, in the order of submission; it must not block.
    pub(crate) async fn open(
        config: Config,
        sink: impl FnMut(Vec<(T, Verdict)>) + Send + 'static,
    ) -> Result<Self, OpenError> {
        config.check()?;
        let shared = Arc::new(Shared {
            pool: Pool::new(config),
            places: Places::default(),
            backlog: Backlog::new(),
            pending_bytes: AtomicUsize::new(0),
            retained: retained::Counts::new(),
            health: health::Reporter::new(),
            stats: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let store = Self { shared };
        examine::examine(&store.shared.pool).await?;
        store.shared.pool.config.warn_if_overheard();
        let writer = Writer::new(store.shared.clone());
        watch_over(&store.shared.tasks, "writer", writer.run(sink));
        if let Servers::Sentinel { .. } = store.shared.pool.config.servers {
            let shared = store.shared.clone();
            watch_over(&store.shared.tasks, "sentinel", async move {
                tokio::select! {
                    () = shared.pool.watch_master(BEAT) => {}
                    () = shared.ended.cancelled() => {}
                }
            });
        }
        Ok(store)
    }

    /// Reads the files of TLS again, for connections from now on. Logs either way.
    pub(crate) fn reload(&self) {
        let Some(tls) = &self.shared.pool.config.tls else {
            return;
        };
        match tls.reload() {
            Ok(()) => tracing::info!("TLS to redis reloaded"),
            Err(error) => {
                tracing::error!(%error, "TLS to redis not reloaded; it goes on as it was");
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn submit(&self, batch: Batch, ticket: T) {
        self.submit_with(batch, ticket, 0);
    }

    /// Hands over a batch, with a ticket that takes so many bytes of memory until it is done; never
    /// blocks. A session's batches are written in the order of submission, for the sessions that
    /// are attached. After [`Self::close`] it is dropped.
    pub(crate) fn submit_with(&self, batch: Batch, ticket: T, weight: usize) {
        let shared = &self.shared;
        let n_bytes = batch.bytes() + weight;
        shared.pending_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        if !shared.backlog.push(Entry::Write(batch, ticket, weight)) {
            shared.pending_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
        }
    }

    /// Says which session a number stands for, and under which claim what is submitted from now
    /// on is written.
    pub(crate) fn attach(&self, number: u64, place: Place) {
        let place = Arc::new(place);
        self.shared.places.insert(number, place.clone());
        self.shared.backlog.push(Entry::Attach(number, place));
    }

    /// Forgets a number, when what was submitted before is written.
    pub(crate) fn detach(&self, number: u64) {
        self.shared.backlog.push(Entry::Detach(number));
    }

    /// Bytes submitted and not yet confirmed, with what the tickets take. The bound is the callers': they submit no more
    /// while this is too much.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.shared.pending_bytes.load(Ordering::Relaxed)
    }

    /// Reads up to `limit` entries of an attached session's queue, at most a MiB beyond the first,
    /// from `from` up to but not including `to`, and says where to go on if these were not all.
    /// What is on its way to Redis is not there yet.
    pub(crate) async fn queue_page(
        &self,
        session: u64,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<(Vec<(u64, Bytes)>, Option<u64>), Error> {
        let pool = &self.shared.pool;
        let slice = self.shared.places.slice(session).ok_or(Error::Unattached)?;
        let slot = pool.layout.slot_of_slice(slice);
        let mut bounds = (limit.max(1), PAGE_BYTES);
        loop {
            let make = |_| {
                let place = (slice, session);
                script::queue(&pool.scripts, &pool.layout, place, (from, to), bounds)
            };
            let answer = pool.request(slot, pool.deadline(), false, make).await?;
            let [is_more, page] = reply::values(answer.list()?)?;
            let page = claim::entries(page.list()?, from..to)?;
            match (is_more.number()?, page.last()) {
                (0, _) => return Ok((page, None)),
                (_, Some((last, _))) => {
                    let next = last + 1;
                    return Ok((page, Some(next)));
                }
                // All of it is damaged: what is behind it is found with it.
                (_, None) => bounds = (bounds.0.saturating_mul(2), bounds.1.saturating_mul(2)),
            }
        }
    }

    /// How Redis does, now and from now on.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.watch()
    }

    /// Whether Redis is known not to answer.
    pub(crate) fn is_down(&self) -> bool {
        matches!(*self.health().borrow(), Health::Down { .. })
    }

    /// Waits while Redis is known not to answer.
    pub(crate) async fn answers(&self) {
        let mut health = self.health();
        let is_there = |health: &Health| !matches!(health, Health::Down { .. });
        let _ = health.wait_for(is_there).await; // an error: the store is gone, and so is the caller
    }

    /// What was written so far; a commit is a round.
    pub(crate) fn stats(&self) -> Stats {
        *self.shared.stats.lock()
    }

    /// Takes nothing more, and waits until everything submitted is confirmed, or for so long.
    /// Returns the bytes that were not; whether Redis has them is unknown.
    pub(crate) async fn close(&self, within: Duration) -> usize {
        let Shared {
            backlog,
            tasks,
            stop,
            ..
        } = &*self.shared;
        backlog.close();
        tasks.close();
        if tokio::time::timeout(within, tasks.wait()).await.is_err() {
            stop.cancel();
            tasks.wait().await;
        }
        self.pending_bytes()
    }
}

impl<T> Drop for RedisStore<T> {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl<T> std::fmt::Debug for RedisStore<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let servers = &self.shared.pool.config.servers;
        let mut store = f.debug_struct("RedisStore");
        store.field("servers", servers).finish_non_exhaustive()
    }
}

// === private ===

impl<T> Shared<T> {
    fn count(&self, n_batches: usize, n_operations: usize, n_bytes: usize, started: Instant) {
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut stats = self.stats.lock();
        stats.commits += 1;
        stats.batches += n_batches as u64;
        stats.operations += n_operations as u64;
        stats.bytes += n_bytes as u64;
        stats.last_commit_micros = micros;
        stats.total_commit_micros += micros;
        stats.longest_commit_micros = stats.longest_commit_micros.max(micros);
    }
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests;
