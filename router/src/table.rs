//! The table that gateways ask: subscribe, unsubscribe, and plan a topic.
//!
//! Invariant: when `subscribe` or `unsubscribe` has returned, every later [`Table::plan`] and
//! every later [`Table::is_current`] knows of it.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use parking_lot::RwLock;

use crate::filter::{Change, Filter, Subscribers};
use crate::nodes::GroupNode;
use crate::plan::{Cache, Plan};
use crate::trie::{Matches, Trie};

/// The topic space is stamped in this many parts, by the first level.
const PARTS: usize = 256;

/// A routing table.
#[derive(Debug)]
pub struct Table<V> {
    trie: RwLock<Trie<V>>,
    /// One stamp for each part, raised when a filter of it comes or goes; a filter that begins
    /// with a wildcard belongs to all parts.
    stamps: Box<[AtomicU64]>,
    cache: Cache<V>,
    hasher: FixedState,
    n_direct: AtomicUsize,
    n_nodes_added: AtomicU64,
    n_shared: AtomicUsize,
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Different filters.
    pub filters: usize,
    /// Subscriptions, shared ones included.
    pub subscriptions: usize,
    /// Shared subscriptions: members of groups.
    pub shared: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            trie: RwLock::default(),
            stamps: (0..PARTS).map(|_| AtomicU64::new(0)).collect(),
            cache: Cache::new(),
            hasher: FixedState::with_seed(0x726f_7574),
            n_direct: AtomicUsize::new(0),
            n_nodes_added: AtomicU64::new(0),
            n_shared: AtomicUsize::new(0),
        }
    }
}

impl<V> Table<V> {
    /// Adds a subscription, or replaces its value.
    pub fn subscribe(&self, share: Option<&str>, filter: &str, key: u64, value: V) -> Change<V> {
        let mut trie = self.trie.write();
        let (entry, is_new) = trie.get_or_insert(filter);
        let change = entry.insert(share, key, value);
        if change.before.is_none() {
            self.counter(share).fetch_add(1, Ordering::Relaxed);
        }
        if is_new {
            self.raise(filter);
        }
        change
    }

    /// Removes a subscription.
    pub fn unsubscribe(&self, share: Option<&str>, filter: &str, key: u64) -> Change<V> {
        self.unsubscribe_if(share, filter, key, |_| true)
    }

    /// Removes a subscription if its value is the one that is meant: another one may have taken its
    /// place.
    pub fn unsubscribe_if(
        &self,
        share: Option<&str>,
        filter: &str,
        key: u64,
        is_meant: impl Fn(&V) -> bool,
    ) -> Change<V> {
        let mut trie = self.trie.write();
        let Some(entry) = trie.get(filter) else {
            return Change {
                before: None,
                is_edge: false,
            };
        };
        let (change, is_used) = entry.remove(share, key, is_meant);
        if change.before.is_some() {
            self.counter(share).fetch_sub(1, Ordering::Relaxed);
        }
        self.drop_unused(&mut trie, filter, is_used);
        change
    }

    /// Notes that another node has subscribers of a filter, in a group or not.
    pub fn set_node(&self, share: Option<&str>, filter: &str, node: GroupNode) {
        let mut trie = self.trie.write();
        let (entry, is_new) = trie.get_or_insert(filter);
        let now = self.n_nodes_added.load(Ordering::Relaxed) + 1; // the trie is locked
        entry.set_node(share, node, now);
        self.n_nodes_added.store(now, Ordering::Release); // who counts it finds it
        if is_new {
            self.raise(filter);
        }
    }

    /// Notes that another node has no subscriber of a filter any more.
    pub fn remove_node(&self, share: Option<&str>, filter: &str, node: u64) {
        let mut trie = self.trie.write();
        if let Some(entry) = trie.get(filter) {
            let is_used = entry.remove_node(share, node);
            self.drop_unused(&mut trie, filter, is_used);
        }
    }

