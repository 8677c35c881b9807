//! Sessions, queues, inflight state, retained messages and wills: in an ordered key-value engine
//! on this machine, or, for several gateways, in [`redis`].
//!
//! Changes of one turn go into one batch with one [`Ticket`]; what must not happen before they
//! are safe (an acknowledgement leaving, a message being sent to a stored session) is written
//! on the ticket and done by [`crate::completion`] after the commit. The layout of the keys is in
//! [`keys`], the form of the values in [`record`].

mod belonging;
pub(crate) mod keys;
mod patience;
pub(crate) mod record;
pub(crate) mod redis;
pub(crate) mod secret;
pub(crate) mod ticket;

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gatemq_node::admin::Waiting;
use gatemq_node::fatal;
use gatemq_node::seeded_bug::{Bug, is_seeded};
use gatemq_storage::{Batch, Committer, Engine, Error};
use tokio::sync::{Notify, oneshot};

pub use belonging::StrayStore;
pub(crate) use belonging::{Held, Stray};
pub(crate) use ticket::{Again, Begun, Completed, Name, Published, Repeat, Stored, Ticket};

use crate::auth::rules::Action;
use crate::capture::Captures;
use crate::clock::Clock;
use crate::message::MessageRef;
use crate::session::Session;
use crate::session::frames::Flags;
use crate::session::queued::{Lost, PAGE, Queued, Shelf};
use patience::Patience;
use redis::{OpenError, RedisStore, Verdict};

/// Bytes of queue entries read at once.
const PAGE_BYTES: usize = 1024 * 1024;
/// Bytes that wait to be committed before connections stop reading.
const PENDING: usize = 64 * 1024 * 1024;
/// Bytes on the disk that nothing new may take.
const RESERVE: u64 = 64 * 1024 * 1024;
/// How often, at most, the engine is to make room on a full disk.
const COMPACTED_EVERY: Duration = Duration::from_secs(10);

/// Looks at an entry, and says whether to go on.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// The store of a gateway.
pub(crate) struct Store {
    backing: Backing,
    completed: Arc<Completed>,
    /// Numbers for sessions, bodies, changes and messages: never used twice by this process, and
    /// those of sessions by nobody.
    next_number: AtomicU64,
    next_session: AtomicU64,
    is_short: AtomicBool,
    /// Told after each commit.
    relief: Arc<Notify>,
    /// What the start waits for.
    waiting: Waiting,
}

/// Where the store is.
enum Backing {
    /// On this machine, for this gateway alone.
    Embedded {
        engine: Arc<dyn Engine>,
        committer: Committer<Ticket>,
    },
    /// In Redis, for all gateways of a cluster.
    Redis(Arc<RedisStore<Ticket>>),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store over an engine; `now` is in Unix milliseconds.
    pub(crate) fn open(engine: Arc<dyn Engine>, now: u64) -> Result<Self, Error> {
        let last = |kind: u8| -> Result<u64, Error> {
            let (start, end) = keys::all(kind);
            let last = engine.last(&start, &end)?;
            Ok(last.and_then(|(key, _)| keys::number(&key)).unwrap_or(0))
        };
        // Numbers go on from the highest that is stored; the clock only makes it unlikely that
        // a number of a session that left no trace comes again.
        let kinds = [
            keys::SESSION,
            keys::QUEUE,
            keys::WILL,
            keys::BODY,
            keys::REFERENCE,
        ];
        let mut used = 0;
        for kind in kinds {
            used = used.max(last(kind)?);
        }
        let completed = Arc::new(Completed::default());
        let relief = Arc::new(Notify::new());
        let (sink, relieved) = (completed.clone(), relief.clone());
        let committer = Committer::start(
            engine.clone(),
            move |tickets| {
                sink.push(tickets);
                relieved.notify_waiters();
            },
            |error| {
                // After a failed sync nothing is known of what is on the disk: acknowledging
                // anything more could be a lie, and only a restart reads it anew.
                let why = format!("the store failed: {error}");
                fatal::end(fatal::STORE_FAILED, &why)
            },
        );
        let next_number = AtomicU64::new(used.saturating_add(1).max(now << 16));
        Ok(Self {
            backing: Backing::Embedded { engine, committer },
            completed,
            next_number,
            next_session: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
            relief,
            waiting: Waiting::default(),
        })
    }

