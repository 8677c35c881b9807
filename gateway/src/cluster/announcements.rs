//! What other nodes have to be told of this node's subscribers, and who waits until they know.
//!
//! ```text
//!   note ──> dirty ──take_batch──> in flight ──committed(revision)──> settling ──watermark──> done
//!              ▲                       │ failed: the same batch again
//!              └── noted once more ────┘ too large: half of it
//! ```
//!
//! Only the state of a filter when its batch is made is told, so what came and went in between
//! costs nothing, and is not remembered however long nothing can be told; filters that somebody waits for go first. One batch is in flight at a time, and
//! it has a number: the control plane takes each number once, however often it is sent. A batch is
//! far below what a command may have; one that is refused as too large all the same is halved,
//! and so are those after it. Pure; a waiter is whatever the caller wants back.

use std::collections::{BTreeMap, HashMap, VecDeque};

use foldhash::fast::RandomState;
use gatemq_node::seeded_bug::{Bug, is_seeded};
use indexmap::IndexMap;

use crate::proto::cluster::state::{Route, Routes};

/// Filters of one batch, and the bytes after which none is added: with the longest filter on top
/// it is below the MiB that a command may have.
const BATCH: usize = 1_000;
const BATCH_BYTES: usize = 512 << 10;
/// What a filter costs beside its text.
const OVERHEAD: usize = 32;
/// Filters that need not be told which are looked at in one go.
const IDLE: usize = 10_000;

/// Filters whose subscribers have changed here.
#[derive(Debug)]
pub(crate) struct Announcements<W> {
    /// The node's incarnation; 0 while it has none, and there is nothing to tell.
    incarnation: u64,
    dirty: IndexMap<Box<str>, Dirty<W>, RandomState>,
    /// Of those, the ones that somebody waits for, in their order.
    urgent: VecDeque<Box<str>>,
    in_flight: Option<InFlight<W>>,
    /// Filters that were told, until every node knows: by filter, the revision.
    unsettled: HashMap<Box<str>, u64, RandomState>,
    settling: BTreeMap<u64, Settling<W>>,
    watermark: u64,
    number: u64,
    /// Filters and bytes of one batch, at most.
    bounds: (usize, usize),
}

#[derive(Debug)]
struct Dirty<W> {
    /// Whether others know the filter; `None` if that is not known here.
    is_known: Option<bool>,
    /// Whether they are to be told although they know.
    is_anew: bool,
    /// Whether it is certain that nobody here has it any more. Of groups that is never certain.
    is_gone: bool,
    waiters: Vec<W>,
}

#[derive(Debug)]
struct InFlight<W> {
    routes: Routes,
    filters: Vec<Told<W>>,
}

/// A filter that is being told.
#[derive(Debug)]
struct Told<W> {
    filter: Box<str>,
    /// Whether others knew it before this batch, if that is certain, and whether they do after it.
    was_known: Option<bool>,
    is_known: bool,
    is_anew: bool,
    waiters: Vec<W>,
}

#[derive(Debug)]
struct Settling<W> {
    filters: Vec<Box<str>>,
    waiters: Vec<W>,
}

impl<W> Announcements<W> {
    /// Nothing has been told of this incarnation.
    pub(crate) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            dirty: IndexMap::default(),
            urgent: VecDeque::new(),
            in_flight: None,
            unsettled: HashMap::default(),
            settling: BTreeMap::new(),
            watermark: 0,
            number: 0,
            bounds: (BATCH, BATCH_BYTES),
        }
    }
}

impl<W> Dirty<W> {
    /// One of which others know that much.
    fn new(is_known: Option<bool>) -> Self {
        Self {
            is_known,
            is_anew: false,
            is_gone: false,
            waiters: Vec::new(),
        }
    }

    /// Whether it came and went, and nobody waits for anything.
    fn is_over(&self) -> bool {
        self.is_gone && self.is_known == Some(false) && self.waiters.is_empty()
    }
}

impl<W> InFlight<W> {
    fn find(&mut self, filter: &str) -> Option<&mut Told<W>> {
        self.filters.iter_mut().find(|told| *told.filter == *filter)
    }

    /// What the filters cost.
    fn n_bytes(&self) -> usize {
        let costs = self.filters.iter().map(|told| told.filter.len() + OVERHEAD);
        costs.sum()
    }
}

impl<W> Announcements<W> {
    /// The subscribers of a filter have changed. `was_known` says whether others were to know of
    /// it until now, if that is certain.
    pub(crate) fn note(&mut self, filter: &str, was_known: Option<bool>, waiter: Option<W>) {
        let in_flight = self.in_flight.as_mut();
        let in_flight = in_flight.and_then(|batch| Some(batch.find(filter)?.is_known));
        let is_urgent = waiter.is_some();
        let dirty = self.dirty.entry(filter.into());
        let dirty = dirty.or_insert_with(|| Dirty::new(in_flight.or(was_known)));
        if is_urgent && dirty.waiters.is_empty() {
            self.urgent.push_back(filter.into());
        }
        dirty.waiters.extend(waiter);
        // Of a group each member that comes or goes is noted.
        dirty.is_gone = was_known == Some(true) && !filter.starts_with("$share/");
        if dirty.is_over() {
            self.dirty.swap_remove(filter);
        }
    }