    /// Forgets all that another node has: looks at every filter, some at a time.
    pub fn forget_node(&self, node: u64) {
        let filters = self.trie.read().filters();
        for some in filters.chunks(256) {
            let mut trie = self.trie.write();
            for filter in some {
                if let (true, is_used) = filter.forget_node(node) {
                    self.drop_unused(&mut trie, filter.text(), is_used);
                }
            }
        }
    }

    /// Looks at the subscribers of a filter, if there are any.
    pub fn look<T>(&self, filter: &str, look: impl FnOnce(&Subscribers<V>) -> T) -> Option<T> {
        let entry = self.trie.read().get(filter).cloned()?;
        let subscribers = entry.subscribers();
        Some(look(&subscribers))
    }

    /// Every filter that there is now.
    pub fn filters(&self) -> Vec<Arc<Filter<V>>> {
        self.trie.read().filters()
    }

    fn drop_unused(&self, trie: &mut Trie<V>, filter: &str, is_used: bool) {
        if !is_used {
            trie.remove(filter);
            self.raise(filter);
        }
    }

    /// What a topic matches now.
    pub fn plan(&self, topic: &str) -> Arc<Plan<V>> {
        let hash = self.hasher.hash_one(topic.as_bytes());
        if let Some(plan) = self.cache.get(hash, topic)
            && self.is_current(&plan)
        {
            return plan;
        }
        let part = self.part(topic);
        let stamp = self.stamps[part].load(Ordering::Acquire); // before the walk: see `raise`
        let mut filters = Matches::new();
        self.trie.read().find(topic, &mut filters);
        let plan = Arc::new(Plan {
            topic: topic.into(),
            part,
            stamp,
            filters,
        });
        self.cache.put(hash, plan.clone());
        plan
    }

    /// Whether a plan still holds.
    #[inline]
    pub fn is_current(&self, plan: &Plan<V>) -> bool {
        self.stamps[plan.part].load(Ordering::Acquire) == plan.stamp
    }

    /// Counts what other nodes were said to have: a filter of which one was added since has a
    /// higher [`crate::Subscribers::nodes_since`].
    pub fn n_nodes_added(&self) -> u64 {
        self.n_nodes_added.load(Ordering::Acquire)
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        let shared = self.n_shared.load(Ordering::Relaxed);
        Counts {
            filters: self.trie.read().len(),
            subscriptions: self.n_direct.load(Ordering::Relaxed) + shared,
            shared,
        }
    }

    fn counter(&self, share: Option<&str>) -> &AtomicUsize {
        if share.is_some() {
            &self.n_shared
        } else {
            &self.n_direct
        }
    }

    /// Makes the plans stale that a filter could belong to. Called with the trie locked for
    /// writing and already changed: a plan that saw the trie before has the stamp of before.
    fn raise(&self, filter: &str) {
        match first_level(filter) {
            "+" | "#" => self.stamps.iter().for_each(|stamp| {
                stamp.fetch_add(1, Ordering::Release);
            }),
            _ => {
                self.stamps[self.part(filter)].fetch_add(1, Ordering::Release);
            }
        }
    }

    fn part(&self, topic: &str) -> usize {
        self.hasher.hash_one(first_level(topic).as_bytes()) as usize % PARTS
    }
}

