//! A remembered match: the filters of one topic, and the state of the table it was true in.
//!
//! A plan names filters, not subscribers: somebody who joins or leaves a filter changes the
//! filter, so only a filter that comes or goes makes plans stale, and of those only the plans
//! in its part of the topic space.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::filter::Filter;
use crate::trie::Matches;

/// How many topics a table remembers.
const SLOTS: usize = 2048;
/// Plans with more filters, or a longer topic (bytes), are not remembered: they would cost more
/// memory than the walk costs time.
const LARGEST: usize = 128;
const LONGEST: usize = 1024;

/// What one topic matches.
#[derive(Debug)]
pub struct Plan<V> {
    pub(crate) topic: Box<str>,
    pub(crate) part: usize,
    pub(crate) stamp: u64,
    pub(crate) filters: Matches<V>,
}

impl<V> Plan<V> {
    /// The topic it is for.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether it is small enough to be kept for the next message of its topic.
    pub fn is_worth_keeping(&self) -> bool {
        self.filters.len() <= LARGEST && self.topic.len() <= LONGEST
    }

    /// The filters that matched.
    pub fn filters(&self) -> &[Arc<Filter<V>>] {
        &self.filters
    }
}

type Slot<V> = Mutex<Option<Arc<Plan<V>>>>;

/// The plans of recent topics, each in the one place that its hash gives it.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    slots: Box<[Slot<V>]>,
}

impl<V> Cache<V> {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::new(None)).collect(),
        }
    }

    pub(crate) fn get(&self, hash: u64, topic: &str) -> Option<Arc<Plan<V>>> {
        let slot = self.slots[hash as usize % SLOTS].lock();
        slot.as_ref().filter(|plan| *plan.topic == *topic).cloned()
    }

    pub(crate) fn put(&self, hash: u64, plan: Arc<Plan<V>>) {
        if !plan.is_worth_keeping() {
            return;
        }
        let previous = self.slots[hash as usize % SLOTS].lock().replace(plan);
        drop(previous); // after the lock: it may be the last holder of many filters
    }
}
