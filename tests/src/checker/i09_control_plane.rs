//! I9, one control plane: nodes that have applied the same number of commands have the same state,
//! and a running node's applied index does not fall. Source: state machine safety of Raft.

use std::collections::HashMap;

use super::{Picture, Verdict, Violation};
use crate::history::{Event, Name};

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let mut states: HashMap<u64, (&Name, &Name)> = HashMap::new();
    let mut last: HashMap<(&Name, u32), u64> = HashMap::new();
    for record in picture.records {
        let Event::StateHash {
            node,
            life,
            applied,
            hash,
        } = &record.event
        else {
            continue;
        };
        let (other, known) = states.entry(*applied).or_insert((node, hash));
        if *known != hash {
            verdict.violations.push(Violation::Diverged {
                applied: *applied,
                node: node.clone(),
                other: other.clone(),
            });
        }
        let before = last.insert((node, *life), *applied).unwrap_or_default();
        if before > *applied {
            verdict.violations.push(Violation::WentBack {
                applied: *applied,
                before,
                node: node.clone(),
            });
        }
    }
}
