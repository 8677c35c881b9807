//! A set of subscribers that is walked far more often than it changes.
//!
//! The members lie side by side; up to [`SCANNED`] of them are found by looking at each, more
//! through an index by number. One subscriber, the usual case, costs no index.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

/// How many members are still looked for one by one.
const SCANNED: usize = 32;

/// One subscriber.
#[derive(Clone, Debug)]
pub struct Member<V> {
    /// The subscriber's number.
    pub key: u64,
    /// What the owner of the table wants back with a match.
    pub value: V,
}

/// The subscribers of one filter or group.
#[derive(Debug)]
pub struct Members<V> {
    entries: SmallVec<[Member<V>; 1]>,
    positions: Option<Box<HashMap<u64, u32, FixedState>>>,
}

impl<V> Default for Members<V> {
    fn default() -> Self {
        Self {
            entries: SmallVec::new(),
            positions: None,
        }
    }
}

impl<V> Members<V> {
    /// Adds a member or replaces its value; returns the value it had.
    pub fn insert(&mut self, key: u64, value: V) -> Option<V> {
        if let Some(at) = self.position(key) {
            return Some(std::mem::replace(&mut self.entries[at].value, value));
        }
        if let Some(positions) = &mut self.positions {
            positions.insert(key, self.entries.len() as u32);
        }
        self.entries.push(Member { key, value });
        if self.positions.is_none() && self.entries.len() > SCANNED {
            let numbered = self.entries.iter().enumerate();
            self.positions = Some(Box::new(
                numbered.map(|(at, m)| (m.key, at as u32)).collect(),
            ));
        }
        None
    }

    /// Takes a member out; the last one moves into its place.
    pub fn remove(&mut self, key: u64) -> Option<V> {
        let at = self.position(key)?;
        let member = self.entries.swap_remove(at);
        if let Some(positions) = &mut self.positions {
            positions.remove(&key);
            if let Some(moved) = self.entries.get(at) {
                positions.insert(moved.key, at as u32);
            }
            if self.entries.len() <= SCANNED / 2 {
                self.positions = None;
            }
        }
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to_fit();
        }
        Some(member.value)
    }

    /// The value of a member.
    pub fn get(&self, key: u64) -> Option<&V> {
        self.position(key).map(|at| &self.entries[at].value)
    }

    /// Where a member is in [`Self::as_slice`].
    pub fn position(&self, key: u64) -> Option<usize> {
        match &self.positions {
            Some(positions) => positions.get(&key).map(|at| *at as usize),
            None => self.entries.iter().position(|member| member.key == key),
        }
    }

    /// The members side by side, in no particular order.
    pub fn as_slice(&self) -> &[Member<V>] {
        &self.entries
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_sets_answer_alike() {
        let mut members = Members::default();
        for key in 0..1000 {
            assert_eq!(members.insert(key, key * 2), None);
        }
        assert_eq!(members.insert(7, 1), Some(14));
        for key in (0..1000).filter(|key| key % 3 == 0) {
            assert!(members.remove(key).is_some());
            assert_eq!(members.remove(key), None);
        }
        for key in 0..1000 {
            assert_eq!(members.get(key).is_some(), key % 3 != 0, "{key}");
        }
        for key in 0..995 {
            members.remove(key);
        }
        let mut left: Vec<u64> = members.as_slice().iter().map(|member| member.key).collect();
        left.sort_unstable();
        assert_eq!(left, [995, 997, 998]);
    }
}
