//! Whether some order explains what was read of a register: each operation takes effect at one
//! moment between its invocation and its return, and each read finds what was written last before.
//!
//! The search goes along with time, as in Wing and Gong's, and puts off the choice: what could be
//! the case now is a set of configurations, each the value and which of the pending operations took
//! effect. An operation that returns must have taken effect: configurations where it has not are
//! carried on, by each order of pending writes that ends in it, and those that cannot are dropped.
//! When none is left, no order explains that operation. Some shortcuts keep the set small and lose
//! nothing. A pending read that finds its value takes effect at once, because it changes nothing. A
//! write that never returns takes effect only where a pending read finds it, because it need not
//! else; of several with one value the first to come is as good as any; and where it has taken
//! effect and all else is the same, it is better if it has not.
//!
//! The set forgets what has returned, so that a long history costs no more than its parts.

use std::collections::{HashMap, HashSet};

use crate::history::Uid;

/// Configurations at a time, before the search gives up.
const MOST_CONFIGURATIONS: usize = 20_000;
/// Operations that may be pending at a time.
const MOST_PENDING: usize = 128;

/// What is in the register: a message, or nothing.
pub(in crate::checker) type Value<'a> = Option<&'a Uid>;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checker) enum Act<'a> {
    Write(Value<'a>),
    /// It found this.
    Read(Value<'a>),
}

/// An operation and its times.
#[derive(Clone, Copy, Debug)]
pub(in crate::checker) struct Operation<'a> {
    pub(in crate::checker) act: Act<'a>,
    pub(in crate::checker) invoked: u64,
    /// Nobody knows, or it has not.
    pub(in crate::checker) returned: Option<u64>,
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checker) enum Found {
    /// An order that explains everything.
    Order,
    /// Whatever the order, this operation cannot be.
    NoOrderFor(usize),
    /// More than can be searched.
    TooMany,
}

/// What could be the case: the value, and the places of pending operations that took effect.
type Configuration<'a> = (Value<'a>, u128);

/// At one time operations are invoked before others return; what is forgotten comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Invoke,
    Return,
    Forget,
}

struct Search<'a> {
    configurations: HashSet<Configuration<'a>>,
    /// Operations that are pending, each in its place.
    pending: Vec<Option<Act<'a>>>,
    /// The places of those that never return.
    unanswered: u128,
    places: HashMap<usize, usize>,
}

