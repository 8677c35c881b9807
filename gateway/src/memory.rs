//! How much memory the process has, against what it may have: at 80 % nobody is let in but who
//! has a session here, at 90 % nobody at all, and nothing is read that publishes. Each ends a little below where it began.
//!
//! What is resident is looked at by a thread of its own, for those that serve connections may be busy
//! just then; more often where it comes near the limit. Whoever decides something reads a number. The
//! limit is the configured one, or what the system allows the process: see [`cgroup`]. Near the limit
//! each look gives leave for so many bytes of publishes until the next one, however late that comes.

mod cgroup;
mod shortage;

use std::hint::black_box;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::config::LEAST_MEMORY;
use crate::figures;
use shortage::Shortage;

/// How often it is looked at, while it is far from the limit and when it is not. A gateway can take
/// hundreds of megabytes in a second, and between the marks may be few.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_CLOSELY: Duration = Duration::from_millis(10);
/// From so many percent of the limit on it is near.
const NEAR: u64 = 60;
/// How often a message is in memory while it is taken: as it waits for the store, in its batch, in the
/// engine's copy, and for those whom it is for.
const COPIES: u64 = 4;
/// How often threads are made to take back what others have freed, while memory is short.
const STIR: Duration = Duration::from_secs(1);

/// How much is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    #[default]
    Enough,
    /// Too little for more clients.
    Tight,
    /// Too little for more messages.
    Short,
}

/// The memory of the process.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In bytes; 0 is no limit.
    pub(crate) limit: u64,
    /// Whether the configuration says so, and not the system.
    is_configured: bool,
    /// The time in which there is too little for messages.
    shortage: Mutex<Shortage>,
    /// Bytes of publishes that may be taken until the next look; the largest number is no limit.
    left: AtomicU64,
    /// The level as a number: what is read for each message.
    at: AtomicU8,
    level: watch::Sender<Level>,
}

// === impl Level ===

impl Level {
    /// What it is with so many bytes of the limit in use.
    fn next(self, used: u64, limit: u64) -> Self {
        let reaches = |percent| reaches(used, limit, percent);
        // It lasts until a little more is free than when it began.
        let tight_at = if self < Self::Tight { 80 } else { 75 };
        let short_at = if self < Self::Short { 90 } else { 85 };
        match (reaches(tight_at), reaches(short_at)) {
            (_, true) => Self::Short,
            (true, false) => Self::Tight,
            (false, false) => Self::Enough,
        }
    }

    fn consequence(self) -> &'static str {
        match self {
            Self::Enough => "clients are let in, and may publish",
            Self::Tight => "nobody is let in but who has a session here",
            Self::Short => "no more clients are let in, and nobody may publish",
        }
    }
}

// === impl Memory ===

impl Memory {
    /// With a limit in bytes; 0 is the one that the system has for this process, if it has one.
    pub(crate) fn new(limit: u64) -> Self {
        let is_configured = limit > 0;
        let limit = match is_configured {
            true => limit,
            false => cgroup::limit().unwrap_or(0),
        };
        Self {
            limit,
            is_configured,
            shortage: Mutex::default(),
            left: AtomicU64::new(u64::MAX),
            at: AtomicU8::new(Level::Enough as u8),
            level: watch::Sender::new(Level::Enough),
        }
    }

    #[inline]
    pub(crate) fn level(&self) -> Level {
        match self.at.load(Ordering::Relaxed) {
            0 => Level::Enough,
            1 => Level::Tight,
            _ => Level::Short,
        }
    }

    /// Whether a publish of so many bytes may be taken before the next look; if so, it is counted. One
    /// of any size may after each look, as long as messages are taken at all.
    #[inline]
    pub(crate) fn admit(&self, n_bytes: usize) -> bool {
        if self.left.load(Ordering::Relaxed) == u64::MAX {
            return true;
        }
        let take = |left: u64| (left > 0).then(|| left.saturating_sub(n_bytes as u64));
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }

    /// Waits until messages are taken again.
    pub(crate) async fn enough_for_messages(&self) {
        let mut level = self.level.subscribe();
        let _ = level.wait_for(|level| *level < Level::Short).await; // an error: the broker is gone
    }

