//! The filters of one incarnation, in order: a tree of two levels that clones share.
//!
//! A leaf has up to [`LEAF`] filters, sorted, and is copied when it is changed while a clone has
//! it; so a snapshot of the state costs what changes while it is there. The order makes pages of
//! the whole table cheap, and parts of it the same on every node, whatever the leaves are.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use gatemq_proto::cluster::state::Route;

/// How many subscribers a route of a group has; both 0 for a filter that is not shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Members with a connection.
    pub n_online: u32,
    /// Members without one.
    pub n_offline: u32,
}

/// The filters of one incarnation, in the order of their bytes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    leaves: Arc<Vec<Leaf>>,
    len: usize,
}

/// Routes of several incarnations, in the order of filters.
pub struct InOrder<'a> {
    heads: BinaryHeap<Reverse<Head<'a>>>,
}

/// Never empty.
#[derive(Clone, Debug)]
struct Leaf {
    first: Arc<str>,
    entries: Arc<Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    filter: Arc<str>,
    counts: Counts,
}

/// The next route of one incarnation.
struct Head<'a> {
    filter: &'a str,
    incarnation: u64,
    counts: Counts,
    rest: Box<dyn Iterator<Item = (&'a str, Counts)> + Send + 'a>,
}

/// The most filters of a leaf: copying one must be cheap, and so must be the list of leaves.
const LEAF: usize = 256;

// === impl Routes ===

impl Routes {
    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The counts of a filter, if it is there.
    pub fn find(&self, filter: &str) -> Option<Counts> {
        let entries = &self.leaves.get(self.leaf_of(filter))?.entries;
        let place = position(entries, filter).ok()?;
        entries.get(place).map(|entry| entry.counts)
    }

    /// All filters, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Counts)> + Send {
        self.from("")
    }

    /// Filters from one on, whether that is there or not, in order.
    pub fn from(&self, filter: &str) -> impl Iterator<Item = (&str, Counts)> + Send + use<'_> {
        let index = self.leaf_of(filter);
        let rest = self.leaves.get(index..).unwrap_or_default();
        let skipped = rest.first().map_or(0, |leaf| {
            position(&leaf.entries, filter).unwrap_or_else(|place| place)
        });
        rest.iter()
            .flat_map(|leaf| leaf.entries.iter())
            .skip(skipped)
            .map(|entry| (&*entry.filter, entry.counts))
    }

    pub(super) fn set(&mut self, filter: &str, counts: Counts) {
        let index = self.leaf_of(filter);
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(leaf) = leaves.get_mut(index) else {
            self.len = 1;
            return leaves.push(Leaf::new(vec![Entry::new(filter, counts)]));
        };
        let entries = Arc::make_mut(&mut leaf.entries);
        let place = match position(entries, filter) {
            Ok(place) => return entries[place].counts = counts,
            Err(place) => place,
        };
        self.len += 1;
        let entry = Entry::new(filter, counts);
        if place == 0 {
            leaf.first = Arc::clone(&entry.filter);
        }
        if entries.len() < LEAF {
            return entries.insert(place, entry);
        }
        // Filters that come in order leave full leaves behind.
        if place == LEAF {
            return leaves.insert(index + 1, Leaf::new(vec![entry]));
        }
        let mut right = entries.split_off(LEAF / 2);
        match place.checked_sub(LEAF / 2) {
            Some(place) => right.insert(place, entry),
            None => entries.insert(place, entry),
        }
        leaves.insert(index + 1, Leaf::new(right));
    }

    pub(super) fn remove(&mut self, filter: &str) {
        let index = self.leaf_of(filter);
        let Some(leaf) = self.leaves.get(index) else {
            return;
        };
        let Ok(place) = position(&leaf.entries, filter) else {
            return;
        };
        self.len -= 1;
        let leaves = Arc::make_mut(&mut self.leaves);
        let entries = Arc::make_mut(&mut leaves[index].entries);
        entries.remove(place);
        let Some(first) = entries.first() else {
            leaves.remove(index);
            return;
        };
        leaves[index].first = Arc::clone(&first.filter);
        join_small(leaves, index);
    }

    /// The leaf where a filter is or would be; out of range only if there is no leaf.
    fn leaf_of(&self, filter: &str) -> usize {
        self.leaves
            .partition_point(|leaf| *leaf.first <= *filter)
            .saturating_sub(1)
    }
}

// === impl InOrder ===

impl<'a> InOrder<'a> {
    pub(super) fn new<I>(sources: impl Iterator<Item = (u64, I)>) -> Self
    where
        I: Iterator<Item = (&'a str, Counts)> + Send + 'a,
    {
        let heads = sources.filter_map(|(incarnation, mut rest)| {
            let (filter, counts) = rest.next()?;
            Some(Reverse(Head {
                filter,
                incarnation,
                counts,
                rest: Box::new(rest),
            }))
        });
        Self {
            heads: heads.collect(),
        }
    }
}

impl<'a> Iterator for InOrder<'a> {
    type Item = (&'a str, u64, Counts);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse(mut head) = self.heads.pop()?;
        let item = (head.filter, head.incarnation, head.counts);
        if let Some((filter, counts)) = head.rest.next() {
            head.filter = filter;
            head.counts = counts;
            self.heads.push(Reverse(head));
        }
        Some(item)
    }
}

// === private ===

impl Leaf {
    fn new(entries: Vec<Entry>) -> Self {
        let first = entries.first().expect("a leaf is never empty");
        Self {
            first: Arc::clone(&first.filter),
            entries: Arc::new(entries),
        }
    }
}

impl Entry {
    fn new(filter: &str, counts: Counts) -> Self {
        Self {
            filter: filter.into(),
            counts,
        }
    }
}

impl From<&Route> for Counts {
    fn from(route: &Route) -> Self {
        Self {
            n_online: route.n_online,
            n_offline: route.n_offline,
        }
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.filter, self.incarnation).cmp(&(other.filter, other.incarnation))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

fn position(entries: &[Entry], filter: &str) -> Result<usize, usize> {
    entries.binary_search_by(|entry| (*entry.filter).cmp(filter))
}

/// Puts a leaf and the one after it together if they are small: a table that has shrunk keeps
/// few leaves.
fn join_small(leaves: &mut Vec<Leaf>, index: usize) {
    let length = |index: usize| leaves.get(index).map_or(LEAF, |leaf| leaf.entries.len());
    if length(index) + length(index + 1) > LEAF / 2 {
        return;
    }
    let right = leaves.remove(index + 1);
    let left = Arc::make_mut(&mut leaves[index].entries);
    left.extend(Arc::unwrap_or_clone(right.entries));
}

#[cfg(test)]
mod tests;
