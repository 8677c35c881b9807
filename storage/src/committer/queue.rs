//! The queue between those who submit and the thread that commits.
//!
//! The thread sleeps only if the queue is empty, and says so under the lock (`is_asleep`): while it
//! is busy a submission costs a short lock and no system call.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use crate::Batch;

/// What waits to be committed.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Wakes the thread: there is something to do.
    work: Condvar,
    /// Wakes those who close: the thread has ended.
    ended: Condvar,
}

/// What the thread has taken from the queue and not yet committed, because of the bound of a group.
pub(super) type Backlog<T> = VecDeque<(Batch, T)>;

/// What becomes safe together.
pub(super) struct Group<T> {
    /// What is to be written; without the empty batches.
    pub(super) batches: Vec<Batch>,
    /// The tags of all batches.
    pub(super) tags: Vec<T>,
    /// The bytes of all batches.
    pub(super) bytes: usize,
}

struct State<T> {
    waiting: Backlog<T>,
    is_asleep: bool,
    is_closed: bool,
    is_ended: bool,
}

const GROUP_BATCHES: usize = 16_384;
const GROUP_BYTES: usize = 64 << 20;

// === impl Queue ===

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: Backlog::new(),
                is_asleep: false,
                is_closed: false,
                is_ended: false,
            }),
            work: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    /// Appends a batch; false if the queue takes none any more.
    pub(super) fn push(&self, batch: Batch, tag: T) -> bool {
        let mut state = self.state.lock();
        if state.is_closed {
            return false;
        }
        state.waiting.push_back((batch, tag));
        let is_asleep = std::mem::take(&mut state.is_asleep);
        drop(state);
        if is_asleep {
            self.work.notify_one();
        }
        true
    }

    /// Waits for something to do and fills the group with it; false if all is done.
    pub(super) fn next(&self, backlog: &mut Backlog<T>, group: &mut Group<T>) -> bool {
        let mut state = self.state.lock();
        while backlog.is_empty() && state.waiting.is_empty() {
            if state.is_closed {
                return false;
            }
            state.is_asleep = true;
            self.work.wait(&mut state);
        }
        state.is_asleep = false;
        if backlog.is_empty() {
            std::mem::swap(backlog, &mut state.waiting);
        } else {
            backlog.append(&mut state.waiting);
        }
        drop(state);
        group.fill(backlog);
        true
    }

    /// Takes no batches any more; the thread ends after those that wait.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.is_asleep = false;
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn wait_until_ended(&self) {
        let mut state = self.state.lock();
        while !state.is_ended {
            self.ended.wait(&mut state);
        }
    }

    /// The thread has ended; what waits is dropped.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.is_ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.ended.notify_all();
        drop(waiting);
    }
}

// === impl Group ===

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self {
            batches: Vec::new(),
            tags: Vec::new(),
            bytes: 0,
        }
    }
}

impl<T> Group<T> {
    /// Takes what fits from the front. Empty batches at the front are a group of their own: they
    /// need not wait for a commit.
    fn fill(&mut self, backlog: &mut Backlog<T>) {
        self.batches.clear();
        self.tags.clear();
        self.bytes = 0;
        let leads_empty = backlog.front().is_some_and(|(batch, _)| batch.is_empty());
        while let Some((batch, tag)) = backlog.pop_front_if(|(batch, _)| {
            let fits = self.tags.len() < GROUP_BATCHES && self.bytes < GROUP_BYTES;
            fits && (!leads_empty || batch.is_empty())
        }) {
            self.bytes += batch.bytes();
            self.tags.push(tag);
            if !batch.is_empty() {
                self.batches.push(batch);
            }
        }
    }

    pub(super) fn take_tags(&mut self) -> Vec<T> {
        std::mem::take(&mut self.tags)
    }
}