    /// The same, but no longer than until that has not been so for `longest`, but for moments; returns
    /// whether it is now.
    pub(crate) async fn room_for_messages(&self, longest: Duration) -> bool {
        let Some(since) = self.shortage.lock().since() else {
            return true;
        };
        let enough = self.enough_for_messages();
        tokio::time::timeout_at(since + longest, enough)
            .await
            .is_ok()
    }

    /// Why no work should be sent here, if it should not. As long as clients that have a session here
    /// are let in, it should: to take a gateway away sends all of them to the others.
    pub(crate) fn hindrance(&self) -> Option<String> {
        (self.level() == Level::Short).then(|| {
            let consequence = Level::Short.consequence();
            format!("memory is short: {consequence}")
        })
    }

    /// Says what holds, once.
    fn announce(&self) {
        let (limit, least) = (self.limit, LEAST_MEMORY);
        match (limit, self.is_configured) {
            (0, _) => tracing::info!("memory: no limit is set, and the system has none"),
            (_, true) => tracing::info!(limit, from = "limits.memory", "memory: a limit holds"),
            (_, false) if limit < least => tracing::warn!(
                limit,
                least,
                from = "cgroup",
                "memory: a limit holds that is less than a broker needs"
            ),
            (_, false) => tracing::info!(limit, from = "cgroup", "memory: a limit holds"),
        }
    }

    /// How many bytes of publishes may be taken after so much was in use.
    fn leave(&self, used: u64) -> u64 {
        if !reaches(used, self.limit, NEAR) {
            return u64::MAX;
        }
        let short_at = self.limit / 100 * 90;
        (short_at.saturating_sub(used) / COPIES).max(1)
    }

    /// When to look again after so much was in use.
    fn next_look(&self, used: u64) -> Duration {
        match reaches(used, self.limit, NEAR) {
            true => LOOK_CLOSELY,
            false => LOOK,
        }
    }

    /// Notes that so much is in use.
    pub(crate) fn look(&self, used: u64) {
        self.left.store(self.leave(used), Ordering::Relaxed);
        let level = self.level();
        let next = level.next(used, self.limit);
        if next == level {
            return;
        }
        let (consequence, limit) = (next.consequence(), self.limit);
        match next > level {
            true => tracing::warn!(used, limit, "memory runs short: {consequence}"),
            false => tracing::info!(used, limit, "there is memory again: {consequence}"),
        }
        match (level == Level::Short, next == Level::Short) {
            (false, true) => self.shortage.lock().begin(Instant::now()),
            (true, false) => self.shortage.lock().end(Instant::now()),
            _ => {}
        }
        self.at.store(next as u8, Ordering::Relaxed);
        self.level.send_replace(next);
    }
}

/// Lets the threads that serve connections allocate a little. What is freed by another thread than
/// the one that had it comes back when that one allocates, and where nobody may publish none does.
fn stir(broker: &Broker) {
    /// For so much the allocator always looks at what it has.
    const LARGE: usize = 1024 * 1024;
    let n_threads = Handle::current().metrics().num_workers();
    for _ in 0..4 * n_threads {
        broker.tasks.spawn(async {
            for _ in 0..4 {
                black_box(Vec::<u8>::with_capacity(LARGE));
                tokio::task::yield_now().await; // to whichever thread has time
            }
        });
    }
}

/// Looks at the memory until the gateway stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    broker.memory.announce();
    if broker.memory.limit == 0 {
        return;
    }
    let watched = Arc::downgrade(&broker); // the runtime waits for the thread when it ends
    drop(broker);
    let watching = tokio::task::spawn_blocking(move || watch(&watched));
    if let Err(error) = watching.await
        && error.is_panic()
    {
        resume_unwind(error.into_panic()); // whoever watches over this task ends the process
    }
}

fn watch(broker: &Weak<Broker>) {
    let mut stirred_at = Instant::now();
    while let Some(broker) = broker.upgrade()
        && !broker.tasks_end.is_cancelled()
    {
        let memory = &broker.memory;
        let used = used(&broker);
        memory.look(used);
        if memory.level() > Level::Enough && stirred_at.elapsed() >= STIR {
            stirred_at = Instant::now();
            stir(&broker);
        }
        let pause = memory.next_look(used);
        drop(broker);
        std::thread::park_timeout(pause);
    }
}

