//! Publishers that send by the clock, whether they are answered or not, and subscribers that take
//! what comes. All of them log to the run's history, so that the judge says what was lost. Publishers
//! share a thread, so that a crowd costs the broker's machine little, and subscribers have another: they
//! do not stand still because publishers are busy.
//!
//! Bystanders are a crowd with a slow clock, one subscriber for each publisher: what happens to them
//! is measured. A flood is one with a fast clock, or none.

mod publisher;
mod subscriber;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant as Moment, timeout_at},
};

use super::{
    client::{Client, Refusal, Way},
    figures::Tally,
};
use crate::{
    Connect,
    history::{History, Name},
    patience::becomes_true,
    unique,
};
use publisher::Publisher;
use subscriber::Subscriber;

/// A write, or a window that is full, that takes longer is the broker that does not read; an answer that
/// does is one that was waited for.
pub(super) const HELD: Duration = Duration::from_millis(200);
/// How long somebody may take to get in, and to finish.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts to get in.
const AGAIN: Duration = Duration::from_millis(500);

/// What a crowd is to do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Where publishers connect.
    pub(super) from: SocketAddr,
    /// Where subscribers connect.
    pub(super) to: SocketAddr,
    /// What their topics begin with.
    pub(super) prefix: String,
    pub(super) n_publishers: usize,
    /// One for each publisher, or one for all.
    pub(super) is_paired: bool,
    /// How many more subscribers to all there are, who take nothing until all is published.
    pub(super) n_asleep: usize,
    /// Whether its subscribers' queues drop what they have no room for: nobody waits for what is
    /// [`Crowd::dropped`].
    pub(super) is_lossy: bool,
    /// From one message of a publisher to the next; zero is as fast as the window allows.
    pub(super) period: Duration,
    /// Messages of one publisher that may be unanswered.
    pub(super) window: usize,
    /// Protocol level of publishers, 4 or 5.
    pub(super) level: u8,
    /// Bytes of a message, at least.
    pub(super) payload: usize,
    /// Whether subscribers have sessions that are stored.
    pub(super) is_stored: bool,
    /// User name and password of everybody.
    pub(super) login: Option<(&'static str, &'static str)>,
}

/// A crowd at work.
pub(super) struct Crowd {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    /// Subscribers are to have all, and to finish.
    drain: watch::Sender<bool>,
    publishing: Troubles,
    receiving: Troubles,
}

/// What its clients share.
struct Shared {
    plan: Plan,
    tally: Tally,
    history: Arc<History>,
    /// When the first message of each publisher was due.
    timetable: Mutex<HashMap<Name, Instant>>,
    /// All subscribers.
    subscribers: Mutex<Vec<Name>>,
    /// How many messages queues of its subscribers dropped.
    n_dropped: AtomicUsize,
}

// === impl Plan ===

impl Plan {
    /// So many publishers with a subscriber each, all at one gateway, with ten messages a second.
    pub(super) fn bystanders(at: SocketAddr, n_pairs: usize) -> Self {
        Self {
            from: at,
            to: at,
            prefix: unique("crowd"),
            n_publishers: n_pairs,
            is_paired: true,
            n_asleep: 0,
            is_lossy: false,
            period: Duration::from_millis(100),
            window: 1_000,
            level: 5,
            payload: 100,
            is_stored: false,
            login: None,
        }
    }

    /// So many publishers, as fast as answers come, with one subscriber for all.
    pub(super) fn flood(from: SocketAddr, to: SocketAddr, n_publishers: usize) -> Self {
        Self {
            to,
            is_paired: false,
            period: Duration::ZERO,
            window: 16,
            ..Self::bystanders(from, n_publishers)
        }
    }

    fn topic(&self, number: usize) -> String {
        format!("{}/{number}", self.prefix)
    }