fn first_level(topic: &str) -> &str {
    topic.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(table: &Table<char>, topic: &str) -> String {
        let plan = table.plan(topic);
        let mut reached = String::new();
        for filter in plan.filters() {
            reached.extend(
                filter
                    .subscribers()
                    .direct
                    .as_slice()
                    .iter()
                    .map(|m| m.value),
            );
        }
        reached
    }

    #[test]
    fn a_plan_holds_until_a_filter_of_its_part_comes_or_goes() {
        let table = Table::default();
        table.subscribe(None, "a/b", 1, 'x');
        let plan = table.plan("a/b");
        table.subscribe(None, "a/b", 2, 'y');
        assert!(
            table.is_current(&plan),
            "somebody who joins a filter changes no plan"
        );
        assert_eq!(reached(&table, "a/b"), "xy");
        table.subscribe(None, "+/b", 3, 'z');
        assert!(!table.is_current(&plan));
        assert_eq!(reached(&table, "a/b").len(), 3);
        table.unsubscribe(None, "+/b", 3);
        table.unsubscribe(None, "a/b", 1);
        assert_eq!(reached(&table, "a/b"), "y");
        table.unsubscribe(None, "a/b", 2);
        assert_eq!(reached(&table, "a/b"), "");
        assert_eq!(
            table.counts(),
            Counts {
                filters: 0,
                subscriptions: 0,
                shared: 0
            }
        );
    }

    #[test]
    fn groups_are_apart_from_direct_subscribers() {
        let table = Table::default();
        table.subscribe(Some("g"), "a", 1, 'x');
        table.subscribe(Some("h"), "a", 1, 'x');
        table.subscribe(None, "a", 1, 'x');
        assert_eq!(
            table.counts(),
            Counts {
                filters: 1,
                subscriptions: 3,
                shared: 2
            }
        );
        assert_eq!(table.unsubscribe(Some("g"), "a", 1).before, Some('x'));
        assert_eq!(table.unsubscribe(Some("g"), "a", 1).before, None);
        let plan = table.plan("a");
        let subscribers = plan.filters()[0].subscribers();
        assert_eq!((subscribers.direct.len(), subscribers.groups.len()), (1, 1));
    }

    fn remote(node: u64) -> GroupNode {
        GroupNode {
            node,
            n_online: 1,
            n_offline: 0,
        }
    }

    #[test]
    fn only_the_first_and_the_last_subscriber_of_a_filter_are_news_for_other_nodes() {
        let table = Table::default();
        table.set_node(None, "a", remote(9));
        assert!(table.subscribe(None, "a", 1, 'x').is_edge);
        assert!(!table.subscribe(None, "a", 1, 'y').is_edge);
        assert!(!table.subscribe(None, "a", 2, 'z').is_edge);
        assert!(!table.unsubscribe(None, "a", 1).is_edge);
        assert!(!table.unsubscribe(None, "a", 1).is_edge);
        assert!(table.unsubscribe(None, "a", 2).is_edge);
        assert!(table.subscribe(Some("g"), "a", 1, 'x').is_edge);
        assert!(table.subscribe(Some("g"), "a", 2, 'x').is_edge);
    }

    #[test]
    fn what_a_node_says_again_is_news() {
        let table = Table::<char>::default();
        let since = || table.look("a", |found| found.nodes_since);
        table.set_node(None, "a", remote(9));
        let before = table.n_nodes_added();
        assert!(since() <= Some(before));
        table.set_node(None, "a", remote(9));
        assert!(since() > Some(before));
    }

    #[test]
    fn only_who_is_meant_is_taken_out() {
        let table = Table::default();
        for share in [None, Some("g")] {
            table.subscribe(share, "a", 1, 'x');
            let change = table.unsubscribe_if(share, "a", 1, |it| *it == 'y');
            assert!(change.before.is_none() && !change.is_edge);
            assert_eq!(
                table.unsubscribe_if(share, "a", 1, |it| *it == 'x').before,
                Some('x')
            );
        }
    }

    #[test]
    fn a_filter_lives_as_long_as_anybody_wants_it_here_or_elsewhere() {
        let table = Table::default();
        table.subscribe(None, "a", 1, 'x');
        table.set_node(None, "a", remote(7));
        table.set_node(Some("g"), "a", remote(8));
        table.set_node(Some("g"), "a", remote(7));
        table.unsubscribe(None, "a", 1);
        let nodes = |table: &Table<char>| {
            table.look("a", |found| {
                let groups: usize = found.groups.values().map(|group| group.nodes.len()).sum();
                (found.nodes.to_vec(), groups)
            })
        };
        assert_eq!(nodes(&table), Some((vec![7], 2)));
        table.forget_node(7);
        assert_eq!(nodes(&table), Some((vec![], 1)));
        let plan = table.plan("a");
        table.remove_node(Some("g"), "a", 8);
        assert_eq!(nodes(&table), None);
        assert!(!table.is_current(&plan));
        table.set_node(None, "b/+", remote(7));
        table.remove_node(None, "b/+", 7);
        table.remove_node(None, "b/+", 7);
        assert_eq!(table.counts().filters, 0);
    }
}
