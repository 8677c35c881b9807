//! What was measured: times, and what they come to.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What clients saw, and when.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) n_sent: AtomicUsize,
    /// Publishes that were answered 0x80 and above.
    pub(super) n_refused: AtomicUsize,
    /// Publishes that were refused for want of room: 0x97.
    pub(super) n_shed: AtomicUsize,
    /// Times when the broker did not read on for [`super::crowd::HELD`].
    pub(super) n_held: AtomicUsize,
    /// Connections that ended and were not to.
    pub(super) n_ended: AtomicUsize,
    /// From a publish to its acknowledgement.
    answers: Mutex<Vec<Timing>>,
    /// From when a publish was due to its receipt.
    deliveries: Mutex<Vec<Timing>>,
}

/// When it was over, and how long it took.
#[derive(Clone, Copy, Debug)]
struct Timing {
    at: Instant,
    took: Duration,
}

/// What was seen within some time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) time: Duration,
    pub(super) answers: Spread,
    pub(super) deliveries: Spread,
}

/// How times are distributed.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    pub(super) n: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) longest: Duration,
}

// === impl Tally ===

impl Tally {
    pub(super) fn answered(&self, took: Duration) {
        push(&self.answers, took);
    }

    pub(super) fn delivered(&self, took: Duration) {
        push(&self.deliveries, took);
    }

    /// How many publishes were accepted later than this after they were sent.
    pub(super) fn n_later(&self, than: Duration) -> usize {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().filter(|it| it.took > than).count()
    }

    /// What came between two moments.
    pub(super) fn between(&self, from: Instant, to: Instant) -> Sample {
        Sample {
            time: to - from,
            answers: spread(&self.answers, from, to),
            deliveries: spread(&self.deliveries, from, to),
        }
    }

    /// In so many equal parts of the time between two moments: how publishes were answered.
    pub(super) fn parts(&self, from: Instant, to: Instant, n_parts: u32) -> Vec<Sample> {
        let part = (to - from) / n_parts;
        let parts = (0..n_parts)
            .map(|number| self.between(from + part * number, from + part * (number + 1)));
        parts.collect()
    }
}

fn push(to: &Mutex<Vec<Timing>>, took: Duration) {
    let at = Instant::now();
    let mut all = to.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(Timing { at, took });
}

fn spread(all: &Mutex<Vec<Timing>>, from: Instant, to: Instant) -> Spread {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let within = all.iter().filter(|it| (from..to).contains(&it.at));
    Spread::of(within.map(|it| it.took).collect())
}

// === impl Sample ===

impl Sample {
    /// Receipts a second.
    pub(super) fn rate(&self) -> f64 {
        per_second(self.deliveries.n, self.time)
    }

    /// Acknowledgements a second.
    pub(super) fn answer_rate(&self) -> f64 {
        per_second(self.answers.n, self.time)
    }
}

// === impl Spread ===

impl Spread {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).copied().unwrap_or_default()
        };
        Self {
            n: times.len(),
            p50: at(50),
            p99: at(99),
            longest: at(100),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, longest] = [self.p50, self.p99, self.longest].map(millis);
        write!(out, "p50 {p50:.1}, p99 {p99:.1}, longest {longest:.0} ms")
    }
}

/// So many in this time, a second.
pub(super) fn per_second(n: usize, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let n = n as f64;
    n / time.as_secs_f64().max(0.001)
}

/// In milliseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A counter, read.
pub(super) fn count(counter: &AtomicUsize) -> usize {
    counter.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_times_that_it_was_given() {
        let times = (1..=200).rev().map(Duration::from_millis);
        let spread = Spread::of(times.collect());
        let found = [spread.p50, spread.p99, spread.longest];
        assert_eq!(found.map(|time| time.as_millis()), [101, 199, 200]);
        assert_eq!(Spread::of(Vec::new()).longest, Duration::ZERO);
    }

    #[test]
    fn what_came_before_or_after_does_not_count() {
        let tally = Tally::default();
        tally.answered(Duration::from_secs(1));
        let from = Instant::now();
        tally.answered(Duration::from_secs(2));
        tally.delivered(Duration::from_secs(3));
        let to = Instant::now();
        tally.answered(Duration::from_secs(4));
        let sample = tally.between(from, to);
        assert_eq!((sample.answers.n, sample.deliveries.n), (1, 1));
        assert_eq!(sample.answers.longest, Duration::from_secs(2));
        assert_eq!(tally.n_later(Duration::from_secs(1)), 2);
    }
}