    fn connect(&self, level: u8, client: &str) -> Connect {
        let connect = Connect::new(level, client);
        match self.login {
            Some((name, password)) => connect.username(name).password(password),
            None => connect,
        }
    }
}

// === impl Crowd ===

impl Crowd {
    /// Returns when everybody is in and has subscribed.
    ///
    /// # Errors
    ///
    /// Somebody is not let in.
    pub(super) fn start(plan: Plan, history: Arc<History>) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            plan,
            tally: Tally::default(),
            history,
            timetable: Mutex::default(),
            subscribers: Mutex::default(),
            n_dropped: AtomicUsize::new(0),
        });
        let (stop, stopping) = watch::channel(false);
        let (drain, draining) = watch::channel(false);
        let everybody = Arc::clone(&shared);
        let receiving = on_a_thread(async move |ready| receive(&everybody, draining, ready).await)?;
        let everybody = Arc::clone(&shared);
        let publishing =
            on_a_thread(async move |ready| publish(&everybody, stopping, ready).await)?;
        Ok(Self {
            shared,
            stop,
            drain,
            publishing,
            receiving,
        })
    }

    /// What its clients saw.
    pub(super) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Who subscribes in it.
    pub(super) fn subscribers(&self) -> Vec<Name> {
        self.shared.lock_subscribers().clone()
    }

    /// Whether its subscribers' queues drop what they have no room for.
    pub(super) fn is_lossy(&self) -> bool {
        self.shared.plan.is_lossy
    }

    /// Publishes nothing new, and returns when all is answered, or nothing is answered any more.
    pub(super) fn hush(&self) {
        self.stop.send_replace(true);
        becomes_true(2 * PATIENCE, || self.publishing.is_finished());
    }

    /// So many messages were dropped by its subscribers' queues: nobody waits for these.
    pub(super) fn dropped(&self, n_messages: usize) {
        self.shared.n_dropped.store(n_messages, Relaxed);
    }

    /// Publishes nothing new, and returns when all is answered and received, with what went wrong.
    pub(super) fn end(self) -> Vec<String> {
        self.stop.send_replace(true);
        let mut troubles = joined(self.publishing);
        self.drain.send_replace(true);
        troubles.extend(joined(self.receiving));
        troubles
    }
}

// === impl Shared ===

impl Shared {
    fn lock_subscribers(&self) -> MutexGuard<'_, Vec<Name>> {
        let subscribers = self.subscribers.lock();
        subscribers.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing comes any more for this subscriber: it has all, or nobody lacks anything but
    /// what was dropped.
    fn has_all(&self, subscriber: &str) -> bool {
        let missing = |name: &str| self.history.missing(name);
        if !self.plan.is_lossy {
            return missing(subscriber) == 0;
        }
        let n_missing: usize = self.lock_subscribers().iter().map(|it| missing(it)).sum();
        n_missing <= self.n_dropped.load(Relaxed)
    }

    /// When a message of a publisher was due; nothing where it goes by no clock.
    fn due(&self, publisher: &str, seq: u64) -> Option<Instant> {
        let timetable = self
            .timetable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let begin = timetable.get(publisher)?;
        let seq = u32::try_from(seq).ok()?;
        (!self.plan.period.is_zero()).then(|| *begin + self.plan.period * seq)
    }

    fn begins(&self, publisher: &str) -> Instant {
        let begin = Instant::now();
        let mut timetable = self
            .timetable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        timetable.insert(publisher.into(), begin);
        begin
    }
}

/// Says that everybody is in, or why not.
type Ready = mpsc::SyncSender<Result<(), String>>;
/// What went wrong, when it has ended.
type Troubles = JoinHandle<Vec<String>>;

