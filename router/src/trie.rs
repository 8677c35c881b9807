//! Finds the filters that match a topic, level by level, without recursion.
//!
//! A node is a prefix of levels. Literal children are found through one hash table over
//! (parent, level) for the whole trie, so a node costs no map of its own. `+` is a child that
//! its parent points to; `x/#` hangs on the node of `x`, since it matches `x` as well.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::filter::Filter;

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// The filters that match one topic.
pub type Matches<V> = SmallVec<[Arc<Filter<V>>; 2]>;

/// All filters of a table.
#[derive(Debug)]
pub struct Trie<V> {
    nodes: Vec<Node<V>>,
    free: Vec<u32>,
    children: HashTable<u32>,
    /// Seeded at random: clients choose the levels, and must not know which of them collide.
    hasher: FixedState,
    n_filters: usize,
}

#[derive(Debug)]
struct Node<V> {
    level: Box<str>,
    parent: u32,
    n_children: u32,
    plus: u32,
    exact: Option<Arc<Filter<V>>>,
    multi: Option<Arc<Filter<V>>>,
}

impl<V> Node<V> {
    fn new(level: &str, parent: u32) -> Self {
        Self {
            level: level.into(),
            parent,
            n_children: 0,
            plus: NONE,
            exact: None,
            multi: None,
        }
    }

    fn is_idle(&self) -> bool {
        self.n_children == 0 && self.plus == NONE && self.exact.is_none() && self.multi.is_none()
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new("", NONE)],
            free: Vec::new(),
            children: HashTable::new(),
            // From the system's random numbers.
            hasher: FixedState::with_seed(RandomState::new().hash_one(ROOT)),
            n_filters: 0,
        }
    }
}

impl<V> Trie<V> {
    /// Adds to `matches` each filter that matches the topic, each once.
    pub fn find(&self, topic: &str, matches: &mut Matches<V>) {
        let mut here: SmallVec<[u32; 16]> = SmallVec::new();
        let mut below: SmallVec<[u32; 16]> = SmallVec::new();
        here.push(ROOT);
        let mut wildcards = !topic.starts_with('$'); // [MQTT-4.7.2-1]
        for level in topic.split('/') {
            for &number in &here {
                let node = &self.nodes[number as usize];
                if wildcards {
                    matches.extend(node.multi.clone());
                    if node.plus != NONE {
                        below.push(node.plus);
                    }
                }
                if node.n_children > 0
                    && let Some(child) = self.child(number, level)
                {
                    below.push(child);
                }
            }
            std::mem::swap(&mut here, &mut below);
            below.clear();
            if here.is_empty() {
                return;
            }
            wildcards = true;
        }
        for number in here {
            let node = &self.nodes[number as usize];
            matches.extend(node.exact.clone());
            matches.extend(node.multi.clone());
        }
    }

    /// The filter with this text.
    pub fn get(&self, text: &str) -> Option<&Arc<Filter<V>>> {
        let (path, is_multi) = split(text);
        let mut number = ROOT;
        for level in path.into_iter().flat_map(|path| path.split('/')) {
            number = match level {
                "+" => Some(self.nodes[number as usize].plus).filter(|plus| *plus != NONE)?,
                _ => self.child(number, level)?,
            };
        }
        let node = &self.nodes[number as usize];
        if is_multi {
            node.multi.as_ref()
        } else {
            node.exact.as_ref()
        }
    }

    /// The filter with this text, made if need be, and whether it was made.
    pub fn get_or_insert(&mut self, text: &str) -> (&Arc<Filter<V>>, bool) {
        let (path, is_multi) = split(text);
        let mut number = ROOT;
        for level in path.into_iter().flat_map(|path| path.split('/')) {
            number = self.child_or_insert(number, level);
        }
        let node = &mut self.nodes[number as usize];
        let slot = if is_multi {
            &mut node.multi
        } else {
            &mut node.exact
        };
        let is_new = slot.is_none();
        self.n_filters += usize::from(is_new);
        (
            slot.get_or_insert_with(|| Arc::new(Filter::new(text))),
            is_new,
        )
    }

    /// Takes a filter out, with the nodes that only it needed.
    pub fn remove(&mut self, text: &str) {
        let (path, is_multi) = split(text);
        let mut number = ROOT;
        for level in path.into_iter().flat_map(|path| path.split('/')) {
            let child = match level {
                "+" => Some(self.nodes[number as usize].plus).filter(|plus| *plus != NONE),
                _ => self.child(number, level),
            };
            let Some(child) = child else { return };
            number = child;
        }
        let node = &mut self.nodes[number as usize];
        let slot = if is_multi {
            &mut node.multi
        } else {
            &mut node.exact
        };
        self.n_filters -= usize::from(slot.take().is_some());
        while number != ROOT && self.nodes[number as usize].is_idle() {
            number = self.prune(number);
        }
    }

    /// All filters, in no particular order.
    pub fn filters(&self) -> Vec<Arc<Filter<V>>> {
        let nodes = self.nodes.iter();
        let filters = nodes.flat_map(|node| [&node.exact, &node.multi]);
        filters.flatten().cloned().collect()
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.n_filters
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.n_filters == 0
    }

    /// Removes an idle node and returns its parent.
    fn prune(&mut self, number: u32) -> u32 {
        let node = &self.nodes[number as usize];
        let parent = node.parent;
        if self.nodes[parent as usize].plus == number {
            self.nodes[parent as usize].plus = NONE;
        } else {
            let hash = hash(&self.hasher, parent, &node.level);
            if let Ok(entry) = self.children.find_entry(hash, |child| *child == number) {
                entry.remove();
            }
            self.nodes[parent as usize].n_children -= 1;
        }
        self.nodes[number as usize] = Node::new("", NONE);
        self.free.push(number);
        parent
    }

    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let is_it = |child: &u32| {
            let node = &self.nodes[*child as usize];
            node.parent == parent && *node.level == *level
        };
        self.children
            .find(hash(&self.hasher, parent, level), is_it)
            .copied()
    }

    fn child_or_insert(&mut self, parent: u32, level: &str) -> u32 {
        let is_plus = level == "+";
        let known = if is_plus {
            Some(self.nodes[parent as usize].plus).filter(|plus| *plus != NONE)
        } else {
            self.child(parent, level)
        };
        if let Some(child) = known {
            return child;
        }
        let node = Node::new(level, parent);
        let number = match self.free.pop() {
            Some(number) => {
                self.nodes[number as usize] = node;
                number
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        if is_plus {
            self.nodes[parent as usize].plus = number;
        } else {
            self.nodes[parent as usize].n_children += 1;
            let (nodes, hasher) = (&self.nodes, &self.hasher);
            let new = hash(hasher, parent, level);
            self.children.insert_unique(new, number, |child| {
                let node = &nodes[*child as usize];
                hash(hasher, node.parent, &node.level)
            });
        }
        number
    }
}

/// The levels before a trailing `#`, and whether there was one. `#` alone has no levels.
fn split(text: &str) -> (Option<&str>, bool) {
    match text.strip_suffix('#') {
        Some("") => (None, true),
        Some(path) => (Some(path.strip_suffix('/').unwrap_or(path)), true),
        None => (Some(text), false),
    }
}

fn hash(hasher: &FixedState, parent: u32, level: &str) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u32(parent);
    hasher.write(level.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;
