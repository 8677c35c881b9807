//! One topic filter of the table, with everybody who subscribed to it, here and on other nodes.

use std::sync::atomic::AtomicU64;

use indexmap::IndexMap;
use parking_lot::{RwLock, RwLockReadGuard};

use crate::members::Members;
use crate::nodes::{self, GroupNode, Nodes};

/// A topic filter and its subscribers.
#[derive(Debug)]
pub struct Filter<V> {
    text: Box<str>,
    subscribers: RwLock<Subscribers<V>>,
}

/// Who subscribed to a filter: one by one, and in `$share` groups.
#[derive(Debug)]
pub struct Subscribers<V> {
    /// Those that each get every message.
    pub direct: Members<V>,
    /// The groups of which one member gets it.
    pub groups: Groups<V>,
    /// Other nodes that have subscribers outside of groups.
    pub nodes: Nodes,
    /// When one of those was added last, by the table's count of such changes.
    pub nodes_since: u64,
}

/// The groups of a filter, by share name.
pub type Groups<V> = IndexMap<Box<str>, Group<V>>;

/// A `$share` group of one filter.
#[derive(Debug)]
pub struct Group<V> {
    /// The share name.
    pub name: Box<str>,
    /// Its members here.
    pub members: Members<V>,
    /// Other nodes that have members.
    pub nodes: Vec<GroupNode>,
    /// Where the next turn begins; see [`crate::share`].
    pub cursor: AtomicU64,
    /// The same of nodes: each of them has its own turns among its members.
    pub node_cursor: AtomicU64,
}

impl<V> Filter<V> {
    pub(crate) fn new(text: &str) -> Self {
        let subscribers = Subscribers {
            direct: Members::default(),
            groups: Groups::default(),
            nodes: Nodes::new(),
            nodes_since: 0,
        };
        Self {
            text: text.into(),
            subscribers: RwLock::new(subscribers),
        }
    }

    /// The filter as it was subscribed to, without a `$share/<group>/` in front.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The subscribers; they do not change while the guard lives.
    pub fn subscribers(&self) -> RwLockReadGuard<'_, Subscribers<V>> {
        self.subscribers.read()
    }

    /// Adds or replaces a subscriber.
    pub(crate) fn insert(&self, share: Option<&str>, key: u64, value: V) -> Change<V> {
        let mut subscribers = self.subscribers.write();
        let members = match share {
            None => &mut subscribers.direct,
            Some(share) => &mut group(&mut subscribers.groups, share).members,
        };
        let before = members.insert(key, value);
        let is_edge = share.is_some() || (before.is_none() && members.len() == 1);
        Change { before, is_edge }
    }

    /// Takes a subscriber out if it is the one that is meant; says, too, whether anybody is left.
    pub(crate) fn remove(
        &self,
        share: Option<&str>,
        key: u64,
        is_meant: impl Fn(&V) -> bool,
    ) -> (Change<V>, bool) {
        let mut subscribers = self.subscribers.write();
        let take = |members: &mut Members<V>| {
            let known = members.get(key).is_some_and(is_meant);
            if known { members.remove(key) } else { None }
        };
        let before = match share {
            None => take(&mut subscribers.direct),
            Some(share) => {
                let group = subscribers.groups.get_mut(share);
                let before = group.and_then(|group| take(&mut group.members));
                drop_if_empty(&mut subscribers.groups, share);
                before
            }
        };
        let is_edge = before.is_some() && (share.is_some() || subscribers.direct.is_empty());
        (Change { before, is_edge }, subscribers.is_used())
    }

    /// Notes what another node has; `now` is the table's count.
    pub(crate) fn set_node(&self, share: Option<&str>, node: GroupNode, now: u64) {
        let mut subscribers = self.subscribers.write();
        let Some(share) = share else {
            if !subscribers.nodes.contains(&node.node) {
                nodes::add(&mut subscribers.nodes, node.node);
            }
            // Said once more, it is so for somebody who was not there before.
            subscribers.nodes_since = now;
            return;
        };
        let known = &mut group(&mut subscribers.groups, share).nodes;
        match known.iter_mut().find(|known| known.node == node.node) {
            Some(known) => *known = node,
            None => known.push(node),
        }
    }

    /// Another node has nobody any more, in that group or outside of groups; says whether anybody
    /// is left.
    pub(crate) fn remove_node(&self, share: Option<&str>, node: u64) -> bool {
        let mut subscribers = self.subscribers.write();
        match share {
            None => {
                nodes::take(&mut subscribers.nodes, node);
            }
            Some(share) => {
                if let Some(group) = subscribers.groups.get_mut(share) {
                    group.nodes.retain(|known| known.node != node);
                }
                drop_if_empty(&mut subscribers.groups, share);
            }
        }
        subscribers.is_used()
    }

    /// Another node has nobody any more; says whether it had, and whether anybody is left.
    pub(crate) fn forget_node(&self, node: u64) -> (bool, bool) {
        let mut subscribers = self.subscribers.write();
        let mut was_there = nodes::take(&mut subscribers.nodes, node);
        subscribers.groups.retain(|_, group| {
            let n_before = group.nodes.len();
            group.nodes.retain(|known| known.node != node);
            was_there |= group.nodes.len() < n_before;
            !group.is_empty()
        });
        (was_there, subscribers.is_used())
    }
}

impl<V> Subscribers<V> {
    fn is_used(&self) -> bool {
        !self.direct.is_empty() || !self.groups.is_empty() || !self.nodes.is_empty()
    }
}

impl<V> Group<V> {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.nodes.is_empty()
    }
}

/// What a change of a subscriber did.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// The value that the subscriber had.
    pub before: Option<V>,
    /// Whether other nodes should know: it is the first here, or was the last, or it is a group's.
    pub is_edge: bool,
}

fn group<'g, V>(groups: &'g mut Groups<V>, share: &str) -> &'g mut Group<V> {
    groups.entry(share.into()).or_insert_with(|| Group {
        name: share.into(),
        members: Members::default(),
        nodes: Vec::new(),
        cursor: AtomicU64::new(0),
        node_cursor: AtomicU64::new(0),
    })
}

fn drop_if_empty<V>(groups: &mut Groups<V>, share: &str) {
    if groups.get(share).is_some_and(Group::is_empty) {
        groups.swap_remove(share);
    }
}