    /// Somebody has come whom others do not know of, though they may know the filter: they are told
    /// of it once more, behind whatever is on its way to them.
    pub(crate) fn note_anew(&mut self, filter: &str) {
        self.note(filter, None, None);
        if let Some(dirty) = self.dirty.get_mut(filter) {
            dirty.is_anew = true;
        }
    }

    /// Waits until every node knows what this one has of a filter. Gives the waiter back where
    /// that is so already.
    pub(crate) fn wait(&mut self, filter: &str, waiter: W) -> Option<W> {
        if let Some(dirty) = self.dirty.get_mut(filter) {
            if dirty.waiters.is_empty() {
                self.urgent.push_back(filter.into());
            }
            dirty.waiters.push(waiter);
            return None;
        }
        if let Some(told) = self.in_flight.as_mut().and_then(|batch| batch.find(filter)) {
            told.waiters.push(waiter);
            return None;
        }
        match self.unsettled.get(filter) {
            Some(revision) if *revision > self.watermark => {
                if let Some(settling) = self.settling.get_mut(revision) {
                    settling.waiters.push(waiter);
                    return None;
                }
                Some(waiter)
            }
            _ => Some(waiter),
        }
    }

    /// Whether some node may not know yet what there is of a filter here.
    pub(crate) fn is_unsettled(&self, filter: &str) -> bool {
        let is_in_flight = |batch: &InFlight<W>| {
            let mut told = batch.filters.iter();
            told.any(|told| *told.filter == *filter)
        };
        self.dirty.contains_key(filter)
            || self.in_flight.as_ref().is_some_and(is_in_flight)
            || self.unsettled.contains_key(filter)
    }

    /// The next batch, or the one in flight once more. `look` says what there is of a filter now.
    /// Waiters of filters that need not be told come back. There may be more where there is no batch:
    /// see [`Self::has_more`].
    pub(crate) fn take_batch(
        &mut self,
        mut look: impl FnMut(&str) -> Option<Route>,
    ) -> (Option<Routes>, Vec<W>) {
        if self.incarnation == 0 {
            return (None, Vec::new());
        }
        if let Some(batch) = &self.in_flight {
            return (Some(batch.routes.clone()), Vec::new());
        }
        let mut batch = InFlight {
            routes: Routes {
                incarnation: self.incarnation,
                ..Routes::default()
            },
            filters: Vec::new(),
        };
        let (mut idle, mut n_idle) = (Vec::new(), 0);
        let (mut n_bytes, (most, most_bytes)) = (0, self.bounds);
        while batch.filters.len() < most
            && n_bytes < most_bytes
            && n_idle < IDLE
            && let Some((filter, dirty)) = self.next_dirty()
        {
            let route = look(&filter);
            let is_shared = filter.starts_with("$share/");
            let is_anew = dirty.is_anew && route.is_some();
            if !is_shared && !is_anew && dirty.is_known == Some(route.is_some()) {
                // It came and went. Who waits may wait for an earlier batch.
                n_idle += 1;
                for waiter in dirty.waiters {
                    idle.extend(self.wait(&filter, waiter));
                }
                continue;
            }
            n_bytes += filter.len() + OVERHEAD;
            batch.filters.push(Told {
                filter: filter.clone(),
                was_known: dirty.is_known,
                is_known: route.is_some(),
                is_anew: dirty.is_anew,
                waiters: dirty.waiters,
            });
            match route {
                Some(route) => batch.routes.set.push(route),
                None => batch.routes.removed.push(filter.into()),
            }
        }
        if batch.filters.is_empty() {
            return (None, idle);
        }
        self.number += 1;
        batch.routes.number = self.number;
        let routes = batch.routes.clone();
        self.in_flight = Some(batch);
        (Some(routes), idle)
    }

    /// Whether there may be something to be told.
    pub(crate) fn has_more(&self) -> bool {
        self.incarnation != 0 && !self.dirty.is_empty()
    }

    fn next_dirty(&mut self) -> Option<(Box<str>, Dirty<W>)> {
        while let Some(filter) = self.urgent.pop_front() {
            if let Some(found) = self.dirty.swap_remove_entry(&filter) {
                return Some(found);
            }
        }
        self.dirty.pop()
    }