/// Does this on a thread of its own; returns when it is ready.
fn on_a_thread<F>(act: F) -> Result<Troubles, String>
where
    F: AsyncFnOnce(&Ready) -> Result<Vec<String>, String> + Send + 'static,
{
    let (ready, is_ready) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime of one thread can be had");
        let ended = runtime.block_on(act(&ready));
        ended.unwrap_or_else(|trouble| {
            let _it_was_ready = ready.try_send(Err(trouble.clone()));
            vec![trouble]
        })
    });
    match is_ready.recv() {
        Ok(begun) => begun.map(|()| thread),
        Err(_) => Err("a crowd's thread panicked".to_owned()),
    }
}

fn joined(thread: Troubles) -> Vec<String> {
    let ended = thread.join();
    ended.unwrap_or_else(|_| vec!["a crowd's thread panicked".to_owned()])
}

/// Everybody who subscribes, until all of them have what they are to have.
async fn receive(
    shared: &Arc<Shared>,
    draining: watch::Receiver<bool>,
    ready: &Ready,
) -> Result<Vec<String>, String> {
    let Plan {
        prefix,
        n_publishers,
        is_paired,
        n_asleep,
        ..
    } = &shared.plan;
    let filters = match is_paired {
        true => (0..*n_publishers)
            .map(|number| shared.plan.topic(number))
            .collect(),
        false => vec![format!("{prefix}/#")],
    };
    let mut subscribers = Vec::new();
    for filter in filters {
        subscribers.push(Subscriber::new(shared, filter).await?);
    }
    for _ in 0..*n_asleep {
        let subscriber = Subscriber::new(shared, format!("{prefix}/#")).await?;
        subscribers.push(subscriber.asleep());
    }
    let names = subscribers.iter().map(|it| it.client.clone()).collect();
    *shared.lock_subscribers() = names;
    let mut all = JoinSet::new();
    for subscriber in subscribers {
        all.spawn(subscriber.run(draining.clone()));
    }
    let _nobody_waits = ready.send(Ok(()));
    Ok(troubles(all).await)
}

/// Everybody who publishes, until they are told to stop and all is answered.
async fn publish(
    shared: &Arc<Shared>,
    stopping: watch::Receiver<bool>,
    ready: &Ready,
) -> Result<Vec<String>, String> {
    let mut publishers = Vec::new();
    for number in 0..shared.plan.n_publishers {
        publishers.push(Publisher::new(shared, shared.plan.topic(number)).await?);
    }
    let n_all = u32::try_from(publishers.len()).expect("not so many");
    let mut all = JoinSet::new();
    for (number, publisher) in (0..n_all).zip(publishers) {
        // Not all at the same time.
        let offset = shared.plan.period * number / n_all;
        all.spawn(publisher.run(offset, stopping.clone()));
    }
    let _nobody_waits = ready.send(Ok(()));
    Ok(troubles(all).await)
}

/// What went wrong with all of them, when all have ended.
async fn troubles(mut all: JoinSet<Result<(), String>>) -> Vec<String> {
    let mut troubles = Vec::new();
    while let Some(ended) = all.join_next().await {
        troubles.extend(ended.unwrap_or_else(|panic| Err(panic.to_string())).err());
    }
    troubles
}

/// Gets in, at once or later.
async fn open(to: SocketAddr, connect: &Connect) -> Result<Client, String> {
    let deadline = Moment::now() + PATIENCE;
    loop {
        match Way::to(to, PATIENCE / 4).open(connect).await {
            Ok(client) => return Ok(client),
            Err(refusal) if Moment::now() > deadline => return Err(refusal.to_string()),
            Err(Refusal::Code(_) | Refusal::Cut(_)) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Waits until it is told to stop.
async fn told(stopping: &mut watch::Receiver<bool>) {
    let _whoever_tells_is_gone = stopping.wait_for(|stop| *stop).await;
}

/// Asks now and then until it is so; whether it came to be.
async fn becomes(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Moment::now() + limit;
    while !is_so() {
        let pause = tokio::time::sleep(Duration::from_millis(20));
        if timeout_at(deadline, pause).await.is_err() {
            return false;
        }
    }
    true
}
