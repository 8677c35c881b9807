//! The queues of a spool in memory: of each its ledger, and the records that are next.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use gatemq_storage::{Engine, Error};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::ledger::Ledger;
use super::{OVERHEAD, Options, Taken, keys};
use crate::Record;

/// By number; none is used again.
#[derive(Default)]
pub(super) struct Queues(pub(super) RwLock<(usize, BTreeMap<usize, Arc<Queue>>)>);

/// One queue.
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) state: Mutex<State>,
    /// Told when there is more room.
    pub(super) room: Notify,
    /// Told when there is more to take.
    pub(super) listener: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

/// What changes of it.
pub(super) struct State {
    pub(super) ledger: Ledger,
    /// Its rule is gone: nothing comes in any more.
    pub(super) is_shut: bool,
    /// The first of those that are on the disk and not taken, as far as they are in memory.
    pub(super) tail: VecDeque<(u64, Record)>,
    pub(super) tail_bytes: usize,
    pub(super) dropped: u64,
    pub(super) damaged: u64,
}

// === impl Queues ===

impl Queues {
    pub(super) fn all(&self) -> Vec<Arc<Queue>> {
        self.0.read().1.values().cloned().collect()
    }

    pub(super) fn get(&self, number: usize) -> Option<Arc<Queue>> {
        self.0.read().1.get(&number).cloned()
    }
}

// === impl Queue ===

impl Queue {
    pub(super) fn restore(engine: &dyn Engine, options: &Options) -> Result<Self, Error> {
        let mut ledger = Ledger::new(options.bound, options.on_full);
        let (start, end) = (keys::first(&options.name), keys::end(&options.name));
        let mut damaged = 0;
        engine.scan(&start, &end, &mut |key, value| {
            match keys::number(key) {
                Some(number) => ledger.restore(number, value.len() as u64 + OVERHEAD),
                None => damaged += 1,
            }
            ControlFlow::Continue(())
        })?;
        if damaged > 0 {
            let (queue, records) = (&options.name, damaged);
            tracing::error!(queue, records, "records of the spool have no number");
        }
        Ok(Self {
            name: options.name.clone(),
            state: Mutex::new(State {
                ledger,
                is_shut: false,
                tail: VecDeque::new(),
                tail_bytes: 0,
                dropped: 0,
                damaged,
            }),
            room: Notify::new(),
            listener: Mutex::default(),
        })
    }
}

// === impl State ===

impl State {
    /// A record is on the disk; it stays in memory if it is the next, or follows those that are.
    pub(super) fn on_committed(&mut self, number: u64, record: Record) {
        self.ledger.on_committed(number);
        let next = match self.tail.back() {
            Some((last, _)) => last + 1,
            None => self.ledger.to_take().start,
        };
        if next == number && self.tail_bytes < TAIL_BYTES {
            self.tail_bytes += record.len();
            self.tail.push_back((number, record));
        }
    }

    pub(super) fn take_tail(&mut self, most_bytes: usize) -> Taken {
        let mut taken = Taken::new();
        let mut n_bytes = 0;
        while n_bytes < most_bytes
            && let Some((number, record)) = self.tail.pop_front()
        {
            n_bytes += record.len();
            self.ledger.on_taken(number + 1);
            taken.push((number, record));
        }
        self.tail_bytes -= n_bytes;
        taken
    }
}

/// How much of a queue is kept in memory, too, so that Kafka at its usual pace costs no read.
const TAIL_BYTES: usize = 4 << 20;
