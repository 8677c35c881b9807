//! One topic filter of the table, with everybody who subscribed to it.

use std::sync::atomic::AtomicU64;

use indexmap::IndexMap;
use parking_lot::{RwLock, RwLockReadGuard};

use crate::members::Members;

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
}

/// The groups of a filter, by share name.
pub type Groups<V> = IndexMap<Box<str>, Group<V>>;

/// A `$share` group of one filter.
#[derive(Debug)]
pub struct Group<V> {
    /// The share name.
    pub name: Box<str>,
    /// Its members.
    pub members: Members<V>,
    /// Where the next turn begins; see [`crate::share`].
    pub cursor: AtomicU64,
}

impl<V> Filter<V> {
    pub(crate) fn new(text: &str) -> Self {
        let subscribers = Subscribers {
            direct: Members::default(),
            groups: Groups::default(),
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

    /// Adds or replaces a subscriber; returns the value that it had.
    pub(crate) fn insert(&self, share: Option<&str>, key: u64, value: V) -> Option<V> {
        let mut subscribers = self.subscribers.write();
        let Some(share) = share else {
            return subscribers.direct.insert(key, value);
        };
        let group = subscribers
            .groups
            .entry(share.into())
            .or_insert_with(|| Group {
                name: share.into(),
                members: Members::default(),
                cursor: AtomicU64::new(0),
            });
        group.members.insert(key, value)
    }

    /// Takes a subscriber out; returns its value, and whether anybody is left.
    pub(crate) fn remove(&self, share: Option<&str>, key: u64) -> (Option<V>, bool) {
        let mut subscribers = self.subscribers.write();
        let removed = match share {
            None => subscribers.direct.remove(key),
            Some(share) => match subscribers.groups.get_mut(share) {
                Some(group) => {
                    let removed = group.members.remove(key);
                    if group.members.is_empty() {
                        subscribers.groups.swap_remove(share);
                    }
                    removed
                }
                None => None,
            },
        };
        (
            removed,
            !subscribers.direct.is_empty() || !subscribers.groups.is_empty(),
        )
    }
}