    /// Opens the store in Redis, as soon as that answers. The clock is set by Redis's time: nothing
    /// that the store has was looked at before.
    pub(crate) async fn open_redis(
        config: redis::Config,
        waiting: Waiting,
    ) -> Result<(Self, Clock), OpenError> {
        let completed = Arc::new(Completed::default());
        let relief = Arc::new(Notify::new());
        let (sink, relieved) = (completed.clone(), relief.clone());
        let judge = move |tickets: Vec<(Ticket, Verdict)>| {
            let tickets = tickets.into_iter().map(|(mut ticket, verdict)| {
                ticket.verdict = Some(verdict).filter(|verdict| !verdict.is_safe());
                ticket
            });
            sink.push(tickets.collect());
            relieved.notify_waiters();
        };
        let mut patience = Patience::new(&waiting);
        let open = async || {
            let store = RedisStore::open(config.clone(), judge.clone()).await?;
            let clock = Clock::of_store(store.read_clock().await?);
            Ok::<_, OpenError>((store, clock))
        };
        let (store, clock) = loop {
            match open().await {
                Ok(opened) => break opened,
                Err(error) if error.may_pass(patience.lasts()) => patience.wait(&error).await,
                Err(error) => return Err(error),
            }
        };
        drop(patience);
        let store = Self {
            backing: Backing::Redis(Arc::new(store)),
            completed,
            next_number: AtomicU64::new(clock.now() << 16),
            next_session: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
            relief,
            waiting,
        };
        Ok((store, clock))
    }

    /// The store in Redis, if it is there.
    pub(crate) fn redis(&self) -> Option<&Arc<RedisStore<Ticket>>> {
        match &self.backing {
            Backing::Embedded { .. } => None,
            Backing::Redis(redis) => Some(redis),
        }
    }

    /// The engine on this machine; whoever asks has seen that the store is not in Redis.
    fn engine(&self) -> Option<&Arc<dyn Engine>> {
        match &self.backing {
            Backing::Embedded { engine, .. } => Some(engine),
            Backing::Redis(_) => None,
        }
    }

