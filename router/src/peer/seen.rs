//! Which messages have come lately, so that a repeat is known. Pure: stamps are passed in.
//!
//! Every message of QoS 1 and 2 is noted, for its repeat may come on another stream. The stamp at
//! which it came first tells who got it: a session that subscribed since did not, so the repeat is
//! delivered to that one and dropped for the others.
//!
//! A repeat must not be answered before the first copy is safe. One that is to be tried again is
//! struck out with [`Seen::strike`], or its repeat would be taken for one that was accepted. One
//! that was refused for good is noted as such with [`Seen::refuse`]: if its source has not heard of
//! that it sends the message again, and behind it what was accepted since. Taken then, it would
//! come too late, and twice to whoever had it the first time.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// When a message came first, and how much its source knew then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct First {
    /// By the stamps of this node.
    pub stamp: u64,
    /// Up to which revision of the cluster's state its source knew who wants it.
    pub knows: u64,
}

/// The ids of recent messages, of each source.
#[derive(Debug)]
pub struct Seen {
    window: usize,
    most_sources: usize,
    sources: HashMap<u64, Source, RandomState>,
    /// Grows with every note, to know which source was silent longest.
    n_notes: u64,
}

#[derive(Debug, Default)]
struct Source {
    known: HashMap<u64, Known, RandomState>,
    /// Ids in the order in which they came; [`STRUCK`] for one that was struck out, which takes no
    /// place of the window. At most twice as many as the window has.
    order: VecDeque<u64>,
    /// How many have left `order` at its front.
    n_passed: u64,
    last_note: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    first: First,
    /// Why it was refused, if it was.
    refusal: Option<u8>,
    /// Its place in `order`, counted from the first that ever was in it.
    place: u64,
}

/// No message of QoS 1 or 2 has this id.
const STRUCK: u64 = 0;

// === impl Seen ===

impl Default for Seen {
    /// 65,536 messages of each of 256 sources: about 3 MB for each that sends.
    fn default() -> Self {
        Self::new(65_536, 256)
    }
}

impl Seen {
    /// Remembers so many messages of each source, and so many sources; both at least 1. The window
    /// has to hold what a source may have unanswered in all its lanes.
    #[must_use]
    pub fn new(window: usize, most_sources: usize) -> Self {
        Self {
            window: window.max(1),
            most_sources: most_sources.max(1),
            sources: HashMap::default(),
            n_notes: 0,
        }
    }

    /// Notes that a message came. If it had come before, and was not refused: what was noted then.
    ///
    /// `source` is the incarnation that sends, `id` the message's.
    pub fn note(&mut self, source: u64, id: u64, now: First) -> Option<First> {
        self.n_notes += 1;
        if !self.sources.contains_key(&source) {
            self.make_room();
        }
        let known = self.sources.entry(source).or_default();
        known.last_note = self.n_notes;
        known.note(id, now, self.window)
    }

    /// Whether a message has come, and was neither refused nor forgotten since.
    #[must_use]
    pub fn has(&self, source: u64, id: u64) -> bool {
        self.known(source, id)
            .is_some_and(|known| known.refusal.is_none())
    }

    /// Notes that a message was refused, with this reason code of MQTT, whether it was noted before
    /// or not.
    pub fn refuse(&mut self, source: u64, id: u64, reason: u8) {
        if self.known(source, id).is_none() {
            self.note(source, id, First::default());
        }
        let known = self.sources.get_mut(&source);
        if let Some(known) = known.and_then(|source| source.known.get_mut(&id)) {
            known.refusal = Some(reason);
        }
    }

    /// Why a message was refused that was not taken since.
    #[must_use]
    pub fn refusal(&self, source: u64, id: u64) -> Option<u8> {
        self.known(source, id)?.refusal
    }

    fn known(&self, source: u64, id: u64) -> Option<&Known> {
        self.sources.get(&source)?.known.get(&id)
    }

    /// Forgets a message: its repeat is to be tried as if it were new.
    pub fn strike(&mut self, source: u64, id: u64) {
        if let Some(known) = self.sources.get_mut(&source) {
            known.strike(id);
        }
    }

    /// Forgets a source, which is gone and will send no more.
    pub fn forget(&mut self, source: u64) {
        self.sources.remove(&source);
    }

    /// How many sources are known.
    #[must_use]
    pub fn n_sources(&self) -> usize {
        self.sources.len()
    }

    /// Makes room for one more source: the one that was silent longest is forgotten.
    fn make_room(&mut self) {
        if self.sources.len() < self.most_sources {
            return;
        }
        let oldest = self
            .sources
            .iter()
            .min_by_key(|(_, source)| source.last_note);
        if let Some(&oldest) = oldest.map(|(number, _)| number) {
            self.sources.remove(&oldest);
        }
    }
}

// === impl Source ===

