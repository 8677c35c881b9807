//! What nodes of the control plane have applied, for the judge to compare (I9): each is asked for the
//! hash of its state, and of which revision that is, as `GET /api/v1/cluster/hash` tells both.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use serde::Deserialize;

use super::Run;
use crate::{
    Node,
    history::{Event, History},
    patience::{becomes_true, pause},
};

/// How long nodes that all run may take to apply the same.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at all nodes.
const GLANCE: Duration = Duration::from_millis(50);

#[derive(Debug, Deserialize)]
struct Fingerprint {
    revision: u64,
    hash: String,
}

// === impl Run ===

impl Run {
    /// Nodes of the control plane that run and are left alone come to one state, whose hash all of
    /// them tell.
    pub fn agree(&mut self, nodes: &[&Node]) {
        let history = self.history();
        let mut told = Vec::new();
        let is_one = becomes_true(LIMIT, || {
            told = nodes.iter().map(|node| look(node, &history)).collect();
            told.iter().all(|it| it.is_some() && *it == told[0])
        });
        if !is_one {
            let names: Vec<_> = nodes.iter().map(|node| node.name()).collect();
            self.fail(format!("{names:?} do not come to one revision: {told:?}"));
        }
    }
}

/// Looks at these nodes again and again, those that do not answer left out, while it is to go on. That
/// one has applied at another time what another one has applied does not matter.
pub(super) fn watch(nodes: &[&Node], history: &History, go_on: &AtomicBool) {
    while go_on.load(Relaxed) {
        for node in nodes {
            look(node, history);
        }
        pause(GLANCE);
    }
}

/// The revision that a node has, whose hash is recorded; `None` if it does not answer. Whoever else
/// wants to look at this node waits: it goes on, and an answer of before must not be recorded after
/// a later one.
fn look(node: &Node, history: &History) -> Option<u64> {
    let mut revision = None;
    history.observe(node.name(), || {
        let (life, told) = ask(node)?;
        revision = Some(told.revision);
        Some(Event::StateHash {
            node: node.name().into(),
            life,
            applied: told.revision,
            hash: told.hash.into(),
        })
    });
    revision
}

/// What a node tells of itself, and in which of its lives.
fn ask(node: &Node) -> Option<(u32, Fingerprint)> {
    // Another process may be on its ports.
    if !node.is_running() {
        return None;
    }
    let life = node.life();
    let (status, body) = node.get("/api/v1/cluster/hash")?;
    let told: Fingerprint = serde_json::from_str(&body).ok()?;
    // What was started meanwhile may be the one that answered, or not.
    if status != 200 || node.life() != life || !node.is_running() {
        return None;
    }
    Some((life, told))
}
