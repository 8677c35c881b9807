//! The judge of a history: whether a broker that keeps its promises could have done it. Pure:
//! events in, a verdict out. The judge is judged by its own tests: a right broker's histories are
//! valid, and each kind of mistake is found by its own rule.
//!
//! The rules, by their names in the project's fault plan, each in a file of its own, which tells
//! what it leaves out:
//!
//! | rule | what it says |
//! |---|---|
//! | I1 | an accepted message that was first sent after a SUBACK for it is received by the drain |
//! | I2 | whatever is received was sent, to that topic, unaltered, not refused, and subscribed to |
//! | I3 | QoS 2 (and 0) is received once |
//! | I4 | QoS 1 is received again only with DUP, on a new connection, sent again, or by some faults |
//! | I5 | first receipts of one publisher, topic and QoS come in the order of sending |
//! | I6 | Session Present tells the truth, of open exchanges too, and UNSUBACK does |
//! | I7 | accounts that messages move money between balance |
//! | I8 | nothing comes on a connection once there is a later one; wills come exactly once |
//! | I9 | control nodes have one state at one index |
//! | I10 | what is retained on a topic is a linearizable register |
//! | I11 | a message reaches one member of a group |
//! | I12 | after the last heal writing and reading work within 10 s, by each gateway that is asked |
//!
//! What queues drop by the policy that they were given is no loss, where as much is missing as the
//! broker has counted (`dropped.rs`).
//!
//! A run in which a rule was broken is invalid. One that did not drain, where too little happened,
//! or whose fault was not in force, shows nothing: it is unknown. So is one where nobody measured how
//! long it took to recover.

mod dropped;
mod excuse;
mod i01_no_loss;
mod i02_no_phantom;
mod i03_qos2_once;
mod i04_qos1_repeats;
mod i05_order;
mod i06_honesty;
mod i07_conservation;
mod i08_single_owner;
mod i09_control_plane;
mod i10_retained;
mod i11_shared;
mod i12_liveness;
mod numbers;
mod picture;
#[cfg(test)]
mod tests;
mod verdict;
mod violation;

pub use excuse::{ends, is_known};
pub use verdict::{Conclusion, Dropped, Expected, Verdict};
pub use violation::Violation;

use crate::history::Record;
use picture::Picture;

/// Judges a history.
pub fn judge(records: &[Record], expected: &Expected) -> Verdict {
    let mut picture = Picture::new(records);
    i02_no_phantom::examine(&mut picture);
    let (picture, mut verdict) = (picture, Verdict::default());
    let rules = [
        i01_no_loss::judge,
        i02_no_phantom::judge,
        i03_qos2_once::judge,
        i04_qos1_repeats::judge,
        i05_order::judge,
        i06_honesty::judge,
        i07_conservation::judge,
        i08_single_owner::judge,
        i09_control_plane::judge,
        i10_retained::judge,
        i11_shared::judge,
        i12_liveness::judge,
    ];
    for rule in rules {
        rule(&picture, &mut verdict);
    }
    dropped::excuse(&picture, &expected.dropped, &mut verdict);
    numbers::count(&picture, &mut verdict);
    numbers::doubt(&picture, expected, &mut verdict);
    i12_liveness::doubt(&picture, expected, &mut verdict);
    verdict
}
