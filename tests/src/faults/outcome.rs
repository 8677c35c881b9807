//! What came of a run.

use std::{path::PathBuf, time::Duration};

use crate::checker::Conclusion;

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// What makes the run happen again.
    pub seed: u64,
    /// Messages that were acknowledged to their publishers.
    pub n_acknowledged: usize,
    /// Receipts, repeated ones included.
    pub n_delivered: usize,
    /// Acknowledged, and not received.
    pub n_lost: usize,
    /// Of QoS 2, received again.
    pub n_duplicated: usize,
    /// Of QoS 1, received again with a reason.
    pub n_repeated: usize,
    /// Came after a later one.
    pub n_out_of_order: usize,
    /// The longest time from a fault until every publisher was answered again.
    pub recovery: Option<Duration>,
    /// What may be said.
    pub verdict: Conclusion,
    /// Why, where it is not valid; and what was measured besides.
    pub notes: Vec<String>,
    /// Where the history was kept, of runs that are not valid.
    pub history: Option<PathBuf>,
}
