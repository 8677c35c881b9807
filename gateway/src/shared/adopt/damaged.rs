//! What cannot be adopted because Redis has something else there than a gateway has written: it is
//! named once, and asked for seldom, until somebody has mended it. Pure.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Pause before it is asked for again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Something that may be damaged by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// What the dead one has in a slice: which sessions, and which that have ended.
    Sessions(u16),
    AllEnded(u16),
    /// A session, by its client id, and what one has left that has ended, by its number.
    Session(String),
    Ended(u64),
    /// An entry among those that is none.
    NoSession(String),
    NoEnded(String),
}

/// What is damaged.
#[derive(Debug, Default)]
pub(super) struct Damaged(HashMap<Part, Rest>);

/// When it is asked for again.
#[derive(Debug)]
struct Rest {
    until: Instant,
    pause: Duration,
}

// === impl Damaged ===

impl Damaged {
    /// Until when a part is not to be asked for, if it is not to be now.
    pub(super) fn rests(&self, part: &Part, now: Instant) -> Option<Instant> {
        let rest = self.0.get(part)?;
        (rest.until > now).then_some(rest.until)
    }

    /// A part is damaged: when it is asked for again, and whether that is news.
    pub(super) fn note(&mut self, part: Part, now: Instant) -> (Instant, bool) {
        let known = self.0.get(&part).map(|rest| rest.pause);
        let pause = known.map_or(PAUSES.0, |pause| (pause * 2).min(PAUSES.1));
        let until = now + pause;
        self.0.insert(part, Rest { until, pause });
        (until, known.is_none())
    }

    /// A part could be read; whether it was damaged.
    pub(super) fn strike(&mut self, part: &Part) -> bool {
        self.0.remove(part).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_named_once_and_asked_for_ever_more_seldom() {
        let (mut damaged, mut now) = (Damaged::default(), Instant::now());
        let part = || Part::Session("c".to_owned());
        for (nth, seconds) in [1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
            assert_eq!(damaged.rests(&part(), now), None);
            let (until, is_new) = damaged.note(part(), now);
            assert_eq!(
                (until - now, is_new),
                (Duration::from_secs(seconds), nth == 0)
            );
            assert_eq!(damaged.rests(&part(), now), Some(until));
            assert_eq!(damaged.rests(&Part::Ended(7), now), None);
            now = until;
        }
        assert!(damaged.strike(&part()) && !damaged.strike(&part()));
        assert_eq!(damaged.rests(&part(), now), None);
        assert!(damaged.note(part(), now).1, "it is news again");
    }
}
