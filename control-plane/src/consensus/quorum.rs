//! How long ago a quorum answered the leader, by a clock that counts sleep.
//!
//! Raft goes by a clock that stands still while the machine is suspended; gateways count their leases by
//! one that does not ([`gatemq_node::uptime()`]). A leader that wakes up would take for new what was
//! answered before, though others have chosen another one meanwhile, which has fenced its gateways. So at
//! each look it is seen how far one clock is ahead of the other. If that is more than it was, the machine
//! has slept: nothing counts any more that was sent before it woke.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When a quorum was last heard of, by the leader.
pub(super) struct Quorum {
    answered: Mutex<Answered>,
    /// From when on the clocks are compared, by that of the machine and by that of Raft.
    began: (Duration, std::time::Instant),
}

/// What is known of that: pure.
#[derive(Debug, Default)]
struct Answered {
    /// When that was sent which a quorum has answered last; `None` if this node does not lead.
    sent: Option<Instant>,
    /// When Raft said so last, or that there is none.
    noted: Option<Instant>,
    /// By how much the clock that counts sleep has gained on the other one.
    gained: Duration,
    /// When it was seen last that the machine had slept.
    woke: Option<Instant>,
}

/// What the clock has gained by less than this between two looks is the time that it takes to look: no
/// lease depends on so little.
const LOOK: Duration = Duration::from_millis(20);
/// What is sent so soon after the machine woke may have been sent before: what Raft says of it is as old
/// as it takes to come here.
const MARGIN: Duration = Duration::from_millis(100);
/// A leader's Raft says something at each of its ticks, 375 ms at the most (1.5 heartbeats).
const SILENT: Duration = Duration::from_millis(500);

// === impl Quorum ===

impl Quorum {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            answered: Mutex::default(),
            began: (gatemq_node::uptime(), std::time::Instant::now()),
        }
    }

    /// How long ago that was sent which a quorum has answered last; `None` of a node that does not
    /// lead, and after the machine has slept until a quorum has answered again.
    pub(super) fn age(&self) -> Option<Duration> {
        let mut answered = self.answered.lock();
        let now = self.look(&mut answered);
        answered.age(now)
    }

    /// Raft says that it is so long ago.
    pub(super) fn note(&self, age: Option<Duration>) {
        let mut answered = self.answered.lock();
        let now = self.look(&mut answered);
        answered.note(now, age);
    }

    fn look(&self, answered: &mut Answered) -> Instant {
        let (uptime, began) = self.began;
        // In this order: a pause in between looks like less sleep, and the next look sees the rest.
        let passed = gatemq_node::uptime().saturating_sub(uptime);
        let gained = passed.saturating_sub(began.elapsed());
        let now = Instant::now();
        answered.look(now, gained);
        now
    }
}

// === impl Answered ===

impl Answered {
    /// At this time the clock that counts sleep has gained so much on the other one.
    fn look(&mut self, now: Instant, gained: Duration) {
        if gained > self.gained + LOOK {
            tracing::warn!(
                slept_ms = (gained - self.gained).as_millis(),
                "the machine was asleep: what a quorum answered before does not count"
            );
            (self.gained, self.woke) = (gained, Some(now));
        }
    }

    /// Raft says at this time that it is so long ago. If it has not said so for longer than it ever
    /// keeps silent, this process was stopped, perhaps before what was said came here: the age is as of
    /// when it should have come.
    fn note(&mut self, now: Instant, age: Option<Duration>) {
        let said = self.noted.map_or(now, |noted| now.min(noted + SILENT));
        self.noted = Some(now);
        self.sent = age.and_then(|age| said.checked_sub(age));
    }

    fn age(&self, now: Instant) -> Option<Duration> {
        let is_since = |sent: &Instant| self.woke.is_none_or(|woke| *sent >= woke + MARGIN);
        let sent = self.sent.filter(is_since)?;
        Some(now.saturating_duration_since(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_was_answered_before_the_machine_slept_does_not_count() {
        let (mut answered, begin) = (Answered::default(), Instant::now());
        answered.look(begin, ms(0));
        assert_eq!(answered.age(begin), None, "it does not lead");
        answered.sent = Some(begin);
        answered.look(begin + ms(50), ms(1));
        assert_eq!(answered.age(begin + ms(50)), Some(ms(50)));
        // For 10 s, in which Raft's clock stood still.
        let woke = begin + ms(60);
        answered.look(woke, ms(10_000));
        assert_eq!(answered.age(woke), None);
        // An answer to what was sent before comes after all.
        answered.sent = Some(begin + ms(55));
        answered.look(woke + ms(5), ms(10_000));
        assert_eq!(answered.age(woke + ms(5)), None);
        answered.sent = Some(woke + MARGIN);
        answered.look(woke + MARGIN + ms(7), ms(10_001));
        assert_eq!(answered.age(woke + MARGIN + ms(7)), Some(ms(7)));
        // Once more.
        answered.look(woke + MARGIN + ms(8), ms(10_100));
        assert_eq!(answered.age(woke + MARGIN + ms(8)), None);
    }

    #[test]
    fn many_short_sleeps_count_as_a_long_one() {
        let (mut answered, begin) = (Answered::default(), Instant::now());
        answered.sent = Some(begin);
        answered.look(begin, LOOK);
        assert_eq!(answered.age(begin), Some(ms(0)));
        answered.look(begin, LOOK + ms(1));
        assert_eq!(answered.age(begin), None);
    }

    /// This process is stopped when Raft has said it and it has not come here yet.
    #[test]
    fn an_age_that_comes_late_is_as_of_when_it_may_have_been_said() {
        let (mut answered, begin) = (Answered::default(), Instant::now());
        answered.note(begin, Some(ms(20)));
        assert_eq!(answered.age(begin), Some(ms(20)));
        answered.note(begin + SILENT, Some(ms(30)));
        assert_eq!(answered.age(begin + SILENT), Some(ms(30)));
        let woke = begin + SILENT + ms(5_000);
        answered.note(woke, Some(ms(30)));
        assert_eq!(answered.age(woke), Some(ms(5_030) - SILENT));
        // The next one was said since.
        answered.note(woke + ms(10), Some(ms(4)));
        assert_eq!(answered.age(woke + ms(10)), Some(ms(4)));
    }

    #[test]
    fn while_the_machine_is_awake_an_answer_counts() {
        let quorum = Quorum::new();
        assert_eq!(quorum.age(), None);
        quorum.note(Some(ms(30)));
        assert!(quorum.age().expect("it counts") >= ms(30));
        quorum.note(None);
        assert_eq!(quorum.age(), None);
    }
}
