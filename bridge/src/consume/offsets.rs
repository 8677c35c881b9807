//! How far each partition is settled, and so what may be committed: pure.
//!
//! A record is settled when the cluster has it, or never will. The offset of a partition is that of its
//! first record that is not.

use std::collections::{BTreeMap, BTreeSet};

/// Partitions that this consumer has.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// The place of a partition.
    places: BTreeMap<(String, i32), u64>,
    partitions: BTreeMap<u64, Progress>,
    n_places: u64,
}

/// A record that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Of its partition, for as long as this consumer has that: whatever is settled later, of before, is of no
    /// partition.
    place: u64,
    offset: i64,
}

#[derive(Debug)]
struct Progress {
    open: BTreeSet<i64>,
    /// Behind the last that came.
    next: i64,
    /// The first that is not settled is, too: whoever has the partition next begins there.
    committed: Option<i64>,
}

// === impl Ticket ===

impl Ticket {
    /// That of its partition: 1 and more.
    pub(super) fn place(self) -> u64 {
        self.place
    }
}

// === impl Offsets ===

impl Offsets {
    /// A record has come.
    pub(super) fn begin(&mut self, topic: &str, partition: i32, offset: i64) -> Ticket {
        let place = *self
            .places
            .entry((topic.to_owned(), partition))
            .or_insert_with(|| {
                self.n_places += 1;
                self.n_places
            });
        let progress = self.partitions.entry(place).or_insert_with(|| Progress {
            open: BTreeSet::new(),
            next: offset,
            committed: None,
        });
        progress.open.insert(offset);
        progress.next = progress.next.max(offset.saturating_add(1)); // Kafka's word
        Ticket { place, offset }
    }

    /// A record is settled.
    pub(super) fn end(&mut self, ticket: Ticket) {
        if let Some(progress) = self.partitions.get_mut(&ticket.place) {
            progress.open.remove(&ticket.offset);
        }
    }

    /// Where a record is, for who reads the log.
    pub(super) fn position(&self, ticket: Ticket) -> String {
        let mut places = self.places.iter();
        let found = places.find(|(_, place)| **place == ticket.place);
        let (topic, partition) = found.map_or(("?", -1), |((topic, n), _)| (topic.as_str(), *n));
        format!("{topic}/{partition}/{}", ticket.offset)
    }

    /// What is to be committed since the last time: topic, partition, offset.
    pub(super) fn take_due(&mut self) -> Vec<(String, i32, i64)> {
        let mut due = Vec::new();
        for ((topic, partition), place) in &self.places {
            let Some(progress) = self.partitions.get_mut(place) else {
                continue;
            };
            let settled = progress.open.first().copied().unwrap_or(progress.next);
            if progress
                .committed
                .is_none_or(|committed| settled > committed)
            {
                progress.committed = Some(settled);
                due.push((topic.clone(), *partition, settled));
            }
        }
        due
    }

    /// How many records of these partitions are on their way.
    pub(super) fn n_open(&self, partitions: &[(String, i32)]) -> usize {
        let places = partitions.iter().filter_map(|it| self.places.get(it));
        let progress = places.filter_map(|place| self.partitions.get(place));
        progress.map(|progress| progress.open.len()).sum()
    }

    /// How many of all are.
    pub(super) fn n_open_of_all(&self) -> usize {
        self.partitions.values().map(|it| it.open.len()).sum()
    }

    /// Partitions are another consumer's; gives their places.
    pub(super) fn forget(&mut self, partitions: &[(String, i32)]) -> Vec<u64> {
        let places = partitions.iter().filter_map(|it| self.places.remove(it));
        let places: Vec<_> = places.collect();
        for place in &places {
            self.partitions.remove(place);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(offsets: &mut Offsets) -> Vec<(i32, i64)> {
        let due = offsets.take_due().into_iter();
        due.map(|(_, partition, offset)| (partition, offset))
            .collect()
    }

    #[test]
    fn an_offset_is_committed_when_all_before_it_are_settled() {
        let mut offsets = Offsets::default();
        let tickets: Vec<_> = (10..13).map(|n| offsets.begin("t", 0, n)).collect();
        assert_eq!(due(&mut offsets), [(0, 10)], "it begins there");
        assert_eq!(due(&mut offsets), [], "once");
        offsets.end(tickets[1]);
        assert_eq!(due(&mut offsets), [], "10 is on its way");
        offsets.end(tickets[0]);
        assert_eq!(due(&mut offsets), [(0, 12)]);
        assert_eq!(due(&mut offsets), [], "once");
        offsets.end(tickets[2]);
        assert_eq!(due(&mut offsets), [(0, 13)]);
        assert_eq!(offsets.n_open_of_all(), 0);
    }

    #[test]
    fn gaps_in_a_partition_are_not_waited_for() {
        let mut offsets = Offsets::default();
        for n in [5, 9] {
            let ticket = offsets.begin("t", 1, n);
            offsets.end(ticket);
        }
        assert_eq!(due(&mut offsets), [(1, 10)]);
        let ticket = offsets.begin("t", 1, i64::MAX);
        offsets.end(ticket);
        assert_eq!(
            due(&mut offsets),
            [(1, i64::MAX)],
            "there is none behind it"
        );
    }

    #[test]
    fn what_is_settled_of_a_partition_that_was_given_back_moves_nothing() {
        let mut offsets = Offsets::default();
        let of_before = offsets.begin("t", 0, 10);
        let given = [("t".to_owned(), 0)];
        assert_eq!(offsets.n_open(&given), 1);
        assert_eq!(offsets.forget(&given), [of_before.place()]);
        assert_eq!(offsets.n_open(&given), 0);
        let again = offsets.begin("t", 0, 10);
        offsets.end(of_before);
        assert_eq!(due(&mut offsets), [(0, 10)]);
        offsets.end(again);
        assert_eq!(due(&mut offsets), [(0, 11)]);
    }
}
