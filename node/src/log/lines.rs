//! How many lines the log has, in a time, of what anybody outside can cause. Those beyond are counted,
//! to be told of in one line. Pure.

use std::time::{Duration, Instant};

/// The lines of one kind.
#[derive(Debug)]
pub struct Lines {
    most: u32,
    period: Duration,
    /// When the period began that is counted now.
    since: Option<Instant>,
    n_said: u32,
    n_left_out: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is room for it.
    Said,
    /// There is none.
    LeftOut,
    /// It is the first one that is left out: how many there were is to be asked for then.
    LeftOutUntil(Instant),
}

impl Lines {
    /// At most so many of them in such a period.
    #[must_use]
    pub const fn new(most: u32, period: Duration) -> Self {
        Self {
            most,
            period,
            since: None,
            n_said: 0,
            n_left_out: 0,
        }
    }

    /// There is something to say.
    pub fn note(&mut self, now: Instant) -> Verdict {
        let period = self.period;
        let is_over = |since: Instant| now.saturating_duration_since(since) >= period;
        let since = match self.since.filter(|since| !is_over(*since)) {
            Some(since) => since,
            None => {
                self.n_said = 0;
                *self.since.insert(now)
            }
        };
        if self.n_said < self.most {
            self.n_said += 1;
            return Verdict::Said;
        }
        self.n_left_out += 1;
        match self.n_left_out {
            1 => Verdict::LeftOutUntil(since + period),
            _ => Verdict::LeftOut,
        }
    }

    /// How many were left out since this was asked last.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.n_left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 10;
    const PERIOD: Duration = Duration::from_secs(1);

    fn new() -> (Lines, Instant) {
        (Lines::new(MOST, PERIOD), Instant::now())
    }

    #[test]
    fn a_storm_is_ten_lines_a_second_and_how_many_there_were_beside_them() {
        let (mut lines, begin) = new();
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
        let (mut lines, begin) = new();
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
        let (mut lines, begin) = new();
        let later = begin + PERIOD;
        assert_eq!(lines.note(later), Verdict::Said);
        for _ in 1..MOST {
            assert_eq!(lines.note(begin), Verdict::Said);
        }
        assert_eq!(lines.note(begin), Verdict::LeftOutUntil(later + PERIOD));
    }
}
