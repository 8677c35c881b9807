//! The messages for which another broker may have ended the connection, each time that they came:
//! pure.
//!
//! A broker of 5.0 says that it was for a message; one of 3.1.1 just closes the connection. So may one
//! that has troubles of its own. Hence while there is a suspect messages go one by one, a silent
//! end counts for the one that was alone on its way, and it takes more of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Over all connections of a client's successors.
#[derive(Debug, Default)]
pub struct Suspect(Mutex<BTreeMap<(usize, u64), Record>>);

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
/// Longer than any rule pauses: what is not sent so long is not looked out for any more.
const FORGET: Duration = Duration::from_secs(60);

impl Suspect {
    /// The connection has ended, and this was the first message that was not answered: whether it is to
    /// be refused.
    pub(super) fn is_guilty(&self, record: (usize, u64), evidence: Evidence, now: Instant) -> bool {
        let mut suspects = self.0.lock();
        let suspect = suspects.entry(record).or_insert(Record {
            n_times: 0,
            last: now,
        });
        suspect.last = now;
        suspect.n_times += u32::from(evidence != Evidence::Closed(false));
        suspect.n_times
            >= match evidence {
                Evidence::Told => PATIENCE,
                Evidence::Closed(_) => SILENT_PATIENCE,
            }
    }

    /// It is known what becomes of a message.
    pub(super) fn acquit(&self, record: (usize, u64)) {
        self.0.lock().remove(&record);
    }

    /// Whether there is one to look out for.
    pub(super) fn is_any(&self, now: Instant) -> bool {
        let mut suspects = self.0.lock();
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
        let is_guilty = |is_alone| suspect.is_guilty((1, 7), Evidence::Closed(is_alone), now);
        for _ in 1..SILENT_PATIENCE {
            assert!(!is_guilty(false));
            assert!(!is_guilty(true));
        }
        assert!(!is_guilty(false));
        assert!(is_guilty(true));
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