    /// The batch in flight is too large to be taken: the second half of it is told later, and no
    /// later batch is larger than the first. False if there is nothing to be halved.
    pub(crate) fn halve(&mut self) -> bool {
        let Some(batch) = self.in_flight.as_mut().filter(|it| it.filters.len() > 1) else {
            return false;
        };
        let rest = batch.filters.split_off(batch.filters.len() / 2);
        self.bounds = (batch.filters.len(), batch.n_bytes());
        for told in &rest {
            batch.routes.set.retain(|set| *set.filter != *told.filter);
            let removed = &mut batch.routes.removed;
            removed.retain(|filter| **filter != *told.filter);
        }
        for told in rest {
            self.untell(told);
        }
        true
    }

    /// A filter was not told after all.
    fn untell(&mut self, told: Told<W>) {
        let dirty = self.dirty.entry(told.filter.clone());
        let dirty = dirty.or_insert_with(|| Dirty::new(None));
        dirty.is_known = told.was_known;
        dirty.is_anew |= told.is_anew;
        if dirty.waiters.is_empty() && !told.waiters.is_empty() {
            self.urgent.push_back(told.filter);
        }
        dirty.waiters.extend(told.waiters);
    }

    /// The batch in flight has been agreed on, at this revision, if it is of this incarnation.
    /// Returns who need not wait.
    pub(crate) fn committed(&mut self, incarnation: u64, revision: u64) -> Vec<W> {
        if incarnation != self.incarnation {
            return Vec::new();
        }
        let Some(batch) = self.in_flight.take() else {
            return Vec::new();
        };
        let (mut filters, mut waiters) = (Vec::new(), Vec::new());
        for told in batch.filters {
            filters.push(told.filter);
            waiters.extend(told.waiters);
        }
        if revision <= self.watermark || is_seeded(Bug::SubackBeforeWatermark) {
            return waiters;
        }
        for filter in &filters {
            self.unsettled.insert(filter.clone(), revision);
        }
        self.settling
            .insert(revision, Settling { filters, waiters });
        Vec::new()
    }

    /// Every node knows everything up to this revision. Returns who need not wait any more.
    pub(crate) fn settle(&mut self, watermark: u64) -> Vec<W> {
        self.watermark = self.watermark.max(watermark);
        let mut done = Vec::new();
        while let Some(first) = self.settling.first_entry()
            && *first.key() <= self.watermark
        {
            let (revision, settling) = first.remove_entry();
            for filter in settling.filters {
                if self.unsettled.get(&filter) == Some(&revision) {
                    self.unsettled.remove(&filter);
                }
            }
            done.extend(settling.waiters);
        }
        done
    }

    /// Every node knows everything up to this revision.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Gives up on those who wait and for whom `is_late` holds.
    pub(crate) fn give_up(&mut self, mut is_late: impl FnMut(&W) -> bool) -> Vec<W> {
        let dirty = self.dirty.values_mut().map(|dirty| &mut dirty.waiters);
        let in_flight = self
            .in_flight
            .iter_mut()
            .flat_map(|batch| &mut batch.filters);
        let in_flight = in_flight.map(|told| &mut told.waiters);
        let settling = self.settling.values_mut().map(|entry| &mut entry.waiters);
        let mut late = Vec::new();
        for waiters in dirty.chain(in_flight).chain(settling) {
            late.extend(waiters.extract_if(.., |waiter| is_late(waiter)));
        }
        if !late.is_empty() {
            self.dirty.retain(|_, dirty| !dirty.is_over());
            let dirty = &self.dirty;
            self.urgent.retain(|filter| {
                let dirty = dirty.get(filter);
                dirty.is_some_and(|dirty| !dirty.waiters.is_empty())
            });
        }
        late
    }

    /// The node has no incarnation any more: nothing is told until it begins again.
    pub(crate) fn halt(&mut self) {
        self.incarnation = 0;
    }

    /// The node has a new incarnation: nobody knows anything of it, and its batches are counted
    /// anew. All filters that there are have to be noted again.
    pub(crate) fn begin_again(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        self.number = 0;
        self.bounds = (BATCH, BATCH_BYTES);
        for told in self.in_flight.take().into_iter().flat_map(|b| b.filters) {
            self.untell(told);
        }
        let mut waiting = Vec::new();
        for (_, settling) in std::mem::take(&mut self.settling) {
            waiting.push((settling.filters, settling.waiters));
        }
        self.unsettled.clear();
        for dirty in self.dirty.values_mut() {
            dirty.is_known = Some(false);
        }
        for (filters, waiters) in waiting {
            let filters: Vec<Box<str>> = filters;
            // Whoever waited for one of a batch waits for its last filter: all go out again.
            for filter in &filters {
                self.note(filter, Some(false), None);
            }
            if let Some(last) = filters.last() {
                for waiter in waiters {
                    self.note(last, Some(false), Some(waiter));
                }
            }
        }
    }

    /// Filters that were changed here and that not every node knows of.
    pub(crate) fn n_unsettled(&self) -> usize {
        let in_flight = self
            .in_flight
            .as_ref()
            .map_or(0, |batch| batch.filters.len());
        self.dirty.len() + in_flight + self.unsettled.len()
    }
}

#[cfg(test)]
mod tests;
