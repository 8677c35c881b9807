//! Who has led the control plane: whoever leads tells of it, and is asked again and again. An election
//! that nobody wins changes no leader.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use crate::{Node, patience::pause};

/// Between two looks at all nodes; a leader leads for longer than an election takes.
const GLANCE: Duration = Duration::from_millis(50);

/// All who lead while it is to go on, each with its term; whoever leads at the beginning is one of them.
pub(super) fn watch(nodes: &[&Node], go_on: &AtomicBool) -> BTreeSet<(u64, String)> {
    let mut seen = BTreeSet::new();
    while go_on.load(Relaxed) {
        for node in nodes {
            if let Some([leads, term]) = node.metrics(["control_leads", "control_term"])
                && leads > 0.0
            {
                seen.insert((term as u64, node.name().to_owned()));
            }
        }
        pause(GLANCE);
    }
    seen
}