impl Source {
    fn note(&mut self, id: u64, now: First, window: usize) -> Option<First> {
        match self.known.get(&id) {
            Some(known) if known.refusal.is_none() => return Some(known.first),
            Some(_) => self.strike(id),
            None => {}
        }
        while self.known.len() >= window
            && let Some(oldest) = self.order.pop_front()
        {
            self.n_passed += 1;
            self.known.remove(&oldest);
        }
        if self.order.len() >= 2 * window {
            self.close_gaps();
        }
        let place = self.n_passed + self.order.len() as u64;
        self.order.push_back(id);
        let known = Known {
            first: now,
            refusal: None,
            place,
        };
        self.known.insert(id, known);
        None
    }

    fn strike(&mut self, id: u64) {
        if let Some(known) = self.known.remove(&id)
            && let Some(place) = self.order.get_mut((known.place - self.n_passed) as usize)
        {
            *place = STRUCK;
        }
    }

    /// Takes out what was struck out: no more often than once for as many as the window has.
    fn close_gaps(&mut self) {
        self.order.retain(|id| *id != STRUCK);
        for (place, id) in (self.n_passed..).zip(&self.order) {
            if let Some(known) = self.known.get_mut(id) {
                known.place = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stamp: u64) -> First {
        let knows = stamp / 2;
        First { stamp, knows }
    }

    #[test]
    fn a_repeat_is_known_by_its_first_stamp_until_the_window_has_passed_it() {
        let mut seen = Seen::new(3, 8);
        assert_eq!(seen.note(1, 10, at(100)), None);
        assert_eq!(seen.note(1, 10, at(101)), Some(at(100)));
        assert_eq!(seen.note(2, 10, at(102)), None, "another source");
        for id in [11, 12] {
            assert_eq!(seen.note(1, id, at(103)), None);
        }
        assert_eq!(seen.note(1, 10, at(104)), Some(at(100)));
        assert_eq!(seen.note(1, 13, at(105)), None);
        assert_eq!(seen.note(1, 10, at(106)), None);
        let known = &seen.sources[&1];
        assert_eq!((known.order.len(), known.known.len()), (3, 3));
    }

    #[test]
    fn what_was_refused_or_forgotten_is_new() {
        let mut seen = Seen::new(3, 8);
        seen.note(1, 10, at(100));
        assert!(seen.has(1, 10) && !seen.has(1, 11) && !seen.has(2, 10));
        seen.strike(1, 10);
        assert!(!seen.has(1, 10));
        assert_eq!(seen.note(1, 10, at(101)), None);
        for id in [11, 12] {
            // The place of the first copy passes, that of the second does not.
            assert_eq!(seen.note(1, id, at(102)), None);
        }
        assert_eq!(seen.note(1, 10, at(102)), Some(at(101)));
        seen.forget(1);
        assert_eq!(seen.note(1, 10, at(103)), None);
        assert_eq!(seen.n_sources(), 1);
    }

    #[test]
    fn a_refusal_is_known_until_the_message_is_taken_after_all() {
        let mut seen = Seen::new(3, 8);
        assert_eq!(seen.refusal(1, 10), None);
        seen.note(1, 10, at(100));
        seen.refuse(1, 10, 0x97);
        seen.refuse(1, 11, 0x80);
        assert_eq!(
            (seen.refusal(1, 10), seen.refusal(1, 11)),
            (Some(0x97), Some(0x80))
        );
        assert!(!seen.has(1, 10) && !seen.has(1, 11));
        assert_eq!(seen.note(1, 10, at(101)), None, "it is tried as a new one");
        assert_eq!((seen.refusal(1, 10), seen.has(1, 10)), (None, true));
        assert_eq!(seen.note(1, 10, at(102)), Some(at(101)));
        for id in [12, 13] {
            seen.note(1, id, at(103));
        }
        assert_eq!(seen.refusal(1, 11), None, "the window has passed it");
    }

    #[test]
    fn what_was_struck_out_takes_no_place_of_what_was_not() {
        let mut seen = Seen::new(4, 8);
        for id in 1..=4 {
            seen.note(1, id, at(id));
        }
        for id in 100..200 {
            seen.strike(1, 2);
            assert_eq!(seen.note(1, id, at(id)), None, "one place is free");
            seen.strike(1, id);
        }
        for id in [1, 3, 4] {
            assert_eq!(
                seen.note(1, id, at(500)),
                Some(at(id)),
                "{id} is in the window"
            );
        }
        let known = &seen.sources[&1];
        assert!(known.order.len() <= 8 && known.known.len() == 3);
        // And whatever was moved for that is struck out, and passes, as before.
        seen.strike(1, 3);
        assert_eq!(seen.note(1, 3, at(600)), None);
        for id in 201..=204 {
            seen.note(1, id, at(id));
        }
        assert!([1, 3, 4].iter().all(|id| !seen.has(1, *id)));
        assert!((201..=204).all(|id| seen.has(1, id)));
    }

    #[test]
    fn the_source_that_was_silent_longest_makes_room() {
        let mut seen = Seen::new(3, 2);
        seen.note(1, 10, at(0));
        seen.note(2, 10, at(0));
        seen.note(1, 11, at(0));
        seen.note(3, 10, at(0));
        assert_eq!(seen.n_sources(), 2);
        assert_eq!(seen.note(1, 10, at(9)), Some(at(0)));
        assert_eq!(seen.note(2, 10, at(9)), None);
    }
}