/// Searches for an order of these operations, all but those that are to be left out.
pub(in crate::checker) fn search(operations: &[Operation<'_>], without: &HashSet<usize>) -> Found {
    let mut search = Search {
        configurations: HashSet::from([(None, 0)]),
        pending: Vec::new(),
        unanswered: 0,
        places: HashMap::new(),
    };
    for (_, step, number) in steps(operations, without) {
        let is_possible = match step {
            Step::Invoke => search.invoke(number, &operations[number]),
            Step::Return => search.take_effect(number),
            Step::Forget => true,
        };
        if !is_possible {
            return Found::TooMany;
        }
        if search.configurations.is_empty() {
            return Found::NoOrderFor(number);
        }
        if step != Step::Invoke {
            search.forget(number);
        }
    }
    Found::Order
}

/// What there is to do, in the order of time.
fn steps(operations: &[Operation<'_>], without: &HashSet<usize>) -> Vec<(u64, Step, usize)> {
    let mut last_read: HashMap<Value<'_>, u64> = HashMap::new();
    for operation in operations {
        if let (Act::Read(value), Some(returned)) = (operation.act, operation.returned) {
            let last = last_read.entry(value).or_default();
            *last = returned.max(*last);
        }
    }
    let mut steps = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        let end = match (operation.act, operation.returned) {
            _ if without.contains(&number) => continue,
            (_, Some(returned)) => (returned, Step::Return),
            (Act::Read(_), None) => continue,
            (Act::Write(value), None) => match last_read.get(&value) {
                Some(last) if *last >= operation.invoked => (*last, Step::Forget),
                _ => continue,
            },
        };
        steps.push((operation.invoked, Step::Invoke, number));
        steps.push((end.0, end.1, number));
    }
    steps.sort_unstable();
    steps
}

// === impl Search ===

impl<'a> Search<'a> {
    /// An operation is pending from now on. No, if too many are.
    fn invoke(&mut self, number: usize, operation: &Operation<'a>) -> bool {
        let act = operation.act;
        let free = self.pending.iter().position(Option::is_none);
        let place = free.unwrap_or(self.pending.len());
        if place == MOST_PENDING {
            return false;
        }
        if place == self.pending.len() {
            self.pending.push(None);
        }
        self.pending[place] = Some(act);
        self.places.insert(number, place);
        if operation.returned.is_none() {
            self.unanswered |= 1 << place;
        }
        if let Act::Read(_) = act {
            let before = std::mem::take(&mut self.configurations);
            self.configurations = before.into_iter().map(|it| self.read(it)).collect();
        }
        true
    }

    /// The configuration with all pending reads that find its value.
    fn read(&self, (value, mut done): Configuration<'a>) -> Configuration<'a> {
        for (place, act) in self.pending.iter().enumerate() {
            if *act == Some(Act::Read(value)) {
                done |= 1 << place;
            }
        }
        (value, done)
    }

    /// The operation has taken effect, in all configurations where it can have. No, if these are
    /// too many.
    fn take_effect(&mut self, number: usize) -> bool {
        let bit = 1_u128 << self.places[&number];
        let before = std::mem::take(&mut self.configurations);
        let (done, open): (HashSet<_>, Vec<_>) = {
            let (done, open): (Vec<_>, Vec<_>) = before.into_iter().partition(|it| it.1 & bit != 0);
            (done.into_iter().collect(), open)
        };
        self.configurations = done;
        let mut seen: HashSet<Configuration<'a>> = open.iter().copied().collect();
        let mut todo = open;
        while let Some((value, done)) = todo.pop() {
            debug_assert!(done & bit == 0, "{value:?}");
            for (place, written) in self.next_writes(done) {
                let next = self.read((written, done | 1 << place));
                if next.1 & bit != 0 {
                    self.configurations.insert(next);
                } else if seen.insert(next) {
                    todo.push(next);
                }
            }
            if seen.len() + self.configurations.len() > MOST_CONFIGURATIONS {
                return false;
            }
        }
        self.drop_worse();
        true
    }

    /// The pending writes that are worth trying next, where these operations have taken effect.
    fn next_writes(&self, done: u128) -> Vec<(usize, Value<'a>)> {
        let mut unanswered: Vec<Value<'a>> = Vec::new();
        let mut found = Vec::new();
        let is_open = |place: usize| done & 1 << place == 0;
        for (place, act) in self.pending.iter().enumerate() {
            let Some(Act::Write(written)) = *act else {
                continue;
            };
            if !is_open(place) {
                continue;
            }
            if self.unanswered & 1 << place != 0 {
                let mut acts = self.pending.iter().enumerate();
                let is_read = acts.any(|(at, it)| *it == Some(Act::Read(written)) && is_open(at));
                if !is_read || unanswered.contains(&written) {
                    continue;
                }
                unanswered.push(written);
            }
            found.push((place, written));
        }
        found
    }

    /// Drops configurations that are as others are, but for writes that never return and took
    /// effect.
    fn drop_worse(&mut self) {
        let mut best: HashMap<Configuration<'a>, Vec<u128>> = HashMap::new();
        let mut all: Vec<_> = self.configurations.drain().collect();
        all.sort_unstable_by_key(|(_, done)| done.count_ones());
        for (value, done) in all {
            let kept = best.entry((value, done & !self.unanswered)).or_default();
            if !kept.iter().any(|better| done & better == *better) {
                kept.push(done);
                self.configurations.insert((value, done));
            }
        }
    }

    /// The operation is pending no more.
    fn forget(&mut self, number: usize) {
        let Some(place) = self.places.remove(&number) else {
            return;
        };
        self.pending[place] = None;
        self.unanswered &= !(1 << place);
        let before = std::mem::take(&mut self.configurations);
        let mask = !(1_u128 << place);
        let after = before.into_iter().map(|(value, done)| (value, done & mask));
        self.configurations = after.collect();
    }
}