/// What is resident, and what soon will be: an engine makes another copy of what waits for it.
fn used(broker: &Broker) -> u64 {
    let pending = match broker.store.redis() {
        Some(_) => 0,
        None => broker.store.pending_bytes() as u64,
    };
    figures::resident().saturating_add(pending)
}

/// Whether so many bytes are so many percent of the limit, or more.
fn reaches(used: u64, limit: u64, percent: u64) -> bool {
    u128::from(used) * 100 >= u128::from(limit) * u128::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn each_level_begins_at_its_mark_and_ends_a_little_below() {
        let mut level = Level::Enough;
        for (used, expected) in [
            (799, Level::Enough),
            (800, Level::Tight),
            (760, Level::Tight),
            (899, Level::Tight),
            (900, Level::Short),
            (850, Level::Short),
            (849, Level::Tight),
            (899, Level::Tight),
            (749, Level::Enough),
            (799, Level::Enough),
            (u64::MAX, Level::Short),
            (0, Level::Enough),
            (900, Level::Short),
            (750, Level::Tight),
        ] {
            level = level.next(used, 1_000);
            assert_eq!(level, expected, "{used}");
        }
    }

    #[tokio::test]
    async fn who_waits_for_memory_goes_on_when_there_is_some() {
        let memory = Memory::new(1_000);
        memory.enough_for_messages().await;
        memory.look(950);
        assert_eq!(memory.level(), Level::Short);
        let waiting = memory.enough_for_messages();
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        memory.look(860);
        assert!(waiting.as_mut().now_or_never().is_none());
        memory.look(800);
        waiting.await;
        assert_eq!(memory.level(), Level::Tight);
    }

    #[tokio::test]
    async fn who_must_not_wait_for_ever_waits_as_long_as_it_has_been_short() {
        let (memory, longest) = (Memory::new(1_000), Duration::from_millis(50));
        assert!(memory.room_for_messages(longest).await);
        let begin = Instant::now();
        memory.look(950);
        memory.look(960);
        let hour = Duration::from_secs(3600);
        assert!(memory.room_for_messages(hour).now_or_never().is_none());
        assert!(!memory.room_for_messages(longest).await);
        assert!(begin.elapsed() >= longest, "it did not wait");
        // Whoever comes now has waited with the others.
        let late = memory.room_for_messages(longest).now_or_never();
        assert_eq!(late, Some(false));
        memory.look(800);
        assert!(memory.room_for_messages(longest).await);
        // A moment is not enough to begin that time anew.
        memory.look(950);
        let again = memory.room_for_messages(longest).now_or_never();
        assert_eq!(again, Some(false));
    }

    #[test]
    fn it_is_looked_at_more_often_where_it_may_run_short_soon() {
        let memory = Memory::new(1_000);
        assert_eq!(memory.next_look(599), LOOK);
        assert_eq!(memory.next_look(600), LOOK_CLOSELY);
    }

    #[test]
    fn near_the_limit_each_look_gives_leave_for_a_part_of_what_is_left() {
        let memory = Memory::new(1_000);
        memory.look(599);
        assert!((0..100).all(|_| memory.admit(1_000)));
        memory.look(800);
        assert!(
            (0..5).all(|_| memory.admit(5)),
            "25 of the 100 that are left"
        );
        assert!(!memory.admit(1));
        for used in [800, 899] {
            memory.look(used);
            assert!(memory.admit(1_000_000), "one at least");
            assert!(!memory.admit(1));
        }
        memory.look(500);
        assert!(memory.admit(1_000_000) && memory.admit(1));
    }

    #[test]
    fn no_work_should_be_sent_where_nobody_is_let_in() {
        let memory = Memory::new(1_000);
        memory.look(850);
        assert_eq!((memory.level(), memory.hindrance()), (Level::Tight, None));
        memory.look(950);
        let why = memory.hindrance().expect("it is short");
        assert!(why.starts_with("memory is short: no more clients"), "{why}");
    }
}
