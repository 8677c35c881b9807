//! Group commit: one thread that writes all batches that wait as one change.
//!
//! While a commit is under way, batches collect in a queue; the next commit takes them all, up to a
//! bound. So the cost of a sync is shared by as many callers as there are, and a lone caller waits
//! for one sync only. A failed commit is final: nobody knows what of it is on disk, so nothing
//! after it may count as safe, and the process is to end.

mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use self::queue::Queue;
use crate::error::panic_text;
use crate::{Batch, Engine, Error};

/// Hands batches to the thread that commits them.
pub struct Committer<T> {
    handle: Arc<Handle<T>>,
}

/// What the committer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Changes of the engine.
    pub commits: u64,
    /// Batches that became safe, empty ones included.
    pub batches: u64,
    /// Operations in them.
    pub operations: u64,
    /// Their bytes, as [`Batch::bytes`] counts.
    pub bytes: u64,
    /// How long the last commit took.
    pub last_commit_micros: u64,
    /// How long all commits took.
    pub total_commit_micros: u64,
    /// How long the longest commit took.
    pub longest_commit_micros: u64,
}

// === impl Committer ===

impl<T: Send + 'static> Committer<T> {
    /// Starts the thread `storage-commit` that writes what is submitted.
    ///
    /// `on_commit` is called on that thread after each commit with the tags of all batches that it
    /// made safe, in the order in which they were submitted. `on_failure` is called there once, if a
    /// commit fails or `on_commit` panics; no further tag is completed then. The thread ends with [`close`](Self::close),
    /// or after what is left when the last clone is dropped.
    pub fn start(
        engine: Arc<dyn Engine>,
        on_commit: impl FnMut(Vec<T>) + Send + 'static,
        on_failure: impl FnOnce(Error) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::new());
        let worker = Worker {
            shared: Arc::clone(&shared),
            engine,
            on_commit,
        };
        let thread = thread::Builder::new()
            .name("storage-commit".to_owned())
            .spawn(move || worker.run(on_failure))
            .expect("a process that starts can start a thread");
        let thread = thread.thread().id();
        Self {
            handle: Arc::new(Handle { shared, thread }),
        }
    }

    /// Hands over a batch; never blocks. Batches are written in the order of submission.
    ///
    /// After a failure or [`close`](Self::close) the batch is dropped and its tag never completes.
    pub fn submit(&self, batch: Batch, tag: T) {
        let shared = &self.handle.shared;
        let bytes = batch.bytes();
        shared.pending_bytes.fetch_add(bytes, Relaxed);
        if !shared.queue.push(batch, tag) {
            shared.pending_bytes.fetch_sub(bytes, Relaxed);
        }
    }

    /// Bytes submitted and not yet safe.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.handle.shared.pending_bytes.load(Relaxed)
    }

    /// Waits (blocking) until everything submitted before is safe, and stops the thread. For the
    /// end of the process. Returns at once on the thread itself, and after a failure.
    pub fn close(&self) {
        self.handle.shared.queue.close();
        if thread::current().id() != self.handle.thread {
            self.handle.shared.queue.wait_until_ended();
        }
    }

    /// Whether a commit failed.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.handle.shared.is_failed.load(Relaxed)
    }

    /// What was done so far, for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.shared.counters.read()
    }
}

impl<T> Clone for Committer<T> {
    fn clone(&self) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
        }
    }
}

// === private ===

/// What the clones share. The thread does not hold it, so the last clone ends the thread.
struct Handle<T> {
    shared: Arc<Shared<T>>,
    thread: thread::ThreadId,
}

struct Shared<T> {
    queue: Queue<T>,
    pending_bytes: AtomicUsize,
    is_failed: AtomicBool,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    batches: AtomicU64,
    operations: AtomicU64,
    bytes: AtomicU64,
    last_commit_micros: AtomicU64,
    total_commit_micros: AtomicU64,
    longest_commit_micros: AtomicU64,
}

/// The state of the thread.
struct Worker<T, F> {
    shared: Arc<Shared<T>>,
    engine: Arc<dyn Engine>,
    on_commit: F,
}

/// Releases those who wait for the thread, also if it panics.
struct Ended<'a, T>(&'a Shared<T>);

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl<T> Shared<T> {
    fn new() -> Self {
        Self {
            queue: Queue::new(),
            pending_bytes: AtomicUsize::new(0),
            is_failed: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }
}

impl<T: Send + 'static, F: FnMut(Vec<T>)> Worker<T, F> {
    fn run(mut self, on_failure: impl FnOnce(Error)) {
        let shared = Arc::clone(&self.shared);
        let _ended = Ended(&shared);
        let mut group = queue::Group::default();
        let mut backlog = queue::Backlog::new();
        while shared.queue.next(&mut backlog, &mut group) {
            if let Err(error) = self.commit(&group.batches) {
                shared.is_failed.store(true, Relaxed);
                shared.queue.close();
                return on_failure(error);
            }
            shared.counters.add(&group);
            shared.pending_bytes.fetch_sub(group.bytes, Relaxed);
            let tags = group.take_tags();
            let told = catch_unwind(AssertUnwindSafe(|| (self.on_commit)(tags)));
            if let Err(panic) = told {
                // Nobody learns of what is safe any more: as bad as if it were not.
                shared.is_failed.store(true, Relaxed);
                shared.queue.close();
                return on_failure(Error::Panicked(panic_text(panic.as_ref())));
            }
        }
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), Error> {
        if batches.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        catch_unwind(AssertUnwindSafe(|| self.engine.commit(batches)))
            .unwrap_or_else(|panic| Err(Error::Panicked(panic_text(panic.as_ref()))))?;
        self.shared.counters.add_commit(start);
        Ok(())
    }
}

impl<T> Drop for Ended<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_failed.store(true, Relaxed);
        }
        self.0.queue.end();
    }
}

impl Counters {
    fn add<T>(&self, group: &queue::Group<T>) {
        let operations: usize = group.batches.iter().map(Batch::len).sum();
        self.batches.fetch_add(group.tags.len() as u64, Relaxed);
        self.operations.fetch_add(operations as u64, Relaxed);
        self.bytes.fetch_add(group.bytes as u64, Relaxed);
    }

    fn add_commit(&self, start: Instant) {
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Relaxed);
        self.last_commit_micros.store(micros, Relaxed);
        self.total_commit_micros.fetch_add(micros, Relaxed);
        self.longest_commit_micros.fetch_max(micros, Relaxed);
    }

    fn read(&self) -> Stats {
        Stats {
            commits: self.commits.load(Relaxed),
            batches: self.batches.load(Relaxed),
            operations: self.operations.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            last_commit_micros: self.last_commit_micros.load(Relaxed),
            total_commit_micros: self.total_commit_micros.load(Relaxed),
            longest_commit_micros: self.longest_commit_micros.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
