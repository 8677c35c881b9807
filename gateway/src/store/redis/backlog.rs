//! What waits to be written, and how much of it goes in one round.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use gatemq_storage::Batch;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::part::{self, Size, Touched};
use super::places::Place;

/// Batches and bytes of one round.
const ROUND_BATCHES: usize = 16_384;
const ROUND_BYTES: usize = 8 << 20;
/// Changes of retained messages in one round, and their bytes, unless one batch has more: what comes
/// too late has to be there within [`super::CERTAIN`] of when its sessions are asked about, over the
/// slowest network and one that is far away.
const ROUND_RETAINED: usize = 2_048;
const ROUND_RETAINED_BYTES: usize = 1 << 20;

/// What the writer does, in the order in which it was handed over.
#[derive(Debug)]
pub(super) enum Entry<T> {
    /// A batch, and its ticket with what that takes in memory.
    Write(Batch, T, usize),
    Attach(u64, Arc<Place>),
    Detach(u64),
    /// Whoever waits until all that came before is done.
    Wait(oneshot::Sender<()>),
}

/// What waits. Its bound is the callers': they stop when [`super::RedisStore::pending_bytes`] is
/// too much.
pub(super) struct Backlog<T> {
    state: Mutex<State<T>>,
    arrived: Notify,
}

struct State<T> {
    entries: VecDeque<Entry<T>>,
    is_closed: bool,
}

/// What is written together.
#[derive(Debug)]
pub(super) struct Group<T> {
    pub(super) batches: Vec<Batch>,
    pub(super) tickets: Vec<T>,
    pub(super) n_bytes: usize,
    /// What is to be retained.
    retained: Size,
    /// What the tickets take in memory.
    pub(super) weight: usize,
    /// Sessions that somebody has from this group on.
    pub(super) attached: Vec<(u64, Arc<Place>)>,
    /// Sessions that nobody has after it.
    pub(super) detached: HashSet<u64>,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
    /// The sessions that it writes for or detaches; made when somebody asks.
    touched: Option<HashSet<u64>>,
}

// === impl Backlog ===

impl<T> Backlog<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                entries: VecDeque::new(),
                is_closed: false,
            }),
            arrived: Notify::new(),
        }
    }

    /// Appends an entry; false if none is taken any more.
    pub(super) fn push(&self, entry: Entry<T>) -> bool {
        let mut state = self.state.lock();
        if state.is_closed {
            return false;
        }
        state.entries.push_back(entry);
        let was_empty = state.entries.len() == 1;
        drop(state);
        if was_empty {
            self.arrived.notify_one();
        }
        true
    }

    /// Moves all entries behind those that are there; false if there are none and none will come.
    pub(super) fn take(&self, entries: &mut VecDeque<Entry<T>>) -> bool {
        let mut state = self.state.lock();
        match entries.is_empty() {
            true => std::mem::swap(entries, &mut state.entries),
            false => entries.append(&mut state.entries),
        }
        !(state.is_closed && entries.is_empty())
    }

    /// Waits until something has come, or nothing will any more.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes no entries any more.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.arrived.notify_one();
    }
}

// === impl Group ===

impl<T> Group<T> {
    /// Takes what fits from the front. What was written for a session before it was claimed again
    /// or let go is not in one group with what is written after.
    pub(super) fn fill(entries: &mut VecDeque<Entry<T>>) -> Self {
        let mut group = Self {
            batches: Vec::new(),
            tickets: Vec::new(),
            n_bytes: 0,
            retained: Size::default(),
            weight: 0,
            attached: Vec::new(),
            detached: HashSet::new(),
            waiters: Vec::new(),
            touched: None,
        };
        while group.batches.len() < ROUND_BATCHES && group.n_bytes < ROUND_BYTES {
            match entries.pop_front() {
                Some(Entry::Write(batch, ticket, weight)) => {
                    if !group.detached.is_empty()
                        && sessions(&batch).any(|number| group.detached.contains(&number))
                    {
                        entries.push_front(Entry::Write(batch, ticket, weight));
                        break;
                    }
                    let retained = part::retained(&batch);
                    if !group.takes(retained) {
                        entries.push_front(Entry::Write(batch, ticket, weight));
                        break;
                    }
                    group.retained += retained;
                    group.n_bytes += batch.bytes();
                    group.weight += weight;
                    if let Some(touched) = &mut group.touched {
                        touched.extend(sessions(&batch));
                    }
                    group.batches.push(batch);
                    group.tickets.push(ticket);
                }
                Some(Entry::Attach(number, place)) => {
                    if group.touched().contains(&number) {
                        entries.push_front(Entry::Attach(number, place));
                        break;
                    }
                    group.attached.push((number, place));
                }
                Some(Entry::Detach(number)) => {
                    group.touched().insert(number);
                    group.detached.insert(number);
                }
                Some(Entry::Wait(waiter)) => group.waiters.push(waiter),
                None => break,
            }
        }
        group
    }