    /// A number that nothing of this process has had.
    pub(crate) fn new_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that no session has had, of any gateway.
    pub(crate) fn new_session(&self) -> u64 {
        match self.next_session.load(Ordering::Relaxed) {
            0 => self.new_number(),
            _ => self.next_session.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// From now on sessions are numbered for this incarnation: of two numbers one of which is
    /// another incarnation's, none is the same.
    pub(crate) fn number_sessions(&self, incarnation: u64) {
        let first = incarnation << 32 | 1;
        self.next_session.store(first, Ordering::Relaxed);
    }

    /// Hands a batch over for the next commit.
    pub(crate) fn submit(&self, batch: Batch, mut ticket: Ticket) {
        if is_seeded(Bug::AckBeforeDurable) {
            self.completed.push(vec![ticket.take_acknowledgements()]);
        }
        match &self.backing {
            Backing::Embedded { committer, .. } => committer.submit(batch, ticket),
            Backing::Redis(redis) => {
                let weight = ticket.weight();
                redis.submit_with(batch, ticket, weight);
            }
        }
    }

    /// Hands a batch over, and tells when it is safe; an error means that the store has stopped.
    pub(crate) fn make_safe(&self, batch: Batch) -> oneshot::Receiver<bool> {
        let (waiter, safe) = oneshot::channel();
        let ticket = Ticket {
            waiter: Some(waiter),
            ..Ticket::default()
        };
        self.submit(batch, ticket);
        safe
    }

    /// The tickets whose batches are safe.
    pub(crate) fn completed(&self) -> &Arc<Completed> {
        &self.completed
    }

    /// Whether so much waits to be committed that nothing more should be read.
    pub(crate) fn is_congested(&self) -> bool {
        self.pending_bytes() > PENDING
    }

    /// Waits until no more than three quarters of that waits.
    pub(crate) async fn relieved(&self) {
        loop {
            let relief = self.relief.notified();
            tokio::pin!(relief);
            relief.as_mut().enable();
            // Looked at after `enable`, so that no commit in between is missed.
            if self.pending_bytes() <= PENDING / 4 * 3 {
                return;
            }
            relief.await;
        }
    }

    /// Bytes that wait to be committed.
    pub(crate) fn pending_bytes(&self) -> usize {
        match &self.backing {
            Backing::Embedded { committer, .. } => committer.pending_bytes(),
            Backing::Redis(redis) => redis.pending_bytes(),
        }
    }

    /// Writes what is left and stops.
    pub(crate) fn close(&self) {
        if let Backing::Embedded { committer, .. } = &self.backing {
            committer.close();
        }
    }

    /// Figures of the commits.
    pub(crate) fn stats(&self) -> gatemq_storage::Stats {
        match &self.backing {
            Backing::Embedded { committer, .. } => committer.stats(),
            Backing::Redis(redis) => redis.stats(),
        }
    }

    /// The value of a key; nothing where the store is in Redis, which is not read like this.
    pub(crate) fn get(&self, key: &[u8]) -> Option<bytes::Bytes> {
        let read = self.engine()?.get(key);
        read.unwrap_or_else(|error| unreadable(&error))
    }

    /// The last entry of a range; as [`Self::get`].
    pub(crate) fn last(&self, start: &[u8], end: &[u8]) -> Option<(bytes::Bytes, bytes::Bytes)> {
        let read = self.engine()?.last(start, end);
        read.unwrap_or_else(|error| unreadable(&error))
    }

    /// Visits a range in order; as [`Self::get`].
    pub(crate) fn scan(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) {
        if let Some(Err(error)) = self.engine().map(|engine| engine.scan(start, end, visit)) {
            unreadable::<()>(&error);
        }
    }

    /// Reads up to `limit` entries of a queue, from `from` up to but not including `to`, and says
    /// where to go on if these were not all. An entry that cannot be read is left out.
    pub(crate) fn queue_page(
        &self,
        session: u64,
        from: u64,
        to: u64,
        limit: usize,
    ) -> (Vec<Queued>, Option<u64>) {
        let (start, end) = (keys::queue(session, from), keys::queue(session, to));
        let (mut found, mut n_bytes, mut next) = (Vec::new(), 0, None);
        self.scan(&start, &end, &mut |key, value| {
            if found.len() >= limit || n_bytes >= PAGE_BYTES {
                next = Some(keys::seq(key));
                return ControlFlow::Break(());
            }
            n_bytes += value.len();
            found.push((keys::seq(key), bytes::Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        });
        let mut page = Vec::with_capacity(found.len());
        let mut n_body_bytes = 0;
        for (seq, value) in found {
            if n_body_bytes >= PAGE_BYTES {
                next = Some(seq); // the bodies of these are read with the next page
                break;
            }
            let load_body = |body| {
                let body = self.get(&keys::body(body));
                n_body_bytes += body.as_ref().map_or(0, bytes::Bytes::len);
                body
            };
            match record::queued(seq, &value, load_body) {
                Ok(queued) => page.push(queued),
                Err(error) => tracing::error!(session, seq, %error, "queue entry left out"),
            }
        }
        (page, next)
    }

    /// Whether the disk is so full that nothing new may be stored: what is there must still
    /// find room for acknowledgements and deletions.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    /// Looks at the room on the disk, every second, or more often when there is little, until the
    /// gateway stops.
    pub(crate) async fn watch_room(&self, stop: tokio_util::sync::CancellationToken) {
        let mut compacted_at: Option<Instant> = None;
        loop {
            let mut pause = Duration::from_secs(1);
            let engine = self.engine();
            let room = engine.and_then(|engine| engine.room());
            if let (Some(engine), Some(room)) = (engine, room) {
                let is_short = room < RESERVE + self.pending_bytes() as u64;
                if self.is_short.swap(is_short, Ordering::Relaxed) != is_short {
                    if is_short {
                        tracing::error!(room, "the disk is nearly full: nothing new is stored");
                    } else {
                        tracing::info!(room, "there is room on the disk again");
                    }
                }
                let may_compact = compacted_at.is_none_or(|at| at.elapsed() >= COMPACTED_EVERY);
                if is_short && may_compact {
                    compact(engine.clone()).await;
                    compacted_at = Some(Instant::now());
                }
                if room < 16 * RESERVE {
                    pause /= 10; // a fast disk takes the reserve in less than a second
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Lets the engine give back what only deleted messages take: it may have filled the disk itself.
async fn compact(engine: Arc<dyn Engine>) {
    let compacted = tokio::task::spawn_blocking(move || engine.compact()).await;
    match compacted {
        Ok(Ok(())) => {}
        // If it takes no changes after that, the next commit ends the process.
        Ok(Err(error)) => tracing::error!(%error, "the store cannot give back what is deleted"),
        Err(error) => tracing::error!(%error, "the store cannot give back what is deleted"),
    }
}

/// One session's queue in the store; what is forgotten goes into the batch.
pub(crate) struct QueueShelf<'a> {
    pub(crate) store: &'a Store,
    pub(crate) captures: &'a Captures,
    pub(crate) session: &'a Arc<Session>,
    pub(crate) batch: &'a mut Batch,
    /// Pages that take a while, to be asked for at the end of the turn.
    pub(crate) wanted: &'a mut Vec<Wanted>,
    /// Edges that move with the batch.
    pub(crate) edges: &'a mut Vec<(Arc<Session>, u64)>,
}

/// A page of a queue that takes a while: its session, and the entries.
pub(crate) type Wanted = (Arc<Session>, (u64, u64));

impl Shelf for QueueShelf<'_> {
    fn page(&mut self, from: u64, to: u64) -> Option<(Vec<Queued>, Option<u64>)> {
        if self.store.redis().is_some() {
            self.wanted.push((self.session.clone(), (from, to)));
            return None;
        }
        Some(self.store.queue_page(self.session.number, from, to, PAGE))
    }

    fn forget(&mut self, seq: u64, body: u64) {
        forget(self.batch, self.session.number, seq, body);
    }

    fn move_edge(&mut self, edge: u64) {
        let key = keys::edge(self.session.number);
        self.batch.put(&key, &edge.to_be_bytes());
        self.edges.push((self.session.clone(), edge));
    }

    fn client_id(&self) -> &str {
        &self.session.client_id
    }

    fn note(&self, message: &MessageRef<'_>, address: Option<IpAddr>, fate: Result<Flags, Lost>) {
        let captures = self.captures;
        if captures.is_any() {
            let client_id = &self.session.client_id;
            match fate {
                Ok(flags) => captures.tell_sent(client_id, address, message, flags),
                Err(why) => captures.tell_dropped(client_id, address, message, why.why()),
            }
        }
    }

    fn may_send(&mut self, topic: &str) -> bool {
        self.session.may(Action::Subscribe, topic)
    }
}

/// Removes a queue entry, and the body that it shared if no other entry needs it.
pub(crate) fn forget(batch: &mut Batch, session: u64, seq: u64, body: u64) {
    batch.delete(&keys::queue(session, seq));
    if body != 0 {
        batch.delete(&keys::reference(body, session, seq));
        let (start, end) = keys::references(body);
        batch.delete_unless_any(&keys::body(body), &start, &end);
    }
}

/// A store that cannot be read cannot be trusted either: a session would lose messages.
fn unreadable<T>(error: &Error) -> T {
    let why = format!("the store cannot be read: {error}");
    fatal::end(fatal::STORE_FAILED, &why)
}
