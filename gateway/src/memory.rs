//! How much memory the process has, against what it may have: at 80 % nobody is let in but who
//! has a session here, at 90 % nobody at all, and nothing is read that publishes. Each ends a little below where it began.
//!
//! What is resident is looked at each second by one task; whoever decides something reads a number.
//! The limit is the configured one, or what the system allows the process: see [`cgroup`].

mod cgroup;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::figures;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

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
    /// The level as a number: what is read for each message.
    at: AtomicU8,
    level: watch::Sender<Level>,
}

// === impl Level ===

impl Level {
    /// What it is with so many bytes of the limit in use.
    fn next(self, used: u64, limit: u64) -> Self {
        let reaches =
            |percent: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
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
        let limit = match limit {
            0 => cgroup::limit().unwrap_or(0),
            limit => limit,
        };
        Self {
            limit,
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

    /// Waits until messages are taken again.
    pub(crate) async fn enough_for_messages(&self) {
        let mut level = self.level.subscribe();
        let _ = level.wait_for(|level| *level < Level::Short).await; // an error: the broker is gone
    }

    pub(crate) fn look(&self, resident: u64) {
        let level = self.level();
        let next = level.next(resident, self.limit);
        if next == level {
            return;
        }
        let (consequence, limit) = (next.consequence(), self.limit);
        match next > level {
            true => tracing::warn!(resident, limit, "memory runs short: {consequence}"),
            false => tracing::info!(resident, limit, "there is memory again: {consequence}"),
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
    if broker.memory.limit == 0 {
        return;
    }
    loop {
        broker.memory.look(figures::resident());
        if broker.memory.level() > Level::Enough {
            stir(&broker);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = broker.tasks_end.cancelled() => return,
        }
    }
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
}
