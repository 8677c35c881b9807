//! Hostile and broken input: the canary beside it never notices.
//!
//! One test or more per row of the tables of bug classes that MQTT brokers had: A, what a
//! packet may be wrong in; B, what a connected client may exhaust. The row is in the test's name.
//! Numbers are chosen so that a test takes seconds on two cores; `GATEMQ_TEST_SCALE=10` makes
//! them ten times as large.

pub(crate) mod oracle;
mod verdict;

mod exchanges;
mod framing;
mod properties;
mod reserved;
mod states;
mod text;
mod topics;
mod truncation;

mod churn;
mod descriptors;
mod floods;
mod frames;
mod memory;
mod queues;
mod retained;
mod slow;
mod wills;
