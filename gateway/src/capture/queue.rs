//! From who has a line to the thread that writes it: nobody waits but the thread. What waits has a
//! bound in bytes; a line that would go beyond it is lost, and its trace told so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Condvar, Mutex};

use super::wanted::Wanted;

/// Bytes of lines that wait.
const MOST: usize = 4 << 20;

/// What the thread is to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The traces that there are, if that has changed: files of others go. Before the lines.
    pub(super) kept: Option<Vec<Arc<Wanted>>>,
    pub(super) lines: VecDeque<(Arc<Wanted>, Arc<str>)>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    work: Work,
    n_bytes: usize,
    is_closed: bool,
}

// === impl Queue ===

impl Queue {
    /// Leaves a line to be written, if there is room for it.
    pub(super) fn put(&self, wanted: &Arc<Wanted>, line: &Arc<str>) {
        let mut waiting = self.waiting.lock();
        if waiting.n_bytes + line.len() > MOST {
            wanted.n_lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.n_bytes += line.len();
        waiting.work.lines.push_back((wanted.clone(), line.clone()));
        drop(waiting);
        self.told.notify_one();
    }

    /// From now on there are these traces, and no others.
    pub(super) fn keep(&self, all: Vec<Arc<Wanted>>) {
        self.waiting.lock().work.kept = Some(all);
        self.told.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.told.notify_one();
    }

    /// Waits until there is something to do; `None` when there will never be.
    pub(super) fn take(&self) -> Option<Work> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.work.kept.is_some() || !waiting.work.lines.is_empty() {
                waiting.n_bytes = 0;
                return Some(std::mem::take(&mut waiting.work));
            }
            if waiting.is_closed {
                return None;
            }
            self.told.wait(&mut waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cluster::state::{Trace, TraceKind};

    #[test]
    fn lines_beyond_the_bound_are_lost_and_counted_and_nobody_waits() {
        let trace = Trace {
            name: "t".to_owned(),
            kind: TraceKind::ClientId.into(),
            ..Trace::default()
        };
        let wanted = Arc::new(Wanted::of(&trace, "g1", 0).expect("a trace"));
        let (queue, line) = (Queue::default(), "x".repeat(MOST / 4).into());
        for _ in 0..6 {
            queue.put(&wanted, &line);
        }
        queue.keep(Vec::new());
        queue.keep(vec![wanted.clone()]);
        let work = queue.take().expect("work");
        assert_eq!(work.lines.len(), 4);
        assert_eq!(work.kept.map(|kept| kept.len()), Some(1), "the last word");
        assert_eq!(wanted.n_lost.load(Ordering::Relaxed), 2);
        queue.put(&wanted, &line);
        queue.close();
        assert_eq!(queue.take().map(|work| work.lines.len()), Some(1), "room");
        assert!(queue.take().is_none());
    }
}