    /// Whether so much more to be retained fits in.
    fn takes(&self, more: Size) -> bool {
        let sum = self.retained + more;
        let fits = sum.n <= ROUND_RETAINED && sum.n_bytes <= ROUND_RETAINED_BYTES;
        fits || more.n == 0 || self.retained.n == 0
    }

    fn touched(&mut self) -> &mut HashSet<u64> {
        let batches = &self.batches;
        let collect = || batches.iter().flat_map(sessions).collect();
        self.touched.get_or_insert_with(collect)
    }
}

fn sessions(batch: &Batch) -> impl Iterator<Item = u64> {
    part::touched(batch).filter_map(|touched| match touched {
        Touched::Session(number) => Some(number),
        Touched::Retained(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys;

    fn write(number: u64) -> Entry<u64> {
        let mut batch = Batch::new();
        batch.put(&keys::queue(number, 1), b"x");
        Entry::Write(batch, number, 0)
    }

    fn attach(number: u64) -> Entry<u64> {
        Entry::Attach(number, Arc::new(Place::live("c", 1, 1)))
    }

    fn check(entries: Vec<Entry<u64>>, expected: &[&[u64]]) {
        let (mut entries, mut groups) = (VecDeque::from(entries), Vec::new());
        while !entries.is_empty() {
            groups.push(Group::fill(&mut entries).tickets);
        }
        assert_eq!(groups, expected);
    }

    #[test]
    fn writes_before_and_after_another_claim_are_not_mixed() {
        check(vec![attach(1), write(1), attach(2), write(2)], &[&[1, 2]]);
        check(
            vec![write(1), attach(2), write(2), attach(1), write(1)],
            &[&[1, 2], &[1]],
        );
        check(vec![write(1), Entry::Detach(1), write(2)], &[&[1, 2]]);
        check(vec![write(1), Entry::Detach(1), write(1)], &[&[1], &[1]]);
        check(vec![Entry::Detach(1), attach(1), write(1)], &[&[], &[1]]);
    }

    fn retain(payload: usize) -> Entry<u64> {
        let mut batch = Batch::new();
        batch.put(&keys::retained("a/b"), &vec![0; payload]);
        Entry::Write(batch, payload as u64, 0)
    }

    #[test]
    fn a_group_has_little_to_be_retained() {
        const LARGE: usize = 400_000;
        const HUGE: usize = 3_000_000;
        let large = LARGE as u64;
        check(
            vec![
                retain(LARGE),
                retain(LARGE),
                write(1),
                retain(LARGE),
                write(2),
            ],
            &[&[large, large, 1], &[large, 2]],
        );
        check(
            vec![write(1), retain(HUGE), write(2), retain(1)],
            &[&[1, HUGE as u64, 2], &[1]],
        );
        let mut entries: VecDeque<_> = (0..5_000).map(|_| retain(1)).collect();
        while !entries.is_empty() {
            assert!(Group::fill(&mut entries).tickets.len() <= ROUND_RETAINED);
        }
    }

    #[test]
    fn a_group_has_a_bound_and_loses_nothing() {
        let mut entries: VecDeque<_> = (0..40_000).map(write).collect();
        let mut tickets = Vec::new();
        while !entries.is_empty() {
            let group = Group::fill(&mut entries);
            assert!(group.tickets.len() <= ROUND_BATCHES);
            tickets.extend(group.tickets);
        }
        assert!(tickets.into_iter().eq(0..40_000));
    }
}
