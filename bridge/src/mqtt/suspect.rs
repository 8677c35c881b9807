//! The messages for which another broker may have ended the connection, each time that they came:
//! pure.
//!
//! A broker of 5.0 says that it was for a message; one of 3.1.1 just closes the connection. So may one
//! that has troubles of its own. Hence while there is a suspect messages go one by one, a silent
//! end counts for the one that was alone on its way, and it takes more of them. It counts only if the
//! broker acknowledges others: one that is ill is waited for, and of what it has acknowledged before,
//! that is evidence for a while and against one message.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Over all connections of a client's successors.
#[derive(Debug, Default)]
pub struct Suspect(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<(usize, u64), Record>,
    /// When the other broker has last acknowledged a message, unless one was refused since then.
    acknowledged_at: Option<Instant>,
}

#[derive(Debug)]
struct Record {
    n_times: u32,
    last: Instant,
}

/// What speaks against the first message that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The other broker said that it ends the connection for a message.
    Told,
    /// It closed it; whether this message was alone on its way.
    Closed(bool),
}

/// How often it says so before it is the message's fault.
const PATIENCE: u32 = 5;
/// How often it closes the connection. With the pauses of a rule that is not taken, which double, about
/// half a minute.
const SILENT_PATIENCE: u32 = 10;
/// So long a broker that has acknowledged a message is taken for one that is well: longer than it
/// takes to refuse one.
const WELL: Duration = Duration::from_secs(120);
/// Longer than any rule pauses: what is not sent so long is not looked out for any more.
const FORGET: Duration = Duration::from_secs(60);

impl Suspect {
    /// The connection has ended, and this was the first message that was not answered: whether it is to
    /// be refused.
    pub(super) fn is_guilty(&self, record: (usize, u64), evidence: Evidence, now: Instant) -> bool {
        let mut state = self.0.lock();
        let acknowledged_at = state.acknowledged_at;
        let suspect = state.records.entry(record).or_insert(Record {
            n_times: 0,
            last: now,
        });
        let is_well = |at| suspect.last < at || now.saturating_duration_since(at) < WELL;
        let is_evidence = match evidence {
            Evidence::Told => true,
            Evidence::Closed(is_alone) => is_alone && acknowledged_at.is_some_and(is_well),
        };
        suspect.last = now;
        suspect.n_times += u32::from(is_evidence);
        let patience = match evidence {
            Evidence::Told => PATIENCE,
            Evidence::Closed(_) => SILENT_PATIENCE,
        };
        let is_guilty = is_evidence && suspect.n_times >= patience;
        if is_guilty && evidence != Evidence::Told {
            state.acknowledged_at = None;
        }
        is_guilty
    }

    /// The other broker has acknowledged a message.
    pub(super) fn on_acknowledged(&self, now: Instant) {
        self.0.lock().acknowledged_at = Some(now);
    }

    /// It is known what becomes of a message.
    pub(super) fn acquit(&self, record: (usize, u64)) {
        self.0.lock().records.remove(&record);
    }

    /// Whether there is one to look out for.
    pub(super) fn is_any(&self, now: Instant) -> bool {
        let suspects = &mut self.0.lock().records;
        suspects.retain(|_, suspect| now.saturating_duration_since(suspect.last) < FORGET);
        !suspects.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_refused_when_the_other_broker_has_said_so_several_times() {
        let (suspect, now) = (Suspect::default(), Instant::now());
        let is_guilty = |number| suspect.is_guilty((1, number), Evidence::Told, now);
        for _ in 1..PATIENCE {
            assert!(!is_guilty(7));
            assert!(!is_guilty(8), "each for itself");
        }
        suspect.acquit((1, 8));
        assert!(!is_guilty(8), "from the beginning");
        assert!(is_guilty(7));
    }

    #[test]
    fn a_silent_end_counts_for_a_message_that_was_alone_and_takes_more_of_them() {
        let (suspect, now) = (Suspect::default(), Instant::now());
        suspect.on_acknowledged(now);
        let is_guilty = |is_alone| suspect.is_guilty((1, 7), Evidence::Closed(is_alone), now);
        for _ in 1..SILENT_PATIENCE {
            assert!(!is_guilty(false));
            assert!(!is_guilty(true));
        }
        assert!(!is_guilty(false));
        assert!(is_guilty(true));
    }

    #[test]
    fn a_broker_that_acknowledges_nothing_is_waited_for() {
        let (suspect, begin) = (Suspect::default(), Instant::now());
        let is_guilty = |record, now| suspect.is_guilty(record, Evidence::Closed(true), now);
        let is_any_guilty = |record, now| (0..50).any(|_| is_guilty(record, now));
        assert!(
            !is_any_guilty((1, 7), begin),
            "it is ill from the beginning"
        );
        suspect.on_acknowledged(begin);
        assert!(!is_any_guilty((1, 7), begin + WELL), "and for long");
        suspect.on_acknowledged(begin + WELL);
        assert!(is_any_guilty((1, 7), begin + WELL));
        assert!(!is_any_guilty((2, 3), begin + WELL), "one for all before");
        // Another rule goes on, seldom.
        let mut now = begin + WELL;
        for _ in 1..SILENT_PATIENCE {
            suspect.on_acknowledged(now + WELL / 2);
            now += WELL * 2;
            assert!(!is_guilty((2, 3), now));
            assert!(!is_guilty((2, 3), now), "none was acknowledged since");
        }
        suspect.on_acknowledged(now + WELL / 2);
        assert!(is_guilty((2, 3), now + WELL * 2));
    }

    #[test]
    fn a_suspect_is_looked_out_for_until_it_is_acquitted_or_long_gone() {
        let (suspect, now) = (Suspect::default(), Instant::now());
        assert!(!suspect.is_any(now));
        suspect.is_guilty((1, 7), Evidence::Closed(false), now);
        assert!(suspect.is_any(now + FORGET / 2));
        suspect.acquit((1, 7));
        assert!(!suspect.is_any(now));
        suspect.is_guilty((1, 7), Evidence::Closed(false), now);
        assert!(!suspect.is_any(now + FORGET));
    }
}
