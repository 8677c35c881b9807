//! Who leads, as the rest of the node sees it: watched, told, and logged.

use std::sync::Arc;
use std::time::Duration;

use gatemq_node::fatal;
use openraft::ServerState;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::machine::Current;
use super::places::Places;
use super::quorum::Quorum;
use super::raft::{Metrics, Raft};

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, if one is known; it may be gone and nobody knows yet.
    pub leader: Option<Leader>,
    /// Whether this node leads, a quorum has acknowledged it, *and* it has applied all that
    /// earlier leaders committed: what it decides by its state is decided by the newest one. That
    /// may have ended and not be known here; see `Consensus::quorum_age`.
    pub is_self: bool,
    /// The term, which rises with every election.
    pub term: u64,
}

/// The node that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Where its gRPC services are, host:port.
    pub address: String,
}

/// When a leader last called this node.
#[derive(Default)]
pub(super) struct Heard(Mutex<Option<Instant>>);

/// Watches Raft's metrics.
pub(super) struct Observer {
    pub(super) raft: Raft,
    pub(super) number: u64,
    pub(super) current: Arc<Current>,
    pub(super) places: Places,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) quorum: Arc<Quorum>,
    /// Set when another node has told this one that it is no member any more.
    pub(super) is_removed: watch::Sender<bool>,
    pub(super) dismissed: watch::Sender<bool>,
}

/// What the observer remembers from one look to the next.
#[derive(Default)]
struct Seen {
    /// As leader: the last entry of the log when it began to lead, which it has to apply first.
    must_apply: Option<u64>,
    led_in: Option<u64>,
    is_voter: Option<bool>,
    is_removed: bool,
}

// === impl Heard ===

impl Heard {
    pub(super) fn note(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether a leader has called within this time.
    pub(super) fn is_within(&self, time: Duration) -> bool {
        self.0.lock().is_some_and(|at| at.elapsed() <= time)
    }
}

// === impl Observer ===

impl Observer {
    /// Runs until the node stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut metrics = self.raft.metrics();
        let mut removed = self.is_removed.subscribe();
        let mut seen = Seen::default();
        let mut is_said_anew = true;
        loop {
            let now = metrics.borrow_and_update().clone();
            if let Err(error) = &now.running_state {
                return ended(&stop, &error.to_string());
            }
            if is_said_anew {
                let age = now.millis_since_quorum_ack.map(Duration::from_millis);
                self.quorum.note(age);
            }
            self.look(&now, &mut seen);
            // An age that was said before, and is looked at for something else, is older by now.
            let changed = tokio::select! {
                () = stop.cancelled() => return,
                changed = metrics.changed() => changed.map(|()| true),
                changed = removed.changed() => changed.and_then(|()| metrics.has_changed()),
                () = self.places.changed() => metrics.has_changed(),
            };
            match changed {
                Ok(changed) => is_said_anew = changed,
                Err(_) => return ended(&stop, "its task panicked"),
            }
        }
    }

    fn look(&self, metrics: &Metrics, seen: &mut Seen) {
        let next = self.leadership(metrics, seen);
        self.leadership.send_if_modified(|current| {
            if *current == next {
                return false;
            }
            if let Some(leader) = &next.leader
                && (current.leader.as_ref() != Some(leader) || current.term != next.term)
            {
                let (name, number, term) = (&leader.name, leader.number, next.term);
                tracing::info!(name, number, term, "leader found");
            }
            *current = next;
            true
        });
        let membership = metrics.membership_config.membership();
        let is_voter = membership.voter_ids().any(|voter| voter == self.number);
        // At the first look it is what it was before.
        if is_voter && seen.is_voter == Some(false) {
            tracing::info!(number = self.number, "promoted to voter");
        }
        seen.is_voter = Some(is_voter);
        self.look_for_dismissal(seen);
    }

    fn leadership(&self, metrics: &Metrics, seen: &mut Seen) -> Leadership {
        let term = metrics.current_term;
        let membership = metrics.membership_config.membership();
        let leader = metrics.current_leader.and_then(|number| {
            let node = membership.get_node(&number)?;
            Some(Leader {
                number,
                name: node.name.clone(),
                address: self.places.of(node),
            })
        });
        let leads = metrics.state == ServerState::Leader;
        if !leads {
            seen.led_in = None;
            seen.must_apply = None;
        } else if seen.led_in != Some(term) {
            seen.led_in = Some(term);
            seen.must_apply = metrics.last_log_index;
        }
        let applied = metrics.last_applied.map(|last| last.index);
        let is_current = applied.is_some() && applied >= seen.must_apply;
        Leadership {
            leader,
            is_self: leads && is_current && metrics.millis_since_quorum_ack.is_some(),
            term,
        }
    }

    /// A node that was removed must not stand for election: the others do not need it, and its
    /// rising terms would only disturb them. Its vote they may need, until it is out of the
    /// membership; then it has nothing more to do.
    fn look_for_dismissal(&self, seen: &mut Seen) {
        if !seen.is_removed {
            let knows = || self.current.is_removed(self.number);
            seen.is_removed = *self.is_removed.borrow() || knows();
            if seen.is_removed {
                self.raft.runtime_config().elect(false);
                tracing::info!(number = self.number, "removed from the control plane");
            }
        }
        if seen.is_removed && self.current.is_dismissed(self.number) {
            self.dismissed.send_replace(true);
        }
    }
}

// === private ===

/// Raft has ended. If nobody asked for it, the node can do nothing any more.
fn ended(stop: &CancellationToken, why: &str) {
    if !stop.is_cancelled() {
        fatal::end(fatal::TASK_PANICKED, &format!("raft ended: {why}"));
    }
}
