//! How many lines a second the log has of what any client can cause. Those beyond are counted, and
//! told of in one line when the second is over. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The lines of one kind.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// When the second began that is counted now.
    since: Option<Instant>,
    n_said: u32,
    n_left_out: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Said,
    LeftOut,
    /// It is the first one that is left out: how many there were is to be asked for then.
    LeftOutUntil(Instant),
}

const MOST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

impl Lines {
    /// There is something to say.
    pub(super) fn note(&mut self, now: Instant) -> Verdict {
        let is_over = |since: Instant| now.duration_since(since) >= PERIOD;
        let since = match self.since.filter(|since| !is_over(*since)) {
            Some(since) => since,
            None => {
                self.n_said = 0;
                *self.since.insert(now)
            }
        };
        if self.n_said < MOST {
            self.n_said += 1;
            return Verdict::Said;
        }
        self.n_left_out += 1;
        match self.n_left_out {
            1 => Verdict::LeftOutUntil(since + PERIOD),
            _ => Verdict::LeftOut,
        }
    }

    /// How many were left out since this was asked last.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.n_left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_ten_lines_a_second_and_how_many_there_were_beside_them() {
        let (mut lines, begin) = (Lines::default(), Instant::now());
        for second in 0..3 {
            let at = |millis: u64| begin + Duration::from_millis(1_000 * second + millis);
            for millis in 0..10 {
                assert_eq!(lines.note(at(millis)), Verdict::Said);
            }
            assert_eq!(lines.note(at(10)), Verdict::LeftOutUntil(at(1_000)));
            for millis in 11..500 {
                assert_eq!(lines.note(at(millis)), Verdict::LeftOut);
            }
            assert_eq!(lines.take_left_out(), 490);
            assert_eq!(lines.take_left_out(), 0);
        }
    }

    #[test]
    fn what_is_left_out_late_is_told_of_too() {
        let (mut lines, begin) = (Lines::default(), Instant::now());
        for _ in 0..=MOST {
            lines.note(begin);
        }
        // The next second begins before those of the first were asked for.
        let next = begin + PERIOD;
        for _ in 0..MOST {
            assert_eq!(lines.note(next), Verdict::Said);
        }
        assert_eq!(lines.note(next), Verdict::LeftOut);
        assert_eq!(lines.take_left_out(), 2);
        assert_eq!(lines.note(next), Verdict::LeftOutUntil(next + PERIOD));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_does_no_harm() {
        let (mut lines, begin) = (Lines::default(), Instant::now());
        let later = begin + PERIOD;
        assert_eq!(lines.note(later), Verdict::Said);
        for _ in 1..MOST {
            assert_eq!(lines.note(begin), Verdict::Said);
        }
        assert_eq!(lines.note(begin), Verdict::LeftOutUntil(later + PERIOD));
    }
}
