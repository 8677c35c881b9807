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
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};

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
    /// How many there were when sources that are gone were looked for last.
    n_looked_at: u64,
}

/// What is remembered of a source. Notes lie in a row, and the index has 4 bytes for each: a map of
/// whole notes in which as many go as come grows to three times the size.
#[derive(Debug, Default)]
struct Source {
    /// In the order in which they came. Those that were struck out take no place of the window, and
    /// are at most a quarter of it.
    notes: VecDeque<Note>,
    /// Where each id is in `notes`, but for what was struck out: counted from the first that ever was
    /// there, modulo 2^32.
    places: HashTable<u32>,
    /// How many have left `notes` at its front, modulo 2^32.
    n_passed: u32,
    last_note: u64,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    id: u64,
    first: First,
    /// Why it was refused, if it was.
    refusal: Option<u8>,
    is_struck: bool,
}

// === impl Seen ===

impl Default for Seen {
    /// 65,536 messages of each of 256 sources: 3 to 4 MB for each that has sent so many.
    fn default() -> Self {
        Self::new(65_536, 256)
    }
}

impl Seen {
    /// Remembers so many messages of each source, and so many sources; both at least 1. The window
    /// has to hold what a source may have unanswered in all its lanes. A message takes 32 bytes and up
    /// to 20 more for the index.
    #[must_use]
    pub fn new(window: usize, most_sources: usize) -> Self {
        Self {
            window: window.max(1),
            most_sources: most_sources.max(1),
            sources: HashMap::default(),
            n_notes: 0,
            n_looked_at: 0,
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
        if let Some(known) = self.noted(source, id) {
            known.refusal = Some(reason);
        }
    }

    /// The same without a reason; what is passed is found by [`Seen::refused`].
    pub fn refuse_as(&mut self, source: u64, id: u64, why: First) {
        if let Some(known) = self.noted(source, id) {
            (known.refusal, known.first) = (Some(0), why);
        }
    }

    fn noted(&mut self, source: u64, id: u64) -> Option<&mut Note> {
        if self.known(source, id).is_none() {
            self.note(source, id, First::default());
        }
        self.sources.get_mut(&source)?.known_mut(id)
    }

    /// Why a message was refused that was not taken since.
    #[must_use]
    pub fn refusal(&self, source: u64, id: u64) -> Option<u8> {
        self.known(source, id)?.refusal
    }

    /// What was noted with a refusal of a message that was not taken since.
    #[must_use]
    pub fn refused(&self, source: u64, id: u64) -> Option<First> {
        let known = self.known(source, id)?;
        known.refusal.map(|_| known.first)
    }

    fn known(&self, source: u64, id: u64) -> Option<&Note> {
        self.sources.get(&source)?.known(id)
    }

    /// Forgets a message: its repeat is to be tried as if it were new.
    pub fn strike(&mut self, source: u64, id: u64) {
        if let Some(known) = self.sources.get_mut(&source) {
            known.strike(id);
        }
    }

    /// Forgets the sources that are gone and of which nothing was noted since the last call. Called at
    /// even intervals, it keeps each for one of them at least, and two at most.
    pub fn forget_silent(&mut self, is_there: impl Fn(u64) -> bool) {
        let before = std::mem::replace(&mut self.n_looked_at, self.n_notes);
        self.sources
            .retain(|source, known| known.last_note > before || is_there(*source));
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
        match self.known(id) {
            Some(known) if known.refusal.is_none() => return Some(known.first),
            Some(_) => self.strike(id),
            None => {}
        }
        while self.places.len() >= window && !self.notes.is_empty() {
            self.pass();
        }
        let most = window + window / 4 + 1;
        if self.notes.len() >= most {
            self.close_gaps();
        }
        if self.notes.len() == self.notes.capacity() {
            let n_more = self.notes.len().max(4).min(most - self.notes.len());
            self.notes.reserve_exact(n_more);
        }
        let place = self.n_passed.wrapping_add(self.notes.len() as u32);
        self.notes.push_back(Note {
            id,
            first: now,
            refusal: None,
            is_struck: false,
        });
        self.enter(id, place);
        None
    }

    /// The oldest goes.
    fn pass(&mut self) {
        if let Some(oldest) = self.notes.front() {
            let (hash, place) = (self.hasher.hash_one(oldest.id), self.n_passed);
            if let Ok(entry) = self.places.find_entry(hash, |known| *known == place) {
                entry.remove();
            }
        }
        self.notes.pop_front();
        self.n_passed = self.n_passed.wrapping_add(1);
    }

    fn strike(&mut self, id: u64) {
        let (hash, notes, n_passed) = (self.hasher.hash_one(id), &self.notes, self.n_passed);
        let is_it = |place: &u32| at(notes, n_passed, *place).is_some_and(|note| note.id == id);
        if let Ok(entry) = self.places.find_entry(hash, is_it) {
            let (place, _) = entry.remove();
            let note = self.notes.get_mut(place.wrapping_sub(n_passed) as usize);
            note.expect("what is in the index is in the row").is_struck = true;
        }
    }

    /// Takes out what was struck out: no more often than once for a quarter of the window.
    fn close_gaps(&mut self) {
        self.notes.retain(|note| !note.is_struck);
        self.places.clear();
        for at in 0..self.notes.len() {
            self.enter(self.notes[at].id, self.n_passed.wrapping_add(at as u32));
        }
    }

    fn enter(&mut self, id: u64, place: u32) {
        let (hasher, notes, n_passed) = (&self.hasher, &self.notes, self.n_passed);
        let hash_of = |place: &u32| {
            let note = at(notes, n_passed, *place);
            hasher.hash_one(note.map_or(0, |note| note.id))
        };
        self.places
            .insert_unique(hasher.hash_one(id), place, hash_of);
    }

    fn known(&self, id: u64) -> Option<&Note> {
        let note = |place: &u32| at(&self.notes, self.n_passed, *place);
        let is_it = |place: &u32| note(place).is_some_and(|note| note.id == id);
        note(self.places.find(self.hasher.hash_one(id), is_it)?)
    }

    fn known_mut(&mut self, id: u64) -> Option<&mut Note> {
        let note = |place: &u32| at(&self.notes, self.n_passed, *place);
        let is_it = |place: &u32| note(place).is_some_and(|note| note.id == id);
        let place = *self.places.find(self.hasher.hash_one(id), is_it)?;
        self.notes
            .get_mut(place.wrapping_sub(self.n_passed) as usize)
    }
}

// === private ===

/// The note at a place of a row of which so many have passed.
fn at(notes: &VecDeque<Note>, n_passed: u32, place: u32) -> Option<&Note> {
    notes.get(place.wrapping_sub(n_passed) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::Dice;

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
        assert_eq!((known.notes.len(), known.places.len()), (3, 3));
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
        assert!(known.notes.len() <= 6 && known.places.len() == 3);
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
    fn a_source_that_is_gone_is_forgotten_when_nothing_has_come_of_it_for_a_while() {
        let mut seen = Seen::new(3, 8);
        for source in [1, 2, 3] {
            seen.note(source, 10, at(0));
        }
        let is_there = |source| source == 1;
        seen.forget_silent(is_there);
        assert_eq!(
            seen.n_sources(),
            3,
            "they have sent since they are looked at"
        );
        assert_eq!(
            seen.note(3, 10, at(1)),
            Some(at(0)),
            "also a repeat says that"
        );
        seen.forget_silent(is_there);
        assert!(seen.has(1, 10) && !seen.has(2, 10) && seen.has(3, 10));
        seen.forget_silent(is_there);
        assert!(seen.has(1, 10) && !seen.has(3, 10));
        assert_eq!(seen.n_sources(), 1, "nothing is kept of the others");
    }

    /// What any ids and orders do, against a list that is looked through.
    #[test]
    fn it_knows_what_a_plain_list_knows() {
        let (window, mut dice) = (7, Dice::new(1));
        let mut seen = Seen::new(window, 2);
        let nearly_round = Source {
            n_passed: u32::MAX - 900,
            ..Source::default()
        };
        seen.sources.insert(1, nearly_round);
        let mut plain: Vec<(u64, First, Option<u8>)> = Vec::new();
        for step in 0..20_000 {
            let id = dice.roll(12);
            let place = plain.iter().position(|known| known.0 == id);
            match dice.roll(8) {
                0 => {
                    seen.strike(1, id);
                    place.map(|place| plain.remove(place));
                }
                1 => {
                    seen.refuse(1, id, 0x97);
                    match place {
                        Some(place) => plain[place].2 = Some(0x97),
                        None => plain.push((id, First::default(), Some(0x97))),
                    }
                }
                _ => {
                    let is_known = place.filter(|place| plain[*place].2.is_none());
                    let expected = is_known.map(|place| plain[place].1);
                    assert_eq!(seen.note(1, id, at(step)), expected, "{step}");
                    if expected.is_none() {
                        place.map(|place| plain.remove(place));
                        plain.push((id, at(step), None));
                    }
                }
            }
            plain.drain(..plain.len().saturating_sub(window));
            for id in 0..12 {
                let known = plain.iter().find(|known| known.0 == id);
                assert_eq!(
                    seen.refusal(1, id),
                    known.and_then(|known| known.2),
                    "{step}"
                );
                assert_eq!(
                    seen.has(1, id),
                    known.is_some_and(|known| known.2.is_none())
                );
            }
        }
    }

    /// In the long run: an index in which as many go as come grows once more when it is full of holes.
    #[test]
    fn a_source_takes_what_is_said_of_the_default() {
        const WINDOW: u64 = 65_536;
        let allocated = |seen: &Seen| {
            let known = &seen.sources[&1];
            known.places.allocation_size() + known.notes.capacity() * size_of::<Note>()
        };
        let mut seen = Seen::default();
        for id in 0..40 * WINDOW {
            seen.note(1, id, at(id));
        }
        let plain = allocated(&seen);
        for id in 40 * WINDOW..42 * WINDOW {
            seen.note(1, id, at(id));
            if id % 2 == 0 {
                seen.strike(1, id);
            }
        }
        let with_gaps = allocated(&seen);
        println!("{plain} bytes, and {with_gaps} where some were struck out");
        assert!(plain > 2_500_000 && with_gaps > plain && with_gaps < 4_000_000);
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
